#pragma once
// Model-specific registers a vCPU starts with, and the client's modifiers on top (Intel SDM vol.
// 4).

#include <linux/kvm.h>

#include <optional>
#include <vector>

#include "base/result.h"
#include "monitor/kvm.h"
#include "monitor/vm_config.h"

namespace mote::monitor {

/// Sets the boot MSRs of one vCPU. MSRs that the host lists but refuses are logged and skipped; one
/// that a modifier of the client names must be readable and writable, or the error names
/// msr_modifiers.
base::Result<> set_boot_msrs(const VcpuFd& vcpu, const std::optional<CpuConfig>& config);

}  // namespace mote::monitor
