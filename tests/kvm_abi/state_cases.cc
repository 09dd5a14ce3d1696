// Every group of a vCPU's state comes back as it was set.

#include <errno.h>

#include <cstring>

#include "tests/kvm_abi/machine.h"

KVM_ABI_GUEST(long_debug_register)
KVM_ABI_GUEST(long_write_efer)
KVM_ABI_GUEST(long_write_cr4)
KVM_ABI_GUEST(long_write_mtrr)

namespace kvm_abi {
namespace {

void regs(const Descriptor& system) {
  Machine machine(system);
  kvm_regs set{};
  auto* values = reinterpret_cast<std::uint64_t*>(&set);
  for (std::size_t i = 0; i < 16; ++i) values[i] = 0x1111111111111111ull * i + 5;
  set.rip = 0x1234;
  set.rflags = 0x8d7;
  machine.vcpu().set_regs(set);
  const kvm_regs got = machine.vcpu().regs();
  expect(std::memcmp(&set, &got, sizeof(set)) == 0, "a register changed");
}

void sregs(const Descriptor& system) {
  Machine machine(system);
  machine.load_long({});
  const kvm_sregs set = machine.vcpu().sregs();
  machine.vcpu().set_sregs(set);
  const kvm_sregs got = machine.vcpu().sregs();
  expect_equal(got.cr0, 0x80000033, "CR0");
  expect_equal(got.cr4, 0x620, "CR4");
  expect_equal(got.efer, 0x500, "EFER");
  expect_equal(got.cr3, 0x10000, "CR3");
  expect_equal(got.idt.limit, 0xfff, "IDT limit");
  expect(got.cs.l == 1 && got.cs.selector == 8 && got.ss.selector == 16, "CS or SS changed");
  expect(got.cs.type == 11 && got.cs.present == 1, "the type of CS changed");
}

void sregs_refused(const Descriptor& system) {
  Machine machine(system);
  kvm_sregs bad = machine.vcpu().sregs();
  bad.cr0 = 0x80000001;
  bad.efer = 0x500;
  bad.cr4 = 0;  // Long mode without PAE.
  expect(machine.vcpu().fd().try_ioctl(KVM_SET_SREGS, &bad) == -EINVAL,
         "long mode without PAE is accepted");
  bad = machine.vcpu().sregs();
  bad.cs.l = 1;
  expect(machine.vcpu().fd().try_ioctl(KVM_SET_SREGS, &bad) == -EINVAL,
         "64-bit code without long mode is accepted");
}

// What no processor can be in: refused at once. KVM takes it and lets the entry fail.
void sregs_without_entry(const Descriptor& system) {
  Machine machine(system);
  machine.load_long({});
  const kvm_sregs good = machine.vcpu().sregs();
  constexpr std::uint64_t kNonCanonical = 0x8000'0000'0000;
  const auto refused = [&](const char* what, auto&& spoil) {
    kvm_sregs bad = good;
    spoil(bad);
    const int result = machine.vcpu().fd().try_ioctl(KVM_SET_SREGS, &bad);
    if (result != -EINVAL) throw Unable(std::string(what) + " is accepted");
  };
  refused("code of both 64 and 32 bits", [](kvm_sregs& bad) { bad.cs.db = 1; });
  refused("a non-canonical FS", [](kvm_sregs& bad) { bad.fs.base = kNonCanonical; });
  refused("a non-canonical GDT", [](kvm_sregs& bad) { bad.gdt.base = kNonCanonical; });
  refused("a non-canonical IDT", [](kvm_sregs& bad) { bad.idt.base = kNonCanonical; });
  refused("data beyond 4 GiB", [](kvm_sregs& bad) { bad.ds.base = 1ull << 32; });
  refused("a PCID outside long mode", [](kvm_sregs& bad) {
    bad.cr0 = 0x31;
    bad.cr4 |= 1u << 17;
    bad.efer = 0;
    bad.cs.l = 0;
  });
  expect(machine.vcpu().fd().try_ioctl(KVM_SET_SREGS, const_cast<kvm_sregs*>(&good)) == 0,
         "what was there is refused");
}

// The device's table, without NX, PCID and SMEP, and with x87 alone to be saved by XSAVE.
void set_poor_cpuid(Machine& machine) {
  CpuidTable table = device_cpuid(machine.system());
  for (std::uint32_t i = 0; i < table->nent; ++i) {
    kvm_cpuid_entry2& entry = table->entries[i];
    if (entry.function == 1) entry.ecx &= ~(1u << 17);
    if (entry.function == 7 && entry.index == 0) entry.ebx &= ~(1u << 7);
    if (entry.function == 0x80000001) entry.edx &= ~(1u << 20);
    if (entry.function == 0xd && entry.index == 0) entry.eax = 1;
  }
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_SET_CPUID2, table.get());
}

// What a guest's CPUID lacks, its control registers do not take.
void lacking_features(const Descriptor& system) {
  Machine machine(system);
  set_poor_cpuid(machine);
  machine.load_long(long_write_efer());
  machine.vcpu().expect_vector(13, "NX without the feature");
  constexpr std::uint64_t kPcid = 1u << 17, kSmep = 1u << 20;
  kvm_sregs sregs = machine.vcpu().sregs();
  sregs.cr4 |= kPcid;
  expect(machine.vcpu().fd().try_ioctl(KVM_SET_SREGS, &sregs) == -EINVAL,
         "PCIDs without the feature are accepted");
  kvm_regs registers{};
  registers.rax = kPcid;
  machine.load_long(long_write_cr4(), registers);
  machine.vcpu().expect_vector(13, "PCIDs without the feature");
  registers.rax = kSmep;
  machine.load_long(long_write_cr4(), registers);
  machine.vcpu().expect_exit(KVM_EXIT_IO, "SMEP without the feature");
  // KVM without VMX does not see this write.
  if (machine.vcpu().run_page().io.port == kEndPort) throw Unable("SMEP cannot be kept away");
  kvm_xcrs xcrs{};
  xcrs.nr_xcrs = 1;
  xcrs.xcrs[0].value = 3;
  expect(machine.vcpu().fd().try_ioctl(KVM_SET_XCRS, &xcrs) == -EINVAL,
         "SSE in XCR0 without the feature is accepted");
}

void fpu(const Descriptor& system) {
  Machine machine(system);
  kvm_fpu set{};
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_GET_FPU, &set);
  std::memset(set.xmm[3], 0xa5, sizeof(set.xmm[3]));
  set.mxcsr = 0x1f80;
  set.fcw = 0x37f;
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_SET_FPU, &set);
  kvm_fpu got{};
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_GET_FPU, &got);
  expect(std::memcmp(set.xmm[3], got.xmm[3], sizeof(set.xmm[3])) == 0, "XMM3 changed");
  expect_equal(got.fcw, 0x37f, "FCW");
}

void xcrs(const Descriptor& system) {
  need_capability(system, KVM_CAP_XCRS, "KVM_CAP_XCRS");
  Machine machine(system);
  machine.vcpu().set_cpuid(system);
  kvm_xcrs set{};
  set.nr_xcrs = 1;
  set.xcrs[0].value = 3;
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_SET_XCRS, &set);
  kvm_xcrs got{};
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_GET_XCRS, &got);
  expect(got.nr_xcrs == 1 && got.xcrs[0].xcr == 0, "there is no XCR0");
  expect_equal(got.xcrs[0].value, 3, "XCR0");
  set.xcrs[0].value = 2;  // SSE without x87.
  expect(machine.vcpu().fd().try_ioctl(KVM_SET_XCRS, &set) == -EINVAL,
         "SSE without x87 is accepted");
}

void debug_registers(const Descriptor& system) {
  need_capability(system, KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS");
  Machine machine(system);
  kvm_debugregs set{};
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_GET_DEBUGREGS, &set);
  set.db[3] = 0x123456;
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_SET_DEBUGREGS, &set);
  kvm_debugregs got{};
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_GET_DEBUGREGS, &got);
  expect_equal(got.db[3], 0x123456, "DR3");
  machine.load_long(long_debug_register());
  machine.vcpu().expect_end("the guest reads DR3");
  expect_equal(machine.load_data(0), 0x123456, "DR3 in the guest");
}

void msrs(const Descriptor& system) {
  Machine machine(system);
  machine.vcpu().set_cpuid(system);
  constexpr std::uint32_t kStar = 0xc0000081, kLstar = 0xc0000082, kGsBase = 0xc0000102,
                          kSysenterEip = 0x176;
  for (const std::uint32_t index : {kStar, kLstar, kGsBase, kSysenterEip}) {
    machine.vcpu().set_msr(index, 0x12345670 + index % 16);
    expect_equal(machine.vcpu().msr(index), 0x12345670 + index % 16,
                 "MSR " + std::to_string(index));
  }
  OneMsr unknown;
  unknown->nmsrs = 1;
  unknown->entries[0].index = 0x12345678;
  expect(machine.vcpu().fd().try_ioctl(KVM_GET_MSRS, unknown.get()) == 0,
         "an unknown MSR can be read");
  unknown->entries[0].index = kLstar;
  unknown->entries[0].data = 0x8000000000000000;
  expect(machine.vcpu().fd().try_ioctl(KVM_SET_MSRS, unknown.get()) == 0,
         "LSTAR takes a non-canonical address");
}

void mtrrs(const Descriptor& system) {
  Machine machine(system);
  machine.vcpu().set_cpuid(system);
  constexpr struct {
    std::uint32_t index;
    std::uint64_t good, bad;
  } kMtrrs[] = {
      {0x2ff, 0xc06, 0xc02},                            // The default: type 2 is reserved.
      {0x2ff, 0xc00, 0x1000},                           // Bit 12 is.
      {0x250, 0x0605040100060606, 0x0606060606060607},  // Fixed ranges: type 7 is PAT's.
      {0x26f, 0, 0x0300000000000000},
      {0x200, 0xf0000006, 0xf0000002},  // A variable range's base ...
      {0x200, 0xf0000000, 0xf0000106},
      {0x201, 0xf0000800, 0xf0000400},  // ... and its mask.
      {0x20f, 0, 1ull << 63},
  };
  for (const auto& each : kMtrrs) {
    machine.vcpu().set_msr(each.index, each.good);
    OneMsr one;
    one->nmsrs = 1;
    one->entries[0].index = each.index;
    one->entries[0].data = each.bad;
    expect(machine.vcpu().fd().try_ioctl(KVM_SET_MSRS, one.get()) == 0,
           "MSR " + hex(each.index) + " takes " + hex(each.bad));
    expect_equal(machine.vcpu().msr(each.index), each.good, "MSR " + hex(each.index));
  }
  machine.load_long(long_write_mtrr());
  machine.vcpu().expect_vector(13, "a reserved memory type");
}

// QEMU sets the banks of machine checks, and its place of the TPR, whether or not they are offered.
void qemu_unasked(const Descriptor& system) {
  Machine machine(system, Interrupts::kSplit);
  machine.vcpu().set_cpuid(system);
  constexpr std::uint32_t kMcgControl = 0x17b, kFirstBankControl = 0x400;
  std::uint64_t banks = 10 | 1u << 8;  // MCG_CTL_P: there is an MCG_CTL.
  if (system.try_ioctl(KVM_CHECK_EXTENSION, static_cast<unsigned long>(KVM_CAP_MCE)) > 0)
    KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_X86_SETUP_MCE, &banks);
  for (const std::uint32_t index : {kMcgControl, kFirstBankControl, kFirstBankControl + 9 * 4}) {
    machine.vcpu().set_msr(index, ~0ull);
    expect_equal(machine.vcpu().msr(index), ~0ull, "MSR " + hex(index));
  }
  kvm_vapic_addr none{};
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_SET_VAPIC_ADDR, &none);
}

void vcpu_events(const Descriptor& system) {
  need_capability(system, KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS");
  Machine machine(system);
  kvm_vcpu_events set{};
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_GET_VCPU_EVENTS, &set);
  set.nmi.masked = 1;
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_SET_VCPU_EVENTS, &set);
  kvm_vcpu_events got{};
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_GET_VCPU_EVENTS, &got);
  expect_equal(got.nmi.masked, 1, "NMIs are masked");
  // What is told and given back is there once.
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_NMI);
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_GET_VCPU_EVENTS, &set);
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_SET_VCPU_EVENTS, &set);
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_GET_VCPU_EVENTS, &got);
  expect_equal(got.nmi.pending, 1, "NMIs that wait");
  // INT3 happens again where RIP still is: nobody could say how long the instruction was.
  set.exception.injected = 1;
  set.exception.nr = 3;
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_SET_VCPU_EVENTS, &set);
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_GET_VCPU_EVENTS, &got);
  expect_equal(got.exception.injected, 0, "INT3 is kept");
}

void lapic(const Descriptor& system) {
  Machine machine(system, Interrupts::kSplit);
  kvm_lapic_state set{};
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_GET_LAPIC, &set);
  set.regs[0x80] = 0x30;  // TPR.
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_SET_LAPIC, &set);
  kvm_lapic_state got{};
  KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_GET_LAPIC, &got);
  expect_equal(static_cast<std::uint8_t>(got.regs[0x80]), 0x30, "TPR");
  Machine none(system);
  expect(none.vcpu().fd().try_ioctl(KVM_GET_LAPIC, &got) == -EINVAL,
         "there is a LAPIC without irqchip");
}

void mp_state(const Descriptor& system) {
  Machine machine(system, Interrupts::kSplit, 2);
  kvm_mp_state state{};
  KVM_ABI_IOCTL(machine.vcpu(0).fd(), KVM_GET_MP_STATE, &state);
  expect_equal(state.mp_state, KVM_MP_STATE_RUNNABLE, "the first vCPU");
  KVM_ABI_IOCTL(machine.vcpu(1).fd(), KVM_GET_MP_STATE, &state);
  expect_equal(state.mp_state, KVM_MP_STATE_UNINITIALIZED, "the second vCPU");
  state.mp_state = KVM_MP_STATE_HALTED;
  KVM_ABI_IOCTL(machine.vcpu(0).fd(), KVM_SET_MP_STATE, &state);
  KVM_ABI_IOCTL(machine.vcpu(0).fd(), KVM_GET_MP_STATE, &state);
  expect_equal(state.mp_state, KVM_MP_STATE_HALTED, "what was set");
  state.mp_state = 99;
  expect(machine.vcpu(0).fd().try_ioctl(KVM_SET_MP_STATE, &state) == -EINVAL,
         "state 99 is accepted");
}

void tsc_khz(const Descriptor& system) {
  Machine machine(system);
  expect(KVM_ABI_IOCTL(machine.vcpu().fd(), KVM_GET_TSC_KHZ) > 0, "the TSC's rate is not known");
}

constexpr Case kCases[] = {
    {"regs", regs},
    {"sregs", sregs},
    {"sregs-refused", sregs_refused},
    {"sregs-without-entry", sregs_without_entry},
    {"lacking-features", lacking_features},
    {"fpu", fpu},
    {"xcrs", xcrs},
    {"debug-registers", debug_registers},
    {"msrs", msrs},
    {"mtrrs", mtrrs},
    {"qemu-unasked", qemu_unasked},
    {"vcpu-events", vcpu_events},
    {"lapic", lapic},
    {"mp-state", mp_state},
    {"tsc-khz", tsc_khz},
};

}  // namespace

std::span<const Case> state_cases() {
  return kCases;
}

}  // namespace kvm_abi
