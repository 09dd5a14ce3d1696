#include "monitor/host_probe.h"

namespace mote::monitor {
namespace {

base::Result<Host> probe(const std::string& kvm_device) {
  MOTE_TRY(auto kvm, Kvm::open(kvm_device));
  MOTE_TRY(auto cpuid, kvm.supported_cpuid());
  return Host{std::move(kvm), std::move(cpuid)};
}

}  // namespace

HostProbe::HostProbe(std::string kvm_device)
    : outcome_(base::fail(base::ErrorCode::kInternal, "the host was not probed")),
      thread_([this, device = std::move(kvm_device)] { outcome_ = probe(device); }) {}

const base::Result<Host>& HostProbe::wait() {
  if (thread_.joinable()) thread_.join();
  return outcome_;
}

}  // namespace mote::monitor
