#include "monitor/interrupt_router.h"

#include "base/log.h"

namespace mote::monitor {

void InterruptRouter::update(const legacy::InterruptRoute& route) {
  const std::scoped_lock lock(mutex_);
  messages_[route.pin] = {route.address, route.data, !route.masked};
  apply();
}

void InterruptRouter::update_all(std::span<const legacy::InterruptRoute> routes) {
  const std::scoped_lock lock(mutex_);
  for (const auto& route : routes) {
    messages_[route.pin] = {route.address, route.data, !route.masked};
  }
  apply();
}

void InterruptRouter::apply() {
  std::vector<kvm_irq_routing_entry> entries;
  for (uint32_t pin = 0; pin < messages_.size(); ++pin) {
    if (!messages_[pin].active) continue;
    kvm_irq_routing_entry entry{};
    entry.gsi = pin;
    entry.type = KVM_IRQ_ROUTING_MSI;
    entry.u.msi.address_lo = static_cast<uint32_t>(messages_[pin].address);
    entry.u.msi.address_hi = static_cast<uint32_t>(messages_[pin].address >> 32);
    entry.u.msi.data = messages_[pin].data;
    entries.push_back(entry);
  }
  if (const auto outcome = vm_.set_gsi_routing(entries); !outcome) {
    LOG_ERROR("interrupt routing failed: {}", outcome.error().message());
  }
}

}  // namespace mote::monitor
