#include "base/mapped_region.h"

namespace mote::base {

Result<MappedRegion> MappedRegion::map(size_t size_bytes, int protection, int flags, int fd,
                                       off_t offset, std::string_view what) {
  void* const address = ::mmap(nullptr, size_bytes, protection, flags, fd, offset);
  if (address == MAP_FAILED) return fail_errno(errno, "cannot map " + std::string(what));
  return MappedRegion(static_cast<std::byte*>(address), size_bytes);
}

}  // namespace mote::base
