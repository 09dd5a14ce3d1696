#pragma once
// The sleep and reset registers of a hardware-reduced ACPI platform (ACPI 6.4 §4.8.3.6, §4.8.3.7),
// at layout::kAcpiSleepPort. Any vCPU thread; no state.

#include <functional>

#include "devices/bus.h"
#include "memory/layout.h"

namespace mote::legacy {

class AcpiPower final : public devices::BusDevice {
 public:
  /// `callback` runs on a vCPU thread, on several at once if the guest does so, each time the
  /// guest asks for S5 or a reset.
  explicit AcpiPower(std::move_only_function<void()> callback) : callback_(std::move(callback)) {}

  void read(uint64_t, std::span<std::byte> data) override {
    for (std::byte& byte : data) byte = std::byte{0};
  }

  void write(uint64_t offset, std::span<const std::byte> data) override {
    namespace layout = memory::layout;
    constexpr uint8_t kSleepEnable = 1U << 5;
    constexpr uint8_t kSleepTypeShift = 2;
    const auto value = static_cast<uint8_t>(data[0]);
    const bool sleeps_in_s5 =
        (value & kSleepEnable) != 0 && ((value >> kSleepTypeShift) & 7) == layout::kAcpiSleepTypeS5;
    const bool resets = offset == layout::kAcpiResetPort - layout::kAcpiSleepPort &&
                        value == layout::kAcpiResetValue;
    if ((offset == 0 && sleeps_in_s5) || resets) callback_();
  }

 private:
  std::move_only_function<void()> callback_;
};

}  // namespace mote::legacy
