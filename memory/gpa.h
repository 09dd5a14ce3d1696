#pragma once
// Strong type for guest physical addresses.

#include <compare>
#include <cstdint>

namespace mote::memory {

/// A guest physical address. Arithmetic is explicit so that a host address never slips in.
struct Gpa {
  uint64_t value = 0;

  auto operator<=>(const Gpa&) const = default;
  /// Wraps; callers check with base::checked_add where the offset is foreign.
  [[nodiscard]] constexpr Gpa offset(uint64_t bytes) const { return Gpa{value + bytes}; }
};

}  // namespace mote::memory
