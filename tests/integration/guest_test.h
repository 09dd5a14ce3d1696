#pragma once
// What tests with a real guest share: the fixture, the requests that configure a VM, disks with a
// known pattern.

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/integration/monitor_process.h"

namespace mote::integration {

/// The image of a tiny guest of tests/guests.
std::string guest_image(const std::string& name);

// Bodies of requests.
std::string boot_source_json(const std::string& kernel, const std::string& arguments);
std::string machine_json(unsigned vcpus, unsigned mem_size_mib);
std::string drive_json(const std::string& id, const std::string& path,
                       const std::string& more = {});
std::string network_json(const std::string& id, const std::string& tap);
/// A whole configuration file; `more` is further sections, each with its leading comma.
std::string config_json(const std::string& guest, const std::string& arguments,
                        const std::string& more = {});
/// What a process may grow by without leaking: allocator caches, and the sanitizers' own memory.
inline constexpr bool kSanitized = LEAK_TOLERANCE_MIB > 1;
inline constexpr size_t kLeakTolerance = LEAK_TOLERANCE_MIB * size_t{1024} * 1024;
inline constexpr const char* kInstanceStart = R"({"action_type":"InstanceStart"})";

/// The content that the guest `blk` expects: byte i of sector s is s * 31 + i.
std::string disk_pattern(size_t sectors);

/// Skips, with the reason, where there is no usable /dev/kvm.
class GuestTest : public testing::Test {
 protected:
  void SetUp() override;

  /// Boots a guest from a configuration file, without API, and gives how the process ended.
  Ending run_to_end(const std::string& guest, const std::string& arguments,
                    const std::string& more = {});
  /// Starts `mote` with API, configures boot source and machine; the caller adds devices.
  void prepare(const std::string& guest, const std::string& arguments, unsigned vcpus = 1);
  void start();
  void expect_end(const Ending& ending = {0, 0});

  TemporaryFolder folder_;
  std::unique_ptr<MonitorProcess> mote_;
};

testing::AssertionResult is_status(const Response& response, unsigned status);

}  // namespace mote::integration
