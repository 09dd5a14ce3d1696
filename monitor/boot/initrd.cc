#include "monitor/boot/initrd.h"

#include <algorithm>

#include "base/checked_math.h"
#include "memory/layout.h"
#include "monitor/boot/boot_file.h"
#include "monitor/boot/guest_file.h"

namespace mote::boot {
namespace {

/// Linux's default initrd_addr_max for images that do not name one.
constexpr uint64_t kHighestEnd = 0x7fff0000;

base::Result<Initrd> place(memory::GuestMemory& memory, int fd, uint64_t kernel_end) {
  constexpr uint64_t kPage = memory::layout::kPageSize;
  MOTE_TRY(const uint64_t size, file_size_bytes(fd));
  const uint64_t top = std::min(memory.low_memory_end().value, kHighestEnd) & ~(kPage - 1);
  const auto padded = base::checked_align_up(size, kPage);
  const auto bottom = base::checked_align_up(kernel_end, kPage);
  if (!padded || !bottom || *bottom > top || *padded > top - *bottom) {
    return base::fail(
        base::ErrorCode::kInvalidArgument,
        "its " + std::to_string(size) + " bytes do not fit into guest memory beside the kernel");
  }
  const Initrd initrd{memory::Gpa{top - *padded}, size};
  MOTE_TRY_VOID(place_file_range(memory, initrd.address, fd, 0, size));
  return initrd;
}

}  // namespace

base::Result<Initrd> load_initrd(memory::GuestMemory& memory, int fd, const std::string& path,
                                 uint64_t kernel_end) {
  auto initrd = place(memory, fd, kernel_end);
  if (!initrd) return base::with_context(initrd.error(), "initrd_path: " + path);
  return initrd;
}

}  // namespace mote::boot
