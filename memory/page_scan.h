#pragma once
// Which pages of guest memory this process has made its own, from /proc/self/pagemap (Linux
// Documentation/admin-guide/mm/pagemap.rst). Any thread, while nobody writes.

#include <optional>
#include <vector>

#include "memory/guest_memory.h"

namespace mote::memory {

/// Ranges of pages that were written since they were mapped (or swapped out since): everything else
/// is zero, or as the file says that backs it. Nothing where /proc is not there: then any page may
/// have been written.
[[nodiscard]] std::optional<std::vector<GuestMemory::Range>> written_ranges(
    const GuestMemory& memory);

struct TouchedRanges {
  std::vector<GuestMemory::Range> written;  ///< As written_ranges() has them.
  std::vector<GuestMemory::Range> read;     ///< Mapped from the file that backs them.
};
/// The pages that this process has mapped. The guest may run: what it touches meanwhile may or may
/// not be there.
[[nodiscard]] std::optional<TouchedRanges> touched_ranges(const GuestMemory& memory);

/// The union of two lists of page ranges: sorted, without overlap.
[[nodiscard]] std::vector<GuestMemory::Range> merge_ranges(std::vector<GuestMemory::Range> a,
                                                           std::span<const GuestMemory::Range> b);

}  // namespace mote::memory
