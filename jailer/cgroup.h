#pragma once
// A control group for one VM: where it is to be, its making, its settings, and the move into it.
// Both versions; a v1 setting's controller is the part of its file's name before the dot.

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "jailer/folder.h"
#include "jailer/options.h"

namespace mote::jailer {

/// One control group to be made below a mounted hierarchy, or joined as it is.
struct CgroupPlan {
  std::string mount;  ///< Where the hierarchy is mounted.
  std::string path;   ///< Below the mount: PARENT/ID, or PARENT alone.
  bool make = true;   ///< False: joined, it must exist.
  int version = 2;
  std::vector<CgroupSetting> settings;  ///< In the order given.
};

/// Decides which groups to use. `mounts` is the text of /proc/self/mounts. Nothing to do gives no
/// plan.
base::Result<std::vector<CgroupPlan>> plan_cgroups(const Options& options,
                                                   const std::string& default_parent,
                                                   const std::string& mounts);

/// A group that is made and set, and not yet entered.
struct Cgroup {
  base::UniqueFd processes;  ///< Its cgroup.procs, open for writing.
};
base::Result<Cgroup> make_cgroup(const CgroupPlan& plan, Ledger& ledger);

/// Moves this process in.
base::Result<> enter_cgroup(const Cgroup& cgroup);

}  // namespace mote::jailer
