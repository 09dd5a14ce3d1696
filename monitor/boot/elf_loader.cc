#include "monitor/boot/elf_loader.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "base/checked_math.h"
#include "memory/layout.h"
#include "monitor/boot/entry_state.h"
#include "monitor/boot/guest_file.h"

namespace mote::boot {
namespace {

using base::ErrorCode;
using base::fail;

constexpr uint16_t kMaxProgramHeaders = 64;
constexpr uint64_t kMaxNoteBytes = 64 * 1024;
constexpr uint32_t kXenNotePhys32Entry =
    18;  // XEN_ELFNOTE_PHYS32_ENTRY, xen/include/public/elfnote.h.

base::Result<Elf64_Ehdr> read_header(int fd) {
  Elf64_Ehdr header{};
  MOTE_TRY_VOID(read_exactly(fd, 0, std::as_writable_bytes(std::span(&header, 1))));
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
    return fail(ErrorCode::kCorrupt, "the unpacked payload is no ELF file");
  }
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
      header.e_machine != EM_X86_64) {
    return fail(ErrorCode::kCorrupt, "the ELF file is not for 64-bit x86");
  }
  if (header.e_type != ET_EXEC && header.e_type != ET_DYN) {
    return fail(ErrorCode::kCorrupt, "the ELF file is not an executable");
  }
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0 ||
      header.e_phnum > kMaxProgramHeaders) {
    return fail(ErrorCode::kCorrupt, fmt::format("the ELF file has {} program headers of {} bytes",
                                                 header.e_phnum, header.e_phentsize));
  }
  return header;
}

base::Result<std::vector<Elf64_Phdr>> read_program_headers(int fd, const Elf64_Ehdr& header,
                                                           uint64_t file_size) {
  std::vector<Elf64_Phdr> headers(header.e_phnum);
  if (!base::range_fits(header.e_phoff, headers.size() * sizeof(Elf64_Phdr), file_size)) {
    return fail(ErrorCode::kCorrupt, "the program headers lie behind the end of the file");
  }
  MOTE_TRY_VOID(read_exactly(fd, header.e_phoff, std::as_writable_bytes(std::span(headers))));
  return headers;
}

/// Checks one PT_LOAD against file and memory.
base::Result<> check_segment(const Elf64_Phdr& segment, uint64_t file_size,
                             const memory::GuestMemory& memory) {
  const std::string where =
      fmt::format("the segment at {:#x} of {} bytes ", segment.p_paddr, segment.p_memsz);
  if (segment.p_filesz > segment.p_memsz) {
    return fail(ErrorCode::kCorrupt, where + "holds more file bytes than memory");
  }
  if (!base::range_fits(segment.p_offset, segment.p_filesz, file_size)) {
    return fail(ErrorCode::kCorrupt, where + "lies behind the end of the file: is it truncated?");
  }
  if (segment.p_paddr < memory::layout::kHighMemoryStart.value) {
    return fail(ErrorCode::kUnsupported, where + "lies below 1 MiB, where boot tables go");
  }
  if (memory.slice(memory::Gpa{segment.p_paddr}, segment.p_memsz).empty()) {
    return fail(
        ErrorCode::kInvalidArgument,
        where + fmt::format("does not fit into {} bytes of guest memory", memory.size_bytes()));
  }
  return {};
}

base::Result<std::vector<Elf64_Phdr>> checked_segments(const std::vector<Elf64_Phdr>& headers,
                                                       uint64_t file_size,
                                                       const memory::GuestMemory& memory) {
  std::vector<Elf64_Phdr> segments;
  for (const Elf64_Phdr& header : headers) {
    if (header.p_type != PT_LOAD || header.p_memsz == 0) continue;
    MOTE_TRY_VOID(check_segment(header, file_size, memory));
    segments.push_back(header);
  }
  if (segments.empty()) return fail(ErrorCode::kCorrupt, "the ELF file has nothing to load");
  std::ranges::sort(segments, {}, &Elf64_Phdr::p_paddr);
  for (size_t i = 1; i < segments.size(); ++i) {
    if (segments[i - 1].p_paddr + segments[i - 1].p_memsz > segments[i].p_paddr) {
      return fail(ErrorCode::kCorrupt,
                  fmt::format("two segments overlap at {:#x}", segments[i].p_paddr));
    }
  }
  return segments;
}

/// The 4 or 8 byte entry address of a PVH note in one PT_NOTE segment.
std::optional<uint64_t> find_pvh_entry(std::span<const std::byte> notes, uint64_t alignment) {
  size_t at = 0;
  while (base::range_fits(at, sizeof(Elf64_Nhdr), notes.size())) {
    Elf64_Nhdr note{};
    std::memcpy(&note, notes.data() + at, sizeof(note));
    const auto name_at = uint64_t{at} + sizeof(note);
    const auto value_at = base::checked_align_up<uint64_t>(name_at + note.n_namesz, alignment);
    if (!value_at || !base::range_fits(*value_at, note.n_descsz, notes.size())) return std::nullopt;
    const bool is_xen = note.n_namesz == 4 && std::memcmp(notes.data() + name_at, "Xen", 4) == 0;
    if (is_xen && note.n_type == kXenNotePhys32Entry &&
        (note.n_descsz == 4 || note.n_descsz == 8)) {
      uint64_t entry = 0;
      std::memcpy(&entry, notes.data() + *value_at, note.n_descsz);
      return entry;
    }
    const auto next = base::checked_align_up<uint64_t>(*value_at + note.n_descsz, alignment);
    if (!next || *next > notes.size()) return std::nullopt;
    at = *next;
  }
  return std::nullopt;
}

base::Result<std::optional<uint64_t>> read_pvh_entry(int fd, const std::vector<Elf64_Phdr>& headers,
                                                     uint64_t file_size) {
  for (const Elf64_Phdr& header : headers) {
    if (header.p_type != PT_NOTE || header.p_filesz == 0) continue;
    if (!base::range_fits(header.p_offset, header.p_filesz, file_size)) {
      return fail(ErrorCode::kCorrupt, "a note segment lies behind the end of the file");
    }
    if (header.p_filesz > kMaxNoteBytes) continue;  // Not the kind of note a kernel carries.
    std::vector<std::byte> notes(header.p_filesz);
    MOTE_TRY_VOID(read_exactly(fd, header.p_offset, notes));
    if (const auto entry = find_pvh_entry(notes, header.p_align == 8 ? 8 : 4)) return entry;
  }
  return std::nullopt;
}

bool is_loaded(const std::vector<Elf64_Phdr>& segments, uint64_t address) {
  return std::ranges::any_of(segments, [&](const Elf64_Phdr& s) {
    return address >= s.p_paddr && address - s.p_paddr < s.p_memsz;
  });
}

/// Linux gives a physical e_entry; other builders a virtual one.
std::optional<uint64_t> physical_entry(const std::vector<Elf64_Phdr>& segments, uint64_t entry) {
  if (is_loaded(segments, entry)) return entry;
  for (const Elf64_Phdr& segment : segments) {
    if (entry >= segment.p_vaddr && entry - segment.p_vaddr < segment.p_memsz) {
      return entry - segment.p_vaddr + segment.p_paddr;
    }
  }
  return std::nullopt;
}

}  // namespace

base::Result<LoadedKernel> load_elf(memory::GuestMemory& memory, int fd) {
  MOTE_TRY(const uint64_t file_size, file_size_bytes(fd));
  MOTE_TRY(const auto header, read_header(fd));
  MOTE_TRY(const auto headers, read_program_headers(fd, header, file_size));
  MOTE_TRY(const auto segments, checked_segments(headers, file_size, memory));
  MOTE_TRY(const auto pvh_entry, read_pvh_entry(fd, headers, file_size));

  LoadedKernel kernel;
  if (pvh_entry) {
    if (!is_loaded(segments, *pvh_entry) || *pvh_entry > UINT32_MAX) {
      return fail(ErrorCode::kCorrupt,
                  fmt::format("the PVH entry {:#x} is in no segment", *pvh_entry));
    }
    kernel.entry = {BootProtocol::kPvh, memory::Gpa{*pvh_entry}};
  } else {
    const auto entry = physical_entry(segments, header.e_entry);
    if (!entry) {
      return fail(ErrorCode::kCorrupt,
                  fmt::format("the entry {:#x} is in no segment", header.e_entry));
    }
    kernel.entry = {BootProtocol::kLinux64, memory::Gpa{*entry}};
  }
  kernel.end = segments.back().p_paddr + segments.back().p_memsz;  // Sorted, without overlap.
  if (kernel.entry.protocol == BootProtocol::kLinux64 && kernel.end > kIdentityMapBytes) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the kernel reaches up to {:#x}; without a PVH note it must end below "
                            "1 GiB",
                            kernel.end));
  }
  for (const Elf64_Phdr& segment : segments) {
    MOTE_TRY_VOID(place_file_range(memory, memory::Gpa{segment.p_paddr}, fd, segment.p_offset,
                                   segment.p_filesz));
  }
  return kernel;
}

}  // namespace mote::boot
