#pragma once
// The command line of `mote`, checked and turned into one value (CLI11 behind it).

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/log.h"
#include "base/result.h"
#include "monitor/exit_code.h"

namespace mote::monitor {

struct Options {
  std::string
      program_name;  ///< Last part of argv[0]: "mote", or "firecracker" where it stands in for it.
  std::string api_socket;
  std::string id = "anonymous-instance";
  std::optional<std::string> config_file;
  bool no_api = false;
  bool no_seccomp = false;
  std::optional<std::string> seccomp_filter;  ///< File with a policy in place of the built-in one.
  bool boot_timer = false;
  std::optional<std::string> log_path;
  std::optional<base::log::Level> log_level;
  std::optional<std::string> log_module;
  bool show_level = false;
  bool show_log_origin = false;
  std::optional<std::string> metrics_path;
  std::string kvm_device = "/dev/kvm";
  std::optional<std::string> kernel_cache;
  std::optional<int> ready_fd;
  size_t http_body_limit = 51200;
  std::optional<std::string> metadata;  ///< A file with the guest's metadata.
  std::optional<size_t> mmds_limit;     ///< Absent: as much as a request body.
  std::optional<uint64_t> start_time_us;
  std::optional<uint64_t> start_time_cpu_us;
  uint64_t parent_cpu_time_us = 0;
  // Instead of a VM:
  std::optional<std::string> describe_snapshot;  ///< A state file.
  std::vector<std::string> merge_snapshot;  ///< Diff's state and memory file, base's memory file.
};

/// The process should end now: help or version was shown, or an argument was wrong (told on
/// stderr).
struct Leave {
  ExitCode code;
};

std::variant<Options, Leave> parse_options(int argc, const char* const* argv);

/// Instance ids: 1 to 64 letters, digits and hyphens.
base::Result<> check_instance_id(const std::string& id);

}  // namespace mote::monitor
