#include "monitor/boot/testing/image_builder.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <lz4.h>
#include <lz4hc.h>
#include <lzma.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/check.h"

namespace mote::boot::testing {
namespace {

constexpr uint64_t kPage = 4096;
constexpr size_t kSetupSectors = 2;
constexpr size_t kSectorBytes = 512;
constexpr size_t kSetupHeaderOffset = 0x1f1;
constexpr size_t kProtectedModeBytes = 4096;

template <typename T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

template <typename T>
void put(Bytes& target, size_t offset, const T& value) {
  CHECK(offset + sizeof(value) <= target.size(), "a test image is too short");
  std::memcpy(target.data() + offset, &value, sizeof(value));
}

void append_note(Bytes& notes, uint32_t type, std::string_view name,
                 std::span<const std::byte> description) {
  const Elf64_Nhdr header{static_cast<uint32_t>(name.size()),
                          static_cast<uint32_t>(description.size()), type};
  append(notes, bytes_of(header));
  append(notes, std::as_bytes(std::span(name)));
  notes.resize((notes.size() + 3) & ~size_t{3});
  append(notes, description);
  notes.resize((notes.size() + 3) & ~size_t{3});
}

Bytes pvh_notes(uint64_t entry, size_t entry_bytes) {
  using namespace std::string_view_literals;
  constexpr uint32_t kPhys32Entry = 18;
  Bytes notes;
  append_note(notes, 1, "Linux\0"sv, pattern(21, 7));
  append_note(notes, 3, "Xen\0"sv, pattern(8, 8));
  append_note(notes, kPhys32Entry, "Xen\0"sv, bytes_of(entry).first(entry_bytes));
  return notes;
}

Bytes gzip(std::span<const std::byte> content) {
  z_stream stream{};
  CHECK(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK, "deflate");
  Bytes packed(deflateBound(&stream, content.size()) + 64);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END, "deflate");
  packed.resize(packed.size() - stream.avail_out);
  deflateEnd(&stream);
  return packed;
}

/// With the x86 filter and CRC32, as the kernel's xz_wrap.sh asks.
Bytes xz(std::span<const std::byte> content) {
  lzma_options_lzma options{};
  CHECK(!lzma_lzma_preset(&options, 6), "lzma preset");
  lzma_filter filters[] = {
      {LZMA_FILTER_X86, nullptr}, {LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, nullptr}};
  Bytes packed(lzma_stream_buffer_bound(content.size()));
  size_t used = 0;
  CHECK(lzma_stream_buffer_encode(filters, LZMA_CHECK_CRC32, nullptr,
                                  reinterpret_cast<const uint8_t*>(content.data()), content.size(),
                                  reinterpret_cast<uint8_t*>(packed.data()), &used,
                                  packed.size()) == LZMA_OK,
        "xz");
  packed.resize(used);
  return packed;
}

/// The legacy frame of `lz4 -l`: magic, then blocks of up to 8 MiB, each behind its size.
Bytes lz4(std::span<const std::byte> content) {
  constexpr size_t kBlockBytes = 8 * 1024 * 1024;
  Bytes packed;
  append(packed, bytes_of(uint32_t{0x184c2102}));
  for (size_t at = 0; at < content.size(); at += kBlockBytes) {
    const auto block = content.subspan(at, std::min(kBlockBytes, content.size() - at));
    Bytes out(static_cast<size_t>(LZ4_compressBound(static_cast<int>(block.size()))));
    const int size = LZ4_compress_HC(
        reinterpret_cast<const char*>(block.data()), reinterpret_cast<char*>(out.data()),
        static_cast<int>(block.size()), static_cast<int>(out.size()), LZ4HC_CLEVEL_DEFAULT);
    CHECK(size > 0, "lz4");
    append(packed, bytes_of(static_cast<uint32_t>(size)));
    append(packed, std::span(out).first(static_cast<size_t>(size)));
  }
  return packed;
}

/// From a stream, so that the frame does not state its content size: the build pipes into zstd.
Bytes zstd(std::span<const std::byte> content) {
  ZSTD_CStream* const stream = ZSTD_createCStream();
  CHECK(stream != nullptr, "zstd");
  Bytes packed(ZSTD_compressBound(content.size()) + 1024);
  ZSTD_inBuffer in{content.data(), content.size(), 0};
  ZSTD_outBuffer out{packed.data(), packed.size(), 0};
  while (in.pos < in.size) {
    CHECK(ZSTD_isError(ZSTD_compressStream2(stream, &out, &in, ZSTD_e_continue)) == 0, "zstd");
  }
  CHECK(ZSTD_compressStream2(stream, &out, &in, ZSTD_e_end) == 0, "zstd");
  packed.resize(out.pos);
  ZSTD_freeCStream(stream);
  return packed;
}

}  // namespace

Bytes pattern(size_t size, uint8_t seed) {
  Bytes bytes(size);
  for (size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::byte>((i * 31 + i / kPage * 7 + seed) % 255 + 1);
  }
  return bytes;
}

void append(Bytes& target, std::span<const std::byte> bytes) {
  target.insert(target.end(), bytes.begin(), bytes.end());
}

Bytes build_elf(const ElfImage& image) {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_EXEC;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_entry = image.entry;
  header.e_phoff = sizeof(header);
  header.e_ehsize = sizeof(header);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = static_cast<uint16_t>(image.segments.size() + (image.pvh_entry ? 1 : 0));

  Bytes file(sizeof(header) + header.e_phnum * sizeof(Elf64_Phdr));
  put(file, 0, header);
  size_t header_at = sizeof(header);
  for (const Segment& segment : image.segments) {
    const uint64_t page_start = (file.size() + kPage - 1) & ~(kPage - 1);
    const uint64_t offset = page_start + segment.physical_address % kPage + segment.file_skew;
    Elf64_Phdr program{};
    program.p_type = PT_LOAD;
    program.p_flags = PF_R | PF_X;
    program.p_offset = offset;
    program.p_paddr = segment.physical_address;
    program.p_vaddr =
        segment.virtual_address != 0 ? segment.virtual_address : segment.physical_address;
    program.p_filesz = segment.content.size();
    program.p_memsz = segment.memory_bytes != 0 ? segment.memory_bytes : segment.content.size();
    program.p_align = kPage;
    file.resize(offset);
    append(file, segment.content);
    put(file, header_at, program);
    header_at += sizeof(program);
  }
  if (image.pvh_entry) {
    const Bytes notes = pvh_notes(*image.pvh_entry, image.pvh_entry_bytes);
    Elf64_Phdr program{};
    program.p_type = PT_NOTE;
    program.p_offset = file.size();
    program.p_filesz = program.p_memsz = notes.size();
    program.p_align = 4;
    append(file, notes);
    put(file, header_at, program);
  }
  return file;
}

Bytes compress_payload(Compression compression, std::span<const std::byte> content) {
  const auto size = static_cast<uint32_t>(content.size());
  Bytes packed;
  switch (compression) {
    case Compression::kGzip:
      return gzip(content);  // Ends with the size by itself.
    case Compression::kXz:
      packed = xz(content);
      break;
    case Compression::kLz4:
      packed = lz4(content);
      break;
    case Compression::kZstd:
      packed = zstd(content);
      break;
    case Compression::kBzip2:
    case Compression::kLzma:
    case Compression::kLzo:
    case Compression::kUnknown:
      CHECK(false, "tests cannot compress so");
  }
  append(packed, bytes_of(size));
  return packed;
}

Bytes build_bzimage(const BzImage& image) {
  setup_header header{};
  header.setup_sects = kSetupSectors;
  header.boot_flag = 0xaa55;
  header.header = 0x53726448;  // "HdrS"
  // A short jump over the header: its distance is where the header ends.
  header.jump = static_cast<uint16_t>(0xeb | (kSetupHeaderOffset + sizeof(header) - 0x202) << 8);
  header.version = image.version;
  header.xloadflags = image.load_flags_64;
  header.pref_address = image.preferred_address;
  header.init_size = image.init_size;
  header.kernel_alignment = 0x200000;
  header.initrd_addr_max = 0x7fffffff;
  header.cmdline_size = 2047;
  header.payload_offset = kProtectedModeBytes;
  header.payload_length = static_cast<uint32_t>(image.payload.size());
  Bytes file = pattern((kSetupSectors + 1) * kSectorBytes, 1);
  put(file, kSetupHeaderOffset, header);
  append(file, pattern(kProtectedModeBytes, 2));
  append(file, image.payload);
  return file;
}

base::UniqueFd make_file(std::span<const std::byte> bytes) {
  base::UniqueFd fd(::memfd_create("image", MFD_CLOEXEC));
  CHECK(fd.valid(), "memfd");
  CHECK(::pwrite(fd.get(), bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()),
        "memfd write");
  return fd;
}

}  // namespace mote::boot::testing
