#pragma once
// The CPUID table of each vCPU: what the host supports, with the guest's topology and the client's
// modifiers put in (Intel SDM vol. 2A, CPUID; AMD APM vol. 3, appendix E). Pure.

#include <linux/kvm.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "monitor/vm_config.h"

namespace mote::monitor {

struct CpuTopology {
  uint32_t vcpu_count = 1;
  uint32_t threads_per_core = 1;  ///< 2 with SMT, and then vcpu_count is even (or 1).
};

/// Is the TSC-deadline mode of the in-kernel LAPIC on offer? KVM leaves that bit to user space.
enum class TscDeadline : uint8_t { kAbsent, kPresent };

/// The part that is the same for all vCPUs. kInvalidArgument where a modifier names a leaf or
/// subleaf that the host does not report.
base::Result<std::vector<kvm_cpuid_entry2>> make_cpuid(std::vector<kvm_cpuid_entry2> supported,
                                                       const CpuTopology& topology,
                                                       TscDeadline tsc_deadline,
                                                       const std::optional<CpuConfig>& config);

/// Puts one vCPU's APIC id into a table of make_cpuid().
void set_apic_id(std::vector<kvm_cpuid_entry2>& entries, uint32_t apic_id,
                 const CpuTopology& topology);

}  // namespace mote::monitor
