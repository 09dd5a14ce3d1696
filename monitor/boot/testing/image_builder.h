#pragma once
// Builds small kernel images for tests and fuzz seeds: ELF64 vmlinux files, bzImages and the
// payload compressions in the form Linux's build gives them. Never linked into mote.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/unique_fd.h"
#include "monitor/boot/decompress.h"

namespace mote::boot::testing {

using Bytes = std::vector<std::byte>;

/// `size` bytes of a pattern that differs from page to page and is never zero.
Bytes pattern(size_t size, uint8_t seed);
void append(Bytes& target, std::span<const std::byte> bytes);

struct Segment {
  uint64_t physical_address = 0x1000000;
  Bytes content;
  uint64_t memory_bytes = 0;     ///< 0: as many as the content has.
  uint64_t virtual_address = 0;  ///< 0: the physical address.
  uint64_t file_skew = 0;        ///< Moves the content away from its congruent file offset.
};

struct ElfImage {
  std::vector<Segment> segments;
  uint64_t entry = 0x1000000;
  /// XEN_ELFNOTE_PHYS32_ENTRY of so many bytes, behind a note that has nothing to do with it.
  std::optional<uint64_t> pvh_entry;
  size_t pvh_entry_bytes = 8;
};

/// File offsets are chosen congruent to the addresses modulo 4 KiB, as a linker does.
Bytes build_elf(const ElfImage& image);

/// Compresses as Linux's scripts/Makefile.lib does, with the unpacked size behind it.
Bytes compress_payload(Compression compression, std::span<const std::byte> content);

struct BzImage {
  Bytes payload;  ///< As compress_payload() gives it.
  uint16_t version = 0x020f;
  uint16_t load_flags_64 = 1;  ///< xloadflags; bit 0: XLF_KERNEL_64.
  uint64_t preferred_address = 0x1000000;
  uint32_t init_size = 0x100000;
};
/// The protected-mode code is 4 KiB of pattern, then the payload.
Bytes build_bzimage(const BzImage& image);

/// A memfd with these bytes.
base::UniqueFd make_file(std::span<const std::byte> bytes);

}  // namespace mote::boot::testing
