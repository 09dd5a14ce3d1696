#include "monitor/snapshot/vcpu_state.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace mote::monitor::snapshot {
namespace {

constexpr uint32_t kMsrTsc = 0x10;
constexpr uint32_t kMsrTscDeadline = 0x6e0;

/// The deadline means nothing before the counter it is compared with.
int restore_order(const kvm_msr_entry& entry) {
  return entry.index == kMsrTsc ? 0 : entry.index == kMsrTscDeadline ? 2 : 1;
}

base::Result<> check_tsc(const VcpuFd& vcpu, uint32_t saved_khz) {
  const uint32_t host_khz = vcpu.tsc_khz();
  if (saved_khz == 0 || host_khz == 0) return {};
  // 250 ppm: what NTP may correct, and what KVM itself tolerates.
  const uint32_t tolerance = saved_khz / 4000 + 1;
  const uint32_t difference = std::max(saved_khz, host_khz) - std::min(saved_khz, host_khz);
  if (difference <= tolerance) return {};
  return base::fail(base::ErrorCode::kUnsupported,
                    fmt::format("the guest's TSC ran at {} kHz, this host's runs at {} kHz",
                                saved_khz, host_khz));
}

}  // namespace

base::Result<HostState> host_state(const Kvm& kvm) {
  HostState host;
  MOTE_TRY(host.msr_indices, kvm.msr_indices());
  host.xsave_bytes =
      std::max<size_t>(host.xsave_bytes, static_cast<size_t>(kvm.check_extension(KVM_CAP_XSAVE2)));
  return host;
}

base::Result<VcpuState> save_vcpu(const VcpuFd& vcpu, const HostState& host) {
  VcpuState state;
  // First: reading it lets KVM settle what INIT or SIPI left to do.
  MOTE_TRY(state.mp_state, vcpu.get<kvm_mp_state>());
  MOTE_TRY(state.regs, vcpu.regs());
  MOTE_TRY(state.sregs, vcpu.sregs());
  MOTE_TRY(state.xsave, vcpu.xsave(host.xsave_bytes));
  MOTE_TRY(state.xcrs, vcpu.get<kvm_xcrs>());
  MOTE_TRY(state.debugregs, vcpu.get<kvm_debugregs>());
  MOTE_TRY(state.lapic, vcpu.get<kvm_lapic_state>());
  MOTE_TRY(state.msrs, vcpu.readable_msrs(host.msr_indices));
  MOTE_TRY(state.events, vcpu.get<kvm_vcpu_events>());
  state.tsc_khz = vcpu.tsc_khz();
  MOTE_TRY(state.cpuid, vcpu.cpuid());
  std::ranges::sort(state.msrs, {}, [](const kvm_msr_entry& entry) {
    return std::pair(restore_order(entry), entry.index);
  });
  return state;
}

base::Result<> restore_vcpu(const VcpuFd& vcpu, const VcpuState& state) {
  MOTE_TRY_VOID(vcpu.set_cpuid(state.cpuid));
  MOTE_TRY_VOID(check_tsc(vcpu, state.tsc_khz));
  MOTE_TRY_VOID(vcpu.set(state.mp_state));
  MOTE_TRY_VOID(vcpu.set_regs(state.regs));
  MOTE_TRY_VOID(vcpu.set_sregs(state.sregs));
  MOTE_TRY_VOID(vcpu.set_xsave(state.xsave));
  MOTE_TRY_VOID(vcpu.set(state.xcrs));
  MOTE_TRY_VOID(vcpu.set(state.debugregs));
  MOTE_TRY_VOID(vcpu.set(state.lapic));
  MOTE_TRY(const auto refused, vcpu.set_msrs(state.msrs));
  if (!refused.empty()) {
    LOG_DEBUG("MSRs this host does not take: {:#x}", fmt::join(refused, ", "));
  }
  return vcpu.set(state.events);
}

}  // namespace mote::monitor::snapshot
