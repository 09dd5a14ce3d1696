#include "devices/mmds/service.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace mote::mmds {
namespace {

constexpr std::string_view kTokenPath = "/latest/api/token";
/// Each header has two names: ours first, then the one that EC2's clients use.
using HeaderNames = std::array<std::string_view, 2>;
constexpr HeaderNames kTokenNames = {"X-metadata-token", "X-aws-ec2-metadata-token"};
constexpr HeaderNames kLifetimeNames = {"X-metadata-token-ttl-seconds",
                                        "X-aws-ec2-metadata-token-ttl-seconds"};

struct Header {
  std::string_view name;
  std::string value;
};
std::optional<Header> find(const http::Parser& parser, const HeaderNames& names) {
  for (const std::string_view name : names) {
    if (const auto value = parser.field(name)) return Header{name, std::string(*value)};
  }
  return std::nullopt;
}

bool names_json(std::string accept) {
  std::ranges::transform(accept, accept.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return accept.find("application/json") != std::string::npos;
}

/// The path of "/a?x" or of "http://host/a", slashes in a row made one; empty where there is none.
std::string path_of(std::string_view target) {
  constexpr std::string_view kScheme = "http://";
  if (target.starts_with(kScheme)) {
    const size_t slash = target.find('/', kScheme.size());
    target = slash == std::string_view::npos ? "" : target.substr(slash);
  }
  std::string path(target.substr(0, target.find('?')));
  const auto doubled =
      std::ranges::unique(path, [](char a, char b) { return a == '/' && b == '/'; });
  path.erase(doubled.begin(), doubled.end());
  return path.starts_with('/') ? path : std::string();
}

}  // namespace

/// What counts of a request's header fields.
struct Service::Headers {
  explicit Headers(const http::Parser& parser)
      : json(names_json(std::string(parser.field("Accept").value_or("")))),
        forwarded(parser.field("X-Forwarded-For").has_value()),
        token(find(parser, kTokenNames)),
        lifetime(find(parser, kLifetimeNames)) {}

  bool json;
  bool forwarded;
  std::optional<Header> token;
  std::optional<Header> lifetime;
};

Service::Answer Service::answer(http::Parser& parser, uint64_t now_ns) {
  ++metrics_.rx_count;
  const Headers headers(parser);
  const http::Request request = parser.take();
  const Content content = respond(request, headers, now_ns);
  ++metrics_.tx_count;
  const auto use =
      request.keep_alive ? http::ConnectionUse::kKeptAlive : http::ConnectionUse::kClosed;
  return {http::format_response(
              {.status = content.status,
               .body = content.body,
               .content_type = content.format == Format::kJson ? "application/json" : "text/plain",
               .more_fields = content.more_fields,
               .use = use,
               .body_use = request.method == "HEAD" ? http::ResponseBody::kOmitted
                                                    : http::ResponseBody::kSent}),
          use};
}

Service::Content Service::respond(const http::Request& request, const Headers& headers,
                                  uint64_t now_ns) {
  const std::string path = path_of(request.target);
  if (path.empty()) return {400, "Invalid URI."};
  if (request.method == "PUT") return put_token(path, headers, now_ns);
  if (request.method != "GET") {
    return {405, "Not allowed HTTP method.", Format::kImds, "Allow: GET, PUT\r\n"};
  }
  const auto& token = headers.token;
  const bool valid = token && tokens_.valid(token->value, now_ns);
  if (!token) ++metrics_.rx_no_token;
  if (token && !valid) ++metrics_.rx_invalid_token;
  if (config_.version == Version::kV2 && !token) {
    return {401, fmt::format("No MMDS token provided. Use `{}` or `{}` header to specify the "
                             "session token.",
                             kTokenNames[0], kTokenNames[1])};
  }
  if (config_.version == Version::kV2 && !valid) return {401, "MMDS token not valid."};
  return get(path, headers.json && !config_.imds_compat ? Format::kJson : Format::kImds);
}

Service::Content Service::get(const std::string& path, Format format) const {
  auto text = store_.read(path, format);
  if (text) return {200, std::move(*text), format};
  if (text.error().code == base::ErrorCode::kUnsupported) {
    return {501, "Cannot retrieve value. The value has an unsupported type."};
  }
  return {404, fmt::format("Resource not found: {}.", path)};
}

Service::Content Service::put_token(const std::string& path, const Headers& headers,
                                    uint64_t now_ns) {
  // A proxy's request: its client is not this guest's own.
  if (headers.forwarded) {
    return {400, "Invalid header. Reason: Unsupported header name. Key: X-Forwarded-For"};
  }
  if (path != kTokenPath) return {404, fmt::format("Resource not found: {}.", path)};
  const auto& lifetime = headers.lifetime;
  if (!lifetime) {
    return {400, fmt::format("Token time to live value not found. Use `{}` or `{}` header to "
                             "specify the token's lifetime.",
                             kLifetimeNames[0], kLifetimeNames[1])};
  }
  uint64_t seconds = 0;
  const char* const end = lifetime->value.data() + lifetime->value.size();
  const auto [stop, error] = std::from_chars(lifetime->value.data(), end, seconds);
  if (error != std::errc{} || stop != end) {
    return {400, fmt::format("Invalid header. Reason: Invalid value. Key: {}", lifetime->name)};
  }
  auto token = tokens_.create(seconds, now_ns);
  if (!token) return {400, token.error().message()};
  return {200, std::move(*token), Format::kImds,
          fmt::format("{}: {}\r\n", lifetime->name, seconds)};
}

}  // namespace mote::mmds
