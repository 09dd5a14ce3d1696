#include "api-server/config_file.h"

#include <gtest/gtest.h>

#include "api-server/json_codec.h"
#include "api-server/testing/whole_config.h"

namespace mote::api_server {
namespace {

using namespace monitor;

/// The one file there is besides the configuration file.
base::Result<std::string> read_cpu_file(const std::string& path) {
  if (path == "/cpu.json") return R"({"kvm_capabilities":["12"]})";
  if (path == "/bad.json") return R"({"kvm_capabilities":[12]})";
  return base::fail(base::ErrorCode::kNotFound, "cannot open " + path);
}

TEST(ConfigFile, GivesActionsInTheOrderTheyMustBeApplied) {
  const auto actions = decode_config_file(R"({
    "drives":[{"drive_id":"root","is_root_device":true,"path_on_host":"/d"},
              {"drive_id":"data","is_root_device":false,"path_on_host":"/e"}],
    "boot-source":{"kernel_image_path":"/k"},
    "machine-config":{"vcpu_count":1,"mem_size_mib":64},
    "network-interfaces":[], "vsock":null, "pmem":[], "logger":{"log_path":"/l"}})",
                                          read_cpu_file);
  ASSERT_TRUE(actions) << actions.error().message();
  ASSERT_EQ(actions->size(), 5U);
  EXPECT_TRUE(std::holds_alternative<PutLogger>((*actions)[0]));
  EXPECT_TRUE(std::holds_alternative<PutMachineConfig>((*actions)[1]));
  EXPECT_EQ(std::get<PutDrive>((*actions)[4]).config.drive_id, "data");
}

TEST(ConfigFile, ErrorsNameSectionAndIndex) {
  const auto message = [](std::string_view text) {
    return decode_config_file(text, read_cpu_file).error().message();
  };
  EXPECT_NE(message(R"({"drives":[{"drive_id":"a","is_root_device":true},{"drive_id":"b"}]})")
                .find("drives[1]: is_root_device"),
            std::string::npos);
  EXPECT_NE(message(R"({"drives":{}})").find("drives: must be an array"), std::string::npos);
  EXPECT_NE(message(R"({"dirves":[]})").find("dirves"), std::string::npos);
  EXPECT_NE(message(R"({"vsock":{"guest_cid":3}})").find("vsock: This device is not offered"),
            std::string::npos);
  EXPECT_NE(message("nonsense").find("not valid JSON"), std::string::npos);
  EXPECT_NE(message(R"({"drives":[],"drives":[]})").find("drives: appears twice"),
            std::string::npos);
  EXPECT_NE(message(R"({"mmds-config":{"version":"V2"}})").find("mmds-config: network_interfaces"),
            std::string::npos);
  EXPECT_NE(message(R"({"pmem":[{}]})").find("pmem: This device"), std::string::npos);
  EXPECT_NE(message("[]").find("must be a JSON object"), std::string::npos);
}

TEST(ConfigFile, TheCpuMayBeDescribedInAFileOfItsOwn) {
  const auto actions = decode_config_file(R"({"cpu-config":"/cpu.json"})", read_cpu_file);
  ASSERT_TRUE(actions) << actions.error().message();
  ASSERT_EQ(actions->size(), 1U);
  EXPECT_EQ(std::get<PutCpuConfig>((*actions)[0]).config.kvm_capabilities[0].number, 12U);
  EXPECT_EQ(decode_config_file(R"({"cpu-config":"/none"})", read_cpu_file).error().message(),
            "cpu-config: cannot open /none");
  EXPECT_NE(decode_config_file(R"({"cpu-config":"/bad.json"})", read_cpu_file)
                .error()
                .message()
                .find("cpu-config: kvm_capabilities[0]"),
            std::string::npos);
}

TEST(ConfigFile, TakesWhatGetVmConfigShows) {
  VmConfig config;
  config.machine = {.vcpu_count = 4,
                    .mem_size_mib = 512,
                    .smt = true,
                    .track_dirty_pages = true,
                    .huge_pages = memory::HugePages::k2M,
                    .cpu_template = CpuTemplate::kT2CL};
  config.cpu = CpuConfig{{{12, false}, {56, true}},
                         {{0x7, 1, 1, {{CpuidRegister::kEdx, {0x80000001, 1}}}}},
                         {{0x10a, {UINT64_MAX, 0xf0f0}}}};
  config.boot_source = BootSource{"/kernel", "/initrd", "console=ttyS0 \"quoted\""};
  const virtio::RateLimiterConfig limiter{virtio::TokenBucketConfig{1 << 20, 5, 100},
                                          virtio::TokenBucketConfig{1000, std::nullopt, 1000}};
  config.drives.push_back({"root", true, "/root.ext4", "ab-01", true,
                           virtio::blk::CacheType::kWriteback, virtio::blk::IoEngine::kAsync,
                           limiter});
  config.drives.emplace_back().drive_id = "data";
  config.network_interfaces.push_back({"eth0", "tap0",
                                       virtio::net::MacAddress{{6, 0, 0xac, 0x10, 0, 2}}, 1400,
                                       virtio::RateLimiterConfig{}, limiter});
  config.logger = LoggerConfig{"/log", base::log::Level::kDebug, true, false, "monitor"};
  config.metrics = MetricsConfig{"/metrics"};
  config.serial = SerialConfig{"/serial", virtio::TokenBucketConfig{1, 2, 3}};

  const std::string shown = encode_reply(config);
  const auto actions = decode_config_file(shown, read_cpu_file);
  ASSERT_TRUE(actions) << actions.error().message();
  const VmConfig again = testing::whole_config(*actions);
  EXPECT_EQ(again.machine, config.machine);
  EXPECT_EQ(again.cpu, config.cpu);
  EXPECT_EQ(again.boot_source, config.boot_source);
  EXPECT_EQ(again.drives, config.drives);
  EXPECT_EQ(again.network_interfaces, config.network_interfaces);
  EXPECT_EQ(encode_reply(again), shown) << "logger, metrics and serial";
}

}  // namespace
}  // namespace mote::api_server
