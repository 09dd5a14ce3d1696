#pragma once
// The jail's view of the file system: a mount namespace in which the jail's folder is all there is.

#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace mote::jailer {

/// A host file, cut loose from where it is mounted, that is to show in the jail.
struct BindMount {
  base::UniqueFd tree;
  std::string name;  ///< An empty file in the jail, relative to its root.
};

/// Takes a mount namespace of our own in which nothing that is mounted shows on the host.
base::Result<> take_mount_namespace();

/// `source` is a path of the host; a symbolic link is refused.
base::Result<BindMount> clone_file(const std::string& source, const std::string& name,
                                   bool read_only);

/// Makes the folder `root` the root of our mount namespace. The host's mounts are gone from it,
/// unreachable even by root.
base::Result<> enter_root(int root, const std::vector<BindMount>& mounts);

}  // namespace mote::jailer
