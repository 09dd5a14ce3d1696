#pragma once
// The guest's RAM as firmware would describe it. Pure.

#include <cstdint>
#include <vector>

#include "memory/guest_memory.h"

namespace mote::boot {

/// Numbers shared by e820 and PVH (ACPI 6.4 §15).
enum class MemoryType : uint32_t { kRam = 1, kReserved = 2 };

struct MemoryRange {
  uint64_t start;
  uint64_t size_bytes;
  MemoryType type;
};

[[nodiscard]] std::vector<MemoryRange> memory_map(const memory::GuestMemory& memory);

}  // namespace mote::boot
