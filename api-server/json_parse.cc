// JSON text to a value, more strictly than the library: bounded depth, and no key twice in one
// object, where one of the two would silently win.

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <boost/json/basic_parser_impl.hpp>
#include <exception>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "api-server/json_codec.h"

namespace mote::api_server {
namespace json = boost::json;
namespace {

constexpr size_t kMaxDepth = 16;

/// The parser's events: they build the value, and remember the keys of the objects that are open.
class Handler {
 public:
  // The length of the text bounds them all.
  static constexpr size_t max_object_size = std::numeric_limits<size_t>::max();
  static constexpr size_t max_array_size = std::numeric_limits<size_t>::max();
  static constexpr size_t max_key_size = std::numeric_limits<size_t>::max();
  static constexpr size_t max_string_size = std::numeric_limits<size_t>::max();

  /// What the document was refused for.
  [[nodiscard]] const std::optional<std::string>& duplicate_key() const { return duplicate_key_; }
  [[nodiscard]] json::value release() { return values_.release(); }

  bool on_document_begin(json::error_code&) {
    values_.reset();
    return true;
  }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code&) {
    first_keys_.push_back(keys_.size());
    return true;
  }
  bool on_object_end(size_t count, json::error_code& error) {
    const auto first = keys_.begin() + static_cast<std::ptrdiff_t>(first_keys_.back());
    std::sort(first, keys_.end());
    const auto duplicate = std::adjacent_find(first, keys_.end());
    if (duplicate != keys_.end()) {
      duplicate_key_ = *duplicate;
      error = make_error_code(boost::system::errc::invalid_argument);
      return false;
    }
    keys_.erase(first, keys_.end());
    first_keys_.pop_back();
    values_.push_object(count);
    return true;
  }
  bool on_array_begin(json::error_code&) { return true; }
  bool on_array_end(size_t count, json::error_code&) {
    values_.push_array(count);
    return true;
  }
  bool on_key_part(json::string_view part, size_t, json::error_code&) {
    key_.append(part.data(), part.size());
    values_.push_chars(part);
    return true;
  }
  bool on_key(json::string_view part, size_t, json::error_code&) {
    key_.append(part.data(), part.size());
    keys_.push_back(std::move(key_));
    key_.clear();
    values_.push_key(part);
    return true;
  }
  bool on_string_part(json::string_view part, size_t, json::error_code&) {
    values_.push_chars(part);
    return true;
  }
  bool on_string(json::string_view part, size_t, json::error_code&) {
    values_.push_string(part);
    return true;
  }
  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(int64_t value, json::string_view, json::error_code&) {
    values_.push_int64(value);
    return true;
  }
  bool on_uint64(uint64_t value, json::string_view, json::error_code&) {
    values_.push_uint64(value);
    return true;
  }
  bool on_double(double value, json::string_view, json::error_code&) {
    values_.push_double(value);
    return true;
  }
  bool on_bool(bool value, json::error_code&) {
    values_.push_bool(value);
    return true;
  }
  bool on_null(json::error_code&) {
    values_.push_null();
    return true;
  }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

 private:
  json::value_stack values_;
  std::string key_;                 ///< The part of a key that has been seen.
  std::vector<std::string> keys_;   ///< Of all open objects, outermost first.
  std::vector<size_t> first_keys_;  ///< Where each open object's keys begin.
  std::optional<std::string> duplicate_key_;
};

base::Result<json::value> parse(std::string_view text) {
  json::parse_options options;
  options.max_depth = kMaxDepth;
  json::basic_parser<Handler> parser(options);
  json::error_code error;
  const size_t used = parser.write_some(false, text.data(), text.size(), error);
  if (const auto& key = parser.handler().duplicate_key()) {
    return base::fail(base::ErrorCode::kInvalidArgument, *key + ": appears twice");
  }
  if (!error && used < text.size()) error = json::error::extra_data;
  if (error) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      fmt::format("not valid JSON at byte {}: {}", used, error.message()));
  }
  return parser.handler().release();
}

}  // namespace

base::Result<json::value> parse_json(std::string_view text) {
  try {
    return parse(text);
  } catch (const std::exception& exception) {  // Out of memory, or a limit of the library.
    return base::fail(base::ErrorCode::kInvalidArgument,
                      std::string("cannot be read as JSON: ") + exception.what());
  }
}

}  // namespace mote::api_server
