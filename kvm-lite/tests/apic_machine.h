#pragma once
// A LAPIC for tests: the state machine with a clock that the test moves and what its last operation
// asked for. Single-threaded.

#include <array>
#include <cstdint>

extern "C" {
#include "kvm-lite/lapic_state.h"
}

namespace mote::kvm_lite {

class ApicMachine final {
 public:
  static constexpr uint8_t kPhysicalBits = 39;

  explicit ApicMachine(uint32_t id = 0) { kvml_apic_power_up(&apic_, id, id == 0); }

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

  uint32_t read(uint32_t offset) {
    return static_cast<uint32_t>(kvml_apic_page_read(&apic_, offset, 4, now_ns));
  }

  void write(uint32_t offset, uint32_t value) {
    effects = {};
    kvml_apic_page_write(&apic_, offset, 4, value, now_ns, &effects);
  }

  int write_msr(uint32_t offset, uint64_t value) {
    effects = {};
    return kvml_apic_msr_write(&apic_, msr(offset), value, now_ns, &effects);
  }

  int read_msr(uint32_t offset, uint64_t& value) {
    return kvml_apic_msr_read(&apic_, msr(offset), now_ns, &value);
  }

  int set_base(uint64_t value, bool x2apic_offered = true) {
    effects = {};
    return kvml_apic_write_base(&apic_, value, kPhysicalBits, x2apic_offered, &effects);
  }

  bool accept(const kvml_apic_message& message) {
    effects = {};
    return kvml_apic_accept(&apic_, &message, &effects);
  }

  /// A fixed, edge-triggered interrupt.
  bool raise(uint8_t vector) { return accept(fixed(vector)); }

  static kvml_apic_message fixed(uint8_t vector) {
    kvml_apic_message message{};
    message.vector = vector;
    return message;
  }

  int pending() { return kvml_apic_pending(&apic_); }

  /// Takes what is pending; -1 if nothing is.
  int take() {
    const int vector = pending();
    if (vector >= 0) kvml_apic_acknowledge(&apic_, static_cast<uint8_t>(vector));
    return vector;
  }

  void expire(uint64_t guest_tsc = 0) {
    effects = {};
    kvml_apic_timer_expired(&apic_, now_ns, guest_tsc, &effects);
  }

  [[nodiscard]] bool has(kvml_apic_effect_flag flag) const {
    return (effects.flags & static_cast<uint32_t>(flag)) != 0;
  }

  kvml_apic& apic() { return apic_; }

  kvml_apic_effects effects{};
  uint64_t now_ns = 1000;

 private:
  static uint32_t msr(uint32_t offset) { return KVML_X2APIC_MSR_FIRST + offset / 16; }

  kvml_apic apic_{};
};

}  // namespace mote::kvm_lite
