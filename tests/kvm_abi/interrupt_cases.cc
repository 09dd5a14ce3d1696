// Interrupts of every origin: the monitor, the LAPIC's timer, other processors, messages.

#include <errno.h>
#include <sys/time.h>

#include <cstring>

#include "tests/kvm_abi/machine.h"

KVM_ABI_GUEST(real_ap)
KVM_ABI_GUEST(long_done)
KVM_ABI_GUEST(long_wait)
KVM_ABI_GUEST(long_window)
KVM_ABI_GUEST(long_xapic_timer)
KVM_ABI_GUEST(long_x2apic_periodic)
KVM_ABI_GUEST(long_held_timer)
KVM_ABI_GUEST(long_deadline)
KVM_ABI_GUEST(long_self_ipi)
KVM_ABI_GUEST(long_priority)
KVM_ABI_GUEST(long_start_processor)

namespace kvm_abi {
namespace {

/// A 64-bit guest with its LAPIC in x2APIC mode.
void load_x2apic(Machine& machine, Guest guest) {
  machine.vcpu().set_cpuid(machine.system());
  kvm_sregs sregs = machine.vcpu().sregs();
  sregs.apic_base = 0xfee00d00;
  machine.vcpu().set_sregs(sregs);
  machine.load_long(guest);
}

void user_interrupt(const Descriptor& system) {
  Machine machine(system);
  machine.load_long(long_wait());
  kvm_regs regs = machine.vcpu().regs();
  regs.rflags |= 0x200;
  machine.vcpu().set_regs(regs);
  kvm_interrupt interrupt{0x25};
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_INTERRUPT, &interrupt);
  machine.vcpu().expect_vector(0x25, "KVM_INTERRUPT");
}

void interrupt_window(const Descriptor& system) {
  Machine machine(system);
  Vcpu& vcpu = machine.vcpu();
  machine.load_long(long_window());
  vcpu.expect_end("the guest with interrupts off");
  expect(vcpu.run_page().if_flag == 0, "if_flag is 1 with interrupts off");
  expect(vcpu.run_page().ready_for_interrupt_injection == 0,
         "ready for an interrupt with interrupts off");
  vcpu.run_page().request_interrupt_window = 1;
  vcpu.expect_exit(KVM_EXIT_IRQ_WINDOW_OPEN, "the guest turns interrupts on");
  expect(vcpu.run_page().ready_for_interrupt_injection == 1,
         "not ready for an interrupt in the window");
  vcpu.run_page().request_interrupt_window = 0;
  kvm_interrupt interrupt{0x26};
  KVM_ABI_IOCTL(vcpu.fd(), KVM_INTERRUPT, &interrupt);
  vcpu.expect_vector(0x26, "an interrupt in the window");
}

void nmi(const Descriptor& system) {
  Machine machine(system);
  machine.load_long(long_done());
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_NMI);
  machine.vcpu().expect_vector(2, "KVM_NMI");
  machine.vcpu().expect_end("after the NMI");
}

// A second NMI waits for the end of the first one's handler.
void nmi_blocked(const Descriptor& system) {
  Machine machine(system);
  machine.load_long(long_done());
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_NMI);
  machine.vcpu().expect_vector(2, "the first NMI");
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_NMI);
  machine.vcpu().expect_vector(2, "the second NMI");
  machine.vcpu().expect_end("after both");
}

void injected_exception(const Descriptor& system) {
  Machine machine(system);
  machine.load_long(long_done());
  kvm_vcpu_events events{};
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_GET_VCPU_EVENTS, &events);
  events.exception.injected = 1;
  events.exception.nr = 13;
  events.exception.has_error_code = 1;
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_SET_VCPU_EVENTS, &events);
  machine.vcpu().expect_vector(13, "an exception set from outside");
  machine.vcpu().expect_end("after it");
}

void xapic_timer(const Descriptor& system) {
  Machine machine(system, Interrupts::kSplit);
  machine.load_long(long_xapic_timer());
  const int result = machine.vcpu().enter();
  expect(result == 0, "KVM_RUN fails");
  // The guest may reach its end before the timer does; it then halts.
  if (machine.vcpu().run_page().io.port == kEndPort)
    machine.vcpu().expect_vector(0x28, "the timer");
}

void periodic_timer(const Descriptor& system) {
  Machine machine(system, Interrupts::kSplit);
  load_x2apic(machine, long_x2apic_periodic());
  for (int i = 0; i < 3; ++i) machine.vcpu().expect_vector(0x42, "a periodic timer");
}

/// Interrupts KVM_RUN again and again: one signal might come before it begins.
class Alarms final {
 public:
  Alarms() {
    signal(SIGALRM, [](int) {});
    const itimerval period{{0, 20000}, {0, 20000}};
    setitimer(ITIMER_REAL, &period, nullptr);
  }
  ~Alarms() {
    const itimerval none{};
    setitimer(ITIMER_REAL, &none, nullptr);
  }
  Alarms(const Alarms&) = delete;
  Alarms& operator=(const Alarms&) = delete;
};

// A timer whose interrupt has to wait does not end HLT.
void held_timer(const Descriptor& system) {
  Machine machine(system, Interrupts::kSplit);
  Vcpu& vcpu = machine.vcpu();
  load_x2apic(machine, long_held_timer());
  {
    const Alarms alarms;
    for (int i = 0; i < 3; ++i) expect(vcpu.enter() == -EINTR, "the guest goes on behind HLT");
  }
  kvm_mp_state state{};
  KVM_ABI_IOCTL(vcpu.fd(), KVM_GET_MP_STATE, &state);
  expect_equal(state.mp_state, KVM_MP_STATE_HALTED, "the MP state in HLT");
  kvm_sregs sregs = vcpu.sregs();
  expect_equal(sregs.cr8, 15, "the task's priority");
  sregs.cr8 = 0;
  vcpu.set_sregs(sregs);
  vcpu.expect_vector(0x42, "the timer, once the priority lets it");
}

void deadline_timer(const Descriptor& system) {
  Machine machine(system, Interrupts::kSplit);
  need_capability(system, KVM_CAP_TSC_DEADLINE_TIMER, "KVM_CAP_TSC_DEADLINE_TIMER");
  load_x2apic(machine, long_deadline());
  machine.vcpu().expect_vector(0x40, "the TSC deadline");
  expect_equal(machine.vcpu().msr(0x6e0), 0, "IA32_TSC_DEADLINE after it");
}

void self_ipi(const Descriptor& system) {
  Machine machine(system, Interrupts::kSplit);
  load_x2apic(machine, long_self_ipi());
  machine.vcpu().expect_vector(0x41, "a self IPI");
}

void start_processor(const Descriptor& system) {
  Machine machine(system, Interrupts::kSplit, 2);
  machine.vcpu(1).set_cpuid(system);
  std::memcpy(machine.memory() + kProcessorCode, real_ap().data(), real_ap().size());
  load_x2apic(machine, long_start_processor());
  machine.vcpu(0).expect_end("INIT and SIPI are sent");
  expect_equal(machine.vcpu(1).expect_out(kEndPort, 1, "the started processor"), 0x77, "its byte");
  const kvm_sregs sregs = machine.vcpu(1).sregs();
  expect_equal(sregs.cs.selector, kProcessorCode >> 4, "its CS");
}

void signal_msi(const Descriptor& system) {
  Machine machine(system, Interrupts::kSplit);
  need_capability(system, KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI");
  machine.start_waiting();
  kvm_msi msi{};
  msi.address_lo = 0xfee00000;
  msi.data = 0x51;
  expect(KVM_ABI_IOCTL(machine.vm(), KVM_SIGNAL_MSI, &msi) > 0, "the message reaches nobody");
  machine.vcpu().expect_vector(0x51, "a message");
  msi.address_lo = 0xfee05000;
  expect(KVM_ABI_IOCTL(machine.vm(), KVM_SIGNAL_MSI, &msi) == 0,
         "a message to nobody reaches somebody");
}

// CR8 is the upper half of the LAPIC's task priority.
void task_priority(const Descriptor& system) {
  constexpr std::size_t kTpr = 0x80;
  Machine machine(system, Interrupts::kSplit);
  kvm_sregs sregs = machine.vcpu().sregs();
  sregs.cr8 = 5;
  machine.vcpu().set_sregs(sregs);
  kvm_lapic_state lapic{};
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_GET_LAPIC, &lapic);
  expect_equal(static_cast<std::uint8_t>(lapic.regs[kTpr]), 0x50, "the task priority");
  lapic.regs[kTpr] = 0x7a;
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_SET_LAPIC, &lapic);
  expect_equal(machine.vcpu().sregs().cr8, 7, "CR8");
}

// Without a LAPIC in the kernel it is in kvm_run, both ways, and user space hears when it falls.
void user_task_priority(const Descriptor& system) {
  Machine machine(system);
  kvm_run& run = machine.vcpu().run_page();
  kvm_regs regs{};
  regs.rcx = 7;
  regs.rdx = 3;
  machine.load_long(long_priority(), regs);
  run.cr8 = 5;
  machine.vcpu().expect_exit(KVM_EXIT_SET_TPR, "a lower priority");
  expect_equal(run.cr8, 3, "the priority in kvm_run");
  expect_equal(machine.vcpu().regs().rax, 5, "the priority that the guest found");
  run.cr8 = 9;
  machine.vcpu().expect_end("the guest's end");
  expect_equal(machine.vcpu().regs().rbx, 9, "the priority that user space changed");
}

// Messages that are no interrupt with a vector.
void message_modes(const Descriptor& system) {
  Machine machine(system, Interrupts::kSplit, 2);
  machine.start_waiting();
  kvm_msi msi{};
  msi.address_lo = 0xfee00000;
  msi.data = 0x451;
  expect(KVM_ABI_IOCTL(machine.vm(), KVM_SIGNAL_MSI, &msi) > 0, "an NMI reaches nobody");
  machine.vcpu().expect_vector(2, "an NMI by message");
  kvm_mp_state state{};
  msi.address_lo = 0xfee01000;
  msi.data = 0x500;
  KVM_ABI_IOCTL(machine.vm(), KVM_SIGNAL_MSI, &msi);
  KVM_ABI_IOCTL(machine.vcpu(1).fd(), KVM_GET_MP_STATE, &state);
  expect_equal(state.mp_state, KVM_MP_STATE_INIT_RECEIVED, "the state after INIT by message");
  msi.data = 0x612;
  KVM_ABI_IOCTL(machine.vm(), KVM_SIGNAL_MSI, &msi);
  KVM_ABI_IOCTL(machine.vcpu(1).fd(), KVM_GET_MP_STATE, &state);
  expect_equal(state.mp_state, KVM_MP_STATE_RUNNABLE, "the state after SIPI by message");
  expect_equal(machine.vcpu(1).sregs().cs.base, 0x12000, "the base of CS after SIPI by message");
}

// Only pins of the IOAPIC have an end that user space waits for, and only by level.
void other_eoi(const Descriptor& system) {
  Machine machine(system, Interrupts::kSplit);
  machine.start_waiting();
  constexpr std::uint32_t kLevelAsserted = 0x8000 | 0x4000;
  KVM_ABI_IOCTL(machine.vm(), KVM_SET_GSI_ROUTING, message_route(200, kLevelAsserted | 0x55).get());
  kvm_msi msi{};
  msi.address_lo = 0xfee00000;
  msi.data = kLevelAsserted | 0x55;
  KVM_ABI_IOCTL(machine.vm(), KVM_SIGNAL_MSI, &msi);
  machine.vcpu().expect_vector(0x55, "a level-triggered message of no pin");
  msi.data = 0x65;
  KVM_ABI_IOCTL(machine.vm(), KVM_SIGNAL_MSI, &msi);
  machine.vcpu().expect_vector(0x65, "the next message, without an exit for the end");
}

// Level-triggered, so that the end of interrupt goes to the IOAPIC in user space.
void ioapic_eoi(const Descriptor& system) {
  Machine machine(system, Interrupts::kSplit);
  machine.start_waiting();
  constexpr std::uint32_t kLevelAsserted = 0x8000 | 0x4000;
  OneRoute routes = message_route(5, kLevelAsserted | 0x55);
  KVM_ABI_IOCTL(machine.vm(), KVM_SET_GSI_ROUTING, routes.get());
  kvm_msi msi{};
  msi.address_lo = routes->entries[0].u.msi.address_lo;
  msi.data = routes->entries[0].u.msi.data;
  KVM_ABI_IOCTL(machine.vm(), KVM_SIGNAL_MSI, &msi);
  machine.vcpu().expect_vector(0x55, "a level-triggered message");
  machine.vcpu().expect_exit(KVM_EXIT_IOAPIC_EOI, "its end");
  expect_equal(machine.vcpu().run_page().eoi.vector, 0x55, "the vector of the end");
}

constexpr Case kCases[] = {
    {"user-interrupt", user_interrupt},
    {"interrupt-window", interrupt_window},
    {"nmi", nmi},
    {"nmi-blocked", nmi_blocked},
    {"injected-exception", injected_exception},
    {"xapic-timer", xapic_timer},
    {"periodic-timer", periodic_timer},
    {"held-timer", held_timer},
    {"deadline-timer", deadline_timer},
    {"self-ipi", self_ipi},
    {"start-processor", start_processor},
    {"signal-msi", signal_msi},
    {"task-priority", task_priority},
    {"user-task-priority", user_task_priority},
    {"message-modes", message_modes},
    {"other-eoi", other_eoi},
    {"ioapic-eoi", ioapic_eoi},
};

}  // namespace

std::span<const Case> interrupt_cases() {
  return kCases;
}

}  // namespace kvm_abi
