#pragma once
// A 16550A UART. Register accesses come from vCPU threads, input from the loop thread; one mutex
// guards all.
//
// Output is gathered, so that a verbose boot is not one write(2) a byte. It is written when a line
// ends, when the buffer is full, and when the guest writes IER: Linux does that at the end of every
// console message and when a terminal has nothing more to send, so its prompts show at once. For
// guests that do neither, the owner is told of a line begun and calls flush() a little later.

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/unique_fd.h"
#include "devices/bus.h"
#include "devices/legacy/serial_output.h"
#include "devices/virtio/rate_limiter.h"

namespace mote::legacy {

/// Counters named as in Firecracker's `uart` metrics.
struct SerialMetrics {
  uint64_t error_count = 0;
  uint64_t flush_count = 0;
  uint64_t missed_read_count = 0;
  uint64_t missed_write_count = 0;
  uint64_t read_count = 0;
  uint64_t write_count = 0;
  uint64_t rate_limiter_dropped_bytes = 0;
};

class Serial final : public devices::BusDevice {
 public:
  /// `interrupt_fd`: eventfd of the port's line. `limit`: bytes of output a time; what is over it
  /// is dropped.
  Serial(std::unique_ptr<SerialOutput> output, base::UniqueFd interrupt_fd,
         const std::optional<virtio::TokenBucketConfig>& limit);
  ~Serial() override;

  void read(uint64_t offset, std::span<std::byte> data) override;
  void write(uint64_t offset, std::span<const std::byte> data) override;

  /// Input for the guest: takes what fits its FIFO and gives the number of bytes taken.
  [[nodiscard]] size_t receive(std::span<const std::byte> bytes);
  /// Writes out what is gathered.
  void flush();
  /// `callback` is called, on the writing vCPU's thread, when output begins to wait and flush() was
  /// called since the last time. It must not call into this object. Set before any vCPU runs.
  void on_waiting_output(std::move_only_function<void()> callback) {
    on_waiting_output_ = std::move(callback);
  }
  [[nodiscard]] SerialMetrics metrics() const;

  /// What a snapshot keeps.
  struct State {
    std::vector<uint8_t> input;
    uint8_t interrupt_enable = 0;
    uint8_t line_control = 0;
    uint8_t modem_control = 0;
    uint8_t scratch = 0;
    uint8_t fifo_control = 0;
    uint16_t divisor = 0;
    bool transmitter_empty_pending = false;
  };
  [[nodiscard]] State save() const;
  /// Before any vCPU runs. Input beyond the FIFO is left out.
  void restore(const State& state);

 private:
  uint8_t read_register(uint64_t offset);
  void write_register(uint64_t offset, uint8_t value);
  void transmit(uint8_t value);
  void flush_locked();
  uint8_t take_input();
  [[nodiscard]] uint8_t interrupt_identification();
  /// Raises the (edge) line when an enabled cause is there.
  void update_interrupt();

  mutable std::mutex mutex_;
  std::unique_ptr<SerialOutput> output_;
  base::UniqueFd interrupt_fd_;
  virtio::TokenBucket limit_;
  std::vector<std::byte> gathered_;
  std::move_only_function<void()> on_waiting_output_;
  bool flush_is_due_ = false;  ///< The owner was told and has not called flush() yet.
  std::deque<uint8_t> input_;
  uint8_t interrupt_enable_ = 0;
  uint8_t line_control_ = 0x03;  // 8 bits, no parity, one stop bit.
  uint8_t modem_control_ = 0x08;
  uint8_t scratch_ = 0;
  uint8_t fifo_control_ = 0;
  uint16_t divisor_ = 12;  // 9600 baud.
  bool transmitter_empty_pending_ = false;
  SerialMetrics metrics_;
};

}  // namespace mote::legacy
