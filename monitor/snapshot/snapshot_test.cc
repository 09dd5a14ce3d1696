#include "monitor/snapshot/snapshot.h"

#include <gtest/gtest.h>

#include <random>

#include "monitor/kvm_table.h"

namespace mote::monitor::snapshot {
namespace {

Snapshot example() {
  Snapshot snapshot;
  snapshot.id = {1, 2, 3};
  snapshot.machine.vcpu_count = 2;
  snapshot.machine.mem_size_mib = 256;
  snapshot.boot_source = BootSource{"/kernel", "/initrd", std::nullopt};
  virtio::blk::DriveConfig drive;
  drive.drive_id = "root";
  drive.path_on_host = "/disk";
  drive.rate_limiter = virtio::RateLimiterConfig{
      virtio::TokenBucketConfig{.size = 1, .one_time_burst = 2, .refill_time_ms = 3}, std::nullopt};
  snapshot.drives = {drive};
  virtio::net::NetworkInterfaceConfig nic;
  nic.iface_id = "eth0";
  nic.host_dev_name = "tap0";
  nic.guest_mac = virtio::net::MacAddress{{2, 0, 0, 0, 0, 1}};
  snapshot.network_interfaces = {nic};
  for (int i = 0; i < 2; ++i) {
    VcpuState vcpu;
    vcpu.regs.rip = 0x1000U + static_cast<unsigned>(i);
    vcpu.xsave.resize(kXsaveBytes);
    vcpu.msrs = {{.index = 0x10, .reserved = 0, .data = 77}};
    vcpu.cpuid.resize(3);
    snapshot.state.vcpus.push_back(vcpu);
    virtio::MmioTransport::State transport;
    transport.device_id = static_cast<uint32_t>(i + 1);
    transport.queues = {{.size = 256, .ready = true, .position = {5, 4}}};
    transport.config = {std::byte{9}};
    snapshot.state.transports.push_back(transport);
  }
  snapshot.state.serial.input = {'a', 'b'};
  snapshot.ranges = {{4096, 8192}};
  return snapshot;
}

TEST(Snapshot, ComesBackAsItWas) {
  const Snapshot before = example();
  const auto after = decode_snapshot(encode_snapshot(before));
  ASSERT_TRUE(after) << after.error().message();
  EXPECT_EQ(after->id, before.id);
  EXPECT_EQ(after->machine, before.machine);
  EXPECT_EQ(after->boot_source, before.boot_source);
  EXPECT_EQ(after->drives, before.drives);
  EXPECT_EQ(after->network_interfaces, before.network_interfaces);
  EXPECT_EQ(after->ranges, before.ranges);
  ASSERT_EQ(after->state.vcpus.size(), 2U);
  EXPECT_EQ(after->state.vcpus[1].regs.rip, 0x1001U);
  EXPECT_EQ(after->state.vcpus[1].msrs[0].data, 77U);
  EXPECT_EQ(after->state.transports[0].queues[0].position.next_avail, 5);
  EXPECT_EQ(after->state.serial.input, before.state.serial.input);
  EXPECT_EQ(encode_snapshot(*after), encode_snapshot(before));
}

TEST(Snapshot, EveryFlippedBitAndEveryCutIsNoticed) {
  const auto file = encode_snapshot(example());
  for (size_t at = 0; at < file.size(); ++at) {
    auto flipped = file;
    flipped[at] ^= std::byte{static_cast<uint8_t>(1U << (at % 8))};
    EXPECT_FALSE(decode_snapshot(flipped)) << at;
    EXPECT_FALSE(decode_snapshot(std::span(file).first(at))) << at;
  }
}

TEST(Snapshot, SkipsOptionalSectionsOfNewerWritersOnly) {
  auto container = decode_container(encode_snapshot(example())).value();
  container.minor = 9;
  container.sections.push_back({1000, 1, true, {std::byte{1}}});
  EXPECT_TRUE(decode_snapshot(encode_container(container)));
  container.sections.back().optional = false;
  const auto refused = decode_snapshot(encode_container(container));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("section 1000"), std::string::npos);
  container.major = 2;
  EXPECT_NE(decode_snapshot(encode_container(container)).error().message().find("v2.9.0"),
            std::string::npos);
}

TEST(Snapshot, NeedsEverySectionOnceAndWhole) {
  const auto container = decode_container(encode_snapshot(example())).value();
  for (size_t i = 0; i < container.sections.size(); ++i) {
    auto lacking = container;
    lacking.sections.erase(lacking.sections.begin() + static_cast<ptrdiff_t>(i));
    EXPECT_FALSE(decode_snapshot(encode_container(lacking))) << i;
    auto repeated = container;
    repeated.sections.push_back(container.sections[i]);
    EXPECT_FALSE(decode_snapshot(encode_container(repeated))) << i;
    for (size_t size = 0; size < container.sections[i].payload.size(); size += 7) {
      auto cut = container;
      cut.sections[i].payload.resize(size);
      EXPECT_FALSE(decode_snapshot(encode_container(cut))) << i << " " << size;
    }
  }
}

TEST(Snapshot, ConfigurationAndStateMustFit) {
  Snapshot snapshot = example();
  snapshot.machine.vcpu_count = 3;
  EXPECT_FALSE(decode_snapshot(encode_snapshot(snapshot)));
  snapshot = example();
  snapshot.drives.clear();
  EXPECT_FALSE(decode_snapshot(encode_snapshot(snapshot)));
}

}  // namespace
}  // namespace mote::monitor::snapshot
