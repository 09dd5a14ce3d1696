#pragma once
// Values as little-endian bytes and back, for snapshot sections. Pure. The reader never reads past
// its end: the first thing missing or out of bounds sticks, and values after it are zero.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace mote::monitor::snapshot {

/// Plain data: integers, and KVM's structs, whose layout is the kernel's ABI.
template <typename T>
concept Plain = std::is_trivially_copyable_v<T> && !std::is_pointer_v<T>;

class ByteWriter final {
 public:
  template <Plain T>
  void put(const T& value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  void put_text(const std::string& text) { put_list(std::span(text.data(), text.size())); }
  template <typename T, size_t N>
  void put_list(std::span<T, N> values) {
    put(static_cast<uint64_t>(values.size()));
    const auto bytes = std::as_bytes(values);
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  template <Plain T>
  void put_list(const std::vector<T>& values) {
    put_list(std::span(values));
  }
  void put_optional_text(const std::optional<std::string>& text) {
    put(static_cast<uint8_t>(text.has_value()));
    if (text) put_text(*text);
  }
  template <Plain T>
  void put_optional(const std::optional<T>& value) {
    put(static_cast<uint8_t>(value.has_value()));
    if (value) put(*value);
  }
  [[nodiscard]] std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

class ByteReader final {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <Plain T>
  T get() {
    T value{};
    if (bytes_.size() < sizeof(T)) {
      ok_ = false;
      return value;
    }
    std::memcpy(&value, bytes_.data(), sizeof(T));
    bytes_ = bytes_.subspan(sizeof(T));
    return value;
  }
  /// Only 0 and 1 are flags.
  bool get_flag() {
    const auto value = get<uint8_t>();
    if (value > 1) ok_ = false;
    return value == 1;
  }
  /// An enumerator from 0 to `last`.
  template <typename E>
  E get_word(E last) {
    const auto value = get<std::underlying_type_t<E>>();
    if (value > static_cast<std::underlying_type_t<E>>(last)) ok_ = false;
    return ok_ ? static_cast<E>(value) : E{};
  }
  template <Plain T>
  std::vector<T> get_list() {
    const auto count = get<uint64_t>();
    if (!ok_ || count > bytes_.size() / sizeof(T)) {
      ok_ = false;
      return {};
    }
    std::vector<T> values(count);
    if (count > 0) std::memcpy(values.data(), bytes_.data(), count * sizeof(T));
    bytes_ = bytes_.subspan(count * sizeof(T));
    return values;
  }
  std::string get_text() {
    const auto characters = get_list<char>();
    return {characters.begin(), characters.end()};
  }
  std::optional<std::string> get_optional_text() {
    return get_flag() ? std::optional(get_text()) : std::nullopt;
  }
  template <Plain T>
  std::optional<T> get_optional() {
    return get_flag() ? std::optional(get<T>()) : std::nullopt;
  }

  /// Everything was there, and nothing is left.
  [[nodiscard]] bool complete() const { return ok_ && bytes_.empty(); }
  [[nodiscard]] bool ok() const { return ok_; }
  void fail() { ok_ = false; }

 private:
  std::span<const std::byte> bytes_;
  bool ok_ = true;
};

}  // namespace mote::monitor::snapshot
