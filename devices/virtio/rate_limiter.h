#pragma once
// Token buckets of the API's RateLimiter object. Loop thread only. Pure but for the clock passed
// in.

#include <cstdint>
#include <optional>

namespace mote::virtio {

/// API object TokenBucket. `refill_time_ms` and `size` of 0 mean "no limit".
struct TokenBucketConfig {
  uint64_t size = 0;                       ///< Tokens: bytes or operations.
  std::optional<uint64_t> one_time_burst;  ///< Extra tokens, spent first, never refilled.
  uint64_t refill_time_ms = 0;             ///< Time to refill the whole bucket.
  bool operator==(const TokenBucketConfig&) const = default;
};

/// API object RateLimiter.
struct RateLimiterConfig {
  std::optional<TokenBucketConfig> bandwidth;
  std::optional<TokenBucketConfig> ops;
  bool operator==(const RateLimiterConfig&) const = default;
};

class TokenBucket final {
 public:
  TokenBucket() = default;  ///< No limit.
  TokenBucket(const TokenBucketConfig& config, uint64_t now_ns);

  /// Takes `tokens` if they are there. A demand larger than the whole bucket is granted when the
  /// bucket is full, and drives it into debt, so that a large request waits but never starves.
  [[nodiscard]] bool consume(uint64_t tokens, uint64_t now_ns);
  /// Puts tokens back that were consumed for a request which is not made after all.
  void give_back(uint64_t tokens);
  /// Nanoseconds from now until consume(tokens) can succeed.
  [[nodiscard]] uint64_t wait_ns(uint64_t tokens, uint64_t now_ns) const;

 private:
  void refill(uint64_t now_ns);

  bool limited_ = false;
  uint64_t size_ = 0;
  uint64_t refill_ns_ = 0;
  uint64_t burst_ = 0;
  int64_t budget_ = 0;
  uint64_t refilled_at_ns_ = 0;
};

class RateLimiter final {
 public:
  RateLimiter() = default;
  RateLimiter(const RateLimiterConfig& config, uint64_t now_ns);

  /// One operation of `bytes`. False: nothing was taken; ask again after wait_ns().
  [[nodiscard]] bool consume(uint64_t bytes, uint64_t now_ns);
  [[nodiscard]] uint64_t wait_ns(uint64_t bytes, uint64_t now_ns) const;
  /// PATCH: a bucket that is given replaces its predecessor, one that is absent stays.
  void update(const RateLimiterConfig& config, uint64_t now_ns);

 private:
  TokenBucket bandwidth_;
  TokenBucket ops_;
};

}  // namespace mote::virtio
