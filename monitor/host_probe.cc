#include "monitor/host_probe.h"

#include <system_error>

namespace mote::monitor {
namespace {

base::Result<Host> probe(const std::string& kvm_device) {
  MOTE_TRY(auto kvm, Kvm::open(kvm_device));
  MOTE_TRY(auto cpuid, kvm.supported_cpuid());
  return Host{std::move(kvm), std::move(cpuid)};
}

}  // namespace

HostProbe::HostProbe(const std::string& kvm_device)
    : outcome_(base::fail(base::ErrorCode::kInternal, "the host was not probed")) {
  try {
    thread_ = std::jthread([this, kvm_device] { outcome_ = probe(kvm_device); });
  } catch (const std::system_error&) {
    outcome_ = probe(kvm_device);  // No thread to be had: later, but no worse.
  }
}

const base::Result<Host>& HostProbe::wait() {
  if (thread_.joinable()) thread_.join();
  return outcome_;
}

}  // namespace mote::monitor
