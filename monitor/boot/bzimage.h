#pragma once
// bzImage kernels (Linux Documentation/arch/x86/boot.rst). The payload is unpacked here, once,
// rather than by every guest; where it cannot be, the image boots itself by its 64-bit entry.

#include "base/result.h"
#include "memory/guest_memory.h"
#include "monitor/boot/kernel_image.h"

namespace mote::boot {

base::Result<LoadedKernel> load_bzimage(memory::GuestMemory& memory, int fd,
                                        const KernelCacheOptions& cache);

}  // namespace mote::boot
