#pragma once
// Brings a kernel into guest memory, whatever form it comes in: ELF vmlinux (PVH or the Linux
// 64-bit protocol) or bzImage. Segments are mapped from the file where alignment allows, so that
// VMs share the page cache.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "memory/guest_memory.h"
#include "monitor/boot/boot_file.h"

namespace mote::boot {

enum class BootProtocol : uint8_t {
  kPvh,      ///< 32-bit protected mode, ebx = hvm_start_info (Xen docs/misc/pvh.pandoc).
  kLinux64,  ///< Long mode, rsi = boot_params (Linux Documentation/arch/x86/boot.rst, "64-bit boot
             ///< protocol").
};

struct Entry {
  BootProtocol protocol = BootProtocol::kPvh;
  memory::Gpa address;
};

struct LoadedKernel {
  Entry entry;
  uint64_t end = 0;  ///< One past the last guest physical byte the kernel needs at start.
  /// The setup header of a bzImage (from file offset 0x1f1), for the zero page; else empty.
  std::vector<std::byte> setup_header;
};

struct KernelCacheOptions {
  /// Keeps decompressed kernels for later launches; see kernel_cache.h.
  std::optional<std::string> directory;
};

/// Detects the form by content. Errors begin with kernel_image_path and the path.
base::Result<LoadedKernel> load_kernel(memory::GuestMemory& memory, int fd, const std::string& path,
                                       const KernelCacheOptions& cache);

}  // namespace mote::boot
