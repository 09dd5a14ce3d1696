#pragma once
// Brings standard input to the guest's serial port: raw mode on a terminal, bytes through the event
// loop. Loop thread. Restores the terminal when it goes.

#include <termios.h>

#include <array>
#include <memory>
#include <optional>

#include "devices/legacy/serial.h"
#include "io/event_loop.h"
#include "io/timer.h"

namespace mote::monitor {

class ConsoleInput final : public io::CompletionHandler {
 public:
  /// Reads standard input from now on; ends quietly at its end. `serial` outlives this object.
  ConsoleInput(io::EventLoop& loop, legacy::Serial& serial);
  ~ConsoleInput() override;

  void on_completion(uint32_t tag, int32_t result, uint32_t flags) override;

 private:
  void read_more();
  void deliver();

  legacy::Serial& serial_;
  io::Registration registration_;
  io::Timer retry_;  // The guest's FIFO was full: offer the rest again a little later.
  std::array<std::byte, 256> buffer_{};
  std::span<const std::byte> pending_;
  std::optional<termios> saved_;
};

}  // namespace mote::monitor
