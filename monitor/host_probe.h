#pragma once
// Opens the KVM device and asks for its CPUID table beside the rest of start-up. The table costs
// half a millisecond where CPUID itself traps (any host that is a VM), and nothing that happens
// before InstanceStart needs it.

#include <linux/kvm.h>

#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "monitor/kvm.h"

namespace mote::monitor {

/// What VmBuilder needs of the host.
struct Host {
  Kvm kvm;
  std::vector<kvm_cpuid_entry2> supported_cpuid;
};

/// Works on a short-lived thread of its own; wait() joins it. A host that refuses is an error then,
/// not earlier, so that the API can be used to find out.
class HostProbe final {
 public:
  explicit HostProbe(const std::string& kvm_device);

  /// The outcome; the same at every call. Loop thread.
  [[nodiscard]] const base::Result<Host>& wait();

 private:
  base::Result<Host> outcome_;
  std::jthread thread_;
};

}  // namespace mote::monitor
