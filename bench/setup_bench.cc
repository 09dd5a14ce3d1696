// Google Benchmark: what KVM takes for each step of building a VM, in the order Mote does them.
// Each benchmark times one step of whole set-ups. Needs /dev/kvm (MOTE_KVM_DEVICE names another).

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <optional>
#include <string>

#include "base/clock.h"
#include "memory/guest_memory.h"
#include "memory/layout.h"
#include "monitor/cpuid.h"
#include "monitor/kvm.h"
#include "monitor/msrs.h"

namespace mote {
namespace {

namespace layout = memory::layout;

/// One set-up in progress; steps take from it what the ones before made.
struct Setup {
  std::optional<monitor::Kvm> kvm;
  std::vector<kvm_cpuid_entry2> cpuid;
  std::optional<memory::GuestMemory> memory;
  std::optional<monitor::VmFd> vm;
  std::optional<monitor::VcpuFd> vcpu;
};

std::string device() {
  const char* const name = std::getenv("MOTE_KVM_DEVICE");
  return name != nullptr ? name : "/dev/kvm";
}

using Step = base::Result<> (*)(Setup&);

base::Result<> open_device(Setup& setup) {
  MOTE_TRY(setup.kvm, monitor::Kvm::open(device()));
  return {};
}
base::Result<> supported_cpuid(Setup& setup) {
  MOTE_TRY(setup.cpuid, setup.kvm->supported_cpuid());
  return {};
}
base::Result<> guest_memory(Setup& setup) {
  MOTE_TRY(setup.memory, memory::GuestMemory::create(128 * layout::kMib, memory::HugePages::kNone));
  return {};
}
base::Result<> create_vm(Setup& setup) {
  MOTE_TRY(setup.vm, setup.kvm->create_vm());
  return {};
}
base::Result<> register_memory(Setup& setup) {
  const auto& region = setup.memory->regions().front();
  return setup.vm->set_memory_region(0, region.start, region.mapping.span(), 0);
}
base::Result<> split_irqchip(Setup& setup) {
  return setup.vm->enable_split_irqchip(layout::kIoApicPins);
}
base::Result<> create_vcpu(Setup& setup) {
  MOTE_TRY(auto vcpu, setup.vm->create_vcpu(0));
  setup.vcpu.emplace(std::move(vcpu));
  return {};
}
base::Result<> set_cpuid(Setup& setup) {
  MOTE_TRY(const auto cpuid,
           monitor::make_cpuid(setup.cpuid, {1, 1}, monitor::TscDeadline::kPresent, std::nullopt));
  return setup.vcpu->set_cpuid(cpuid);
}
base::Result<> set_msrs(Setup& setup) {
  return monitor::set_boot_msrs(*setup.vcpu, std::nullopt);
}
base::Result<> set_registers(Setup& setup) {
  MOTE_TRY(const auto sregs, setup.vcpu->sregs());
  MOTE_TRY_VOID(setup.vcpu->set_sregs(sregs));
  MOTE_TRY(const auto regs, setup.vcpu->regs());
  return setup.vcpu->set_regs(regs);
}
base::Result<> tear_down(Setup& setup) {
  setup.vcpu.reset();
  setup.vm.reset();
  setup.memory.reset();
  setup.kvm.reset();
  return {};
}

constexpr std::pair<const char*, Step> kSteps[] = {
    {"open_device", open_device},
    {"supported_cpuid", supported_cpuid},
    {"guest_memory", guest_memory},
    {"create_vm", create_vm},
    {"register_memory", register_memory},
    {"split_irqchip", split_irqchip},
    {"create_vcpu", create_vcpu},
    {"set_cpuid", set_cpuid},
    {"set_msrs", set_msrs},
    {"set_registers", set_registers},
    {"tear_down", tear_down},
};

void measure(benchmark::State& state, size_t timed) {
  for (auto _ : state) {
    Setup setup;
    for (size_t i = 0; i < std::size(kSteps); ++i) {
      const uint64_t start_ns = base::monotonic_ns();
      if (const auto done = kSteps[i].second(setup); !done) {
        return state.SkipWithError(done.error().message().c_str());
      }
      if (i == timed) {
        state.SetIterationTime(static_cast<double>(base::monotonic_ns() - start_ns) / 1e9);
      }
    }
  }
}

}  // namespace
}  // namespace mote

int main(int argc, char** argv) {
  for (size_t i = 0; i < std::size(mote::kSteps); ++i) {
    benchmark::RegisterBenchmark((std::string("kvm.") + mote::kSteps[i].first).c_str(),
                                 [i](benchmark::State& state) { mote::measure(state, i); })
        ->UseManualTime()
        ->Iterations(100)
        ->Unit(benchmark::kMicrosecond);
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
