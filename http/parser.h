#pragma once
// HTTP/1.1 requests out of a byte stream (RFC 9112), bounded in every direction; Boost.Beast does
// the grammar. Pure: bytes in, requests out. For the API's clients and for the guest's.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace mote::http {

struct Request {
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

class Parser final {
 public:
  static constexpr uint32_t kHeaderLimitBytes = 8192;

  explicit Parser(size_t body_limit_bytes);
  ~Parser();
  Parser(Parser&& other) noexcept;
  Parser& operator=(Parser&& other) noexcept;

  /// Looks at `input` and takes off its front what was used. Bytes of a following request stay.
  ParseState advance(std::string& input);
  /// The value of a header field of the request that kComplete told of, valid until take(); names
  /// are compared without case, and of equal ones the first counts. Nothing when it is absent.
  [[nodiscard]] std::optional<std::string_view> field(std::string_view name) const;
  /// The finished request; the parser is then ready for the next.
  [[nodiscard]] Request take();
  [[nodiscard]] const std::string& error() const { return error_; }

 private:
  struct Impl;
  void restart();

  size_t body_limit_bytes_;
  std::unique_ptr<Impl> impl_;
  bool told_to_continue_ = false;
  std::string error_;
};

}  // namespace mote::http
