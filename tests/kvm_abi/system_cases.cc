// What can be asked of the device itself, and how wrong questions are refused.

#include <errno.h>

#include <cmath>
#include <cstring>

#include "tests/kvm_abi/machine.h"

KVM_ABI_GUEST(long_done)

namespace kvm_abi {
namespace {

void api_version(const Descriptor& system) {
  expect_equal(static_cast<std::uint64_t>(KVM_ABI_IOCTL(system, KVM_GET_API_VERSION)), 12,
               "the version");
  expect(system.try_ioctl(KVM_GET_API_VERSION, 1ul) == -EINVAL, "an argument is accepted");
}

void unknown_ioctl(const Descriptor& system) {
  expect(system.try_ioctl(_IO(KVMIO, 0xff)) < 0, "an unknown ioctl of the device succeeds");
  const Machine machine(system);
  expect(machine.vm().try_ioctl(_IO(KVMIO, 0xff)) == -ENOTTY,
         "an unknown ioctl of the VM is not ENOTTY");
}

void vm_type(const Descriptor& system) {
  expect(system.try_ioctl(KVM_CREATE_VM, 0x1000ul) == -EINVAL, "an unknown type of VM is accepted");
}

void unknown_capability(const Descriptor& system) {
  expect(system.try_ioctl(KVM_CHECK_EXTENSION, 0x7fffffu) == 0, "an unknown capability is offered");
}

void supported_cpuid(const Descriptor& system) {
  kvm_cpuid2 none{};
  expect(system.try_ioctl(KVM_GET_SUPPORTED_CPUID, &none) == -E2BIG,
         "a table without room is not E2BIG");
  Machine machine(system);
  machine.vcpu().set_cpuid(system);
}

void msr_list(const Descriptor& system) {
  kvm_msr_list none{};
  const int refused = system.try_ioctl(KVM_GET_MSR_INDEX_LIST, &none);
  expect(refused == -E2BIG && none.nmsrs > 0,
         "a list without room is not E2BIG with the wanted length");
  std::vector<std::uint32_t> raw(1 + none.nmsrs);
  raw[0] = none.nmsrs;
  KVM_ABI_IOCTL(system, KVM_GET_MSR_INDEX_LIST, raw.data());
  // What is listed can be read: a snapshot relies on it.
  Machine machine(system);
  machine.vcpu().set_cpuid(system);
  unsigned unreadable = 0;
  for (std::uint32_t i = 1; i <= raw[0]; ++i) {
    try {
      machine.vcpu().msr(raw[i]);
    } catch (const NotOk&) {
      ++unreadable;
    }
  }
  expect(unreadable < raw[0] / 2, std::to_string(unreadable) + " listed MSRs cannot be read");
}

void create_vcpu_twice(const Descriptor& system) {
  const Machine machine(system);
  expect(machine.vm().try_ioctl(KVM_CREATE_VCPU, 0ul) == -EEXIST, "a vCPU's id can be used twice");
  expect(machine.vm().try_ioctl(KVM_CREATE_VCPU, 0x10000ul) == -EINVAL,
         "an id out of range is accepted");
}

void split_irqchip_late(const Descriptor& system) {
  need_capability(system, KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP");
  const Machine machine(system);
  kvm_enable_cap enable{};
  enable.cap = KVM_CAP_SPLIT_IRQCHIP;
  enable.args[0] = 24;
  expect(machine.vm().try_ioctl(KVM_ENABLE_CAP, &enable) == -EEXIST,
         "accepted after the first vCPU");
}

void bad_pointer(const Descriptor& system) {
  Machine machine(system);
  void* const bad = reinterpret_cast<void*>(8);
  for (const unsigned long command :
       {KVM_GET_REGS, KVM_SET_REGS, KVM_GET_SREGS, KVM_SET_SREGS, KVM_GET_MSRS, KVM_SET_MSRS,
        KVM_SET_CPUID2, KVM_GET_MP_STATE, KVM_SET_MP_STATE, KVM_GET_VCPU_EVENTS,
        KVM_SET_VCPU_EVENTS, KVM_SET_SIGNAL_MASK})
    expect(machine.vcpu().fd().try_ioctl(command, bad) == -EFAULT, "a bad pointer is not EFAULT");
}

// Unrestricted guests need neither page.
void identity_map(const Descriptor& system) {
  Descriptor vm(KVM_ABI_IOCTL(system, KVM_CREATE_VM));
  std::uint64_t address = 0xfffbc000;
  expect(vm.try_ioctl(KVM_SET_IDENTITY_MAP_ADDR, reinterpret_cast<void*>(8)) == -EFAULT,
         "a bad pointer is not EFAULT");
  KVM_ABI_IOCTL(vm, KVM_SET_IDENTITY_MAP_ADDR, &address);
  KVM_ABI_IOCTL(vm, KVM_SET_TSS_ADDR, 0xfffbd000ul);
  expect(vm.try_ioctl(KVM_SET_TSS_ADDR, 0xffffe000ul) == -EINVAL,
         "three pages of TSS beyond 4 GiB are accepted");
  const Descriptor vcpu(KVM_ABI_IOCTL(vm, KVM_CREATE_VCPU));
  expect(vm.try_ioctl(KVM_SET_IDENTITY_MAP_ADDR, &address) == -EINVAL,
         "accepted after the first vCPU");
}

void clock(const Descriptor& system) {
  need_capability(system, KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK");
  const Machine machine(system);
  kvm_clock_data data{};
  data.clock = 5'000'000'000;
  KVM_ABI_IOCTL(machine.vm(), KVM_SET_CLOCK, &data);
  data = {};
  KVM_ABI_IOCTL(machine.vm(), KVM_GET_CLOCK, &data);
  expect(data.clock >= 5'000'000'000 && data.clock < 3'600'000'000'000,
         "the clock is not what was set");
}

constexpr std::uint32_t kSystemTime = 0x4b564d01;

/// struct pvclock_vcpu_time_info of the kernel.
struct GuestTime {
  std::uint32_t version;
  std::uint32_t pad;
  std::uint64_t tsc_timestamp;
  std::uint64_t system_time;
  std::uint32_t multiplier;
  std::int8_t shift;
  std::uint8_t flags;

  double ns_per_tick() const { return std::ldexp(multiplier, shift - 32); }
  double ns(std::uint64_t tsc) const {
    return static_cast<double>(system_time) +
           static_cast<double>(tsc - tsc_timestamp) * ns_per_tick();
  }
};

// What a guest computes from its page is what KVM_GET_CLOCK says, also after the clock was moved.
void guest_clock(const Descriptor& system) {
  for (const std::uint64_t start : {0ull, 5'000'000'000'000ull}) {
    Machine machine(system);
    Vcpu& vcpu = machine.vcpu();
    vcpu.set_cpuid(system);
    vcpu.set_msr(kSystemTime, kData | 1);
    kvm_clock_data data{};
    data.clock = start;
    KVM_ABI_IOCTL(machine.vm(), KVM_SET_CLOCK, &data);
    machine.load_long(long_done());
    vcpu.expect_end("the guest whose page is to be written");
    GuestTime time;
    std::memcpy(&time, machine.memory() + kData, sizeof(time));
    expect(time.version != 0 && time.version % 2 == 0, "the page is not complete");
    const int khz = KVM_ABI_IOCTL(vcpu.fd(), KVM_GET_TSC_KHZ);
    expect(std::abs(time.ns_per_tick() * khz / 1e6 - 1) < 1e-6, "the guest's clock runs wrong");
    const double before = time.ns(vcpu.msr(0x10));
    KVM_ABI_IOCTL(machine.vm(), KVM_GET_CLOCK, &data);
    const double after = time.ns(vcpu.msr(0x10));
    const auto clock = static_cast<double>(data.clock);
    constexpr double kToleranceNs = 1e6;
    expect(before - kToleranceNs < clock && clock < after + kToleranceNs,
           "the page's time is not KVM_GET_CLOCK's");
    expect_equal(vcpu.msr(kSystemTime), kData | 1, "the MSR");
  }
}

// The flag that all vCPUs have one TSC, in the page of the first, once both have run.
bool says_one_tsc(Machine& machine) {
  for (const std::size_t index : {1, 0}) {
    machine.load_long(long_done(), {}, index);
    machine.vcpu(index).expect_end("the guest whose page is to be written");
    // The access is complete with this, and the guest can be loaded again.
    machine.vcpu(index).run_page().immediate_exit = 1;
    machine.vcpu(index).enter();
    machine.vcpu(index).run_page().immediate_exit = 0;
  }
  GuestTime time;
  std::memcpy(&time, machine.memory() + kData, sizeof(time));
  return time.flags & 1;
}

void unequal_tscs(const Descriptor& system) {
  constexpr std::uint32_t kTsc = 0x10;
  Machine machine(system, Interrupts::kNone, 2);
  for (const std::size_t index : {0, 1}) {
    machine.vcpu(index).set_cpuid(system);
    machine.vcpu(index).set_msr(kSystemTime, (kData + index * sizeof(GuestTime)) | 1);
  }
  const bool before = says_one_tsc(machine);
  machine.vcpu(1).set_msr(kTsc, 1ull << 60);
  expect(!says_one_tsc(machine), "two TSCs are said to be one");
  for (const std::size_t index : {0, 1}) machine.vcpu(index).set_msr(kTsc, 1ull << 61);
  expect(says_one_tsc(machine) == before, "one TSC is not what it was");
}

constexpr Case kCases[] = {
    {"api-version", api_version},
    {"unknown-ioctl", unknown_ioctl},
    {"vm-type", vm_type},
    {"unknown-capability", unknown_capability},
    {"supported-cpuid", supported_cpuid},
    {"msr-list", msr_list},
    {"vcpu-ids", create_vcpu_twice},
    {"split-irqchip-late", split_irqchip_late},
    {"bad-pointer", bad_pointer},
    {"identity-map", identity_map},
    {"clock", clock},
    {"guest-clock", guest_clock},
    {"unequal-tscs", unequal_tscs},
};

}  // namespace

std::span<const Case> system_cases() {
  return kCases;
}

}  // namespace kvm_abi
