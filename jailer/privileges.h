#pragma once
// Giving up what root has, for good, and what Landlock adds.

#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "base/result.h"

namespace mote::jailer {

/// The Landlock version of this kernel; 0: none.
int landlock_version();

/// Leaves the calling thread files in the jail's root to read and write and `executable` to run: no
/// programs, no devices or folders to make, no TCP, nothing outside. See landlock(7).
base::Result<> restrict_by_landlock(int version, int executable);

/// Sets soft and hard limits of descriptors and, if given, of file size (setrlimit(2)).
base::Result<> set_limits(uint64_t descriptors, std::optional<uint64_t> file_size_bytes);

/// No supplementary groups, this group and user, no capability in any set, none to come by exec.
base::Result<> drop_privileges(uid_t uid, gid_t gid);

}  // namespace mote::jailer
