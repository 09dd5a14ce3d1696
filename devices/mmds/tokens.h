#pragma once
// Session tokens of MMDS V2: made for a while, known until then. They live in this process alone,
// so that a clone of the guest has to ask for its own. Event-loop thread.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace mote::mmds {

class Tokens final {
 public:
  static constexpr uint32_t kMinLifetimeSeconds = 1;
  static constexpr uint32_t kMaxLifetimeSeconds = 21600;
  /// Tokens kept at most. One more takes the place of the one that would end first.
  static constexpr size_t kLimit = 4096;

  /// A new token: hexadecimal digits. kInvalidArgument: the lifetime is out of range; other codes:
  /// the host has no random numbers.
  base::Result<std::string> create(uint64_t lifetime_seconds, uint64_t now_ns);
  /// Whether this is a token of ours whose time is not over.
  [[nodiscard]] bool valid(std::string_view token, uint64_t now_ns) const;

 private:
  using Secret = std::array<uint8_t, 16>;
  struct Token {
    Secret secret;
    uint64_t end_ns;
  };
  std::vector<Token> tokens_;
};

}  // namespace mote::mmds
