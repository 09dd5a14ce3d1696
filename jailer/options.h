#pragma once
// The jailer's command line, read and checked word by word; nothing on the host is looked at yet.

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"

namespace mote::jailer {

/// `--cgroup FILE=VALUE`, for instance memory.max=256M.
struct CgroupSetting {
  std::string file;  ///< A file's name, no path.
  std::string value;
};

/// `--link SOURCE=NAME` and `--bind SOURCE=NAME[:ro]`: a host file with a name in the jail.
struct FileSetting {
  enum class How : uint8_t { kHardLink, kBind, kBindReadOnly };
  How how = How::kHardLink;
  std::string source;
  std::string name;  ///< Relative to the jail's root, without "..".
};

struct Options {
  std::string id;
  std::string exec_file;
  uid_t uid = 0;
  gid_t gid = 0;
  std::string chroot_base = "/srv/jailer";
  std::optional<std::string> network_namespace;
  std::vector<CgroupSetting> cgroup_settings;
  std::optional<int> cgroup_version;         ///< 1 or 2; nothing: what the host has mounted.
  std::optional<std::string> parent_cgroup;  ///< Nothing: the program's name.
  std::optional<uint64_t> file_size_limit;   ///< Bytes.
  uint64_t descriptor_limit = 2048;
  bool daemonize = false;
  bool new_pid_namespace = false;
  bool dry_run = false;
  std::string kvm_device = "/dev/kvm";
  std::vector<FileSetting> files;
  std::vector<int> kept_descriptors;
  std::vector<std::string> monitor_arguments;  ///< What stands behind `--`.
};

/// The process is to end with this code; what there was to say has been said.
struct Leave {
  int code = 0;
};

std::variant<Options, Leave> parse_options(int argc, const char* const* argv);

}  // namespace mote::jailer
