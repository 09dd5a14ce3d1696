#pragma once
// A client's text in our messages: JSON wants UTF-8 and a log wants lines, a client may send
// neither.

#include <string>
#include <string_view>

namespace mote::api_server {

/// The first `limit_bytes`, with a question mark for what is not printable ASCII, and "..." for
/// what was left out.
[[nodiscard]] inline std::string printable(std::string_view text, size_t limit_bytes = 200) {
  std::string result;
  for (const char c : text.substr(0, limit_bytes)) result += c >= ' ' && c <= '~' ? c : '?';
  return text.size() > limit_bytes ? result + "..." : result;
}

}  // namespace mote::api_server
