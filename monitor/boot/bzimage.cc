#include "monitor/boot/bzimage.h"

#include <asm/bootparam.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/checked_math.h"
#include "base/log.h"
#include "base/mapped_region.h"
#include "memory/layout.h"
#include "monitor/boot/decompress.h"
#include "monitor/boot/elf_loader.h"
#include "monitor/boot/entry_state.h"
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
constexpr uint64_t kMinPayloadBytes = 8;  // Magic number and unpacked size.

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

/// Where the compressed kernel lies in the file, and what its ends say.
struct Payload {
  int fd;
  uint64_t offset;
  uint64_t size;
  uint64_t unpacked_size;
  Compression compression;
};

base::Result<Payload> find_payload(const Image& image) {
  Payload payload{};
  payload.fd = image.fd;
  payload.offset = image.protected_mode_offset + image.header.payload_offset;
  payload.size = image.header.payload_length;
  if (!base::range_fits(payload.offset, payload.size, image.file_size)) {
    return fail(ErrorCode::kCorrupt,
                "the bzImage's payload lies behind the end of the file: is it truncated?");
  }
  if (payload.size < kMinPayloadBytes || payload.size > kMaxUnpackedBytes) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("the bzImage's payload has {} bytes, too few or too many for a kernel",
                            payload.size));
  }
  std::array<std::byte, kMinPayloadBytes> magic{};
  MOTE_TRY_VOID(read_exactly(image.fd, payload.offset, magic));
  payload.compression = detect_compression(magic);
  // The build appends the unpacked size to the payload (gzip has it there by itself).
  uint32_t unpacked = 0;
  MOTE_TRY_VOID(read_exactly(image.fd, payload.offset + payload.size - sizeof(unpacked),
                             std::as_writable_bytes(std::span(&unpacked, 1))));
  payload.unpacked_size = unpacked;
  return payload;
}

base::Result<> check_unpacked_size(const Payload& payload, const memory::GuestMemory& memory) {
  // The unpacked file carries relocations beside what is loaded, hence the factor.
  const uint64_t limit = std::min(kMaxUnpackedBytes, memory.size_bytes() * 2);
  if (payload.unpacked_size != 0 && payload.unpacked_size <= limit) return {};
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("the kernel states that it unpacks to {} bytes; at most {} are possible "
                          "with this mem_size_mib",
                          payload.unpacked_size, limit));
}

base::Result<> unpack_into(int fd, const Payload& payload) {
  std::vector<std::byte> packed(payload.size);
  MOTE_TRY_VOID(read_exactly(payload.fd, payload.offset, packed));
  // Blocks are allocated now: on a full disk, writing through the mapping would be a SIGBUS.
  if (const int error = ::posix_fallocate(fd, 0, static_cast<off_t>(payload.unpacked_size));
      error != 0) {
    return base::fail_errno(error, "no room for the unpacked kernel");
  }
  MOTE_TRY(const auto output, base::MappedRegion::map(payload.unpacked_size, PROT_READ | PROT_WRITE,
                                                      MAP_SHARED, fd, 0, "the unpacked kernel"));
  return decompress(payload.compression, packed, output.span());
}

base::Result<base::UniqueFd> unpack_to_memory(const Payload& payload) {
  base::UniqueFd fd(::memfd_create("vmlinux", MFD_CLOEXEC));
  if (!fd.valid()) return base::fail_errno(errno, "memfd for the unpacked kernel");
  MOTE_TRY_VOID(unpack_into(fd.get(), payload));
  return fd;
}

/// A cache that cannot be written (read-only in a jail, full) costs time, never the launch.
base::Result<base::UniqueFd> unpack_through_cache(const KernelCache& cache,
                                                  const Payload& payload) {
  MOTE_TRY(const auto key,
           cache.key_of(payload.fd, {payload.offset, payload.size, payload.unpacked_size}));
  if (auto found = cache.find(key, payload.unpacked_size)) return std::move(*found);
  auto file = cache.create_unnamed();
  if (!file) {
    LOG_WARNING("the unpacked kernel is not kept: {}", file.error().message());
    return unpack_to_memory(payload);
  }
  if (const auto unpacked = unpack_into(file->get(), payload); !unpacked) {
    if (unpacked.error().code != ErrorCode::kIo) return std::unexpected(unpacked.error());
    LOG_WARNING("the unpacked kernel is not kept: {}", unpacked.error().message());
    return unpack_to_memory(payload);
  }
  if (const auto published = cache.publish(*file, key, payload.unpacked_size); !published) {
    LOG_WARNING("the unpacked kernel is not kept: {}", published.error().message());
  }
  return file;
}

base::Result<base::UniqueFd> unpack(const Payload& payload, const KernelCacheOptions& options) {
  if (!options.directory) return unpack_to_memory(payload);
  MOTE_TRY(const auto cache, KernelCache::open(*options.directory));
  return unpack_through_cache(cache, payload);
}

/// The setup header as far as this image has one (boot.rst, "Details of Header Fields": it ends at
/// 0x202 plus the byte at 0x201); what lies behind is code.
std::vector<std::byte> setup_header_bytes(const Image& image) {
  constexpr uint64_t kJumpLengthOffset = 0x201;
  constexpr uint64_t kHeaderStart = 0x202;
  const auto bytes = std::as_bytes(std::span(&image.header, 1));
  const auto jump_length = static_cast<uint8_t>(bytes[kJumpLengthOffset - kSetupHeaderOffset]);
  const uint64_t size =
      std::min<uint64_t>(bytes.size(), kHeaderStart + jump_length - kSetupHeaderOffset);
  return {bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size)};
}

bool boots_by_itself(const Image& image) {
  return image.header.version >= kVersionWith64BitEntry &&
         (image.header.xloadflags & XLF_KERNEL_64) != 0;
}

/// Lets the image unpack itself in the guest: the way out for payloads we cannot read.
base::Result<LoadedKernel> load_as_is(memory::GuestMemory& memory, const Image& image) {
  const setup_header& header = image.header;
  const uint64_t address = header.pref_address;
  const uint64_t size = image.file_size - image.protected_mode_offset;
  if (size <= k64BitEntryOffset) {
    return fail(ErrorCode::kCorrupt, "the bzImage ends before its 64-bit entry: is it truncated?");
  }
  const uint64_t needed = std::max<uint64_t>(header.init_size, size);
  const auto end = base::checked_add(address, needed);
  if (!end || address < memory::layout::kHighMemoryStart.value || *end > kIdentityMapBytes ||
      memory.slice(memory::Gpa{address}, needed).empty()) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("the bzImage needs {} bytes at {:#x}; RAM it can start in is from 1 MiB "
                    "up to {:#x}",
                    needed, address, std::min(memory.low_memory_end().value, kIdentityMapBytes)));
  }
  MOTE_TRY_VOID(
      place_file_range(memory, memory::Gpa{address}, image.fd, image.protected_mode_offset, size));
  LoadedKernel kernel;
  kernel.entry = {BootProtocol::kLinux64, memory::Gpa{address + k64BitEntryOffset}};
  kernel.end = *end;
  kernel.setup_header = setup_header_bytes(image);
  return kernel;
}

base::Result<LoadedKernel> load_unpacked(memory::GuestMemory& memory, const Image& image,
                                         const Payload& payload, const KernelCacheOptions& cache) {
  MOTE_TRY_VOID(check_unpacked_size(payload, memory));
  MOTE_TRY(const auto vmlinux, unpack(payload, cache));
  auto kernel = load_elf(memory, vmlinux.get());
  if (kernel) {
    kernel->setup_header = setup_header_bytes(image);
    return kernel;
  }
  // kCorrupt comes before anything was placed: memory is still untouched.
  if (kernel.error().code != ErrorCode::kCorrupt || !boots_by_itself(image)) return kernel;
  LOG_INFO("the guest unpacks its kernel itself: {}", kernel.error().message());
  return load_as_is(memory, image);
}

}  // namespace

base::Result<LoadedKernel> load_bzimage(memory::GuestMemory& memory, int fd,
                                        const KernelCacheOptions& cache) {
  MOTE_TRY(const auto image, read_image(fd));
  MOTE_TRY(const auto payload, find_payload(image));
  if (can_decompress(payload.compression)) return load_unpacked(memory, image, payload, cache);
  const auto name = compression_name(payload.compression);
  if (!boots_by_itself(image)) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("unsupported payload compression ({}), and the bzImage has no 64-bit "
                            "entry to unpack itself by",
                            name));
  }
  LOG_INFO("the guest unpacks its kernel itself: payload compression {}", name);
  return load_as_is(memory, image);
}

}  // namespace mote::boot
