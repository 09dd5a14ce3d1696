// Which ioctls a device knows: each is tried with an argument that no ioctl can use, so that a
// known one complains of the argument (or needs none) and an unknown one answers ENOTTY. Nothing is
// run or created.

#include <errno.h>

#include <cstdio>
#include <cstring>

#include "tests/kvm_abi/machine.h"

namespace kvm_abi {
namespace {

enum class On { kSystem, kVm, kVcpu };

struct Ioctl {
  On on;
  const char* name;
  unsigned long command;
  unsigned long argument;  // Null where a pointer is wanted.
};

#define KVM_ABI_KNOWN(on, name, ...)       \
  Ioctl {                                  \
    On::on, #name, name, __VA_ARGS__ + 0ul \
  }

// What Linux 6.1 documents for x86, but device assignment, Xen, SEV, Hyper-V and nesting.
constexpr Ioctl kIoctls[] = {
    KVM_ABI_KNOWN(kSystem, KVM_GET_API_VERSION),
    KVM_ABI_KNOWN(kSystem, KVM_CREATE_VM, ~0ul),
    KVM_ABI_KNOWN(kSystem, KVM_CHECK_EXTENSION),
    KVM_ABI_KNOWN(kSystem, KVM_GET_VCPU_MMAP_SIZE),
    KVM_ABI_KNOWN(kSystem, KVM_GET_MSR_INDEX_LIST),
    KVM_ABI_KNOWN(kSystem, KVM_GET_MSR_FEATURE_INDEX_LIST),
    KVM_ABI_KNOWN(kSystem, KVM_GET_SUPPORTED_CPUID),
    KVM_ABI_KNOWN(kSystem, KVM_GET_EMULATED_CPUID),
    KVM_ABI_KNOWN(kSystem, KVM_GET_MSRS),
    KVM_ABI_KNOWN(kSystem, KVM_X86_GET_MCE_CAP_SUPPORTED),
    KVM_ABI_KNOWN(kVm, KVM_CHECK_EXTENSION),
    KVM_ABI_KNOWN(kVm, KVM_ENABLE_CAP),
    KVM_ABI_KNOWN(kVm, KVM_CREATE_VCPU, ~0ul),
    KVM_ABI_KNOWN(kVm, KVM_SET_USER_MEMORY_REGION),
    KVM_ABI_KNOWN(kVm, KVM_GET_DIRTY_LOG),
    KVM_ABI_KNOWN(kVm, KVM_CLEAR_DIRTY_LOG),
    KVM_ABI_KNOWN(kVm, KVM_RESET_DIRTY_RINGS),
    KVM_ABI_KNOWN(kVm, KVM_SET_TSS_ADDR),
    KVM_ABI_KNOWN(kVm, KVM_SET_IDENTITY_MAP_ADDR),
    KVM_ABI_KNOWN(kVm, KVM_SET_BOOT_CPU_ID),
    KVM_ABI_KNOWN(kVm, KVM_CREATE_IRQCHIP),
    KVM_ABI_KNOWN(kVm, KVM_GET_IRQCHIP),
    KVM_ABI_KNOWN(kVm, KVM_SET_IRQCHIP),
    KVM_ABI_KNOWN(kVm, KVM_CREATE_PIT2),
    KVM_ABI_KNOWN(kVm, KVM_GET_PIT2),
    KVM_ABI_KNOWN(kVm, KVM_SET_PIT2),
    KVM_ABI_KNOWN(kVm, KVM_REINJECT_CONTROL),
    KVM_ABI_KNOWN(kVm, KVM_IRQ_LINE),
    KVM_ABI_KNOWN(kVm, KVM_IRQ_LINE_STATUS),
    KVM_ABI_KNOWN(kVm, KVM_SET_GSI_ROUTING),
    KVM_ABI_KNOWN(kVm, KVM_SIGNAL_MSI),
    KVM_ABI_KNOWN(kVm, KVM_IRQFD),
    KVM_ABI_KNOWN(kVm, KVM_IOEVENTFD),
    KVM_ABI_KNOWN(kVm, KVM_GET_CLOCK),
    KVM_ABI_KNOWN(kVm, KVM_SET_CLOCK),
    KVM_ABI_KNOWN(kVm, KVM_SET_TSC_KHZ),
    KVM_ABI_KNOWN(kVm, KVM_GET_TSC_KHZ),
    KVM_ABI_KNOWN(kVm, KVM_CREATE_DEVICE),
    KVM_ABI_KNOWN(kVm, KVM_SET_PMU_EVENT_FILTER),
    KVM_ABI_KNOWN(kVm, KVM_X86_SET_MSR_FILTER),
    KVM_ABI_KNOWN(kVm, KVM_GET_STATS_FD, ~0ul),
    KVM_ABI_KNOWN(kVcpu, KVM_RUN, ~0ul),
    KVM_ABI_KNOWN(kVcpu, KVM_GET_REGS),
    KVM_ABI_KNOWN(kVcpu, KVM_SET_REGS),
    KVM_ABI_KNOWN(kVcpu, KVM_GET_SREGS),
    KVM_ABI_KNOWN(kVcpu, KVM_SET_SREGS),
    KVM_ABI_KNOWN(kVcpu, KVM_GET_SREGS2),
    KVM_ABI_KNOWN(kVcpu, KVM_SET_SREGS2),
    KVM_ABI_KNOWN(kVcpu, KVM_GET_FPU),
    KVM_ABI_KNOWN(kVcpu, KVM_SET_FPU),
    KVM_ABI_KNOWN(kVcpu, KVM_GET_XSAVE),
    KVM_ABI_KNOWN(kVcpu, KVM_GET_XSAVE2),
    KVM_ABI_KNOWN(kVcpu, KVM_SET_XSAVE),
    KVM_ABI_KNOWN(kVcpu, KVM_GET_XCRS),
    KVM_ABI_KNOWN(kVcpu, KVM_SET_XCRS),
    KVM_ABI_KNOWN(kVcpu, KVM_GET_MSRS),
    KVM_ABI_KNOWN(kVcpu, KVM_SET_MSRS),
    KVM_ABI_KNOWN(kVcpu, KVM_SET_CPUID),
    KVM_ABI_KNOWN(kVcpu, KVM_SET_CPUID2),
    KVM_ABI_KNOWN(kVcpu, KVM_GET_CPUID2),
    KVM_ABI_KNOWN(kVcpu, KVM_GET_LAPIC),
    KVM_ABI_KNOWN(kVcpu, KVM_SET_LAPIC),
    KVM_ABI_KNOWN(kVcpu, KVM_GET_MP_STATE),
    KVM_ABI_KNOWN(kVcpu, KVM_SET_MP_STATE),
    KVM_ABI_KNOWN(kVcpu, KVM_GET_VCPU_EVENTS),
    KVM_ABI_KNOWN(kVcpu, KVM_SET_VCPU_EVENTS),
    KVM_ABI_KNOWN(kVcpu, KVM_GET_DEBUGREGS),
    KVM_ABI_KNOWN(kVcpu, KVM_SET_DEBUGREGS),
    KVM_ABI_KNOWN(kVcpu, KVM_SET_GUEST_DEBUG),
    KVM_ABI_KNOWN(kVcpu, KVM_TRANSLATE),
    KVM_ABI_KNOWN(kVcpu, KVM_INTERRUPT),
    KVM_ABI_KNOWN(kVcpu, KVM_NMI),
    KVM_ABI_KNOWN(kVcpu, KVM_SMI),
    KVM_ABI_KNOWN(kVcpu, KVM_SET_SIGNAL_MASK),
    KVM_ABI_KNOWN(kVcpu, KVM_KVMCLOCK_CTRL),
    KVM_ABI_KNOWN(kVcpu, KVM_GET_TSC_KHZ),
    KVM_ABI_KNOWN(kVcpu, KVM_SET_TSC_KHZ),
    KVM_ABI_KNOWN(kVcpu, KVM_SET_VAPIC_ADDR),
    KVM_ABI_KNOWN(kVcpu, KVM_TPR_ACCESS_REPORTING),
    KVM_ABI_KNOWN(kVcpu, KVM_X86_SETUP_MCE),
    KVM_ABI_KNOWN(kVcpu, KVM_X86_SET_MCE),
    KVM_ABI_KNOWN(kVcpu, KVM_ENABLE_CAP),
};

}  // namespace

void list_ioctls(const Descriptor& system) {
  constexpr const char* kLevels[] = {"system", "vm", "vcpu"};
  for (const Ioctl& each : kIoctls) {
    // Afresh each time: what one ioctl changed does not touch the next.
    Machine machine(system, Interrupts::kSplit);
    const Descriptor* const on[] = {&system, &machine.vm(), &machine.vcpu().fd()};
    const auto level = static_cast<std::size_t>(each.on);
    const int result = on[level]->try_ioctl(each.command, each.argument);
    std::printf("ioctl %s %s %s\n", kLevels[level], each.name,
                result < 0 ? strerrorname_np(-result) : "0");
  }
}

}  // namespace kvm_abi
