#include "api-server/http.h"

#include <fmt/format.h>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>

namespace mote::api_server {
namespace http = boost::beast::http;

constexpr size_t kLastChunkBytes = 5;

struct HttpParser::Impl {
  std::optional<http::request_parser<http::string_body>> parser;
};

HttpParser::HttpParser(size_t body_limit_bytes)
    : body_limit_bytes_(body_limit_bytes), impl_(std::make_unique<Impl>()) {
  restart();
}

HttpParser::~HttpParser() = default;

void HttpParser::restart() {
  impl_->parser.emplace();
  impl_->parser->header_limit(kHeaderLimitBytes);
  impl_->parser->body_limit(body_limit_bytes_);
  told_to_continue_ = false;
}

ParseState HttpParser::advance(std::string& input) {
  auto& parser = *impl_->parser;
  boost::system::error_code error;
  size_t used_in_all = 0;
  while (!parser.is_done() && used_in_all < input.size()) {
    const auto rest = boost::asio::buffer(input.data() + used_in_all, input.size() - used_in_all);
    // Beast takes it as given that a last chunk ("0\r\n\r\n") is here whole; every chunked body
    // ends in one, so that fewer bytes never complete anything.
    if (parser.is_header_done() && parser.chunked() && rest.size() < kLastChunkBytes) break;
    const size_t used = parser.put(rest, error);
    used_in_all += used;
    if (error == http::error::need_more) {
      error = {};
      if (used == 0) break;
    } else if (error) {
      error_ = error == http::error::body_limit
                   ? fmt::format("the request body is larger than {} bytes", body_limit_bytes_)
               : error == http::error::header_limit
                   ? fmt::format("the request head is larger than {} bytes", kHeaderLimitBytes)
                   : "malformed HTTP request: " + error.message();
      return ParseState::kBad;
    }
  }
  input.erase(0, used_in_all);
  if (parser.is_done()) return ParseState::kComplete;
  // A head that never ends is bounded by Beast only once it is complete.
  if (!parser.is_header_done() && input.size() > kHeaderLimitBytes) {
    error_ = fmt::format("the request head is larger than {} bytes", kHeaderLimitBytes);
    return ParseState::kBad;
  }
  const bool waits = parser.is_header_done() && !told_to_continue_ &&
                     boost::beast::iequals(parser.get()[http::field::expect], "100-continue");
  if (!waits) return ParseState::kNeedMore;
  told_to_continue_ = true;
  return ParseState::kNeedContinue;
}

HttpRequest HttpParser::take() {
  auto message = impl_->parser->release();
  HttpRequest request;
  request.method = std::string(message.method_string());
  request.target = std::string(message.target());
  request.keep_alive = message.keep_alive();
  request.body = std::move(message.body());
  restart();
  return request;
}

std::string format_response(unsigned status, std::string_view body, ConnectionUse use,
                            ResponseBody body_use) {
  if (status == 100) return "HTTP/1.1 100 Continue\r\n\r\n";
  const auto reason = http::obsolete_reason(static_cast<http::status>(status));
  // Clients of the reference know its server by this name.
  std::string text = fmt::format("HTTP/1.1 {} {}\r\nServer: Firecracker API\r\nConnection: {}\r\n",
                                 status, std::string_view(reason.data(), reason.size()),
                                 use == ConnectionUse::kKeptAlive ? "keep-alive" : "close");
  if (status == 204) return text + "\r\n";
  text += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.size());
  if (body_use == ResponseBody::kSent) text += body;
  return text;
}

}  // namespace mote::api_server
