#include "devices/legacy/i8042.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <array>

namespace mote::legacy {
namespace {

constexpr uint64_t kDataOffset = 0;     // Port 0x60.
constexpr uint64_t kCommandOffset = 4;  // Port 0x64.
constexpr size_t kOutputLimit = 16;

constexpr uint8_t kStatusOutputFull = 0x01;
constexpr uint8_t kStatusSystemFlag = 0x04;
constexpr uint8_t kCommandByteInterrupt = 0x01;

constexpr uint8_t kReadCommandByte = 0x20;
constexpr uint8_t kWriteCommandByte = 0x60;
constexpr uint8_t kSelfTest = 0xaa;
constexpr uint8_t kInterfaceTest = 0xab;
constexpr uint8_t kDisableKeyboard = 0xad;
constexpr uint8_t kEnableKeyboard = 0xae;
constexpr uint8_t kReadOutputPort = 0xd0;
constexpr uint8_t kWriteOutputPort = 0xd1;
constexpr uint8_t kReset = 0xfe;
constexpr uint8_t kAcknowledge = 0xfa;

// Scan code set 2, which Linux's atkbd expects: press Ctrl, Alt and (extended) Delete.
constexpr std::array<uint8_t, 4> kCtrlAltDel = {0x14, 0x11, 0xe0, 0x71};

}  // namespace

void I8042::read(uint64_t offset, std::span<std::byte> data) {
  uint8_t value = 0;
  const std::scoped_lock lock(mutex_);
  if (data.size() != 1) ++metrics_.missed_read_count;
  if (offset == kCommandOffset) {
    value = kStatusSystemFlag;
    if (!output_.empty()) value |= kStatusOutputFull;
  } else if (offset == kDataOffset && !output_.empty()) {
    value = output_.front();
    output_.pop_front();
    if (!output_.empty()) raise_interrupt();
  } else if (offset != kDataOffset) {
    ++metrics_.missed_read_count;
    value = 0xff;  // Ports 0x61 to 0x63 are nobody's.
  }
  ++metrics_.read_count;
  std::ranges::fill(data, std::byte{0});
  data[0] = std::byte{value};
}

void I8042::write(uint64_t offset, std::span<const std::byte> data) {
  const auto value = static_cast<uint8_t>(data[0]);
  bool reset = false;
  {
    const std::scoped_lock lock(mutex_);
    ++metrics_.write_count;
    if (offset == kCommandOffset && value == kReset) {
      ++metrics_.reset_count;
      reset = true;
    } else if (offset == kCommandOffset) {
      write_command(value);
    } else if (offset == kDataOffset) {
      write_data(value);
    } else {
      ++metrics_.missed_write_count;
    }
  }
  if (reset) reset_();  // Outside the lock: it leads into other rooms.
}

void I8042::write_command(uint8_t command) {
  switch (command) {
    case kReadCommandByte:
      return push(command_byte_);
    case kSelfTest:
      return push(0x55);
    case kInterfaceTest:
      return push(0x00);
    case kReadOutputPort:
      return push(output_port_);
    case kWriteCommandByte:
    case kWriteOutputPort:
      pending_command_ = command;
      return;
    case kDisableKeyboard:
    case kEnableKeyboard:
      return;
    default:
      ++metrics_.missed_write_count;
  }
}

void I8042::write_data(uint8_t value) {
  const uint8_t command = std::exchange(pending_command_, 0);
  if (command == kWriteCommandByte) {
    command_byte_ = value;
  } else if (command == kWriteOutputPort) {
    output_port_ = value;
  } else {
    push(kAcknowledge);  // Whatever was sent to the keyboard, it is content.
  }
}

void I8042::push(uint8_t byte) {
  if (output_.size() >= kOutputLimit) {
    ++metrics_.error_count;
    return;
  }
  output_.push_back(byte);
  if (output_.size() == 1) raise_interrupt();
}

void I8042::raise_interrupt() const {
  if ((command_byte_ & kCommandByteInterrupt) != 0) ::eventfd_write(interrupt_fd_.get(), 1);
}

void I8042::trigger_ctrl_alt_del() {
  const std::scoped_lock lock(mutex_);
  output_.clear();
  for (const uint8_t code : kCtrlAltDel) push(code);
}

I8042Metrics I8042::metrics() const {
  const std::scoped_lock lock(mutex_);
  return metrics_;
}

I8042::State I8042::save() const {
  const std::scoped_lock lock(mutex_);
  return {{output_.begin(), output_.end()}, command_byte_, output_port_, pending_command_};
}

void I8042::restore(const State& state) {
  const std::scoped_lock lock(mutex_);
  const size_t count = std::min<size_t>(state.output.size(), kOutputLimit);
  output_.assign(state.output.begin(), state.output.begin() + static_cast<ptrdiff_t>(count));
  command_byte_ = state.command_byte;
  output_port_ = state.output_port;
  pending_command_ = state.pending_command;
}

}  // namespace mote::legacy
