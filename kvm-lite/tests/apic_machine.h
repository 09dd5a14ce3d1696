#pragma once
// A LAPIC for tests: the state machine with a clock that the test moves, and what the last
// operation asked of its surroundings.

#include <cstdint>
#include <optional>
#include <utility>

extern "C" {
#include "kvm-lite/lapic_state.h"
}

inline uint64_t kvml_test_now_ns = 1000;

namespace mote::kvm_lite {

struct ObservedApic : kvml_apic {
  std::optional<kvml_apic_message> sent;
  bool timer_changed = false;
};

extern "C" {
[[gnu::used]] inline void kvml_apic_send(kvml_apic* apic, const kvml_apic_message* message) {
  static_cast<ObservedApic*>(apic)->sent = *message;
}

[[gnu::used]] inline void kvml_apic_timer_changed(kvml_apic* apic) {
  static_cast<ObservedApic*>(apic)->timer_changed = true;
}
}

class ApicMachine final {
 public:
  static constexpr uint8_t kPhysicalBits = 39;

  explicit ApicMachine(uint32_t id = 0) { kvml_apic_power_up(&apic_, id); }

  static ApicMachine enabled(uint32_t id = 0) {
    ApicMachine machine(id);
    machine.write(KVML_APIC_SVR, 0x1ff);
    return machine;
  }

  static ApicMachine x2apic(uint32_t id = 0) {
    ApicMachine machine = enabled(id);
    machine.set_base(machine.apic_.base | KVML_APIC_BASE_X2APIC);
    return machine;
  }

  uint32_t read(uint32_t index) {
    return static_cast<uint32_t>(kvml_apic_page_read(&apic_, index * 16, 4));
  }

  void write(uint32_t index, uint32_t value) {
    kvml_apic_page_write(begin(), index * 16, 4, value);
  }

  int write_msr(uint32_t index, uint64_t value) {
    return kvml_apic_msr_write(begin(), KVML_X2APIC_MSR_FIRST + index, value);
  }

  int read_msr(uint32_t index, uint64_t& value) {
    return kvml_apic_msr_read(begin(), KVML_X2APIC_MSR_FIRST + index, &value);
  }

  int set_base(uint64_t value) { return kvml_apic_write_base(begin(), value, kPhysicalBits); }

  /// A fixed, edge-triggered interrupt.
  bool raise(uint8_t vector) { return kvml_apic_accept(begin(), vector, false); }

  int pending() { return kvml_apic_pending(&apic_); }

  /// Takes what is pending; -1 if nothing is.
  int take() { return kvml_apic_take(&apic_); }

  void expire(uint64_t guest_tsc = 0) { kvml_apic_expire(begin(), guest_tsc); }

  /// The level-triggered vector that ended, or 0; once.
  uint8_t take_ended() { return std::exchange(apic_.ended, uint8_t{0}); }

  ObservedApic& apic() { return apic_; }

  uint64_t& now_ns = kvml_test_now_ns;

 private:
  kvml_apic* begin() {
    apic_.sent.reset();
    apic_.timer_changed = false;
    return &apic_;
  }

  ObservedApic apic_{};
};

}  // namespace mote::kvm_lite
