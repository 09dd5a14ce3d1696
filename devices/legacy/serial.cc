#include "devices/legacy/serial.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"

namespace mote::legacy {
namespace {

// Register offsets (National PC16550D data sheet, table II).
constexpr uint64_t kData = 0;  // RBR, THR; divisor low with DLAB.
constexpr uint64_t kInterruptEnable = 1;
constexpr uint64_t kInterruptIdentification = 2;  // FCR when written.
constexpr uint64_t kLineControl = 3;
constexpr uint64_t kModemControl = 4;
constexpr uint64_t kLineStatus = 5;
constexpr uint64_t kModemStatus = 6;
constexpr uint64_t kScratch = 7;

constexpr uint8_t kEnableReceive = 0x01;
constexpr uint8_t kEnableTransmit = 0x02;
constexpr uint8_t kDivisorLatch = 0x80;
constexpr uint8_t kLoopback = 0x10;
constexpr uint8_t kFifoEnable = 0x01;
constexpr uint8_t kFifoClearReceive = 0x02;
constexpr uint8_t kNoInterrupt = 0x01;
constexpr uint8_t kTransmitterEmpty = 0x02;
constexpr uint8_t kReceiveAvailable = 0x04;
constexpr uint8_t kFifosEnabled = 0xc0;
constexpr uint8_t kLineDataReady = 0x01;
constexpr uint8_t kLineIdle = 0x60;    // THR and shift register empty: we are infinitely fast.
constexpr uint8_t kModemReady = 0xb0;  // CTS, DSR, DCD.

constexpr size_t kInputLimit = 64;
constexpr size_t kGatherLimit = 512;

}  // namespace

Serial::Serial(std::unique_ptr<SerialOutput> output, base::UniqueFd interrupt_fd,
               const std::optional<virtio::TokenBucketConfig>& limit)
    : output_(std::move(output)), interrupt_fd_(std::move(interrupt_fd)) {
  if (limit) limit_ = virtio::TokenBucket(*limit, base::monotonic_ns());
  gathered_.reserve(kGatherLimit);
}

Serial::~Serial() {
  flush();
}

void Serial::read(uint64_t offset, std::span<std::byte> data) {
  const std::scoped_lock lock(mutex_);
  std::ranges::fill(data, std::byte{0});
  if (data.size() != 1) {
    ++metrics_.missed_read_count;
    return;
  }
  data[0] = std::byte{read_register(offset)};
}

void Serial::write(uint64_t offset, std::span<const std::byte> data) {
  const std::scoped_lock lock(mutex_);
  if (data.size() != 1) {
    ++metrics_.missed_write_count;
    return;
  }
  write_register(offset, static_cast<uint8_t>(data[0]));
}

uint8_t Serial::read_register(uint64_t offset) {
  const bool latch = (line_control_ & kDivisorLatch) != 0;
  switch (offset) {
    case kData:
      return latch ? static_cast<uint8_t>(divisor_) : take_input();
    case kInterruptEnable:
      return latch ? static_cast<uint8_t>(divisor_ >> 8) : interrupt_enable_;
    case kInterruptIdentification:
      return interrupt_identification();
    case kLineControl:
      return line_control_;
    case kModemControl:
      return modem_control_;
    case kLineStatus:
      return input_.empty() ? kLineIdle : kLineIdle | kLineDataReady;
    case kModemStatus:
      // In loopback the outputs DTR, RTS, OUT1 and OUT2 come back as DSR, CTS, RI and DCD.
      if ((modem_control_ & kLoopback) == 0) return kModemReady;
      return static_cast<uint8_t>((modem_control_ & 0x01) << 5 | (modem_control_ & 0x02) << 3 |
                                  (modem_control_ & 0x04) << 4 | (modem_control_ & 0x08) << 4);
    case kScratch:
      return scratch_;
    default:
      return 0;
  }
}

void Serial::write_register(uint64_t offset, uint8_t value) {
  const bool latch = (line_control_ & kDivisorLatch) != 0;
  switch (offset) {
    case kData:
      if (latch) {
        divisor_ = static_cast<uint16_t>((divisor_ & 0xff00) | value);
      } else {
        transmit(value);
      }
      return;
    case kInterruptEnable:
      if (latch) {
        divisor_ = static_cast<uint16_t>((divisor_ & 0x00ff) | value << 8);
        return;
      }
      flush_locked();
      // Switching the transmit interrupt on with an idle transmitter raises it at once.
      transmitter_empty_pending_ = (value & kEnableTransmit) != 0;
      interrupt_enable_ = value & 0x0f;
      return update_interrupt();
    case kInterruptIdentification:
      fifo_control_ = value;
      if ((value & kFifoClearReceive) != 0) input_.clear();
      return;
    case kLineControl:
      line_control_ = value;
      return;
    case kModemControl:
      modem_control_ = value & 0x1f;
      return;
    case kScratch:
      scratch_ = value;
      return;
    default:
      ++metrics_.missed_write_count;
  }
}

void Serial::transmit(uint8_t value) {
  if ((modem_control_ & kLoopback) != 0) {
    if (input_.size() < kInputLimit) input_.push_back(value);
    return update_interrupt();
  }
  ++metrics_.write_count;
  if (limit_.consume(1, base::monotonic_ns())) {
    gathered_.push_back(std::byte{value});
    if (value == '\n' || gathered_.size() >= kGatherLimit) {
      flush_locked();
    } else if (on_waiting_output_ && !std::exchange(flush_is_due_, true)) {
      on_waiting_output_();
    }
  } else {
    ++metrics_.rate_limiter_dropped_bytes;
  }
  transmitter_empty_pending_ = true;
  update_interrupt();
}

uint8_t Serial::take_input() {
  if (input_.empty()) {
    ++metrics_.missed_read_count;
    return 0;
  }
  const uint8_t value = input_.front();
  input_.pop_front();
  ++metrics_.read_count;
  return value;
}

uint8_t Serial::interrupt_identification() {
  const uint8_t fifos = (fifo_control_ & kFifoEnable) != 0 ? kFifosEnabled : uint8_t{0};
  if ((interrupt_enable_ & kEnableReceive) != 0 && !input_.empty())
    return fifos | kReceiveAvailable;
  if ((interrupt_enable_ & kEnableTransmit) != 0 && transmitter_empty_pending_) {
    transmitter_empty_pending_ = false;  // Reading it is what takes this cause away.
    return fifos | kTransmitterEmpty;
  }
  return fifos | kNoInterrupt;
}

void Serial::update_interrupt() {
  const bool receive = (interrupt_enable_ & kEnableReceive) != 0 && !input_.empty();
  const bool transmit = (interrupt_enable_ & kEnableTransmit) != 0 && transmitter_empty_pending_;
  if (receive || transmit) ::eventfd_write(interrupt_fd_.get(), 1);
}

size_t Serial::receive(std::span<const std::byte> bytes) {
  const std::scoped_lock lock(mutex_);
  const size_t count = std::min(bytes.size(), kInputLimit - std::min(kInputLimit, input_.size()));
  for (const std::byte byte : bytes.first(count)) input_.push_back(static_cast<uint8_t>(byte));
  if (count > 0) update_interrupt();
  return count;
}

void Serial::flush() {
  const std::scoped_lock lock(mutex_);
  flush_is_due_ = false;
  flush_locked();
}

void Serial::flush_locked() {
  if (gathered_.empty()) return;
  const size_t written = output_->write(gathered_);
  metrics_.error_count += written < gathered_.size() ? 1 : 0;
  ++metrics_.flush_count;
  gathered_.clear();
}

SerialMetrics Serial::metrics() const {
  const std::scoped_lock lock(mutex_);
  return metrics_;
}

Serial::State Serial::save() const {
  const std::scoped_lock lock(mutex_);
  return {{input_.begin(), input_.end()},
          interrupt_enable_,
          line_control_,
          modem_control_,
          scratch_,
          fifo_control_,
          divisor_,
          transmitter_empty_pending_};
}

void Serial::restore(const State& state) {
  const std::scoped_lock lock(mutex_);
  const size_t count = std::min(state.input.size(), kInputLimit);
  input_.assign(state.input.begin(), state.input.begin() + static_cast<ptrdiff_t>(count));
  interrupt_enable_ = state.interrupt_enable;
  line_control_ = state.line_control;
  modem_control_ = state.modem_control;
  scratch_ = state.scratch;
  fifo_control_ = state.fifo_control;
  divisor_ = state.divisor;
  transmitter_empty_pending_ = state.transmitter_empty_pending;
}

}  // namespace mote::legacy
