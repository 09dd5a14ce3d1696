#include "devices/virtio/blk/disk_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/log.h"
#include "devices/virtio/blk/spec.h"

namespace mote::virtio::blk {

base::Result<std::shared_ptr<const DiskFile>> DiskFile::open(const std::string& path,
                                                             DiskAccess access) {
  const std::string what = "path_on_host: " + path;
  // Non-blocking for the open only: a FIFO without a peer must not hold us.
  const int mode = access == DiskAccess::kReadOnly ? O_RDONLY : O_RDWR;
  base::UniqueFd fd(::open(path.c_str(), mode | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid()) return base::fail_errno(errno, what);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return base::fail_errno(errno, what);
  uint64_t size_bytes = static_cast<uint64_t>(status.st_size);
  if (S_ISBLK(status.st_mode)) {
    if (::ioctl(fd.get(), BLKGETSIZE64, &size_bytes) != 0) return base::fail_errno(errno, what);
  } else if (!S_ISREG(status.st_mode)) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      what + " is neither a regular file nor a block device");
  }
  if (::fcntl(fd.get(), F_SETFL, 0) != 0) return base::fail_errno(errno, what);
  if (size_bytes % kSectorBytes != 0) {
    LOG_WARNING("{} is no multiple of 512 bytes long: its last {} bytes stay hidden", what,
                size_bytes % kSectorBytes);
  }
  return std::shared_ptr<const DiskFile>(new DiskFile(std::move(fd), size_bytes / kSectorBytes));
}

}  // namespace mote::virtio::blk
