#include "devices/mmds/tokens.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <charconv>

namespace mote::mmds {
namespace {

constexpr uint64_t kNsPerSecond = 1'000'000'000;

}  // namespace

base::Result<std::string> Tokens::create(uint64_t lifetime_seconds, uint64_t now_ns) {
  if (lifetime_seconds < kMinLifetimeSeconds || lifetime_seconds > kMaxLifetimeSeconds) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      fmt::format("Invalid time to live value provided for token: {}. Please "
                                  "provide a value between {} and {}.",
                                  lifetime_seconds, kMinLifetimeSeconds, kMaxLifetimeSeconds));
  }
  Token token{{}, now_ns + lifetime_seconds * kNsPerSecond};
  if (::getrandom(token.secret.data(), token.secret.size(), 0) !=
      static_cast<ssize_t>(token.secret.size())) {
    return base::fail_errno(errno, "getrandom");
  }
  if (tokens_.size() >= kLimit)
    std::erase_if(tokens_, [&](const Token& old) { return old.end_ns <= now_ns; });
  if (tokens_.size() >= kLimit) {
    *std::ranges::min_element(tokens_, {}, &Token::end_ns) = token;
  } else {
    tokens_.push_back(token);
  }
  std::string text;
  for (const uint8_t byte : token.secret) text += fmt::format("{:02x}", byte);
  return text;
}

bool Tokens::valid(std::string_view token, uint64_t now_ns) const {
  Secret secret;
  if (token.size() != 2 * secret.size()) return false;
  for (size_t i = 0; i < secret.size(); ++i) {
    const char* const digits = token.data() + 2 * i;
    const auto [end, error] = std::from_chars(digits, digits + 2, secret[i], 16);
    if (error != std::errc{} || end != digits + 2) return false;
  }
  return std::ranges::any_of(
      tokens_, [&](const Token& known) { return known.secret == secret && now_ns < known.end_ns; });
}

}  // namespace mote::mmds
