#include "monitor/boot/bzimage.h"

#include <asm/bootparam.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/checked_math.h"
#include "base/log.h"
#include "base/mapped_region.h"
#include "memory/layout.h"
#include "monitor/boot/decompress.h"
#include "monitor/boot/elf_loader.h"
#include "monitor/boot/guest_file.h"
#include "monitor/boot/kernel_cache.h"

namespace mote::boot {
namespace {

using base::ErrorCode;
using base::fail;

constexpr uint64_t kSetupHeaderOffset = 0x1f1;
constexpr uint32_t kHeaderMagic = 0x53726448;  // "HdrS"
constexpr uint16_t kBootFlag = 0xaa55;
constexpr uint16_t kVersionWithPayload = 0x0208;
constexpr uint16_t kVersionWith64BitEntry = 0x020c;
constexpr uint64_t kSectorBytes = 512;
constexpr uint64_t k64BitEntryOffset = 0x200;
// A kernel larger than this is no kernel; bounds what a hostile image can make us allocate.
constexpr uint64_t kMaxUnpackedBytes = 512 * memory::layout::kMib;

struct Image {
  int fd;
  uint64_t file_size;
  setup_header header;
  uint64_t protected_mode_offset;  ///< In the file.
};

base::Result<Image> read_image(int fd) {
  Image image{};
  image.fd = fd;
  MOTE_TRY(image.file_size, file_size_bytes(fd));
  const auto not_a_kernel = [] {
    return fail(ErrorCode::kCorrupt, "the file is neither an ELF kernel nor a bzImage");
  };
  if (image.file_size < kSetupHeaderOffset + sizeof(image.header)) return not_a_kernel();
  MOTE_TRY_VOID(
      read_exactly(fd, kSetupHeaderOffset, std::as_writable_bytes(std::span(&image.header, 1))));
  if (image.header.boot_flag != kBootFlag || image.header.header != kHeaderMagic)
    return not_a_kernel();
  if (image.header.version < kVersionWithPayload) {
    return fail(ErrorCode::kUnsupported, fmt::format("boot protocol {:#x} is older than 2.08",
                                                     unsigned{image.header.version}));
  }
  const uint64_t setup_sectors = image.header.setup_sects == 0 ? 4 : image.header.setup_sects;
  image.protected_mode_offset = (setup_sectors + 1) * kSectorBytes;
  if (image.protected_mode_offset >= image.file_size) {
    return fail(ErrorCode::kCorrupt, "the bzImage ends within its setup code: is it truncated?");
  }
  return image;
}

base::Result<std::vector<std::byte>> read_payload(const Image& image) {
  const uint64_t offset = image.protected_mode_offset + image.header.payload_offset;
  if (image.header.payload_length < sizeof(uint32_t) ||
      !base::range_fits(offset, image.header.payload_length, image.file_size)) {
    return fail(ErrorCode::kCorrupt,
                "the bzImage's payload lies behind the end of the file: is it truncated?");
  }
  std::vector<std::byte> payload(image.header.payload_length);
  MOTE_TRY_VOID(read_exactly(image.fd, offset, payload));
  return payload;
}

/// The build appends the unpacked size to the payload (gzip has it there by itself).
base::Result<uint64_t> unpacked_size(std::span<const std::byte> payload,
                                     const memory::GuestMemory& memory) {
  uint32_t size = 0;
  std::memcpy(&size, payload.data() + payload.size() - sizeof(size), sizeof(size));
  if (size < sizeof(uint32_t) || size > std::min(kMaxUnpackedBytes, memory.size_bytes() * 2)) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("the kernel unpacks to {} bytes, too many for this guest's memory", size));
  }
  return uint64_t{size};
}

base::Result<> unpack_into(int fd, Compression compression, std::span<const std::byte> payload,
                           uint64_t size) {
  if (::ftruncate(fd, static_cast<off_t>(size)) != 0)
    return base::fail_errno(errno, "unpacking the kernel");
  MOTE_TRY(const auto output, base::MappedRegion::map(size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                                                      0, "the unpacked kernel"));
  return decompress(compression, payload, output.span());
}

base::Result<base::UniqueFd> unpack_to_memory(Compression compression,
                                              std::span<const std::byte> payload, uint64_t size) {
  base::UniqueFd fd(::memfd_create("vmlinux", MFD_CLOEXEC));
  if (!fd.valid()) return base::fail_errno(errno, "memfd for the unpacked kernel");
  MOTE_TRY_VOID(unpack_into(fd.get(), compression, payload, size));
  return fd;
}

base::Result<base::UniqueFd> unpack_through_cache(const KernelCache& cache, Compression compression,
                                                  std::span<const std::byte> payload,
                                                  uint64_t size) {
  const auto key = KernelCache::key_of(payload, size);
  if (auto found = cache.find(key, size)) return std::move(*found);
  MOTE_TRY(auto file, cache.create_unnamed());
  MOTE_TRY_VOID(unpack_into(file.get(), compression, payload, size));
  MOTE_TRY_VOID(cache.publish(file, key, size));
  return file;
}

base::Result<base::UniqueFd> unpack(Compression compression, std::span<const std::byte> payload,
                                    uint64_t size, const KernelCacheOptions& options) {
  if (!options.directory) return unpack_to_memory(compression, payload, size);
  MOTE_TRY(const auto cache, KernelCache::open(*options.directory));
  return unpack_through_cache(cache, compression, payload, size);
}

/// Lets the image unpack itself in the guest: the way out for compressions we do not know.
base::Result<LoadedKernel> load_as_is(memory::GuestMemory& memory, const Image& image) {
  const setup_header& header = image.header;
  if (header.version < kVersionWith64BitEntry || (header.xloadflags & XLF_KERNEL_64) == 0) {
    return fail(ErrorCode::kUnsupported,
                "the bzImage has neither a payload Mote can unpack nor a 64-bit entry");
  }
  const uint64_t address = header.pref_address;
  const uint64_t size = image.file_size - image.protected_mode_offset;
  const auto end = base::checked_add(address, std::max<uint64_t>(header.init_size, size));
  if (!end || address < memory::layout::kHighMemoryStart.value ||
      memory.slice(memory::Gpa{address}, *end - address).empty()) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the bzImage needs {} bytes at {:#x}, which guest memory does not have",
                            uint32_t{header.init_size}, address));
  }
  MOTE_TRY_VOID(
      place_file_range(memory, memory::Gpa{address}, image.fd, image.protected_mode_offset, size));
  LoadedKernel kernel;
  kernel.entry = {BootProtocol::kLinux64, memory::Gpa{address + k64BitEntryOffset}};
  kernel.end = *end;
  const auto bytes = std::as_bytes(std::span(&image.header, 1));
  kernel.setup_header.assign(bytes.begin(), bytes.end());
  return kernel;
}

}  // namespace

base::Result<LoadedKernel> load_bzimage(memory::GuestMemory& memory, int fd,
                                        const KernelCacheOptions& cache) {
  MOTE_TRY(const auto image, read_image(fd));
  MOTE_TRY(const auto payload, read_payload(image));
  const Compression compression = detect_compression(payload);
  if (compression == Compression::kUnsupported || compression == Compression::kNone) {
    LOG_INFO("the kernel's payload compression is unknown here: the guest unpacks it itself");
    return load_as_is(memory, image);
  }
  MOTE_TRY(const uint64_t size, unpacked_size(payload, memory));
  MOTE_TRY(const auto vmlinux, unpack(compression, payload, size, cache));
  return load_elf(memory, vmlinux.get());
}

}  // namespace mote::boot
