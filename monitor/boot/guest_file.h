#pragma once
// Puts a range of a file into guest memory: whole pages are mapped where file offset and address
// agree, the rest is copied.

#include "base/result.h"
#include "memory/guest_memory.h"

namespace mote::boot {

/// The target range must be RAM. The file must cover [offset, offset + size).
base::Result<> place_file_range(memory::GuestMemory& memory, memory::Gpa address, int fd,
                                uint64_t offset, uint64_t size_bytes);

}  // namespace mote::boot
