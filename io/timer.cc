#include "io/timer.h"

namespace mote::io {

void Timer::arm(uint64_t delay_ns) {
  if (armed_) disarm();
  constexpr uint64_t kNsPerSecond = 1'000'000'000;
  deadline_.tv_sec = static_cast<int64_t>(delay_ns / kNsPerSecond);
  deadline_.tv_nsec = static_cast<int64_t>(delay_ns % kNsPerSecond);
  io_uring_sqe* const sqe = registration_.loop().prepare(registration_.source(), ++tag_);
  io_uring_prep_timeout(sqe, &deadline_, 0, 0);
  // The kernel reads the deadline at submission; submit now, so that a re-arming cannot overwrite
  // it.
  registration_.loop().submit();
  armed_ = true;
}

void Timer::disarm() {
  if (!armed_) return;
  armed_ = false;
  registration_.loop().cancel(registration_.source(), tag_);
}

void Timer::on_completion(uint32_t tag, int32_t, uint32_t) {
  if (!armed_ || tag != tag_) return;
  armed_ = false;
  callback_();
}

}  // namespace mote::io
