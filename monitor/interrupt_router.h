#pragma once
// Turns what the guest programs into its user-space IOAPIC into KVM's GSI routing table, so that an
// irqfd injects its MSI without coming through user space (KVM api.rst 4.52). vCPU threads.

#include <linux/kvm.h>

#include <array>
#include <cstdint>
#include <mutex>
#include <vector>

#include "devices/legacy/ioapic.h"
#include "memory/layout.h"
#include "monitor/kvm.h"

namespace mote::monitor {

class InterruptRouter final : public legacy::RouteSink {
 public:
  explicit InterruptRouter(const VmFd& vm) : vm_(vm) {}

  /// A masked pin has no route: its eventfd is counted and goes nowhere, as an edge on a masked pin
  /// does.
  void update(const legacy::InterruptRoute& route) override;
  void update_all(std::span<const legacy::InterruptRoute> routes) override;

 private:
  void apply();

  struct Message {
    uint64_t address = 0;
    uint32_t data = 0;
    bool active = false;
  };

  const VmFd& vm_;
  // Serialises whole-table updates: two vCPUs may program different pins at once. Rare (driver
  // probe), so it may be held across the ioctl.
  std::mutex mutex_;
  std::array<Message, memory::layout::kIoApicPins> messages_{};
};

}  // namespace mote::monitor
