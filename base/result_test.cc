#include "base/result.h"

#include <gtest/gtest.h>

namespace mote::base {
namespace {

Result<int> half(int value) {
  if (value % 2 != 0) return fail(ErrorCode::kInvalidArgument, "odd");
  return value / 2;
}

Result<int> quarter(int value) {
  MOTE_TRY(const int once, half(value));
  MOTE_TRY(const int twice, half(once));
  return twice;
}

TEST(Result, TryPassesValuesAndErrors) {
  EXPECT_EQ(quarter(8).value(), 2);
  EXPECT_EQ(quarter(6).error().context, "odd");
}

TEST(Result, MessageNamesTheOperatingSystemsReason) {
  const Result<> result = fail_errno(ENOENT, "open /x");
  EXPECT_EQ(result.error().message(), "open /x: No such file or directory (os error 2)");
}

TEST(Result, ContextGoesInFront) {
  const Result<> result = with_context(Error{ErrorCode::kIo, 0, "inner"}, "outer");
  EXPECT_EQ(result.error().message(), "outer: inner");
}

}  // namespace
}  // namespace mote::base
