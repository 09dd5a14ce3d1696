#include "monitor/boot/entry_state.h"

#include <gtest/gtest.h>

#include "memory/layout.h"

namespace mote::boot {
namespace {

using memory::Gpa;
using memory::GuestMemory;
namespace layout = memory::layout;

constexpr uint64_t kPagingBit = uint64_t{1} << 31;

GuestMemory make_memory(uint64_t size_bytes) {
  auto memory = GuestMemory::create(size_bytes, memory::HugePages::kNone);
  EXPECT_TRUE(memory) << memory.error().message();
  return std::move(*memory);
}

TEST(EntryState, PvhIsFlat32BitProtectedMode) {
  kvm_regs regs{};
  kvm_sregs sregs{};
  regs.rdx = 0x600;  // As after reset.
  sregs.cr4 = 0;
  set_entry_registers({BootProtocol::kPvh, Gpa{0x1000850}}, regs, sregs);
  EXPECT_EQ(regs.rip, 0x1000850U);
  EXPECT_EQ(regs.rbx, layout::kPvhStartInfo.value);
  EXPECT_EQ(regs.rdx, 0U);
  EXPECT_EQ(regs.rflags, 2U);
  EXPECT_EQ(sregs.cr0 & 1, 1U);
  EXPECT_EQ(sregs.cr0 & kPagingBit, 0U);
  EXPECT_EQ(sregs.cr4, 0U);
  EXPECT_EQ(sregs.efer, 0U);
  EXPECT_EQ(sregs.cs.db, 1);
  EXPECT_EQ(sregs.cs.l, 0);
  for (const kvm_segment& segment : {sregs.cs, sregs.ds, sregs.es, sregs.ss}) {
    EXPECT_EQ(segment.base, 0U);
    EXPECT_EQ(segment.limit, 0xffffffffU);
    EXPECT_EQ(segment.present, 1);
  }
  EXPECT_EQ(sregs.tr.limit, 0x67U);
}

TEST(EntryState, Linux64IsLongModeWithTheZeroPage) {
  kvm_regs regs{};
  kvm_sregs sregs{};
  set_entry_registers({BootProtocol::kLinux64, Gpa{0x1000200}}, regs, sregs);
  EXPECT_EQ(regs.rip, 0x1000200U);
  EXPECT_EQ(regs.rsi, layout::kZeroPage.value);
  EXPECT_EQ(sregs.cr3, layout::kPml4.value);
  EXPECT_EQ(sregs.cr0 & kPagingBit, kPagingBit);
  EXPECT_EQ(sregs.cr4 & 0x20, 0x20U);     // PAE
  EXPECT_EQ(sregs.efer & 0x500, 0x500U);  // LME, LMA
  EXPECT_EQ(sregs.cs.l, 1);
  EXPECT_EQ(sregs.cs.db, 0);
  EXPECT_EQ(sregs.cs.selector, 0x10);  // __BOOT_CS (boot.rst, "64-bit Boot Protocol").
  EXPECT_EQ(sregs.ds.selector, 0x18);  // __BOOT_DS
}

/// Walks the tables as the processor would.
std::optional<uint64_t> translate(const GuestMemory& memory, uint64_t address) {
  constexpr uint64_t kAddressMask = 0x000ffffffffff000;
  uint64_t table = layout::kPml4.value;
  for (int level = 3; level >= 1; --level) {
    const uint64_t index = address >> (12 + 9 * level) & 0x1ff;
    const auto entry = memory.load_once<uint64_t>(Gpa{table + index * 8});
    if (!entry || (*entry & 3) != 3) return std::nullopt;
    if (level == 1) {
      if ((*entry & 0x80) == 0) return std::nullopt;
      return (*entry & kAddressMask) + (address & 0x1fffff);
    }
    table = *entry & kAddressMask;
  }
  return std::nullopt;
}

TEST(EntryState, PageTablesMapTheFirstGibibyteOntoItself) {
  const GuestMemory memory = make_memory(layout::kMib);
  ASSERT_TRUE(write_page_tables_and_gdt(memory));
  for (const uint64_t address : {uint64_t{0}, layout::kZeroPage.value, uint64_t{0x1fffff},
                                 uint64_t{0x1000200}, kIdentityMapBytes - 1}) {
    EXPECT_EQ(translate(memory, address), address);
  }
  EXPECT_FALSE(translate(memory, kIdentityMapBytes));
}

TEST(EntryState, GdtHoldsTheSegmentsThatAreLoaded) {
  const GuestMemory memory = make_memory(layout::kMib);
  ASSERT_TRUE(write_page_tables_and_gdt(memory));
  kvm_regs regs{};
  kvm_sregs sregs{};
  set_entry_registers({BootProtocol::kLinux64, Gpa{0x1000200}}, regs, sregs);
  const auto descriptor_at = [&](uint16_t selector) {
    EXPECT_LE(selector + 7, sregs.gdt.limit);
    return memory.load_once<uint64_t>(Gpa{sregs.gdt.base + selector}).value_or(0);
  };
  EXPECT_EQ(descriptor_at(0), 0U);
  EXPECT_EQ(descriptor_at(sregs.cs.selector), 0x00af9b000000ffffU);
  EXPECT_EQ(descriptor_at(sregs.ds.selector), 0x00cf93000000ffffU);
  EXPECT_EQ(descriptor_at(sregs.tr.selector), 0x00008b0000000067U);
  EXPECT_EQ(sregs.idt.limit, 0U);
}

TEST(EntryState, TooLittleMemoryIsAnError) {
  EXPECT_FALSE(write_page_tables_and_gdt(make_memory(4096)));
}

}  // namespace
}  // namespace mote::boot
