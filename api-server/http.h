#pragma once
// HTTP/1.1 requests out of a byte stream (RFC 9112), bounded in every direction; Boost.Beast does
// the grammar. Pure: bytes in, requests out.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace mote::api_server {

struct HttpRequest {
  std::string method;
  std::string target;
  std::string body;
  bool keep_alive = true;
};

/// What one look at the input gave.
enum class ParseState : uint8_t {
  kNeedMore,
  kNeedContinue,  ///< As kNeedMore, and the client waits for "100 Continue" before it sends the
                  ///< body (once).
  kComplete,      ///< take() gives the request.
  kBad,           ///< error() says why; nothing after it can be trusted.
};

class HttpParser final {
 public:
  static constexpr uint32_t kHeaderLimitBytes = 8192;

  explicit HttpParser(size_t body_limit_bytes);
  ~HttpParser();

  /// Looks at `input` and takes off its front what was used. Bytes of a following request stay.
  ParseState advance(std::string& input);
  /// The finished request; the parser is then ready for the next.
  [[nodiscard]] HttpRequest take();
  [[nodiscard]] const std::string& error() const { return error_; }

 private:
  struct Impl;
  void restart();

  size_t body_limit_bytes_;
  std::unique_ptr<Impl> impl_;
  bool told_to_continue_ = false;
  std::string error_;
};

/// What the server does with the connection after a response.
enum class ConnectionUse : uint8_t { kKeptAlive, kClosed };
/// An omitted body still has its length in the head, as the answer to HEAD must be.
enum class ResponseBody : uint8_t { kSent, kOmitted };

/// A response's head and body; 204 and 100 have no body at all.
[[nodiscard]] std::string format_response(unsigned status, std::string_view body, ConnectionUse use,
                                          ResponseBody body_use);

}  // namespace mote::api_server
