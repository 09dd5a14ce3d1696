#include "monitor/boot/kernel_image.h"

#include <array>
#include <cstring>

#include "monitor/boot/bzimage.h"
#include "monitor/boot/elf_loader.h"

namespace mote::boot {
namespace {

base::Result<LoadedKernel> load_by_content(memory::GuestMemory& memory, int fd,
                                           const KernelCacheOptions& cache) {
  std::array<std::byte, 4> magic{};
  MOTE_TRY_VOID(read_exactly(fd, 0, magic));
  if (std::memcmp(magic.data(),
                  "\x7f"
                  "ELF",
                  4) == 0) {
    return load_elf(memory, fd);
  }
  return load_bzimage(memory, fd, cache);
}

}  // namespace

base::Result<LoadedKernel> load_kernel(memory::GuestMemory& memory, int fd, const std::string& path,
                                       const KernelCacheOptions& cache) {
  auto kernel = load_by_content(memory, fd, cache);
  if (!kernel) return base::with_context(kernel.error(), "kernel_image_path: " + path);
  return kernel;
}

}  // namespace mote::boot
