#pragma once
// Opens the KVM device and asks for its CPUID table beside the rest of start-up. The table costs
// half a millisecond where CPUID itself traps (any host that is a VM), and nothing before the
// first vCPU needs it.

#include <linux/kvm.h>

#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "monitor/kvm.h"

namespace mote::monitor {

/// The table comes from a short-lived thread of its own. A host that refuses is an error when
/// asked, not earlier, so that the API can be used to find out. Loop thread.
class HostProbe final {
 public:
  explicit HostProbe(const std::string& kvm_device);

  /// The opened device; the same outcome at every call.
  [[nodiscard]] const base::Result<Kvm>& kvm() const { return kvm_; }
  /// Waits for the table; the same outcome at every call.
  [[nodiscard]] const base::Result<std::vector<kvm_cpuid_entry2>>& supported_cpuid();

 private:
  base::Result<Kvm> kvm_;
  base::Result<std::vector<kvm_cpuid_entry2>> cpuid_;
  std::jthread thread_;
};

}  // namespace mote::monitor
