#include "devices/mmds/store.h"

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <utility>

namespace mote::mmds {
namespace {

using base::ErrorCode;
using base::fail;
namespace json = boost::json;

/// RFC 7396, section 2. As deep as `patch`, whose depth its parser bounds.
void apply_patch(json::object& target, const json::object& patch) {
  for (const auto& member : patch) {
    const json::value& change = member.value();
    if (change.is_null()) {
      // erase() would move the last member forward; guests see the order.
      if (const auto* const old = target.find(member.key()); old != target.end())
        target.stable_erase(old);
      continue;
    }
    json::value& slot = target[member.key()];
    if (!change.is_object()) {
      slot = change;
      continue;
    }
    if (!slot.is_object()) slot.emplace_object();
    apply_patch(slot.get_object(), change.get_object());
  }
}

/// The element of `array` that `name` counts to; null where it is no index or out of range.
const json::value* element(const json::array& array, std::string_view name) {
  size_t index = 0;
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data(), end, index);
  if (error != std::errc{} || stop != end) return nullptr;
  return array.if_contains(index);
}

const json::value* child(const json::value& parent, std::string_view name) {
  if (const auto* const object = parent.if_object()) return object->if_contains(name);
  if (const auto* const array = parent.if_array()) return element(*array, name);
  return nullptr;
}

std::string list_keys(const json::object& object) {
  std::string text;
  for (const auto& member : object) {
    if (!text.empty()) text += '\n';
    text += member.key();
    if (member.value().is_object()) text += '/';
  }
  return text;
}

base::Result<std::string> write_imds(const json::value& value) {
  if (const auto* const object = value.if_object()) return list_keys(*object);
  if (const auto* const text = value.if_string()) return std::string(*text);
  return fail(ErrorCode::kUnsupported, "only strings and objects can be read as plain text");
}

}  // namespace

base::Result<> Store::check_size(const json::object& content) const {
  const size_t bytes = json::serialize(content).size();
  if (bytes <= limit_bytes_) return {};
  return fail(ErrorCode::kInvalidArgument, "the metadata would take " + std::to_string(bytes) +
                                               " bytes of at most " + std::to_string(limit_bytes_));
}

base::Result<> Store::replace(json::object content) {
  MOTE_TRY_VOID(check_size(content));
  content_ = std::move(content);
  return {};
}

base::Result<> Store::merge(const json::object& patch) {
  if (content() == nullptr)
    return fail(ErrorCode::kWrongState, "there is no metadata to patch: PUT it first");
  json::object merged = *content();
  apply_patch(merged, patch);
  return replace(std::move(merged));
}

base::Result<std::string> Store::read(std::string_view path, Format format) const {
  if (content() == nullptr) return fail(ErrorCode::kNotFound, "there is no metadata");
  const json::value* value = &content_;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view name = path.substr(0, slash);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
    if (name.empty()) continue;
    value = child(*value, name);
    if (value == nullptr) return fail(ErrorCode::kNotFound, "there is no such metadata");
  }
  if (format == Format::kImds) return write_imds(*value);
  return json::serialize(*value);
}

}  // namespace mote::mmds
