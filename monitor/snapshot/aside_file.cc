#include "monitor/snapshot/aside_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "memory/layout.h"

namespace mote::monitor::snapshot {
namespace {

constexpr size_t kWriteBytes = memory::layout::kMib;

}  // namespace

base::Result<> write_at(int fd, std::span<const std::byte> bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const size_t size = std::min(bytes.size(), kWriteBytes);
    const ssize_t written = ::pwrite(fd, bytes.data(), size, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return base::fail_errno(errno, "cannot write");
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return {};
}

base::Result<AsideFile> AsideFile::create(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    return base::fail(base::ErrorCode::kInvalidArgument, path + " is there and no regular file");
  }
  std::string aside = path + ".XXXXXX";
  base::UniqueFd fd(::mkostemp(aside.data(), O_CLOEXEC));
  if (!fd.valid()) return base::fail_errno(errno, "cannot create a file beside " + path);
  return AsideFile(path, std::move(aside), std::move(fd));
}

AsideFile::~AsideFile() {
  if (!aside_.empty()) ::unlinkat(AT_FDCWD, aside_.c_str(), 0);
}

base::Result<> AsideFile::sync() const {
  if (::fdatasync(fd_.get()) != 0) return base::fail_errno(errno, "cannot write " + path_);
  return {};
}

base::Result<> AsideFile::commit() {
  if (::renameat(AT_FDCWD, aside_.c_str(), AT_FDCWD, path_.c_str()) != 0) {
    return base::fail_errno(errno, "cannot put " + path_ + " into place");
  }
  aside_.clear();
  return {};
}

base::Result<> AsideFile::commit_as(const std::string& path) {
  if (::renameat(AT_FDCWD, aside_.c_str(), AT_FDCWD, path.c_str()) != 0) {
    return base::fail_errno(errno, "cannot put " + path + " into place");
  }
  aside_ = path;
  return {};
}

}  // namespace mote::monitor::snapshot
