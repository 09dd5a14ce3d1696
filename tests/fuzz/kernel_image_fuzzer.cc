// Whatever a client gives as kernel_image_path: the loader must answer without a crash, hang, leak
// or a byte outside guest memory, and an accepted kernel must keep its promises.

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "base/log.h"
#include "base/unique_fd.h"
#include "memory/layout.h"
#include "monitor/boot/entry_state.h"
#include "monitor/boot/initrd.h"
#include "monitor/boot/kernel_image.h"
#include "monitor/boot/linux_boot.h"

namespace {

using namespace mote;

// Small, so that a payload which states its unpacked size may not ask for much.
constexpr uint64_t kMemoryBytes = 8 * memory::layout::kMib;

void check_kernel(memory::GuestMemory& memory, const boot::LoadedKernel& kernel, int fd) {
  const uint64_t entry = kernel.entry.address.value;
  CHECK(entry >= memory::layout::kHighMemoryStart.value, "the entry lies among the boot tables");
  CHECK(!memory.slice(kernel.entry.address, 1).empty(), "the entry is not RAM");
  CHECK(kernel.end <= kMemoryBytes && entry < kernel.end, "the kernel's end is wrong");
  CHECK(kernel.entry.protocol == boot::BootProtocol::kPvh || kernel.end <= boot::kIdentityMapBytes,
        "the kernel starts outside the identity map");
  const auto initrd = boot::load_initrd(memory, fd, "initrd", kernel.end);
  if (initrd) {
    CHECK(initrd->address.value >= kernel.end, "the initrd lies over the kernel");
    CHECK(!memory.slice(initrd->address, initrd->size_bytes).empty(), "the initrd is not RAM");
  }
  CHECK(boot::write_linux_boot(memory, kernel, std::nullopt, "quiet", {}).has_value(),
        "a loaded kernel gets no zero page");
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  base::log::Options options;
  options.level = base::log::Level::kOff;
  CHECK(base::log::configure(options).has_value(), "log");
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const base::UniqueFd file(::memfd_create("kernel", MFD_CLOEXEC));
  CHECK(file.valid(), "memfd");
  CHECK(::pwrite(file.get(), data, size, 0) == static_cast<ssize_t>(size), "memfd write");
  auto memory = memory::GuestMemory::create(kMemoryBytes, memory::HugePages::kNone);
  CHECK(memory.has_value(), "guest memory");
  const auto kernel = boot::load_kernel(*memory, file.get(), "fuzz", {});
  if (kernel) {
    check_kernel(*memory, *kernel, file.get());
  } else {
    CHECK(kernel.error().message().starts_with("kernel_image_path: fuzz: "), "a nameless error");
  }
  return 0;
}
