#pragma once
// The whole architectural state of one vCPU, as KVM gives and takes it. The vCPU stands still
// meanwhile. Any thread.

#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "monitor/kvm.h"

namespace mote::monitor::snapshot {

struct VcpuState {
  kvm_mp_state mp_state{};
  kvm_regs regs{};
  kvm_sregs sregs{};
  kvm_xcrs xcrs{};
  kvm_debugregs debugregs{};
  kvm_lapic_state lapic{};
  kvm_vcpu_events events{};
  uint32_t tsc_khz = 0;
  std::vector<std::byte> xsave;
  std::vector<kvm_msr_entry> msrs;
  std::vector<kvm_cpuid_entry2> cpuid;
};

/// What a host can save: the same for all vCPUs of a VM.
struct HostState {
  std::vector<uint32_t> msr_indices;
  size_t xsave_bytes = 4096;
};
base::Result<HostState> host_state(const Kvm& kvm);

base::Result<VcpuState> save_vcpu(const VcpuFd& vcpu, const HostState& host);
/// On a fresh vCPU. MSRs that this host will not take are logged and left out; a guest that ran at
/// another TSC rate is refused.
base::Result<> restore_vcpu(const VcpuFd& vcpu, const VcpuState& state);

}  // namespace mote::monitor::snapshot
