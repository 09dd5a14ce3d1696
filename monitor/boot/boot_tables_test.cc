// The initrd, the zero page and the PVH start info: what the kernel finds in memory.

#include <asm/bootparam.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>

#include "memory/layout.h"
#include "monitor/boot/initrd.h"
#include "monitor/boot/linux_boot.h"
#include "monitor/boot/memory_map.h"
#include "monitor/boot/pvh.h"
#include "monitor/boot/testing/image_builder.h"

namespace mote::boot {
namespace {

using memory::Gpa;
using memory::GuestMemory;
using testing::Bytes;
using testing::pattern;
namespace layout = memory::layout;

GuestMemory make_memory(uint64_t size_bytes) {
  auto memory = GuestMemory::create(size_bytes, memory::HugePages::kNone);
  EXPECT_TRUE(memory) << memory.error().message();
  return std::move(*memory);
}

std::string command_line_in(const GuestMemory& memory) {
  Bytes bytes(layout::kCommandLineLimit);
  EXPECT_TRUE(memory.read(layout::kCommandLine, bytes));
  return reinterpret_cast<const char*>(bytes.data());
}

TEST(Initrd, LiesPageAlignedAtTheTop) {
  GuestMemory memory = make_memory(16 * layout::kMib);
  const Bytes content = pattern(3 * 4096 + 5, 1);
  const auto fd = testing::make_file(content);
  const auto initrd = load_initrd(memory, fd.get(), "initrd.img", 2 * layout::kMib);
  ASSERT_TRUE(initrd) << initrd.error().message();
  EXPECT_EQ(initrd->address, Gpa{16 * layout::kMib - 4 * 4096});
  EXPECT_EQ(initrd->size_bytes, content.size());
  Bytes placed(4 * 4096);
  ASSERT_TRUE(memory.read(initrd->address, placed));
  EXPECT_TRUE(std::equal(content.begin(), content.end(), placed.begin()));
  EXPECT_EQ(Bytes(placed.begin() + static_cast<long>(content.size()), placed.end()),
            Bytes(4096 - 5));
}

TEST(Initrd, StaysWhereOldKernelsReachIt) {
  GuestMemory memory = make_memory(uint64_t{5} << 30);
  const auto fd = testing::make_file(pattern(4096, 1));
  const auto initrd = load_initrd(memory, fd.get(), "initrd.img", 2 * layout::kMib);
  ASSERT_TRUE(initrd);
  EXPECT_LT(initrd->address.value + 4096, 0x7fffffffU);
}

TEST(Initrd, MustFitBesideTheKernel) {
  GuestMemory memory = make_memory(16 * layout::kMib);
  const auto fd = testing::make_file({});
  ASSERT_EQ(::ftruncate(fd.get(), 4 * layout::kMib), 0);
  EXPECT_TRUE(load_initrd(memory, fd.get(), "initrd.img", 12 * layout::kMib));
  for (const uint64_t kernel_end :
       {12 * layout::kMib + 1, 16 * layout::kMib, 17 * layout::kMib, UINT64_MAX}) {
    const auto initrd = load_initrd(memory, fd.get(), "/boot/initrd.img", kernel_end);
    ASSERT_FALSE(initrd) << kernel_end;
    EXPECT_TRUE(initrd.error().message().starts_with("initrd_path: /boot/initrd.img"));
  }
  ASSERT_EQ(::ftruncate(fd.get(), off_t{1} << 40), 0);
  EXPECT_FALSE(load_initrd(memory, fd.get(), "initrd.img", 2 * layout::kMib));
}

TEST(MemoryMap, CoversRamWithoutOverlap) {
  for (const uint64_t mib : {1ULL, 2ULL, 128ULL, 3072ULL, 3073ULL, 8192ULL}) {
    const GuestMemory memory = make_memory(mib * layout::kMib);
    uint64_t ram = 0;
    uint64_t previous_end = 0;
    for (const MemoryRange& range : memory_map(memory)) {
      EXPECT_GE(range.start, previous_end);
      EXPECT_GT(range.size_bytes, 0U);
      previous_end = range.start + range.size_bytes;
      EXPECT_FALSE(memory.slice(Gpa{range.start}, range.size_bytes).empty());
      if (range.type == MemoryType::kRam) {
        ram += range.size_bytes;
        EXPECT_TRUE(previous_end <= layout::kEbdaStart.value ||
                    range.start >= layout::kHighMemoryStart.value);
      }
    }
    EXPECT_EQ(ram,
              mib * layout::kMib - (layout::kHighMemoryStart.value - layout::kEbdaStart.value));
  }
}

TEST(CommandLine, RefusesWhatAKernelCannotTake) {
  const GuestMemory memory = make_memory(layout::kMib);
  EXPECT_TRUE(write_command_line(memory, ""));
  EXPECT_EQ(command_line_in(memory), "");
  const std::string longest(layout::kCommandLineLimit - 1, 'a');
  ASSERT_TRUE(write_command_line(memory, longest));
  EXPECT_EQ(command_line_in(memory), longest);
  using namespace std::string_literals;
  for (const std::string& bad : {longest + "a", "a\0b"s, "a\nb"s, "caf\xc3\xa9"s, "a\tb"s}) {
    const auto result = write_command_line(memory, bad);
    ASSERT_FALSE(result);
    EXPECT_TRUE(result.error().message().starts_with("boot_args: ")) << result.error().message();
  }
}

boot_params zero_page(const GuestMemory& memory) {
  const auto params = memory.load_once<boot_params>(layout::kZeroPage);
  EXPECT_TRUE(params);
  return *params;
}

TEST(LinuxBoot, FillsTheZeroPage) {
  const GuestMemory memory = make_memory(128 * layout::kMib);
  LoadedKernel kernel;
  kernel.entry = {BootProtocol::kLinux64, Gpa{0x1000000}};
  const Initrd initrd{Gpa{0x4000000}, 12345};
  ASSERT_TRUE(write_linux_boot(memory, kernel, initrd, "console=ttyS0", layout::kAcpiTables));
  const boot_params params = zero_page(memory);
  EXPECT_EQ(uint32_t{params.hdr.header}, 0x53726448U);
  EXPECT_EQ(uint16_t{params.hdr.boot_flag}, 0xaa55U);
  EXPECT_EQ(params.hdr.type_of_loader, 0xff);
  EXPECT_EQ(uint32_t{params.hdr.cmd_line_ptr}, layout::kCommandLine.value);
  EXPECT_EQ(uint32_t{params.hdr.ramdisk_image}, 0x4000000U);
  EXPECT_EQ(uint32_t{params.hdr.ramdisk_size}, 12345U);
  EXPECT_EQ(uint64_t{params.acpi_rsdp_addr}, layout::kAcpiTables.value);
  ASSERT_EQ(params.e820_entries, 3);
  EXPECT_EQ(uint64_t{params.e820_table[2].addr}, layout::kHighMemoryStart.value);
  EXPECT_EQ(uint64_t{params.e820_table[2].size}, 127 * layout::kMib);
  EXPECT_EQ(uint32_t{params.e820_table[2].type}, 1U);
  EXPECT_EQ(command_line_in(memory), "console=ttyS0");
}

TEST(LinuxBoot, CarriesTheImagesSetupHeaderAndNothingBehindIt) {
  const GuestMemory memory = make_memory(16 * layout::kMib);
  setup_header header{};
  header.version = 0x020c;
  header.kernel_alignment = 0x200000;
  header.type_of_loader = 0x21;
  const auto bytes = std::as_bytes(std::span(&header, 1));
  LoadedKernel kernel;
  kernel.setup_header.assign(bytes.begin(), bytes.begin() + offsetof(setup_header, pref_address));
  ASSERT_TRUE(write_linux_boot(memory, kernel, std::nullopt, "", Gpa{}));
  const boot_params params = zero_page(memory);
  EXPECT_EQ(uint16_t{params.hdr.version}, 0x020cU);
  EXPECT_EQ(uint32_t{params.hdr.kernel_alignment}, 0x200000U);
  EXPECT_EQ(params.hdr.type_of_loader, 0xff);
  EXPECT_EQ(uint32_t{params.hdr.ramdisk_size}, 0U);
}

TEST(Pvh, FillsStartInfoModuleAndMap) {
  const GuestMemory memory = make_memory((uint64_t{3072} + 64) * layout::kMib);
  const Initrd initrd{Gpa{0x4000000}, 12345};
  ASSERT_TRUE(write_pvh_start_info(memory, initrd, "quiet", layout::kAcpiTables));
  const auto info = memory.load_once<HvmStartInfo>(layout::kPvhStartInfo);
  ASSERT_TRUE(info);
  EXPECT_EQ(info->magic, 0x336ec578U);
  EXPECT_EQ(info->version, 1U);
  EXPECT_EQ(info->command_line_address, layout::kCommandLine.value);
  EXPECT_EQ(info->rsdp_address, layout::kAcpiTables.value);
  ASSERT_EQ(info->module_count, 1U);
  const auto module = memory.load_once<HvmModule>(Gpa{info->module_list_address});
  ASSERT_TRUE(module);
  EXPECT_EQ(module->address, 0x4000000U);
  EXPECT_EQ(module->size_bytes, 12345U);
  const auto map = memory_map(memory);
  ASSERT_EQ(info->memory_map_entries, map.size());
  for (size_t i = 0; i < map.size(); ++i) {
    const auto entry = memory.load_once<HvmMemoryMapEntry>(
        Gpa{info->memory_map_address + i * sizeof(HvmMemoryMapEntry)});
    ASSERT_TRUE(entry);
    EXPECT_EQ(entry->address, map[i].start);
    EXPECT_EQ(entry->size_bytes, map[i].size_bytes);
    EXPECT_EQ(entry->type, static_cast<uint32_t>(map[i].type));
  }
  // It must not run into the zero page.
  EXPECT_LE(info->memory_map_address + map.size() * sizeof(HvmMemoryMapEntry),
            layout::kZeroPage.value);
  EXPECT_EQ(command_line_in(memory), "quiet");
}

TEST(Pvh, HasNoModuleWithoutAnInitrd) {
  const GuestMemory memory = make_memory(16 * layout::kMib);
  ASSERT_TRUE(write_pvh_start_info(memory, std::nullopt, "", Gpa{}));
  const auto info = memory.load_once<HvmStartInfo>(layout::kPvhStartInfo);
  ASSERT_TRUE(info);
  EXPECT_EQ(info->module_count, 0U);
  EXPECT_EQ(info->module_list_address, 0U);
}

TEST(BootTables, TooLittleMemoryIsAnError) {
  const GuestMemory memory = make_memory(4096);
  EXPECT_FALSE(write_pvh_start_info(memory, std::nullopt, "", Gpa{}));
  EXPECT_FALSE(write_linux_boot(memory, {}, std::nullopt, "", Gpa{}));
}

}  // namespace
}  // namespace mote::boot
