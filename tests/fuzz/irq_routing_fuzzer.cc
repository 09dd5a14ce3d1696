// Any routing table of user space: refused, or each GSI sends what its entry says and no other
// does.
#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

extern "C" {
#include "kvm-lite/irq_routing.h"
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<kvm_irq_routing_entry> entries(size / sizeof(kvm_irq_routing_entry));
  if (!entries.empty()) std::memcpy(entries.data(), data, entries.size() * sizeof(entries[0]));
  const auto count = static_cast<uint32_t>(entries.size());
  const uint32_t gsis = kvml_routes_gsis(entries.data(), count);
  if (gsis > KVML_ROUTES_MAX) std::abort();
  std::vector<kvml_apic_message> messages(gsis);
  if (kvml_routes_fill(messages.data(), gsis, entries.data(), count) != 0) return 0;
  size_t routed = 0;
  for (const auto& entry : entries) {
    const kvml_apic_message wanted = kvml_message_of_msi(entry.u.msi.address_lo, entry.u.msi.data);
    const kvml_apic_message& message = messages.at(entry.gsi);
    if (wanted.delivery == KVML_APIC_NOWHERE) continue;
    if (message.delivery != wanted.delivery || message.destination != wanted.destination ||
        message.vector != wanted.vector)
      std::abort();
    ++routed;
  }
  for (const auto& message : messages) routed -= message.delivery != KVML_APIC_NOWHERE;
  if (routed != 0) std::abort();
  return 0;
}
