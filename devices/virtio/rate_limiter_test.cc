#include "devices/virtio/rate_limiter.h"

#include <gtest/gtest.h>

namespace mote::virtio {
namespace {

constexpr uint64_t kMs = 1'000'000;

TEST(TokenBucket, WithoutLimitTakesAll) {
  TokenBucket bucket;
  EXPECT_TRUE(bucket.consume(UINT64_MAX, 0));
  EXPECT_TRUE(
      TokenBucket({.size = 0, .one_time_burst = {}, .refill_time_ms = 5}, 0).consume(1000, 0));
}

TEST(TokenBucket, RefillsInProportionToTime) {
  TokenBucket bucket({.size = 1000, .one_time_burst = {}, .refill_time_ms = 100}, 0);
  EXPECT_TRUE(bucket.consume(1000, 0));
  EXPECT_FALSE(bucket.consume(1, 0));
  EXPECT_EQ(bucket.wait_ns(500, 0), 50 * kMs);
  EXPECT_FALSE(bucket.consume(500, 49 * kMs));
  EXPECT_TRUE(bucket.consume(500, 50 * kMs));
  EXPECT_FALSE(bucket.consume(1, 50 * kMs));
}

TEST(TokenBucket, KeepsFractionsOfTokens) {
  TokenBucket bucket({.size = 3, .one_time_burst = {}, .refill_time_ms = 10}, 0);
  EXPECT_TRUE(bucket.consume(3, 0));
  uint64_t taken = 0;
  for (uint64_t now = 0; now <= 100 * kMs; now += kMs / 10) taken += bucket.consume(1, now) ? 1 : 0;
  EXPECT_EQ(taken, 30U);
}

TEST(TokenBucket, BurstIsSpentFirstAndOnce) {
  TokenBucket bucket({.size = 10, .one_time_burst = 100, .refill_time_ms = 10}, 0);
  EXPECT_TRUE(bucket.consume(105, 0));
  EXPECT_FALSE(bucket.consume(6, 0));
  EXPECT_TRUE(bucket.consume(10, 1000 * kMs));
  EXPECT_FALSE(bucket.consume(1, 1000 * kMs));
}

TEST(TokenBucket, OversizedDemandsWaitForAFullBucketAndGoIntoDebt) {
  TokenBucket bucket({.size = 100, .one_time_burst = {}, .refill_time_ms = 100}, 0);
  EXPECT_TRUE(bucket.consume(1, 0));
  EXPECT_FALSE(bucket.consume(300, 0));
  EXPECT_EQ(bucket.wait_ns(300, 0), 1 * kMs);
  EXPECT_TRUE(bucket.consume(300, 1 * kMs));
  EXPECT_FALSE(bucket.consume(1, 200 * kMs)) << "the debt is paid first";
  EXPECT_TRUE(bucket.consume(1, 203 * kMs));
}

TEST(TokenBucket, HugeNumbersDoNotOverflow) {
  constexpr uint64_t kHuge = INT64_MAX;
  TokenBucket bucket({.size = kHuge, .one_time_burst = kHuge, .refill_time_ms = kHuge}, 0);
  EXPECT_TRUE(bucket.consume(UINT64_MAX, UINT64_MAX / 2));
  EXPECT_FALSE(bucket.consume(UINT64_MAX, UINT64_MAX / 2));
  EXPECT_GT(bucket.wait_ns(UINT64_MAX, UINT64_MAX / 2), 0U);
  bucket.give_back(UINT64_MAX);
}

TEST(RateLimiter, TakesNothingWhenEitherBucketIsShort) {
  RateLimiter limiter(
      {.bandwidth = TokenBucketConfig{100, {}, 100}, .ops = TokenBucketConfig{2, {}, 100}}, 0);
  EXPECT_TRUE(limiter.consume(60, 0));
  EXPECT_FALSE(limiter.consume(60, 0)) << "bytes are short";
  EXPECT_TRUE(limiter.consume(40, 0)) << "the operation was given back";
  EXPECT_FALSE(limiter.consume(0, 0)) << "operations are short";
  EXPECT_EQ(limiter.wait_ns(0, 0), 50 * kMs);
}

TEST(RateLimiter, UpdateReplacesOnlyWhatIsGiven) {
  RateLimiter limiter(
      {.bandwidth = TokenBucketConfig{10, {}, 100}, .ops = TokenBucketConfig{1, {}, 100}}, 0);
  limiter.update({.bandwidth = TokenBucketConfig{1000, {}, 100}, .ops = {}}, 0);
  EXPECT_TRUE(limiter.consume(1000, 0));
  EXPECT_FALSE(limiter.consume(0, 0));
}

}  // namespace
}  // namespace mote::virtio
