#include "monitor/boot/guest_file.h"

#include <algorithm>

#include "base/checked_math.h"
#include "memory/layout.h"
#include "monitor/boot/boot_file.h"

namespace mote::boot {
namespace {

base::Result<> copy_range(const memory::GuestMemory& memory, memory::Gpa address, int fd,
                          uint64_t offset, uint64_t size_bytes) {
  if (size_bytes == 0) return {};
  const auto target = memory.slice(address, size_bytes);
  if (target.empty())
    return base::fail(base::ErrorCode::kInternal, "file range lies outside guest memory");
  return read_exactly(fd, offset, target);
}

}  // namespace

base::Result<> place_file_range(memory::GuestMemory& memory, memory::Gpa address, int fd,
                                uint64_t offset, uint64_t size_bytes) {
  constexpr uint64_t kPage = memory::layout::kPageSize;
  const uint64_t end = address.value + size_bytes;
  const auto first_page = base::checked_align_up(address.value, kPage);
  const uint64_t last_page = end & ~(kPage - 1);
  const bool mappable =
      first_page && *first_page < last_page && base::is_aligned(address.value ^ offset, kPage);
  if (!mappable) return copy_range(memory, address, fd, offset, size_bytes);
  const uint64_t head = *first_page - address.value;
  const uint64_t middle = last_page - *first_page;
  const auto mapped = memory.map_file_private(memory::Gpa{*first_page}, middle, fd, offset + head);
  if (!mapped && mapped.error().code == base::ErrorCode::kUnsupported) {
    return copy_range(memory, address, fd, offset, size_bytes);
  }
  MOTE_TRY_VOID(mapped);
  MOTE_TRY_VOID(copy_range(memory, address, fd, offset, head));
  return copy_range(memory, memory::Gpa{last_page}, fd, offset + head + middle, end - last_page);
}

}  // namespace mote::boot
