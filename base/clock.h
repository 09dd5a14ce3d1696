#pragma once
// Host clocks, in nanoseconds and microseconds.

#include <time.h>

#include <cstdint>

namespace mote::base {

[[nodiscard]] inline uint64_t clock_ns(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}
[[nodiscard]] inline uint64_t monotonic_ns() {
  return clock_ns(CLOCK_MONOTONIC);
}
[[nodiscard]] inline uint64_t monotonic_us() {
  return monotonic_ns() / 1000;
}
[[nodiscard]] inline uint64_t process_cpu_us() {
  return clock_ns(CLOCK_PROCESS_CPUTIME_ID) / 1000;
}

}  // namespace mote::base
