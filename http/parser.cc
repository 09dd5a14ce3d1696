#include "http/parser.h"

#include <fmt/format.h>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>

namespace mote::http {
namespace beast = boost::beast::http;

constexpr size_t kLastChunkBytes = 5;

struct Parser::Impl {
  std::optional<beast::request_parser<beast::string_body>> parser;
};

Parser::Parser(size_t body_limit_bytes)
    : body_limit_bytes_(body_limit_bytes), impl_(std::make_unique<Impl>()) {
  restart();
}

Parser::~Parser() = default;
Parser::Parser(Parser&& other) noexcept = default;
Parser& Parser::operator=(Parser&& other) noexcept = default;

void Parser::restart() {
  impl_->parser.emplace();
  impl_->parser->header_limit(kHeaderLimitBytes);
  impl_->parser->body_limit(body_limit_bytes_);
  told_to_continue_ = false;
}

ParseState Parser::advance(std::string& input) {
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
    if (error == beast::error::need_more) {
      error = {};
      if (used == 0) break;
    } else if (error) {
      error_ = error == beast::error::body_limit
                   ? fmt::format("the request body is larger than {} bytes", body_limit_bytes_)
               : error == beast::error::header_limit
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
                     boost::beast::iequals(parser.get()[beast::field::expect], "100-continue");
  if (!waits) return ParseState::kNeedMore;
  told_to_continue_ = true;
  return ParseState::kNeedContinue;
}

std::optional<std::string_view> Parser::field(std::string_view name) const {
  const auto& message = impl_->parser->get();
  const auto found = message.find({name.data(), name.size()});
  if (found == message.end()) return std::nullopt;
  return std::string_view(found->value().data(), found->value().size());
}

Request Parser::take() {
  auto message = impl_->parser->release();
  Request request;
  request.method = std::string(message.method_string());
  request.target = std::string(message.target());
  request.keep_alive = message.keep_alive();
  request.body = std::move(message.body());
  restart();
  return request;
}

}  // namespace mote::http
