#pragma once
// SIGTERM and SIGINT end the VM in order. Loop thread.

#include <sys/signalfd.h>

#include <functional>

#include "base/result.h"
#include "base/unique_fd.h"
#include "io/event_loop.h"

namespace mote::monitor {

class SignalWatcher final : public io::CompletionHandler {
 public:
  /// Blocks the signals in this thread; before any other thread starts, so that all inherit it.
  static base::Result<> block_signals();
  /// Watches for the blocked signals.
  static base::Result<std::unique_ptr<SignalWatcher>> create(
      io::EventLoop& loop, std::move_only_function<void(int signal)> callback);

  void on_completion(uint32_t tag, int32_t result, uint32_t flags) override;

 private:
  SignalWatcher(io::EventLoop& loop, base::UniqueFd fd,
                std::move_only_function<void(int signal)> callback);
  void arm();

  base::UniqueFd fd_;
  std::move_only_function<void(int signal)> callback_;
  io::Registration registration_;
  signalfd_siginfo info_{};
};

}  // namespace mote::monitor
