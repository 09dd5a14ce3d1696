#pragma once
// A LAPIC for tests: the state machine with a clock that the test moves and what its last operation
// asked for. Single-threaded.

#include <array>
#include <cstdint>

extern "C" {
#include "kvm-lite/lapic_state.h"
}

inline uint64_t kvml_test_now_ns = 1000;

namespace mote::kvm_lite {

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

  int set_base(uint64_t value, bool x2apic_offered = true) {
    return kvml_apic_write_base(begin(), value, kPhysicalBits, x2apic_offered);
  }

  /// A fixed, edge-triggered interrupt.
  bool raise(uint8_t vector) { return kvml_apic_accept(begin(), vector, false); }

  int pending() { return kvml_apic_pending(&apic_); }

  /// Takes what is pending; -1 if nothing is.
  int take() {
    const int vector = pending();
    if (vector >= 0) kvml_apic_acknowledge(&apic_, static_cast<uint8_t>(vector));
    return vector;
  }

  bool expire(uint64_t guest_tsc = 0) { return kvml_apic_timer_expired(begin(), guest_tsc); }

  [[nodiscard]] bool has(kvml_apic_effect effect) const { return (apic_.effects & effect) != 0; }

  kvml_apic& apic() { return apic_; }

  uint64_t& now_ns = kvml_test_now_ns;

 private:
  kvml_apic* begin() {
    apic_.effects = 0;
    return &apic_;
  }

  kvml_apic apic_{};
};

}  // namespace mote::kvm_lite
