#include "monitor/boot/memory_map.h"

#include "memory/layout.h"

namespace mote::boot {

std::vector<MemoryRange> memory_map(const memory::GuestMemory& memory) {
  namespace layout = memory::layout;
  const uint64_t low_end = layout::kEbdaStart.value;
  const uint64_t high_start = layout::kHighMemoryStart.value;
  std::vector<MemoryRange> ranges = {{0, low_end, MemoryType::kRam},
                                     {low_end, high_start - low_end, MemoryType::kReserved}};
  for (const auto& region : memory.regions()) {
    const uint64_t end = region.start.value + region.size_bytes();
    const uint64_t start = std::max(region.start.value, high_start);
    if (start < end) ranges.push_back({start, end - start, MemoryType::kRam});
  }
  return ranges;
}

}  // namespace mote::boot
