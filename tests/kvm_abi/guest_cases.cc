// What a guest does by itself, and how it reaches the monitor: ports, MMIO, exceptions, signals.

#include <errno.h>
#include <pthread.h>
#include <sys/io.h>
#include <sys/time.h>

#include <cstring>

#include "tests/kvm_abi/machine.h"

KVM_ABI_GUEST(real_hlt)
KVM_ABI_GUEST(real_ports)
KVM_ABI_GUEST(real_strings)
KVM_ABI_GUEST(long_done)
KVM_ABI_GUEST(long_loop)
KVM_ABI_GUEST(long_mmio_store)
KVM_ABI_GUEST(long_mmio_load)
KVM_ABI_GUEST(long_load)
KVM_ABI_GUEST(long_ud2)
KVM_ABI_GUEST(long_divide)
KVM_ABI_GUEST(long_cpuid)
KVM_ABI_GUEST(long_rdmsr)

namespace kvm_abi {
namespace {

std::uint8_t* port_data(Vcpu& vcpu) {
  return reinterpret_cast<std::uint8_t*>(&vcpu.run_page()) + vcpu.run_page().io.data_offset;
}

void hlt(const Descriptor& system) {
  Machine machine(system);
  machine.load_real(real_hlt());
  machine.vcpu().expect_exit(KVM_EXIT_HLT, "hlt without an irqchip");
  expect_equal(machine.vcpu().regs().rip, kCode + 1, "RIP behind the hlt");
}

void ports(const Descriptor& system) {
  Machine machine(system);
  Vcpu& vcpu = machine.vcpu();
  machine.load_real(real_ports());
  expect_equal(vcpu.expect_out(0x1234, 1, "out, 1 byte"), 0x5a, "out, 1 byte");
  expect_equal(vcpu.expect_out(0x1234, 2, "out, 2 bytes"), 0xbeef, "out, 2 bytes");
  expect_equal(vcpu.expect_out(0x1234, 4, "out, 4 bytes"), 0xdeadbeef, "out, 4 bytes");
  const std::uint32_t answer = 0x44332211;
  for (const std::uint32_t size : {1u, 2u, 4u}) {
    vcpu.expect_exit(KVM_EXIT_IO, "in");
    expect_equal(vcpu.run_page().io.direction, KVM_EXIT_IO_IN, "in, direction");
    expect_equal(vcpu.run_page().io.size, size, "in, size");
    std::memcpy(port_data(vcpu), &answer, size);
  }
  expect_equal(vcpu.expect_out(0x1234, 4, "what was read"), answer, "what was read");
  vcpu.expect_end("the end");
}

// A string may come in one exit or in several: the sum counts.
void strings(const Descriptor& system) {
  Machine machine(system);
  Vcpu& vcpu = machine.vcpu();
  std::memcpy(machine.memory() + kData, "hello", 5);
  machine.load_real(real_strings());
  std::string written;
  std::uint16_t next = 0x100;
  for (int exits = 0; exits < 20; ++exits) {
    vcpu.expect_exit(KVM_EXIT_IO, "string I/O");
    const auto io = vcpu.run_page().io;
    if (io.port == kEndPort) break;
    const std::size_t bytes = std::size_t{io.size} * io.count;
    if (io.direction == KVM_EXIT_IO_OUT) {
      written.append(reinterpret_cast<const char*>(port_data(vcpu)), bytes);
    } else {
      expect_equal(io.size, 2, "ins, size");
      for (std::size_t at = 0; at < bytes; at += 2, ++next)
        std::memcpy(port_data(vcpu) + at, &next, 2);
    }
  }
  expect(written == "hello", "outs wrote \"" + written + "\"");
  expect_equal(machine.load_data(0x100) & 0xffffffffffff, 0x010201010100, "what ins stored");
}

void mmio_store(const Descriptor& system) {
  Machine machine(system);
  kvm_regs regs{};
  regs.rdi = kMmio + 0x18;
  regs.rax = 0x8877665544332211;
  machine.load_long(long_mmio_store(), regs);
  std::uint32_t size = 1;
  for (const std::uint64_t wanted : {0x11ull, 0x2222ull, 0x33333333ull, 0x8877665544332211ull}) {
    machine.vcpu().expect_exit(KVM_EXIT_MMIO, "a store");
    const auto& mmio = machine.vcpu().run_page().mmio;
    std::uint64_t value = 0;
    std::memcpy(&value, mmio.data, sizeof(value));
    expect(mmio.is_write != 0, "a store is reported as a load");
    expect_equal(mmio.phys_addr, kMmio + 0x18, "the address");
    expect_equal(mmio.len, size, "the length");
    expect_equal(size == 8 ? value : value & ((1ull << 8 * size) - 1), wanted, "the value");
    size *= 2;
  }
  machine.vcpu().expect_end("the end");
}

void mmio_load(const Descriptor& system) {
  Machine machine(system);
  kvm_regs regs{};
  regs.rdi = kMmio;
  machine.load_long(long_mmio_load(), regs);
  const std::uint64_t answer = 0xf0e1d2c3b4a596f7;
  for (const std::uint32_t size : {1u, 2u, 4u, 8u, 1u, 1u, 4u}) {
    machine.vcpu().expect_exit(KVM_EXIT_MMIO, "a load");
    auto& mmio = machine.vcpu().run_page().mmio;
    expect(mmio.is_write == 0, "a load is reported as a store");
    expect_equal(mmio.len, size, "the length");
    std::memcpy(mmio.data, &answer, sizeof(answer));
  }
  machine.vcpu().expect_end("the end");
  expect_equal(machine.load_data(0x00), 0xfffffffffffffff7, "1 byte");
  expect_equal(machine.load_data(0x08), 0xffffffffffff96f7, "2 bytes");
  expect_equal(machine.load_data(0x10), 0x00000000b4a596f7, "4 bytes");
  expect_equal(machine.load_data(0x18), answer, "8 bytes");
  expect_equal(machine.load_data(0x20), 0xf7, "movzx");
  expect_equal(machine.load_data(0x28), 0xfffffffffffffff7, "movsx");
  expect_equal(machine.load_data(0x30), 0xffffffffb4a596f7, "movsxd");
}

void exception(const Descriptor& system) {
  Machine machine(system);
  machine.load_long(long_ud2());
  machine.vcpu().expect_vector(6, "ud2");
  machine.load_long(long_divide());
  machine.vcpu().expect_vector(0, "division by zero");
}

void page_fault(const Descriptor& system) {
  Machine machine(system);
  kvm_regs regs{};
  regs.rdi = 0x4000000000;
  machine.load_long(long_load(), regs);
  machine.vcpu().expect_vector(14, "a load from an unmapped address");
  expect_equal(machine.vcpu().sregs().cr2, 0x4000000000, "CR2");
}

void triple_fault(const Descriptor& system) {
  Machine machine(system);
  machine.load_long(long_ud2());
  kvm_sregs sregs = machine.vcpu().sregs();
  sregs.idt.limit = 0;
  machine.vcpu().set_sregs(sregs);
  machine.vcpu().expect_exit(KVM_EXIT_SHUTDOWN, "a fault without an interrupt table");
}

void cpuid(const Descriptor& system) {
  Machine machine(system);
  Table<kvm_cpuid2, kvm_cpuid_entry2, 2> table;
  table->nent = 2;
  table->entries[0].eax = 0x40000000;
  table->entries[1] = {0x40000000, 0, 0, 0x11, 0x22, 0x33, 0x44, {}};
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_SET_CPUID2, table.get());
  kvm_regs regs{};
  regs.rax = 0x40000000;
  machine.load_long(long_cpuid(), regs);
  machine.vcpu().expect_end("cpuid");
  expect_equal(machine.load_data(0), 0x2200000011, "EAX and EBX");
  expect_equal(machine.load_data(8), 0x4400000033, "ECX and EDX");
}

void unknown_msr(const Descriptor& system) {
  Machine machine(system);
  kvm_regs regs{};
  regs.rcx = 0x12345678;
  machine.load_long(long_rdmsr(), regs);
  machine.vcpu().expect_vector(13, "rdmsr of an unknown MSR");
}

void immediate_exit(const Descriptor& system) {
  need_capability(system, KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT");
  Machine machine(system);
  machine.load_long(long_done());
  machine.vcpu().run_page().immediate_exit = 1;
  expect(machine.vcpu().enter() == -EINTR, "KVM_RUN does not return at once");
  expect_equal(machine.vcpu().regs().rip, kCode, "RIP");
  machine.vcpu().run_page().immediate_exit = 0;
  machine.vcpu().expect_end("afterwards");
}

// An access is completed by a KVM_RUN that returns at once: so vCPUs are paused.
void completion(const Descriptor& system) {
  Machine machine(system);
  kvm_regs regs{};
  regs.rdi = kMmio;
  machine.load_long(long_load(), regs);
  machine.vcpu().expect_exit(KVM_EXIT_MMIO, "a load");
  const std::uint32_t answer = 0x600d;
  std::memcpy(machine.vcpu().run_page().mmio.data, &answer, sizeof(answer));
  machine.vcpu().run_page().immediate_exit = 1;
  expect(machine.vcpu().enter() == -EINTR, "KVM_RUN does not return at once");
  expect_equal(machine.vcpu().regs().rax & 0xffffffff, answer, "what was loaded");
  expect_equal(machine.vcpu().regs().rip, kCode + 2, "RIP behind the load");
}

// With its default action: whoever forgets that it is only let in for KVM_RUN ends the process.
struct BlockedAlarm {
  sigset_t before{};
  BlockedAlarm() {
    signal(SIGALRM, SIG_DFL);
    sigset_t alarm;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm, &before);
  }
  ~BlockedAlarm() { pthread_sigmask(SIG_SETMASK, &before, nullptr); }
};

// A signal that is blocked in the thread but not in KVM_SET_SIGNAL_MASK ends KVM_RUN.
void signal_mask(const Descriptor& system) {
  const BlockedAlarm blocked;
  Machine machine(system);
  Table<kvm_signal_mask, std::uint32_t, 2> mask;
  mask->len = 8;
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_SET_SIGNAL_MASK, mask.get());
  mask->len = 4;
  expect(machine.vcpu().fd().try_ioctl(KVM_SET_SIGNAL_MASK, mask.get()) == -EINVAL,
         "a mask of 4 bytes is accepted");
  machine.load_long(long_loop());
  itimerval soon{};
  soon.it_value.tv_usec = 20000;
  setitimer(ITIMER_REAL, &soon, nullptr);
  expect(machine.vcpu().enter() == -EINTR, "a signal does not end KVM_RUN");
  expect_equal(machine.vcpu().run_page().exit_reason, KVM_EXIT_INTR, "the exit reason");
  expect_equal(machine.vcpu().regs().rip, kCode + 1, "RIP in the loop");
  // The signal is still pending and blocked outside: take it.
  sigset_t alarm;
  sigemptyset(&alarm);
  sigaddset(&alarm, SIGALRM);
  const timespec none{};
  sigtimedwait(&alarm, nullptr, &none);
}

// A VM exit leaves the processor with a TSS too short for the bitmap of ports that this process may
// use: the host has to see to it, or inb() is a fault here.
void host_ports(const Descriptor& system) {
  constexpr unsigned short kDelayPort = 0x80;
  if (iopl(3) != 0) throw Absent("iopl() is not permitted");
  Machine machine(system);
  machine.load_long(long_done());
  machine.vcpu().expect_end("the guest's end");
  inb(kDelayPort);
  expect(iopl(0) == 0, "the ports are not given back");
}

constexpr Case kCases[] = {
    {"hlt", hlt},
    {"ports", ports},
    {"port-strings", strings},
    {"mmio-store", mmio_store},
    {"mmio-load", mmio_load},
    {"exception", exception},
    {"page-fault", page_fault},
    {"triple-fault", triple_fault},
    {"cpuid", cpuid},
    {"unknown-msr", unknown_msr},
    {"immediate-exit", immediate_exit},
    {"completion", completion},
    {"signal-mask", signal_mask},
    {"host-ports", host_ports},
};

}  // namespace

std::span<const Case> guest_cases() {
  return kCases;
}

}  // namespace kvm_abi
