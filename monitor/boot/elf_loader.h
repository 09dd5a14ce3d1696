#pragma once
// ELF64 kernels (System V ABI, "Object Files"; x86-64 psABI).

#include "base/result.h"
#include "memory/guest_memory.h"
#include "monitor/boot/kernel_image.h"

namespace mote::boot {

/// Loads every PT_LOAD segment at its physical address. Prefers the PVH entry of a
/// XEN_ELFNOTE_PHYS32_ENTRY note, else takes e_entry by the Linux 64-bit protocol.
base::Result<LoadedKernel> load_elf(memory::GuestMemory& memory, int fd);

}  // namespace mote::boot
