#pragma once
// The guest's metadata: one JSON object that the API writes and guests read by path. Pure data,
// used on the event-loop thread alone. Invariant: the object as JSON text is never longer than the
// limit; a change that would break this leaves the old content in place.

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.h"

namespace mote::mmds {

/// How an answer to a guest is written.
enum class Format {
  kJson,  ///< The value as JSON text.
  kImds,  ///< Strings bare; an object as its keys, one a line, "/" after those that hold objects.
};

class Store final {
 public:
  /// `limit_bytes`: the longest JSON text of the whole content.
  explicit Store(size_t limit_bytes) : limit_bytes_(limit_bytes) {}

  /// Puts `content` in the place of all there was. kInvalidArgument: it is over the limit.
  base::Result<> replace(boost::json::object content);

  /// Applies a JSON merge patch (RFC 7396): null removes a member, an object is merged, all else
  /// replaces. kWrongState: nothing was put yet; kInvalidArgument: the outcome is over the limit.
  base::Result<> merge(const boost::json::object& patch);

  /// The content; null before the first replace(). Ours until the next change.
  [[nodiscard]] const boost::json::object* content() const { return content_.if_object(); }

  /// The value at a guest's path ("/latest/meta-data"), as text. Members are named between slashes,
  /// elements of an array by decimal index; empty names (doubled or trailing slashes) count for
  /// nothing, and names are taken as they stand, without escapes. kNotFound: there is no such
  /// value; kUnsupported: kImds was asked for and cannot write this kind of value.
  [[nodiscard]] base::Result<std::string> read(std::string_view path, Format format) const;

 private:
  [[nodiscard]] base::Result<> check_size(const boost::json::object& content) const;

  size_t limit_bytes_;
  boost::json::value content_;  ///< An object, or null before the first replace().
};

}  // namespace mote::mmds
