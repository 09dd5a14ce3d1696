#include "api-server/object_reader.h"

#include <fmt/format.h>

namespace mote::api_server {
namespace json = boost::json;

ObjectReader::ObjectReader(const json::value& value, FieldNames known, std::string_view where)
    : where_(where) {
  object_ = value.if_object();
  if (object_ == nullptr) {
    status_ =
        base::fail(base::ErrorCode::kInvalidArgument,
                   (where_.empty() ? "the request body" : where_) + ": must be a JSON object");
    return;
  }
  for (const auto& member : *object_) {
    const std::string_view name(member.key().data(), member.key().size());
    if (std::ranges::find(known, name) == known.end()) fail(name, "is not a known field");
  }
}

void ObjectReader::fail(std::string_view field, std::string_view reason) {
  if (!ok()) return;
  status_ =
      base::fail(base::ErrorCode::kInvalidArgument, path_of(field) + ": " + std::string(reason));
}

std::string ObjectReader::path_of(std::string_view field) const {
  return where_.empty() ? std::string(field) : where_ + "." + std::string(field);
}

const json::value* ObjectReader::child(std::string_view field) {
  if (object_ == nullptr) return nullptr;
  const json::value* const value =
      object_->if_contains(json::string_view(field.data(), field.size()));
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::optional<std::string> ObjectReader::text(std::string_view field) {
  const json::value* const value = child(field);
  if (value == nullptr) return std::nullopt;
  const json::string* const string = value->if_string();
  if (string == nullptr) {
    fail(field, "must be a string");
    return std::nullopt;
  }
  // Paths and names end up in system calls, where a NUL would cut them short.
  if (string->find('\0') != json::string::npos) {
    fail(field, "must not contain a NUL character");
    return std::nullopt;
  }
  return std::string(string->data(), string->size());
}

std::optional<bool> ObjectReader::flag(std::string_view field) {
  const json::value* const value = child(field);
  if (value == nullptr) return std::nullopt;
  if (const bool* const boolean = value->if_bool()) return *boolean;
  fail(field, "must be true or false");
  return std::nullopt;
}

std::optional<uint64_t> ObjectReader::number(std::string_view field, uint64_t min, uint64_t max) {
  const json::value* const value = child(field);
  if (value == nullptr) return std::nullopt;
  std::optional<uint64_t> number;
  if (const auto* const positive = value->if_uint64()) number = *positive;
  if (const auto* const any = value->if_int64(); any != nullptr && *any >= 0)
    number = static_cast<uint64_t>(*any);
  if (!number || *number < min || *number > max) {
    fail(field, fmt::format("must be a whole number from {} to {}", min, max));
    return std::nullopt;
  }
  return number;
}

const json::array* ObjectReader::list(std::string_view field) {
  const json::value* const value = child(field);
  if (value == nullptr) return nullptr;
  const json::array* const array = value->if_array();
  if (array == nullptr) fail(field, "must be an array");
  return array;
}

}  // namespace mote::api_server
