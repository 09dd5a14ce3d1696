#include "monitor/boot/boot_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace mote::boot {

base::Result<base::UniqueFd> open_boot_file(const std::string& path, const char* field) {
  const std::string what = std::string(field) + ": " + path;
  // Non-blocking, so that a FIFO without a writer cannot hold us.
  base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid()) return base::fail_errno(errno, what);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return base::fail_errno(errno, what);
  if (!S_ISREG(status.st_mode)) {
    return base::fail(base::ErrorCode::kInvalidArgument, what + " is not a regular file");
  }
  if (status.st_size == 0) return base::fail(base::ErrorCode::kInvalidArgument, what + " is empty");
  return fd;
}

base::Result<uint64_t> file_size_bytes(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return base::fail_errno(errno, "fstat");
  return static_cast<uint64_t>(status.st_size);
}

base::Result<> read_exactly(int fd, uint64_t offset, std::span<std::byte> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got =
        ::pread(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return base::fail_errno(errno, "read");
    if (got == 0) {
      return base::fail(base::ErrorCode::kCorrupt,
                        "the file ends at byte " + std::to_string(offset + done) + ", too early");
    }
    done += static_cast<size_t>(got);
  }
  return {};
}

}  // namespace mote::boot
