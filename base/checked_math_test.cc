#include "base/checked_math.h"

#include <gtest/gtest.h>

namespace mote::base {
namespace {

TEST(CheckedMath, AddSeesWrapAround) {
  EXPECT_EQ(checked_add<uint64_t>(1, 2), 3U);
  EXPECT_FALSE(checked_add<uint64_t>(UINT64_MAX, 1));
  EXPECT_FALSE(checked_add<uint16_t>(65535, 1));
}

TEST(CheckedMath, AlignUpSeesWrapAround) {
  EXPECT_EQ(checked_align_up<uint64_t>(4097, 4096), 8192U);
  EXPECT_EQ(checked_align_up<uint64_t>(4096, 4096), 4096U);
  EXPECT_FALSE(checked_align_up<uint64_t>(UINT64_MAX - 1, 4096));
}

TEST(CheckedMath, RangeFitsAtTheEdges) {
  EXPECT_TRUE(range_fits(0, 10, 10));
  EXPECT_TRUE(range_fits(10, 0, 10));
  EXPECT_FALSE(range_fits(10, 1, 10));
  EXPECT_FALSE(range_fits(UINT64_MAX, 2, 10));
  EXPECT_FALSE(range_fits(2, UINT64_MAX, 10));
}

}  // namespace
}  // namespace mote::base
