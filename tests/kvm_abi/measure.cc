// What one exit of each kind costs, in ticks of the host's TSC. In the VMX lab a tick is one
// instruction of the emulated host or its guest, so that the figures repeat.

#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <x86intrin.h>

#include <cstdio>

#include "tests/kvm_abi/machine.h"

KVM_ABI_GUEST(repeat_out)
KVM_ABI_GUEST(repeat_store)
KVM_ABI_GUEST(repeat_cpuid)
KVM_ABI_GUEST(repeat_page)
KVM_ABI_GUEST(repeat_interrupt)

namespace kvm_abi {
namespace {

constexpr unsigned kRounds = 2000;

void print(const char* name, std::uint64_t ticks, unsigned rounds) {
  std::printf("measure %s %llu\n", name, static_cast<unsigned long long>(ticks / rounds));
}

/// Ticks that `rounds` calls of `step` take, after a few that warm up.
template <typename Step>
std::uint64_t ticks_of(unsigned rounds, Step&& step) {
  for (int i = 0; i < 10; ++i) step();
  const std::uint64_t begin = __rdtsc();
  for (unsigned i = 0; i < rounds; ++i) step();
  return __rdtsc() - begin;
}

kvm_regs registers(std::uint64_t address, std::uint64_t rounds) {
  kvm_regs regs{};
  regs.rdi = address;
  regs.rcx = rounds;
  return regs;
}

/// One KVM_RUN, with as little around it as a monitor has.
void run_once(Vcpu& vcpu, std::uint32_t reason) {
  if (ioctl(vcpu.fd().get(), KVM_RUN, 0) != 0 || vcpu.run_page().exit_reason != reason) [[unlikely]]
    throw NotOk("exit " + std::to_string(vcpu.run_page().exit_reason) + " instead of " +
                std::to_string(reason));
}

void creation(const Descriptor& system) {
  const auto create = [&system] {
    Machine machine(system, Interrupts::kSplit);
    machine.vcpu().set_cpuid(system);
  };
  print("create-and-destroy", ticks_of(10, create), 10);
}

void exits_to_user(const Descriptor& system) {
  Machine machine(system);
  machine.load_long(repeat_out());
  const auto out = [&] { run_once(machine.vcpu(), KVM_EXIT_IO); };
  print("port-exit", ticks_of(kRounds, out), kRounds);
  machine.load_long(repeat_store(), registers(kMmio, ~0ull));
  const auto store = [&] { run_once(machine.vcpu(), KVM_EXIT_MMIO); };
  print("mmio-exit", ticks_of(kRounds, store), kRounds);
}

void exits_to_kernel(const Descriptor& system) {
  Machine machine(system);
  machine.vcpu().set_cpuid(system);
  const Descriptor event(eventfd(0, EFD_NONBLOCK));
  kvm_ioeventfd assign{};
  assign.fd = event.get();
  assign.addr = kMmio;
  assign.len = 4;
  KVM_ABI_IOCTL(machine.vm(), KVM_IOEVENTFD, &assign);
  const auto run = [&](const char* name, Guest guest, std::uint64_t address, unsigned rounds) {
    machine.load_long(guest, registers(address, rounds));
    const std::uint64_t begin = __rdtsc();
    machine.vcpu().expect_end(name);
    print(name, __rdtsc() - begin, rounds);
  };
  run("ioeventfd", repeat_store(), kMmio, kRounds);
  run("cpuid", repeat_cpuid(), 0, kRounds);
}

// Pages the process has touched already: only the second-level tables are missing. Each page once.
void ept_faults(const Descriptor& system, const char* name, bool upwards) {
  constexpr unsigned kPages = 1024;
  constexpr std::size_t kBytes = kPages * 4096u;
  constexpr std::uint64_t kBase = 0x400000;
  void* pages = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  expect(pages != MAP_FAILED, "no memory");
  madvise(pages, kBytes, MADV_NOHUGEPAGE);
  for (std::size_t at = 0; at < kBytes; at += 4096) static_cast<volatile char*>(pages)[at] = 1;
  {
    Machine machine(system);
    machine.set_slot(1, kBase, kBytes, pages);
    kvm_regs regs = registers(upwards ? kBase : kBase + kBytes - 4096, kPages);
    regs.rdx = upwards ? 4096 : static_cast<std::uint64_t>(-4096);
    machine.load_long(repeat_page(), regs);
    const std::uint64_t begin = __rdtsc();
    machine.vcpu().expect_end(name);
    print(name, __rdtsc() - begin, kPages);
  }
  munmap(pages, kBytes);
}

void expect_port(Vcpu& vcpu, std::uint16_t port) {
  if (vcpu.run_page().io.port != port) [[unlikely]]
    throw NotOk("a wrong port: the guest went astray");
}

// One round: eventfd written, KVM_RUN takes the interrupt, its handler and its end, two port exits.
void interrupts(const Descriptor& system, const char* name, unsigned processors) {
  Machine machine(system, Interrupts::kSplit, processors);
  machine.start_waiting();
  machine.load_long(repeat_interrupt());
  machine.vcpu().expect_end("the guest is ready");
  KVM_ABI_IOCTL(machine.vm(), KVM_SET_GSI_ROUTING, message_route(1, 0x61).get());
  const Descriptor event(eventfd(0, EFD_NONBLOCK));
  kvm_irqfd assign{};
  assign.fd = static_cast<std::uint32_t>(event.get());
  assign.gsi = 1;
  KVM_ABI_IOCTL(machine.vm(), KVM_IRQFD, &assign);
  const std::uint64_t ticks = ticks_of(kRounds, [&] {
    const std::uint64_t one = 1;
    expect(write(event.get(), &one, sizeof(one)) == sizeof(one), "the eventfd takes no write");
    run_once(machine.vcpu(), KVM_EXIT_IO);
    expect_port(machine.vcpu(), kVectorPort);
    run_once(machine.vcpu(), KVM_EXIT_IO);
    expect_port(machine.vcpu(), kEndPort);
  });
  print(name, ticks, kRounds);
}

}  // namespace

void measure(const Descriptor& system) {
  creation(system);
  exits_to_user(system);
  exits_to_kernel(system);
  ept_faults(system, "ept-fault-in-sequence", true);
  // Downwards no page is behind one that was asked for: each fault stands alone.
  ept_faults(system, "ept-fault-alone", false);
  interrupts(system, "irqfd-and-two-port-exits", 1);
  interrupts(system, "irqfd-among-32-processors", 32);
}

}  // namespace kvm_abi
