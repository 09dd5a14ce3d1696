#include "jailer/mounts.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace mote::jailer {
namespace {

// By number: the C library of Debian 12 knows these calls, older ones do not, and the headers of
// the two sides cannot be included together.
base::UniqueFd clone_tree(int source) {
  return base::UniqueFd(static_cast<int>(
      ::syscall(SYS_open_tree, source, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH)));
}

int set_attributes(int tree, uint64_t attributes) {
  mount_attr change{};
  change.attr_set = attributes;
  return static_cast<int>(
      ::syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &change, sizeof(change)));
}

int attach(int tree, int target) {
  return static_cast<int>(::syscall(SYS_move_mount, tree, "", target, "",
                                    MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
}

}  // namespace

base::Result<> take_mount_namespace() {
  if (::unshare(CLONE_NEWNS) != 0) return base::fail_errno(errno, "unshare(CLONE_NEWNS)");
  if (::mount(nullptr, "/", nullptr, MS_SLAVE | MS_REC, nullptr) != 0) {
    return base::fail_errno(errno, "mount(MS_SLAVE)");
  }
  return {};
}

base::Result<BindMount> clone_file(const std::string& source, const std::string& name,
                                   bool read_only) {
  const base::UniqueFd file(::open(source.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!file.valid()) return base::fail_errno(errno, source);
  BindMount mount{clone_tree(file.get()), name};
  if (!mount.tree.valid()) return base::fail_errno(errno, "open_tree " + source);
  const uint64_t attributes =
      MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | (read_only ? MOUNT_ATTR_RDONLY : 0U);
  if (set_attributes(mount.tree.get(), attributes) != 0) {
    return base::fail_errno(errno, "mount_setattr " + source);
  }
  return mount;
}

base::Result<> enter_root(int root, const std::vector<BindMount>& mounts) {
  const base::UniqueFd tree = clone_tree(root);
  if (!tree.valid()) return base::fail_errno(errno, "open_tree");
  if (set_attributes(tree.get(), MOUNT_ATTR_NOSUID) != 0) {
    return base::fail_errno(errno, "mount_setattr");
  }
  if (attach(tree.get(), root) != 0) return base::fail_errno(errno, "move_mount");
  if (::fchdir(tree.get()) != 0) return base::fail_errno(errno, "fchdir");
  // The old root comes to lie upon the new one, and is taken away with all that is mounted in it.
  if (::syscall(SYS_pivot_root, ".", ".") != 0) return base::fail_errno(errno, "pivot_root");
  if (::umount2(".", MNT_DETACH) != 0) return base::fail_errno(errno, "umount2");
  if (::chdir("/") != 0) return base::fail_errno(errno, "chdir");
  for (const auto& mount : mounts) {
    const base::UniqueFd target(
        ::open(("/" + mount.name).c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!target.valid() || attach(mount.tree.get(), target.get()) != 0) {
      return base::fail_errno(errno, "bind " + mount.name);
    }
  }
  return {};
}

}  // namespace mote::jailer
