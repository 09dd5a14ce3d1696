#include "base/mapped_region.h"

#include <cstdint>

#include "base/checked_math.h"

namespace mote::base {

Result<MappedRegion> MappedRegion::map(size_t size_bytes, int protection, int flags, int fd,
                                       off_t offset, std::string_view what) {
  void* const address = ::mmap(nullptr, size_bytes, protection, flags, fd, offset);
  if (address == MAP_FAILED) return fail_errno(errno, "cannot map " + std::string(what));
  return MappedRegion(static_cast<std::byte*>(address), size_bytes);
}

Result<MappedRegion> MappedRegion::map_aligned(size_t size_bytes, size_t alignment_bytes,
                                               int protection, int flags, std::string_view what) {
  MOTE_TRY(auto region, map(size_bytes, protection, flags, -1, 0, what));
  const auto misfit = [&](const std::byte* address) {
    return reinterpret_cast<uintptr_t>(address) & (alignment_bytes - 1);
  };
  if (misfit(region.data()) == 0) return region;  // Newer kernels align large mappings themselves.

  region.unmap();
  const auto roomy_bytes = checked_add(size_bytes, alignment_bytes);
  if (!roomy_bytes) return fail(ErrorCode::kInvalidArgument, std::string(what) + " is too large");
  MOTE_TRY(region, map(*roomy_bytes, protection, flags, -1, 0, what));
  const size_t before = (alignment_bytes - misfit(region.data())) & (alignment_bytes - 1);
  std::byte* const start = region.data() + before;
  if (before != 0) ::munmap(region.data(), before);
  ::munmap(start + size_bytes, alignment_bytes - before);
  region.data_ = start;
  region.size_bytes_ = size_bytes;
  return region;
}

}  // namespace mote::base
