#include "monitor/boot/elf_loader.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>

#include "memory/layout.h"
#include "monitor/boot/kernel_image.h"
#include "monitor/boot/testing/image_builder.h"

namespace mote::boot {
namespace {

using memory::Gpa;
using memory::GuestMemory;
using testing::Bytes;
using testing::ElfImage;
using testing::pattern;
namespace layout = memory::layout;

constexpr uint64_t kBase = 0x200000;

GuestMemory make_memory(uint64_t mib = 16) {
  auto memory = GuestMemory::create(mib * layout::kMib, memory::HugePages::kNone);
  EXPECT_TRUE(memory) << memory.error().message();
  return std::move(*memory);
}

base::Result<LoadedKernel> load(GuestMemory& memory, const Bytes& file) {
  const auto fd = testing::make_file(file);
  return load_kernel(memory, fd.get(), "/boot/vmlinux", {});
}

Bytes contents(const GuestMemory& memory, uint64_t address, size_t size) {
  Bytes bytes(size);
  EXPECT_TRUE(memory.read(Gpa{address}, bytes));
  return bytes;
}

ElfImage small_image() {
  ElfImage image;
  image.entry = kBase;
  image.segments = {{.physical_address = kBase, .content = pattern(10000, 1)}};
  return image;
}

/// The loader must refuse the file with these words, and name the field and the path.
void expect_refused(const Bytes& file, std::string_view words) {
  GuestMemory memory = make_memory();
  const auto kernel = load(memory, file);
  ASSERT_FALSE(kernel) << "accepted, but expected: " << words;
  const std::string message = kernel.error().message();
  EXPECT_NE(message.find("kernel_image_path: /boot/vmlinux"), std::string::npos) << message;
  EXPECT_NE(message.find(words), std::string::npos) << message;
}

Elf64_Ehdr file_header(const Bytes& file) {
  Elf64_Ehdr header;
  std::memcpy(&header, file.data(), sizeof(header));
  return header;
}
void set_file_header(Bytes& file, const Elf64_Ehdr& header) {
  std::memcpy(file.data(), &header, sizeof(header));
}
Elf64_Phdr program_header(const Bytes& file, size_t index) {
  Elf64_Phdr header;
  std::memcpy(&header, file.data() + sizeof(Elf64_Ehdr) + index * sizeof(header), sizeof(header));
  return header;
}
void set_program_header(Bytes& file, size_t index, const Elf64_Phdr& header) {
  std::memcpy(file.data() + sizeof(Elf64_Ehdr) + index * sizeof(header), &header, sizeof(header));
}

TEST(ElfLoader, PrefersThePvhEntry) {
  for (const size_t entry_bytes : {4U, 8U}) {
    ElfImage image = small_image();
    image.pvh_entry = kBase + 0x850;
    image.pvh_entry_bytes = entry_bytes;
    GuestMemory memory = make_memory();
    const auto kernel = load(memory, build_elf(image));
    ASSERT_TRUE(kernel) << kernel.error().message();
    EXPECT_EQ(kernel->entry.protocol, BootProtocol::kPvh);
    EXPECT_EQ(kernel->entry.address, Gpa{kBase + 0x850});
    EXPECT_EQ(kernel->end, kBase + 10000);
    EXPECT_TRUE(kernel->setup_header.empty());
  }
}

TEST(ElfLoader, TakesThe64BitEntryWithoutANote) {
  GuestMemory memory = make_memory();
  const auto kernel = load(memory, build_elf(small_image()));
  ASSERT_TRUE(kernel) << kernel.error().message();
  EXPECT_EQ(kernel->entry.protocol, BootProtocol::kLinux64);
  EXPECT_EQ(kernel->entry.address, Gpa{kBase});
}

TEST(ElfLoader, TranslatesAVirtualEntry) {
  ElfImage image = small_image();
  image.segments[0].virtual_address = 0xffffffff81000000;
  image.entry = 0xffffffff81000123;
  GuestMemory memory = make_memory();
  const auto kernel = load(memory, build_elf(image));
  ASSERT_TRUE(kernel) << kernel.error().message();
  EXPECT_EQ(kernel->entry.address, Gpa{kBase + 0x123});
}

TEST(ElfLoader, PlacesBytesAndLeavesBssZero) {
  // Head and tail pages are partial and must be copied, whole pages between them are mapped; with a
  // skewed file offset nothing can be mapped.
  for (const uint64_t skew : {0U, 16U}) {
    ElfImage image = small_image();
    image.segments = {{.physical_address = kBase + 0x123,
                       .content = pattern(3 * 4096 + 77, 3),
                       .memory_bytes = 8 * 4096,
                       .file_skew = skew},
                      {.physical_address = kBase + 0x20000, .content = pattern(4096, 4)}};
    image.entry = kBase + 0x123;
    GuestMemory memory = make_memory();
    const auto kernel = load(memory, build_elf(image));
    ASSERT_TRUE(kernel) << kernel.error().message();
    EXPECT_EQ(contents(memory, kBase + 0x123, 3 * 4096 + 77), image.segments[0].content);
    EXPECT_EQ(contents(memory, kBase, 0x123), Bytes(0x123));
    EXPECT_EQ(contents(memory, kBase + 0x123 + 3 * 4096 + 77, 5 * 4096), Bytes(5 * 4096));
    EXPECT_EQ(contents(memory, kBase + 0x20000, 4096), image.segments[1].content);
    EXPECT_EQ(kernel->end, kBase + 0x21000);
  }
}

TEST(ElfLoader, SegmentsMayShareAPage) {
  ElfImage image = small_image();
  image.segments = {{.physical_address = kBase, .content = pattern(4096 + 100, 5)},
                    {.physical_address = kBase + 4096 + 100, .content = pattern(5000, 6)}};
  GuestMemory memory = make_memory();
  ASSERT_TRUE(load(memory, build_elf(image)));
  EXPECT_EQ(contents(memory, kBase, 4096 + 100), image.segments[0].content);
  EXPECT_EQ(contents(memory, kBase + 4096 + 100, 5000), image.segments[1].content);
}

TEST(ElfLoader, GuestWritesStayOutOfTheFile) {
  const Bytes file = build_elf(small_image());
  const auto fd = testing::make_file(file);
  GuestMemory memory = make_memory();
  ASSERT_TRUE(load_kernel(memory, fd.get(), "vmlinux", {}));
  ASSERT_TRUE(memory.write(Gpa{kBase}, Bytes(8192)));
  Bytes after(file.size());
  ASSERT_TRUE(read_exactly(fd.get(), 0, after));
  EXPECT_EQ(after, file);
}

TEST(ElfLoader, RefusesEveryTruncation) {
  ElfImage image = small_image();
  image.pvh_entry = kBase;
  const Bytes whole = build_elf(image);
  for (size_t size = 0; size < whole.size(); size += size < 512 ? 1 : 509) {
    GuestMemory memory = make_memory(4);
    EXPECT_FALSE(load(memory, Bytes(whole.begin(), whole.begin() + static_cast<long>(size))))
        << size;
  }
}

TEST(ElfLoader, RefusesForeignHeaders) {
  const Bytes good = build_elf(small_image());
  const auto with = [&](auto change) {
    Bytes file = good;
    Elf64_Ehdr header = file_header(file);
    change(header);
    set_file_header(file, header);
    return file;
  };
  expect_refused(with([](auto& h) { h.e_ident[EI_CLASS] = ELFCLASS32; }), "64-bit x86");
  expect_refused(with([](auto& h) { h.e_ident[EI_DATA] = ELFDATA2MSB; }), "64-bit x86");
  expect_refused(with([](auto& h) { h.e_machine = EM_AARCH64; }), "64-bit x86");
  expect_refused(with([](auto& h) { h.e_type = ET_REL; }), "not an executable");
  expect_refused(with([](auto& h) { h.e_phnum = 0; }), "program headers");
  expect_refused(with([](auto& h) { h.e_phnum = 0xffff; }), "program headers");
  expect_refused(with([](auto& h) { h.e_phentsize = 32; }), "program headers");
  expect_refused(with([](auto& h) { h.e_phoff = UINT64_MAX - 8; }), "behind the end");
  expect_refused(with([](auto& h) { h.e_entry = 0x10; }), "in no segment");
}

TEST(ElfLoader, RefusesForeignSegments) {
  const Bytes good = build_elf(small_image());
  const auto with = [&](auto change) {
    Bytes file = good;
    Elf64_Phdr header = program_header(file, 0);
    change(header);
    set_program_header(file, 0, header);
    return file;
  };
  expect_refused(with([](auto& h) { h.p_filesz = h.p_memsz + 1; }), "more file bytes");
  expect_refused(with([](auto& h) { h.p_offset = UINT64_MAX - 100; }), "behind the end");
  expect_refused(with([](auto& h) { h.p_filesz = h.p_memsz = UINT64_MAX; }), "behind the end");
  expect_refused(with([](auto& h) { h.p_paddr = 0x9000; }), "below 1 MiB");
  expect_refused(with([](auto& h) { h.p_paddr = 0xfffff; }), "below 1 MiB");
  expect_refused(with([](auto& h) { h.p_paddr = UINT64_MAX - 4096; }), "does not fit");
  expect_refused(with([](auto& h) { h.p_paddr = 16 * layout::kMib; }), "does not fit");
  expect_refused(with([](auto& h) { h.p_memsz = UINT64_MAX; }), "does not fit");
  expect_refused(with([](auto& h) { h.p_type = PT_NULL; }), "nothing to load");
}

TEST(ElfLoader, RefusesOverlappingSegments) {
  ElfImage image = small_image();
  image.segments.push_back({.physical_address = kBase + 9999, .content = pattern(10, 1)});
  expect_refused(build_elf(image), "overlap");
}

TEST(ElfLoader, RefusesAPvhEntryOutsideTheKernel) {
  ElfImage image = small_image();
  image.pvh_entry = kBase - 1;
  expect_refused(build_elf(image), "PVH entry");
  image.pvh_entry = kBase + 10000;
  expect_refused(build_elf(image), "PVH entry");
}

TEST(ElfLoader, SurvivesHostileNotes) {
  ElfImage image = small_image();
  image.pvh_entry = kBase;
  const Bytes good = build_elf(image);
  const Elf64_Phdr notes = program_header(good, 1);
  // A length that runs past the segment hides the note; the 64-bit entry is taken.
  for (const size_t field : {0U, 4U}) {
    Bytes file = good;
    const uint32_t huge = 0xffffffff;
    std::memcpy(file.data() + notes.p_offset + field, &huge, sizeof(huge));
    GuestMemory memory = make_memory();
    const auto kernel = load(memory, file);
    ASSERT_TRUE(kernel) << kernel.error().message();
    EXPECT_EQ(kernel->entry.protocol, BootProtocol::kLinux64);
  }
  Bytes file = good;
  Elf64_Phdr header = notes;
  header.p_filesz = uint64_t{1} << 40;
  set_program_header(file, 1, header);
  expect_refused(file, "note segment");
}

TEST(ElfLoader, Linux64KernelsMustLieInTheIdentityMap) {
  ElfImage image = small_image();
  constexpr uint64_t kHigh = uint64_t{1} << 30;
  image.entry = kHigh;
  image.segments = {{.physical_address = kHigh, .content = pattern(4096, 1)}};
  GuestMemory memory = make_memory(1040);
  const auto refused = load(memory, build_elf(image));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("1 GiB"), std::string::npos);
  image.pvh_entry = kHigh;  // PVH starts without paging.
  EXPECT_TRUE(load(memory, build_elf(image)));
}

}  // namespace
}  // namespace mote::boot
