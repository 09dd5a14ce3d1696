// What the processor does on its own and KVM has to do in its place: faults, page table bits,
// events that could not be delivered.

#include <errno.h>
#include <signal.h>
#include <time.h>

#include <cstring>

#include "tests/kvm_abi/machine.h"

KVM_ABI_GUEST(real_pae)
KVM_ABI_GUEST(real_ins_over_limit)
KVM_ABI_GUEST(real_outs_over_limit)
KVM_ABI_GUEST(flat_outs)
KVM_ABI_GUEST(flat_write_cr4)
KVM_ABI_GUEST(long_done)
KVM_ABI_GUEST(long_halts)
KVM_ABI_GUEST(long_software_interrupts)
KVM_ABI_GUEST(long_strings)

namespace kvm_abi {
namespace {

constexpr std::uint16_t kPort = 0x1234;
constexpr std::uint64_t kPresent = 1, kAccessed = 0x20, kDirty = 0x40, kLargePage = 0x83;

/// A real-mode guest whose exceptions write their vector to kVectorPort.
void load_real_with_handlers(Machine& machine, Guest guest) {
  for (std::uint8_t vector = 0; vector < 32; ++vector) {
    const std::uint16_t at = static_cast<std::uint16_t>(kProcessorCode + 16 * vector);
    const std::uint8_t code[] = {0xb0, vector, 0xe6, 0xf5};  // mov $vector, %al; out %al, $0xf5
    std::memcpy(machine.memory() + at, code, sizeof(code));
    const std::uint32_t entry = at;
    std::memcpy(machine.memory() + 4 * vector, &entry, sizeof(entry));
  }
  machine.load_real(guest);
}

/// A guest in 32-bit code: of long mode, or without it.
void load_flat(Machine& machine, Guest guest, const kvm_regs& regs, bool long_mode) {
  machine.load_long(guest, regs);
  kvm_sregs sregs = machine.vcpu().sregs();
  sregs.cs.l = 0;
  sregs.cs.db = 1;
  if (!long_mode) {
    sregs.efer = 0;
    sregs.cr3 = kData;
  }
  machine.vcpu().set_sregs(sregs);
}

void reserved_pdpte(const Descriptor& system) {
  Machine machine(system);
  load_real_with_handlers(machine, real_pae());
  constexpr std::uint64_t kReservedBit = 2;
  machine.store(kData + 24, 0x4000 | kReservedBit | kPresent);
  machine.vcpu().expect_vector(13, "PAE paging with a reserved bit in a top entry");
  expect(machine.vcpu().sregs().cr0 >> 31 == 0, "paging is on nevertheless");
}

// They live in the processor from when CR3 was loaded.
void loaded_pdptes(const Descriptor& system) {
  Machine machine(system);
  machine.store(kData, 0x4000 | kPresent);
  machine.store(0x4000, kLargePage);
  machine.memory()[0x5000] = 0x5e;
  kvm_regs regs{};
  regs.rsi = 0x5000;
  regs.rdx = kPort;
  load_flat(machine, flat_outs(), regs, false);
  if (machine.vcpu().enter() == 0 && machine.vcpu().run_page().exit_reason == KVM_EXIT_SHUTDOWN)
    throw Unable("a guest of PAE paging does not run");
  machine.store(kData, 0);
  expect_equal(machine.vcpu().expect_out(kPort, 1, "outs"), 0x5e, "outs");
}

void string_page_bits(const Descriptor& system) {
  Machine machine(system);
  constexpr std::uint64_t kDirectory = kPageTables + 0x2000;
  // The first 2 MiB twice more.
  machine.store(kDirectory + 8, kLargePage);
  machine.store(kDirectory + 16, kLargePage);
  kvm_regs regs{};
  regs.rdi = 0x200000 + kData;
  regs.rsi = 0x400000 + kData;
  regs.rdx = kPort;
  machine.load_long(long_strings(), regs);
  machine.vcpu().expect_exit(KVM_EXIT_IO, "ins");
  auto& run = machine.vcpu().run_page();
  reinterpret_cast<std::uint8_t*>(&run)[run.io.data_offset] = 0x77;
  expect_equal(machine.vcpu().expect_out(kPort, 1, "outs"), 0x77, "outs of what ins stored");
  machine.vcpu().expect_end("the end");
  std::uint64_t entries[2];
  std::memcpy(entries, machine.memory() + kDirectory + 8, sizeof(entries));
  expect_equal(entries[0], kLargePage | kAccessed | kDirty, "the entry of what ins wrote");
  expect_equal(entries[1], kLargePage | kAccessed, "the entry of what outs read");
}

void string_limits(const Descriptor& system) {
  Machine machine(system);
  load_real_with_handlers(machine, real_ins_over_limit());
  // KVM asks the device first.
  machine.vcpu().expect_exit(KVM_EXIT_IO, "ins over the end of ES");
  if (machine.vcpu().run_page().io.direction == KVM_EXIT_IO_IN)
    machine.vcpu().expect_exit(KVM_EXIT_IO, "ins over the end of ES");
  expect_equal(machine.vcpu().run_page().io.port, kVectorPort, "ins over the end of ES, port");
  load_real_with_handlers(machine, real_outs_over_limit());
  kvm_regs regs = machine.vcpu().regs();
  regs.rdx = kPort;
  machine.vcpu().set_regs(regs);
  machine.vcpu().expect_out(kPort, 2, "outs before the end of SS");
  machine.vcpu().expect_vector(12, "outs over the end of SS");
}

void upper_half(const Descriptor& system) {
  Machine machine(system);
  kvm_regs regs{};
  regs.rax = 0xffffffff00000630;  // PSE is new.
  load_flat(machine, flat_write_cr4(), regs, true);
  machine.vcpu().expect_end("a move to CR4 in 32-bit code of long mode");
  expect_equal(machine.vcpu().sregs().cr4, 0x630, "CR4");
}

// An NMI that could not be delivered, because the guest's state was refused, is not lost.
void failed_entry(const Descriptor& system) {
  Machine machine(system);
  machine.load_long(long_done());
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_NMI);
  kvm_regs regs = machine.vcpu().regs();
  regs.rflags |= 1u << 17;  // VM: there is no virtual-8086 mode in long mode.
  machine.vcpu().set_regs(regs);
  if (machine.vcpu().enter() != 0 || machine.vcpu().run_page().exit_reason != KVM_EXIT_FAIL_ENTRY)
    throw Unable("virtual-8086 mode in long mode is not refused");
  regs.rflags = 2;
  machine.vcpu().set_regs(regs);
  machine.vcpu().expect_vector(2, "an NMI of an entry that failed");
  machine.vcpu().expect_end("after it");
}

// Once each, although the host has to bring the pages of the table, the stack and the handlers.
void software_interrupts(const Descriptor& system) {
  Machine machine(system);
  machine.load_long(long_software_interrupts());
  constexpr std::uint8_t kVectors[] = {0x25, 3, 0x26};
  for (const std::uint8_t vector : kVectors)
    machine.vcpu().expect_vector(vector, "INT " + hex(vector));
  machine.vcpu().expect_end("behind them");
}

void ignore_signal(int) {}

/// SIGUSR1 again and again, so that KVM_RUN returns.
class Interrupter final {
 public:
  Interrupter() {
    struct sigaction action {};
    action.sa_handler = ignore_signal;
    sigaction(SIGUSR1, &action, nullptr);
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGUSR1;
    expect(timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0, "there is no timer");
    constexpr timespec kPeriod{0, 30'000'000};
    const itimerspec setting{kPeriod, kPeriod};
    timer_settime(timer_, 0, &setting, nullptr);
  }
  ~Interrupter() { timer_delete(timer_); }
  Interrupter(const Interrupter&) = delete;
  Interrupter& operator=(const Interrupter&) = delete;

 private:
  timer_t timer_{};
};

// An NMI ends HLT when it can be taken, and not before.
void halted_nmi(const Descriptor& system) {
  Machine machine(system, Interrupts::kSplit);
  machine.load_long(long_halts());
  kvm_vcpu_events events{};
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_GET_VCPU_EVENTS, &events);
  events.nmi.masked = 1;
  events.nmi.pending = 1;
  events.flags = KVM_VCPUEVENT_VALID_NMI_PENDING;
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_SET_VCPU_EVENTS, &events);
  {
    const Interrupter interrupter;
    expect(machine.vcpu().enter() == -EINTR, "a signal does not end KVM_RUN");
    if (machine.vcpu().regs().rbx == 0) machine.vcpu().enter();
  }
  expect_equal(machine.vcpu().regs().rbx, 1, "how often it halted with NMIs masked");
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_GET_VCPU_EVENTS, &events);
  expect_equal(events.nmi.pending, 1, "NMIs that wait");
  events.nmi.masked = 0;
  events.flags = KVM_VCPUEVENT_VALID_NMI_PENDING;
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_SET_VCPU_EVENTS, &events);
  machine.vcpu().expect_vector(2, "the NMI, unmasked");
}

constexpr Case kCases[] = {
    {"reserved-pdpte", reserved_pdpte},
    {"loaded-pdptes", loaded_pdptes},
    {"string-page-bits", string_page_bits},
    {"string-limits", string_limits},
    {"upper-half", upper_half},
    {"failed-entry", failed_entry},
    {"software-interrupts", software_interrupts},
    {"halted-nmi", halted_nmi},
};

}  // namespace

std::span<const Case> processor_cases() {
  return kCases;
}

}  // namespace kvm_abi
