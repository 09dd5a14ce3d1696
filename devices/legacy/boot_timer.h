#pragma once
// The boot timer: a guest's store of 123 says "my init runs". Any vCPU thread.

#include <atomic>
#include <functional>

#include "devices/bus.h"

namespace mote::legacy {

/// One register file for the MMIO page and for the port. Calls back for the first store only.
class BootTimer final : public devices::BusDevice {
 public:
  static constexpr std::byte kMagic{123};

  /// `callback` runs on the vCPU thread that stored.
  explicit BootTimer(std::move_only_function<void()> callback) : callback_(std::move(callback)) {}

  void read(uint64_t, std::span<std::byte> data) override {
    for (std::byte& byte : data) byte = std::byte{0};
  }
  void write(uint64_t offset, std::span<const std::byte> data) override {
    if (offset == 0 && data[0] == kMagic && !fired_.exchange(true)) callback_();
  }

 private:
  std::move_only_function<void()> callback_;
  std::atomic<bool> fired_{false};
};

}  // namespace mote::legacy
