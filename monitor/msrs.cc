#include "monitor/msrs.h"

#include <fmt/format.h>

#include <array>

#include "base/log.h"

namespace mote::monitor {
namespace {

constexpr uint32_t kMiscEnable = 0x1a0;
constexpr uint64_t kMiscEnableFastStrings = 1;
constexpr uint32_t kMtrrDefaultType = 0x2ff;
// MTRRs on, no ranges: all memory is write-back, as firmware would have left it.
constexpr uint64_t kMtrrEnabledWriteBack = 1U << 11 | 6;

std::vector<kvm_msr_entry> boot_msrs() {
  return {{kMiscEnable, 0, kMiscEnableFastStrings}, {kMtrrDefaultType, 0, kMtrrEnabledWriteBack}};
}

base::Result<> apply_modifiers(const VcpuFd& vcpu, const CpuConfig& config) {
  std::vector<kvm_msr_entry> entries;
  for (const MsrModifier& modifier : config.msr_modifiers) {
    entries.push_back({modifier.address, 0, 0});
  }
  if (auto read = vcpu.get_msrs(entries); !read)
    return base::with_context(read.error(), "msr_modifiers");
  for (size_t i = 0; i < entries.size(); ++i) {
    const BitFilter& bitmap = config.msr_modifiers[i].bitmap;
    entries[i].data = (entries[i].data & ~bitmap.mask) | (bitmap.value & bitmap.mask);
  }
  auto refused = vcpu.set_msrs(entries);
  if (!refused) return base::with_context(refused.error(), "msr_modifiers");
  if (refused->empty()) return {};
  return base::fail(
      base::ErrorCode::kUnsupported,
      fmt::format("msr_modifiers: this host will not set MSR {:#x}", refused->front()));
}

}  // namespace

base::Result<> set_boot_msrs(const VcpuFd& vcpu, const std::optional<CpuConfig>& config) {
  MOTE_TRY(const auto refused, vcpu.set_msrs(boot_msrs()));
  for (const uint32_t index : refused) LOG_INFO("this host will not set MSR {:#x}: skipped", index);
  if (config && !config->msr_modifiers.empty()) return apply_modifiers(vcpu, *config);
  return {};
}

}  // namespace mote::monitor
