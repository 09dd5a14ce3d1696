#pragma once
// Arithmetic on foreign numbers, where wrap-around must be seen.

#include <bit>
#include <concepts>
#include <cstdint>
#include <optional>

namespace mote::base {

template <std::unsigned_integral T>
[[nodiscard]] constexpr std::optional<T> checked_add(T a, T b) {
  T sum{};
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

template <std::unsigned_integral T>
[[nodiscard]] constexpr std::optional<T> checked_mul(T a, T b) {
  T product{};
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

/// Rounds up to a power-of-two alignment; nothing on overflow.
template <std::unsigned_integral T>
[[nodiscard]] constexpr std::optional<T> checked_align_up(T value, T alignment) {
  const auto padded = checked_add<T>(value, static_cast<T>(alignment - 1));
  if (!padded) return std::nullopt;
  return static_cast<T>(*padded & ~static_cast<T>(alignment - 1));
}

/// True when [offset, offset + length) lies inside [0, size), without overflow.
[[nodiscard]] constexpr bool range_fits(uint64_t offset, uint64_t length, uint64_t size) {
  return offset <= size && length <= size - offset;
}

[[nodiscard]] constexpr bool is_aligned(uint64_t value, uint64_t alignment) {
  return (value & (alignment - 1)) == 0;
}

}  // namespace mote::base
