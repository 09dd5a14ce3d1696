#include "jailer/privileges.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

#include "base/unique_fd.h"

namespace mote::jailer {
namespace {

// Newer than the headers of Debian 12: ABI 3 to 6 of linux/landlock.h.
constexpr uint64_t kTruncate = uint64_t{1} << 14;
constexpr uint64_t kIoctlDevice = uint64_t{1} << 15;
constexpr uint64_t kAllNetwork = 3;  // Bind and connect TCP.
constexpr uint64_t kAllScopes = 3;   // Abstract unix sockets, signals.

struct RulesetAttributes {
  uint64_t handled_files = 0;
  uint64_t handled_network = 0;
  uint64_t scoped = 0;
};

/// All rights on files that a version knows.
uint64_t known_file_rights(int version) {
  uint64_t rights = (uint64_t{1} << 13) - 1;
  if (version >= 2) rights |= LANDLOCK_ACCESS_FS_REFER;
  if (version >= 3) rights |= kTruncate;
  if (version >= 5) rights |= kIoctlDevice;
  return rights;
}

base::Result<> allow(int ruleset, int beneath, uint64_t rights, const char* what) {
  landlock_path_beneath_attr rule{};
  rule.allowed_access = rights;
  rule.parent_fd = beneath;
  if (::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0) {
    return {};
  }
  return base::fail_errno(errno, what);
}

}  // namespace

int landlock_version() {
  const long version =
      ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return version < 0 ? 0 : static_cast<int>(version);
}

base::Result<> restrict_by_landlock(int version, int executable) {
  if (version == 0) return {};
  RulesetAttributes attributes;
  attributes.handled_files = known_file_rights(version);
  if (version >= 4) attributes.handled_network = kAllNetwork;
  if (version >= 6) attributes.scoped = kAllScopes;
  // An older kernel refuses a longer struct only when its tail is not zero.
  const base::UniqueFd ruleset(
      static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0)));
  if (!ruleset.valid()) return base::fail_errno(errno, "landlock_create_ruleset");

  const base::UniqueFd root(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  constexpr uint64_t kInJail = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                               LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                               LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
                               LANDLOCK_ACCESS_FS_MAKE_SYM | kTruncate | kIoctlDevice;
  MOTE_TRY_VOID(allow(ruleset.get(), root.get(), kInJail & attributes.handled_files,
                      "landlock: the jail's root"));
  MOTE_TRY_VOID(allow(ruleset.get(), executable,
                      LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE,
                      "landlock: the program"));
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return base::fail_errno(errno, "prctl(PR_SET_NO_NEW_PRIVS)");
  }
  if (::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) {
    return base::fail_errno(errno, "landlock_restrict_self");
  }
  return {};
}

base::Result<> set_limits(uint64_t descriptors, std::optional<uint64_t> file_size_bytes) {
  const rlimit files{descriptors, descriptors};
  if (::setrlimit(RLIMIT_NOFILE, &files) != 0) {
    return base::fail_errno(errno, "no-file=" + std::to_string(descriptors));
  }
  if (!file_size_bytes) return {};
  const rlimit size{*file_size_bytes, *file_size_bytes};
  if (::setrlimit(RLIMIT_FSIZE, &size) != 0) {
    return base::fail_errno(errno, "fsize=" + std::to_string(*file_size_bytes));
  }
  return {};
}

base::Result<> drop_privileges(uid_t uid, gid_t gid) {
  if (::setgroups(0, nullptr) != 0) return base::fail_errno(errno, "setgroups");
  for (unsigned long capability = 0; capability <= 63; ++capability) {
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0) continue;
    if (errno == EINVAL) break;  // Beyond the last one of this kernel.
    return base::fail_errno(errno, "prctl(PR_CAPBSET_DROP)");
  }
  // User 0, if that is asked for, shall get nothing by being user 0.
  constexpr unsigned long kSecureBits =
      SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED |
      SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
  if (::prctl(PR_SET_SECUREBITS, kSecureBits, 0, 0, 0) != 0) {
    return base::fail_errno(errno, "prctl(PR_SET_SECUREBITS)");
  }
  if (::setresgid(gid, gid, gid) != 0) return base::fail_errno(errno, "setresgid");
  if (::setresuid(uid, uid, uid) != 0) return base::fail_errno(errno, "setresuid");
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> none{};
  if (::syscall(SYS_capset, &header, none.data()) != 0) return base::fail_errno(errno, "capset");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return base::fail_errno(errno, "prctl(PR_SET_NO_NEW_PRIVS)");
  }
  return {};
}

}  // namespace mote::jailer
