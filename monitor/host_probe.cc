#include "monitor/host_probe.h"

#include <system_error>

namespace mote::monitor {

HostProbe::HostProbe(const std::string& kvm_device)
    : kvm_(Kvm::open(kvm_device)),
      cpuid_(base::fail(base::ErrorCode::kInternal, "the host's CPUID table was not read")) {
  if (!kvm_) return;
  try {
    thread_ = std::jthread([this] { cpuid_ = kvm_->supported_cpuid(); });
  } catch (const std::system_error&) {
    cpuid_ = kvm_->supported_cpuid();  // No thread to be had: later, but no worse.
  }
}

const base::Result<std::vector<kvm_cpuid_entry2>>& HostProbe::supported_cpuid() {
  if (thread_.joinable()) thread_.join();
  return cpuid_;
}

}  // namespace mote::monitor
