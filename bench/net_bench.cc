// The network device between a driver on this thread and a TAP in a namespace of its own: packets a
// second and CPU time of the loop thread (driver included) each way. Needs root.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <stop_token>
#include <thread>

#include "base/clock.h"
#include "devices/virtio/net/testing/net_driver.h"

namespace {

namespace net = mote::virtio::net;
using net::testing::NetDriver;
using net::testing::PacketSocket;

constexpr uint32_t kBufferBytes = 1526;  // What Linux posts at least.

struct Packet {
  std::vector<std::byte> frame;
  net::virtio_net_hdr_v1 header{};
};

/// A TCP packet over IPv4 that nobody listens to; beyond 1514 bytes it is left unsegmented.
Packet make_packet(size_t bytes) {
  Packet packet{std::vector<std::byte>(bytes), {}};
  const auto total = static_cast<uint16_t>(bytes - 14);
  std::array<uint8_t, 48> head{};
  head[0] = head[6] = 2;  // Local addresses.
  head[11] = 1;
  head[12] = 8;  // IPv4, 10.0.0.1 to 10.0.0.2.
  head[14] = 0x45;
  head[16] = static_cast<uint8_t>(total >> 8);
  head[17] = static_cast<uint8_t>(total);
  head[22] = 64;
  head[23] = 6;  // TCP.
  head[26] = head[30] = 10;
  head[29] = 1;
  head[33] = 2;
  head[46] = 0x50;  // A header of 20 bytes; ACK.
  head[47] = 0x10;
  std::memcpy(packet.frame.data(), head.data(), head.size());
  if (bytes > 1514) {
    packet.header = {.flags = net::VIRTIO_NET_HDR_F_NEEDS_CSUM,
                     .gso_type = net::VIRTIO_NET_HDR_GSO_TCPV4,
                     .hdr_len = 54,
                     .gso_size = 1448,
                     .csum_start = 34,
                     .csum_offset = 16,
                     .num_buffers = 0};
  }
  return packet;
}

std::unique_ptr<NetDriver> start(benchmark::State& state) {
  net::NetworkInterfaceConfig config;
  config.iface_id = "eth0";
  config.host_dev_name = "mote0";
  auto driver = NetDriver::create(config, 1);
  if (!driver) {
    state.SkipWithError(driver.error().message().c_str());
    return nullptr;
  }
  if (!(*driver)->start()) {
    state.SkipWithError("the device did not start");
    return nullptr;
  }
  return std::move(*driver);
}

void report(benchmark::State& state, uint64_t packets, size_t bytes, uint64_t interrupts,
            uint64_t cpu_ns) {
  state.SetItemsProcessed(static_cast<int64_t>(packets));
  state.SetBytesProcessed(static_cast<int64_t>(packets * bytes));
  state.counters["packets_per_interrupt"] =
      interrupts == 0 ? 0.0 : static_cast<double>(packets) / static_cast<double>(interrupts);
  state.counters["cpu_ns_per_packet"] =
      static_cast<double>(cpu_ns) / static_cast<double>(std::max(packets, uint64_t{1}));
}

/// A host that sends as fast as the interface takes packets.
void receive(benchmark::State& state) {
  const auto driver = start(state);
  if (!driver) return;
  const auto packet = make_packet(static_cast<size_t>(state.range(0)));
  auto host = PacketSocket::open("mote0", 0).value();
  const std::jthread sender([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) (void)host.send(packet.frame, packet.header);
  });
  driver->post_buffers(NetDriver::kRingSize, kBufferBytes);
  driver->kick(0);
  uint64_t interrupts = 0;
  auto& ring = driver->receive_ring();
  const uint64_t cpu_start_ns = mote::base::clock_ns(CLOCK_THREAD_CPUTIME_ID);
  for (auto _ : state) {
    if (!driver->loop().run_once(true)) return state.SkipWithError("the loop failed");
    while (ring.take_used()) driver->post_buffers(1, kBufferBytes);
    if (ring.needs_kick(true)) driver->kick(0);
    interrupts += driver->take_interrupts();
    ring.set_used_event(ring.used_index());
  }
  report(state, driver->device().metrics().rx_packets_count, packet.frame.size(), interrupts,
         mote::base::clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_start_ns);
}

/// A driver that sends as fast as its ring allows.
void transmit(benchmark::State& state) {
  const auto driver = start(state);
  if (!driver) return;
  const auto packet = make_packet(static_cast<size_t>(state.range(0)));
  auto& ring = driver->transmit_ring();
  uint64_t free = NetDriver::kRingSize;
  uint64_t interrupts = 0;
  for (uint64_t slot = 0; slot < 256; ++slot) {
    const auto at = NetDriver::packet_address(slot);
    if (!driver->memory().store(at, packet.header) ||
        !driver->memory().write(at.offset(sizeof(packet.header)), packet.frame))
      return state.SkipWithError("no room for the packets");
  }
  uint64_t slot = 0;
  const uint64_t cpu_start_ns = mote::base::clock_ns(CLOCK_THREAD_CPUTIME_ID);
  for (auto _ : state) {
    for (; free > 0; --free) {
      ring.add_chain({{NetDriver::packet_address(slot++),
                       static_cast<uint32_t>(sizeof(packet.header) + packet.frame.size()), false}});
    }
    if (ring.needs_kick(true)) driver->kick(1);
    if (!driver->loop().run_once(true)) return state.SkipWithError("the loop failed");
    while (ring.take_used()) ++free;
    interrupts += driver->take_interrupts();
    ring.set_used_event(ring.used_index());
  }
  report(state, driver->device().metrics().tx_packets_count, packet.frame.size(), interrupts,
         mote::base::clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_start_ns);
}

BENCHMARK(receive)->Arg(64)->Arg(1514)->Arg(65000)->MinTime(1)->UseRealTime();
BENCHMARK(transmit)->Arg(64)->Arg(1514)->Arg(65000)->MinTime(1)->UseRealTime();

}  // namespace

int main(int argc, char** argv) {
  if (const auto entered = net::testing::enter_network_namespace(); !entered) {
    std::fprintf(stderr, "net_bench: %s\n", entered.error().message().c_str());
    return 1;
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
