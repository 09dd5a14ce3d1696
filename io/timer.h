#pragma once
// A one-shot timer on the event loop. Loop thread only.

#include <functional>

#include "io/event_loop.h"

namespace mote::io {

/// Calls back once after the delay it was armed with. Re-arming replaces the earlier deadline. May
/// be destroyed while armed: the kernel holds a copy of the deadline, and the late completion is
/// dropped.
class Timer final : public CompletionHandler {
 public:
  Timer(EventLoop& loop, std::move_only_function<void()> callback)
      : callback_(std::move(callback)), registration_(loop, *this) {}

  /// Arms for `delay_ns` from now.
  void arm(uint64_t delay_ns);
  /// Forgets the deadline; the callback will not come.
  void disarm();
  [[nodiscard]] bool armed() const { return armed_; }

  void on_completion(uint32_t tag, int32_t result, uint32_t flags) override;

 private:
  std::move_only_function<void()> callback_;
  Registration registration_;
  __kernel_timespec deadline_{};
  uint32_t tag_ = 0;  // Names the latest arming: completions of older ones are stale.
  bool armed_ = false;
};

}  // namespace mote::io
