#pragma once
// An HTTP/1.1 response as bytes (RFC 9112). Pure.

#include <cstdint>
#include <string>
#include <string_view>

namespace mote::http {

/// What the server does with the connection after a response.
enum class ConnectionUse : uint8_t { kKeptAlive, kClosed };
/// An omitted body still has its length in the head, as the answer to HEAD must be.
enum class ResponseBody : uint8_t { kSent, kOmitted };

struct Response {
  unsigned status = 200;
  std::string_view body{};
  std::string_view content_type = "application/json";
  std::string_view more_fields{};  ///< Further header fields, each with its CRLF.
  ConnectionUse use = ConnectionUse::kKeptAlive;
  ResponseBody body_use = ResponseBody::kSent;
};

/// Head and body; 204 and 100 have no body at all, and 100 nothing but its status.
[[nodiscard]] std::string format_response(const Response& response);

}  // namespace mote::http
