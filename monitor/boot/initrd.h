#pragma once
// The initial RAM disk.

#include <cstdint>
#include <string>

#include "base/result.h"
#include "memory/guest_memory.h"

namespace mote::boot {

struct Initrd {
  memory::Gpa address;  ///< Page-aligned.
  uint64_t size_bytes = 0;
};

/// Places the file as high as it goes below the MMIO gap, mapped but for its last partial page, and
/// above `kernel_end`. Errors begin with initrd_path and the path.
base::Result<Initrd> load_initrd(memory::GuestMemory& memory, int fd, const std::string& path,
                                 uint64_t kernel_end);

}  // namespace mote::boot
