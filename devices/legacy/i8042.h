#pragma once
// The part of an i8042 keyboard controller that a boot without one would miss: reset by command
// 0xfe, and Ctrl-Alt-Del from the API. Any thread; guarded by one mutex.

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <vector>

#include "base/unique_fd.h"
#include "devices/bus.h"

namespace mote::legacy {

/// Counters named as in Firecracker's `i8042` metrics.
struct I8042Metrics {
  uint64_t error_count = 0;
  uint64_t missed_read_count = 0;
  uint64_t missed_write_count = 0;
  uint64_t read_count = 0;
  uint64_t reset_count = 0;
  uint64_t write_count = 0;
};

class I8042 final : public devices::BusDevice {
 public:
  /// `interrupt_fd`: eventfd of the keyboard's line. `reset` runs on the vCPU thread that asked for
  /// it, on several at once if the guest does so.
  I8042(base::UniqueFd interrupt_fd, std::move_only_function<void()> reset)
      : interrupt_fd_(std::move(interrupt_fd)), reset_(std::move(reset)) {}

  void read(uint64_t offset, std::span<std::byte> data) override;
  void write(uint64_t offset, std::span<const std::byte> data) override;

  /// Queues the scan codes of Ctrl-Alt-Del.
  void trigger_ctrl_alt_del();
  [[nodiscard]] I8042Metrics metrics() const;

  /// What a snapshot keeps.
  struct State {
    std::vector<uint8_t> output;
    uint8_t command_byte = 0;
    uint8_t output_port = 0;
    uint8_t pending_command = 0;
  };
  [[nodiscard]] State save() const;
  /// Before any vCPU runs. Output beyond the controller's buffer is left out.
  void restore(const State& state);

 private:
  void push(uint8_t byte);
  void raise_interrupt() const;
  void write_command(uint8_t command);
  void write_data(uint8_t value);

  mutable std::mutex mutex_;
  base::UniqueFd interrupt_fd_;
  std::move_only_function<void()> reset_;
  std::deque<uint8_t> output_;
  uint8_t command_byte_ = 0x01 | 0x04;  // Keyboard interrupt on, self-test passed.
  uint8_t output_port_ = 0x03;          // Not in reset, A20 on.
  uint8_t pending_command_ = 0;
  I8042Metrics metrics_;
};

}  // namespace mote::legacy
