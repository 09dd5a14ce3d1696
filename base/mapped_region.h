#pragma once
// Ownership of one mmap()ed range.

#include <sys/mman.h>

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace mote::base {

/// Unmaps its range once. Movable, not copyable; empty by default.
class MappedRegion final {
 public:
  MappedRegion() = default;
  MappedRegion(MappedRegion&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_bytes_(std::exchange(other.size_bytes_, 0)) {}
  MappedRegion& operator=(MappedRegion&& other) noexcept {
    if (this != &other) {
      unmap();
      data_ = std::exchange(other.data_, nullptr);
      size_bytes_ = std::exchange(other.size_bytes_, 0);
    }
    return *this;
  }
  MappedRegion(const MappedRegion&) = delete;
  MappedRegion& operator=(const MappedRegion&) = delete;
  ~MappedRegion() { unmap(); }

  /// mmap(2) with the given protection and flags; `what` names the range in the error.
  static Result<MappedRegion> map(size_t size_bytes, int protection, int flags, int fd,
                                  off_t offset, std::string_view what);

  /// As map() of anonymous memory, at an address that is a multiple of `alignment_bytes` (a power
  /// of two, at least a page).
  static Result<MappedRegion> map_aligned(size_t size_bytes, size_t alignment_bytes, int protection,
                                          int flags, std::string_view what);

  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] size_t size_bytes() const { return size_bytes_; }
  [[nodiscard]] std::span<std::byte> span() const { return {data_, size_bytes_}; }

 private:
  MappedRegion(std::byte* data, size_t size_bytes) : data_(data), size_bytes_(size_bytes) {}
  void unmap() {
    if (data_ != nullptr) ::munmap(data_, size_bytes_);
    data_ = nullptr;
  }

  std::byte* data_ = nullptr;
  size_t size_bytes_ = 0;
};

}  // namespace mote::base
