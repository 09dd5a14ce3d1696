#pragma once
// CHECK: for invariants that only our own bug can break. Never for bytes from a guest, a client or
// a file.

namespace mote::base {

/// Prints the reason and aborts. Async-signal-safe.
[[noreturn]] void check_failed(const char* expression, const char* reason, const char* file,
                               int line);

}  // namespace mote::base

#define CHECK(condition, reason)                                          \
  do {                                                                    \
    if (!(condition)) [[unlikely]]                                        \
      ::mote::base::check_failed(#condition, reason, __FILE__, __LINE__); \
  } while (false)
