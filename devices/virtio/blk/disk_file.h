#pragma once
// The host file or block device behind a drive.

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace mote::virtio::blk {

enum class DiskAccess : uint8_t { kReadWrite, kReadOnly };

/// Shared by the device and its requests in flight, so that a PATCH can replace it under load.
class DiskFile final {
 public:
  /// Regular files (empty ones are placeholders) and block devices only. Errors begin with
  /// path_on_host.
  static base::Result<std::shared_ptr<const DiskFile>> open(const std::string& path,
                                                            DiskAccess access);

  [[nodiscard]] int fd() const { return fd_.get(); }
  /// Whole sectors of 512 bytes; a partial last one is not shown to the guest.
  [[nodiscard]] uint64_t sectors() const { return sectors_; }

 private:
  DiskFile(base::UniqueFd fd, uint64_t sectors) : fd_(std::move(fd)), sectors_(sectors) {}

  base::UniqueFd fd_;
  uint64_t sectors_;
};

}  // namespace mote::virtio::blk
