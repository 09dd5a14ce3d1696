#include "monitor/boot/entry_state.h"

#include <array>

#include "memory/layout.h"

namespace mote::boot {
namespace layout = memory::layout;
namespace {

// Selectors of the Linux boot protocol (__BOOT_CS, __BOOT_DS), and a task segment.
constexpr uint16_t kCodeSelector = 0x10;
constexpr uint16_t kDataSelector = 0x18;
constexpr uint16_t kTaskSelector = 0x20;

constexpr uint8_t kTypeCode = 0xb;  // Execute, read, accessed.
constexpr uint8_t kTypeData = 0x3;  // Read, write, accessed.
constexpr uint8_t kTypeBusyTask = 0xb;

constexpr uint64_t kCr0ProtectedMode = 1U << 0;
constexpr uint64_t kCr0ExtensionType = 1U << 4;
constexpr uint64_t kCr0Paging = 1U << 31;
constexpr uint64_t kCr4PhysicalAddressExtension = 1U << 5;
constexpr uint64_t kEferLongMode = 1U << 8 | 1U << 10;  // LME and LMA.

kvm_segment flat_segment(uint16_t selector, uint8_t type) {
  kvm_segment segment{};
  segment.limit = 0xffffffff;
  segment.selector = selector;
  segment.type = type;
  segment.present = 1;
  segment.s = 1;
  segment.g = 1;
  return segment;
}

/// The descriptor a kvm_segment would be loaded from (Intel SDM vol. 3A §3.4.5); base 0.
uint64_t descriptor(const kvm_segment& segment) {
  const uint64_t limit = segment.g != 0 ? segment.limit >> 12 : segment.limit;
  return (limit & 0xffff) | uint64_t{segment.type} << 40 | uint64_t{segment.s} << 44 |
         uint64_t{segment.dpl} << 45 | uint64_t{segment.present} << 47 | (limit >> 16 & 0xf) << 48 |
         uint64_t{segment.l} << 53 | uint64_t{segment.db} << 54 | uint64_t{segment.g} << 55;
}

kvm_segment code_segment(BootProtocol protocol) {
  kvm_segment code = flat_segment(kCodeSelector, kTypeCode);
  code.l = protocol == BootProtocol::kLinux64 ? 1 : 0;
  code.db = protocol == BootProtocol::kLinux64 ? 0 : 1;
  return code;
}

kvm_segment data_segment() {
  kvm_segment data = flat_segment(kDataSelector, kTypeData);
  data.db = 1;
  return data;
}

kvm_segment task_segment() {
  kvm_segment task{};
  task.limit = 0x67;
  task.selector = kTaskSelector;
  task.type = kTypeBusyTask;
  task.present = 1;
  return task;
}

}  // namespace

void set_entry_registers(const Entry& entry, kvm_regs& regs, kvm_sregs& sregs) {
  sregs.cs = code_segment(entry.protocol);
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data_segment();
  sregs.tr = task_segment();
  sregs.gdt = {.base = layout::kGdt.value, .limit = 5 * 8 - 1, .padding = {}};
  sregs.idt = {};  // Empty: an exception before the kernel has its own table ends the guest.
  sregs.cr0 = kCr0ProtectedMode | kCr0ExtensionType;
  regs = {};
  regs.rflags = 2;
  regs.rip = entry.address.value;
  if (entry.protocol == BootProtocol::kPvh) {
    regs.rbx = layout::kPvhStartInfo.value;
    return;
  }
  regs.rsi = layout::kZeroPage.value;
  regs.rsp = regs.rbp = layout::kBootStackTop.value;
  sregs.cr3 = layout::kPml4.value;
  sregs.cr4 = kCr4PhysicalAddressExtension;
  sregs.cr0 |= kCr0Paging;
  sregs.efer |= kEferLongMode;
}

base::Result<> write_page_tables_and_gdt(const memory::GuestMemory& memory) {
  constexpr uint64_t kPresentWritable = 0x3;
  constexpr uint64_t kLargePage = 1U << 7;
  constexpr uint64_t kLargePageBytes = 2 * layout::kMib;
  const memory::Gpa directory_pointers = layout::kPml4.offset(layout::kPageSize);
  const memory::Gpa directory = directory_pointers.offset(layout::kPageSize);
  std::array<uint64_t, kIdentityMapBytes / kLargePageBytes> large_pages{};
  static_assert(sizeof(large_pages) == layout::kPageSize);
  for (size_t i = 0; i < large_pages.size(); ++i) {
    large_pages[i] = i * kLargePageBytes | kLargePage | kPresentWritable;
  }
  const std::array<uint64_t, 5> gdt = {0, 0, descriptor(code_segment(BootProtocol::kLinux64)),
                                       descriptor(data_segment()), descriptor(task_segment())};
  const bool stored = memory.store(layout::kPml4, directory_pointers.value | kPresentWritable) &&
                      memory.store(directory_pointers, directory.value | kPresentWritable) &&
                      memory.store(directory, large_pages) && memory.store(layout::kGdt, gdt);
  if (stored) return {};
  return base::fail(base::ErrorCode::kInvalidArgument,
                    "mem_size_mib: guest memory is too small to boot");
}

}  // namespace mote::boot
