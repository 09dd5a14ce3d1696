#include "monitor/seccomp/constants.h"

#include <asm/ioctls.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <array>
#include <utility>

#include "monitor/kvm_table.h"

namespace mote::monitor::seccomp {
namespace {

// What pthread_create of the C library passes to clone(2).
constexpr uint64_t kThreadFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                                  CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID |
                                  CLONE_CHILD_CLEARTID;
// SIGRTMIN is a call of the C library; it keeps the first two real-time signals to itself.
constexpr uint64_t kFirstRealTimeSignal = 34;

#define NAMED(name) \
  { #name, static_cast < uint64_t>(name) }

constexpr auto kConstants = std::to_array<std::pair<std::string_view, uint64_t>>({
    {"CLONE_THREAD_FLAGS", kThreadFlags},
    {"SIGRTMIN", kFirstRealTimeSignal},
    NAMED(SIGABRT),
    NAMED(AF_UNIX),
    NAMED(CLONE_NEWCGROUP),
    NAMED(CLONE_NEWIPC),
    NAMED(CLONE_NEWNET),
    NAMED(CLONE_NEWNS),
    NAMED(CLONE_NEWPID),
    NAMED(CLONE_NEWUSER),
    NAMED(CLONE_NEWUTS),
    NAMED(BLKGETSIZE64),
    NAMED(F_DUPFD_CLOEXEC),
    NAMED(F_GETFD),
    NAMED(F_GETFL),
    NAMED(F_SETFD),
    NAMED(F_SETFL),
    NAMED(KVM_CHECK_EXTENSION),
    NAMED(KVM_CREATE_VCPU),
    NAMED(KVM_CREATE_VM),
    NAMED(KVM_ENABLE_CAP),
    NAMED(KVM_GET_CLOCK),
    {"KVM_GET_CPUID2", kGetCpuid2},
    NAMED(KVM_GET_DEBUGREGS),
    NAMED(KVM_GET_DIRTY_LOG),
    NAMED(KVM_GET_LAPIC),
    NAMED(KVM_GET_MP_STATE),
    {"KVM_GET_MSRS", kGetMsrs},
    {"KVM_GET_MSR_INDEX_LIST", kGetMsrIndexList},
    NAMED(KVM_GET_REGS),
    NAMED(KVM_GET_SREGS),
    {"KVM_GET_SUPPORTED_CPUID", kGetSupportedCpuid},
    NAMED(KVM_GET_TSC_KHZ),
    NAMED(KVM_GET_VCPU_EVENTS),
    NAMED(KVM_GET_VCPU_MMAP_SIZE),
    NAMED(KVM_GET_XCRS),
    {"KVM_GET_XSAVE2", kGetXsave2},
    {"KVM_GET_XSAVE", kGetXsave},
    NAMED(KVM_IOEVENTFD),
    NAMED(KVM_IRQFD),
    NAMED(KVM_KVMCLOCK_CTRL),
    NAMED(KVM_RUN),
    NAMED(KVM_SET_CLOCK),
    {"KVM_SET_CPUID2", kSetCpuid2},
    NAMED(KVM_SET_DEBUGREGS),
    {"KVM_SET_GSI_ROUTING", kSetGsiRouting},
    NAMED(KVM_SET_IDENTITY_MAP_ADDR),
    NAMED(KVM_SET_LAPIC),
    NAMED(KVM_SET_MP_STATE),
    {"KVM_SET_MSRS", kSetMsrs},
    NAMED(KVM_SET_REGS),
    NAMED(KVM_SET_SREGS),
    NAMED(KVM_SET_TSS_ADDR),
    NAMED(KVM_SET_USER_MEMORY_REGION),
    NAMED(KVM_SET_VCPU_EVENTS),
    NAMED(KVM_SET_XCRS),
    {"KVM_SET_XSAVE", kSetXsave},
    NAMED(MADV_DONTNEED),
    NAMED(PROT_EXEC),
    NAMED(PR_SET_NAME),
    NAMED(PR_SET_NO_NEW_PRIVS),
    NAMED(SECCOMP_SET_MODE_FILTER),
    NAMED(SIOCGIFINDEX),
    NAMED(TCGETS),
    NAMED(TCSETS),
    NAMED(TIOCLINUX),
    NAMED(TIOCSTI),
    NAMED(TUNSETIFF),
    NAMED(TUNSETOFFLOAD),
    NAMED(TUNSETQUEUE),
    NAMED(TUNSETVNETHDRSZ),
    NAMED(UFFDIO_API),
    NAMED(UFFDIO_REGISTER),
    NAMED(USERFAULTFD_IOC_NEW),
});
#undef NAMED

}  // namespace

std::optional<uint64_t> find_constant(std::string_view name) {
  for (const auto& [known, value] : kConstants) {
    if (known == name) return value;
  }
  return std::nullopt;
}

}  // namespace mote::monitor::seccomp
