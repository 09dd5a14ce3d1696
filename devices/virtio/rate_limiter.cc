#include "devices/virtio/rate_limiter.h"

#include <algorithm>
#include <limits>

namespace mote::virtio {
namespace {

using Wide =
    unsigned __int128;  // size * time does not fit 64 bits for every bucket a client may ask for.

constexpr uint64_t kNsPerMs = 1'000'000;

uint64_t clamp(Wide value) {
  constexpr Wide kMax = std::numeric_limits<int64_t>::max();
  return static_cast<uint64_t>(std::min(value, kMax));
}

}  // namespace

TokenBucket::TokenBucket(const TokenBucketConfig& config, uint64_t now_ns)
    : limited_(config.size > 0 && config.refill_time_ms > 0),
      size_(clamp(config.size)),
      refill_ns_(clamp(Wide{config.refill_time_ms} * kNsPerMs)),
      burst_(clamp(config.one_time_burst.value_or(0))),
      budget_(static_cast<int64_t>(size_)),
      refilled_at_ns_(now_ns) {}

void TokenBucket::refill(uint64_t now_ns) {
  if (now_ns <= refilled_at_ns_) return;
  const uint64_t elapsed_ns = now_ns - refilled_at_ns_;
  const uint64_t tokens = clamp(Wide{elapsed_ns} * size_ / refill_ns_);
  if (tokens == 0) return;
  // Only the time these whole tokens took is used up, so that fractions are not lost.
  const uint64_t used_ns = clamp(Wide{tokens} * refill_ns_ / size_);
  refilled_at_ns_ = std::min(now_ns, refilled_at_ns_ + std::min(used_ns, elapsed_ns));
  const auto room = static_cast<uint64_t>(static_cast<int64_t>(size_) - budget_);
  if (tokens >= room) {
    budget_ = static_cast<int64_t>(size_);
    refilled_at_ns_ = now_ns;  // A full bucket does not save up time.
  } else {
    budget_ += static_cast<int64_t>(tokens);
  }
}

bool TokenBucket::consume(uint64_t tokens, uint64_t now_ns) {
  if (!limited_) return true;
  refill(now_ns);
  const uint64_t from_burst = std::min(tokens, burst_);
  const uint64_t rest = tokens - from_burst;
  if (rest > 0) {
    const bool enough = budget_ >= 0 && rest <= static_cast<uint64_t>(budget_);
    const bool oversized_and_full = rest > size_ && budget_ == static_cast<int64_t>(size_);
    if (!enough && !oversized_and_full) return false;
    budget_ -= static_cast<int64_t>(clamp(rest));
  }
  burst_ -= from_burst;
  return true;
}

void TokenBucket::give_back(uint64_t tokens) {
  if (!limited_) return;
  const auto room = static_cast<uint64_t>(static_cast<int64_t>(size_) - budget_);
  budget_ += static_cast<int64_t>(std::min(clamp(tokens), room));
}

uint64_t TokenBucket::wait_ns(uint64_t tokens, uint64_t now_ns) const {
  if (!limited_) return 0;
  TokenBucket then = *this;
  then.refill(now_ns);
  const uint64_t rest = tokens - std::min(tokens, then.burst_);
  const auto needed = static_cast<int64_t>(std::min(rest, size_));
  if (rest == 0 || then.budget_ >= needed) return 0;
  const auto missing = static_cast<uint64_t>(needed - then.budget_);
  const uint64_t total_ns = clamp((Wide{missing} * refill_ns_ + size_ - 1) / size_);
  const uint64_t already_ns = now_ns > then.refilled_at_ns_ ? now_ns - then.refilled_at_ns_ : 0;
  return total_ns > already_ns ? total_ns - already_ns : 1;
}

RateLimiter::RateLimiter(const RateLimiterConfig& config, uint64_t now_ns) {
  update(config, now_ns);
}

bool RateLimiter::consume(uint64_t bytes, uint64_t now_ns) {
  if (!ops_.consume(1, now_ns)) return false;
  if (bandwidth_.consume(bytes, now_ns)) return true;
  ops_.give_back(1);
  return false;
}

uint64_t RateLimiter::wait_ns(uint64_t bytes, uint64_t now_ns) const {
  return std::max(ops_.wait_ns(1, now_ns), bandwidth_.wait_ns(bytes, now_ns));
}

void RateLimiter::update(const RateLimiterConfig& config, uint64_t now_ns) {
  if (config.bandwidth) bandwidth_ = TokenBucket(*config.bandwidth, now_ns);
  if (config.ops) ops_ = TokenBucket(*config.ops, now_ns);
}

}  // namespace mote::virtio
