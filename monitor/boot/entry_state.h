#pragma once
// The state of the boot vCPU at the kernel's first instruction, for either protocol.

#include <linux/kvm.h>

#include "base/result.h"
#include "memory/guest_memory.h"
#include "monitor/boot/kernel_image.h"

namespace mote::boot {

/// What write_page_tables_and_gdt() maps from 0 on: a kLinux64 kernel must lie inside.
inline constexpr uint64_t kIdentityMapBytes = uint64_t{1} << 30;

/// Changes what differs from the reset state: flat segments and, for kLinux64, long mode on the
/// identity map.
void set_entry_registers(const Entry& entry, kvm_regs& regs, kvm_sregs& sregs);

/// The identity map of the first GiB in 2 MiB pages, and the GDT both protocols may reload from.
base::Result<> write_page_tables_and_gdt(const memory::GuestMemory& memory);

}  // namespace mote::boot
