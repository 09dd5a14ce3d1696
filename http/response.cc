#include "http/response.h"

#include <fmt/format.h>

#include <boost/beast/http/status.hpp>

namespace mote::http {

std::string format_response(const Response& response) {
  if (response.status == 100) return "HTTP/1.1 100 Continue\r\n\r\n";
  const auto reason =
      boost::beast::http::obsolete_reason(static_cast<boost::beast::http::status>(response.status));
  // Clients of the reference know its server by this name.
  std::string text = fmt::format(
      "HTTP/1.1 {} {}\r\nServer: Firecracker API\r\nConnection: {}\r\n{}", response.status,
      std::string_view(reason.data(), reason.size()),
      response.use == ConnectionUse::kKeptAlive ? "keep-alive" : "close", response.more_fields);
  if (response.status == 204) return text + "\r\n";
  text += fmt::format("Content-Type: {}\r\nContent-Length: {}\r\n\r\n", response.content_type,
                      response.body.size());
  if (response.body_use == ResponseBody::kSent) text += response.body;
  return text;
}

}  // namespace mote::http
