#include "jailer/folder.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

namespace mote::jailer {
namespace {

base::UniqueFd open_beneath(int parent, const std::string& name) {
  open_how how{};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return base::UniqueFd(
      static_cast<int>(::syscall(SYS_openat2, parent, name.c_str(), &how, sizeof(how))));
}

}  // namespace

base::Result<base::UniqueFd> open_host_folder(const std::string& path) {
  base::UniqueFd fd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return base::fail_errno(errno, path);
  return fd;
}

base::Result<> check_trusted(int folder, const std::string& path, uid_t also) {
  struct stat status {};
  if (::fstat(folder, &status) != 0) return base::fail_errno(errno, path);
  const bool owned = status.st_uid == 0 || status.st_uid == also;
  if (owned && (status.st_mode & (S_IWGRP | S_IWOTH)) == 0) return {};
  return base::fail(base::ErrorCode::kInvalidArgument,
                    path + " must belong to root and be writable by nobody else");
}

base::Result<base::UniqueFd> make_folder(int parent, const std::string& name, mode_t mode,
                                         Ledger& ledger) {
  if (::mkdirat(parent, name.c_str(), mode) == 0) {
    ledger.note(parent, name, true);
  } else if (errno != EEXIST) {
    return base::fail_errno(errno, "cannot make the folder " + name);
  }
  base::UniqueFd folder = open_beneath(parent, name);
  if (folder.valid()) return folder;
  if (errno == ELOOP || errno == ENOTDIR) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      name + " is a symbolic link or a file where a folder must be");
  }
  return base::fail_errno(errno, "cannot open the folder " + name);
}

base::Result<Place> make_place(int root, const std::string& path, Ledger& ledger) {
  Place place{base::UniqueFd(::fcntl(root, F_DUPFD_CLOEXEC, 0)), path};
  if (!place.folder.valid()) return base::fail_errno(errno, "fcntl");
  for (size_t slash = place.name.find('/'); slash != std::string::npos;
       slash = place.name.find('/')) {
    MOTE_TRY(place.folder,
             make_folder(place.folder.get(), place.name.substr(0, slash), 0755, ledger));
    place.name.erase(0, slash + 1);
  }
  return place;
}

void Ledger::note(int folder, const std::string& name, bool is_folder) {
  entries_.push_back({base::UniqueFd(::fcntl(folder, F_DUPFD_CLOEXEC, 0)), name, is_folder});
}

void Ledger::undo() {
  for (; !entries_.empty(); entries_.pop_back()) {
    const Entry& entry = entries_.back();
    const int flags = entry.is_folder ? AT_REMOVEDIR : 0;
    if (::unlinkat(entry.folder.get(), entry.name.c_str(), flags) == 0) continue;
    std::fprintf(stderr, "jailer: %s cannot be removed: %s\n", entry.name.c_str(),
                 std::strerror(errno));
  }
}

}  // namespace mote::jailer
