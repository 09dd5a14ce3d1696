#pragma once
// A user-space IOAPIC (82093AA) for KVM's split irqchip: 24 pins whose redirection entries become
// MSI routes. Edge pins never come here again once routed: their eventfd injects in the kernel.
// Level pins keep remote IRR until the guest's end of interrupt. vCPU threads; guarded by one mutex
// (rare: driver set-up).

#include <array>
#include <cstdint>
#include <mutex>
#include <vector>

#include "devices/bus.h"

namespace mote::legacy {

/// Where a pin's interrupt goes now, as an MSI (Intel SDM vol. 3A §11.11).
struct InterruptRoute {
  uint32_t pin = 0;
  uint64_t address = 0;
  uint32_t data = 0;
  bool masked = true;
};

/// Hears of every change of a redirection entry, on the vCPU thread that made it.
class RouteSink {
 public:
  virtual ~RouteSink() = default;
  virtual void update(const InterruptRoute& route) = 0;
  /// All pins at once.
  virtual void update_all(std::span<const InterruptRoute> routes) = 0;
};

class IoApic final : public devices::BusDevice {
 public:
  static constexpr uint32_t kPins = 24;

  explicit IoApic(RouteSink& sink);

  void read(uint64_t offset, std::span<std::byte> data) override;
  void write(uint64_t offset, std::span<const std::byte> data) override;

  /// KVM_EXIT_IOAPIC_EOI: clears remote IRR of the level pins with this vector.
  void end_of_interrupt(uint8_t vector);

  /// What a snapshot keeps.
  struct State {
    std::array<uint64_t, kPins> redirection{};
    uint8_t selected = 0;
    uint8_t id = 0;
  };
  [[nodiscard]] State save() const;
  void restore(const State& state);

 private:
  uint32_t read_register() const;
  void write_register(uint32_t value);
  void announce(uint32_t pin);

  RouteSink& sink_;
  mutable std::mutex mutex_;
  State state_;
};

/// The MSI a redirection entry stands for. Pure.
[[nodiscard]] InterruptRoute decode_redirection(uint32_t pin, uint64_t entry);

}  // namespace mote::legacy
