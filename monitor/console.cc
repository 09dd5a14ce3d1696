#include "monitor/console.h"

#include <sys/stat.h>
#include <unistd.h>

namespace mote::monitor {
namespace {

constexpr uint64_t kRetryNs = 5'000'000;

/// Puts a terminal into raw mode, with output processing kept; nothing where input is no terminal.
std::optional<termios> enter_raw_mode() {
  termios original{};
  if (::isatty(STDIN_FILENO) != 1 || ::tcgetattr(STDIN_FILENO, &original) != 0) return std::nullopt;
  termios raw = original;
  ::cfmakeraw(&raw);
  raw.c_oflag |= OPOST;
  raw.c_lflag |= ISIG;  // Ctrl-C still ends the monitor.
  if (::tcsetattr(STDIN_FILENO, TCSANOW, &raw) != 0) return std::nullopt;
  return original;
}

}  // namespace

ConsoleInput::ConsoleInput(io::EventLoop& loop, legacy::Serial& serial)
    : serial_(serial),
      registration_(loop, *this),
      retry_(loop, [this] { deliver(); }),
      saved_(enter_raw_mode()) {
  read_more();
}

ConsoleInput::~ConsoleInput() {
  if (saved_) ::tcsetattr(STDIN_FILENO, TCSANOW, &*saved_);
}

void ConsoleInput::read_more() {
  io_uring_sqe* const sqe = registration_.loop().prepare(registration_.source(), 0);
  io_uring_prep_read(sqe, STDIN_FILENO, buffer_.data(), static_cast<unsigned>(buffer_.size()),
                     static_cast<uint64_t>(-1));
}

void ConsoleInput::on_completion(uint32_t, int32_t result, uint32_t) {
  if (result == -EINTR || result == -EAGAIN) return read_more();
  if (result <= 0) return;  // End of input, or none to be had: the guest just hears nothing.
  pending_ = std::span<const std::byte>(buffer_).first(static_cast<size_t>(result));
  deliver();
}

void ConsoleInput::deliver() {
  const size_t taken = serial_.receive(pending_);
  pending_ = pending_.subspan(taken);
  if (pending_.empty()) return read_more();
  retry_.arm(kRetryNs);
}

}  // namespace mote::monitor
