#include <gtest/gtest.h>

#include <cstdint>

extern "C" {
#include "kvm-lite/clock_scale.h"
}

namespace mote::kvm_lite {
namespace {

using Wide = unsigned __int128;

class ClockScale : public testing::TestWithParam<uint32_t> {};

TEST_P(ClockScale, AnHourIsAnHour) {
  const uint32_t khz = GetParam();
  const kvml_clock_scale scale = kvml_clock_scale_of(khz);
  const uint64_t ticks = uint64_t{khz} * 1000 * 3600;
  const auto ns = static_cast<double>(kvml_clock_ns(&scale, ticks));
  EXPECT_NEAR(ns, 3600e9, 3600e9 * 1e-9) << "one part in 10^9";
  EXPECT_GE(scale.multiplier, 0x80000000U) << "all bits are used";
}

TEST_P(ClockScale, TimersAreNeverEarlyAndLessThanANanosecondLate) {
  const uint32_t khz = GetParam();
  for (const uint64_t ticks : {1ULL, 999ULL, 123456789ULL, 1ULL << 40}) {
    const uint64_t ns = kvml_clock_ns_until(khz, 1000, 1000 + ticks);
    // In units of 10^-6 ticks nothing is rounded.
    EXPECT_GE(Wide{ns} * khz, Wide{ticks} * 1000000) << ticks;
    EXPECT_LT(Wide{ns - 1} * khz, Wide{ticks} * 1000000) << ticks;
  }
}

INSTANTIATE_TEST_SUITE_P(Rates, ClockScale,
                         testing::Values(1U, 500000U, 999999U, 1000000U, 1000001U, 2000000U,
                                         2893437U, 4000000U, 4000001U, 0xffffffffU));

TEST(ClockScale, PastAndFarDeadlines) {
  EXPECT_EQ(kvml_clock_ns_until(1000000, 5, 5), 0u);
  EXPECT_EQ(kvml_clock_ns_until(1000000, 5, 4), 0u);
  EXPECT_EQ(kvml_clock_ns_until(1, 0, ~0ULL), KVML_CLOCK_FAR_NS);
}

}  // namespace
}  // namespace mote::kvm_lite
