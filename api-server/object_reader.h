#pragma once
// Takes the fields of one JSON object, strictly: wrong types, values out of range and unknown names
// are errors that name the field. The first error sticks; callers read all they want and then ask
// status().

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace mote::api_server {

using FieldNames = std::span<const std::string_view>;

class ObjectReader final {
 public:
  /// `where` names the object in messages ("rate_limiter"); empty for a request body.
  ObjectReader(const boost::json::value& value, FieldNames known, std::string_view where);

  [[nodiscard]] const base::Result<>& status() const { return status_; }
  [[nodiscard]] bool ok() const { return status_.has_value(); }
  void fail(std::string_view field, std::string_view reason);
  /// How messages name a field: "rate_limiter.bandwidth".
  [[nodiscard]] std::string path_of(std::string_view field) const;
  /// The value of a nested object; what is wrong in it counts as this object's error.
  template <typename T>
  std::optional<T> adopt(base::Result<T> nested) {
    if (nested) return *std::move(nested);
    if (ok()) status_ = std::unexpected(std::move(nested).error());
    return std::nullopt;
  }
  /// What was read, or the first error.
  template <typename T>
  [[nodiscard]] base::Result<T> finish(T value) const {
    if (!ok()) return std::unexpected(status_.error());
    return value;
  }

  // Optional fields: absent and null are the same, as for the reference's clients.
  std::optional<std::string> text(std::string_view field);
  std::optional<bool> flag(std::string_view field);
  std::optional<uint64_t> number(std::string_view field, uint64_t min = 0,
                                 uint64_t max = std::numeric_limits<int64_t>::max());
  template <typename T>
  std::optional<T> number_as(std::string_view field, T min, T max) {
    const auto value = number(field, min, max);
    if (!value) return std::nullopt;
    return static_cast<T>(*value);
  }
  /// One of a few words.
  template <typename E, size_t N>
  std::optional<E> word(std::string_view field,
                        const std::array<std::pair<std::string_view, E>, N>& words) {
    const auto given = text(field);
    if (!given) return std::nullopt;
    std::string choices;
    for (const auto& [name, value] : words) {
      if (name == *given) return value;
      choices += (choices.empty() ? "" : ", ") + std::string(name);
    }
    fail(field, "\"" + *given + "\" is not one of " + choices);
    return std::nullopt;
  }
  /// The raw value, for nested objects and arrays; nullptr when absent or null.
  const boost::json::value* child(std::string_view field);
  const boost::json::array* list(std::string_view field);

  // Required fields.
  std::string required_text(std::string_view field) { return require(field, text(field)); }
  bool required_flag(std::string_view field) { return require(field, flag(field)); }
  uint64_t required_number(std::string_view field, uint64_t min, uint64_t max) {
    return require(field, number(field, min, max));
  }
  template <typename T>
  T require(std::string_view field, std::optional<T> value) {
    if (!value) fail(field, "is required");
    return std::move(value).value_or(T{});
  }

 private:
  std::string where_;
  const boost::json::object* object_ = nullptr;
  base::Result<> status_;
};

}  // namespace mote::api_server
