#include "devices/mmds/tokens.h"

#include <gtest/gtest.h>

#include <set>

namespace mote::mmds {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

TEST(Tokens, AreValidUntilTheirTimeIsOver) {
  Tokens tokens;
  const auto token = tokens.create(60, 5 * kSecond);
  ASSERT_TRUE(token);
  EXPECT_EQ(token->size(), 32U);
  EXPECT_TRUE(tokens.valid(*token, 5 * kSecond));
  EXPECT_TRUE(tokens.valid(*token, 65 * kSecond - 1));
  EXPECT_FALSE(tokens.valid(*token, 65 * kSecond));
}

TEST(Tokens, TakeLifetimesOfOneSecondToSixHours) {
  Tokens tokens;
  EXPECT_TRUE(tokens.create(1, 0));
  EXPECT_TRUE(tokens.create(21600, 0));
  for (const uint64_t seconds : {uint64_t{0}, uint64_t{21601}, UINT64_MAX}) {
    const auto refused = tokens.create(seconds, 0);
    ASSERT_FALSE(refused) << seconds;
    EXPECT_EQ(refused.error().code, base::ErrorCode::kInvalidArgument);
  }
}

TEST(Tokens, AreNotGuessedFromOthers) {
  Tokens tokens;
  std::string token = *tokens.create(60, 0);
  EXPECT_FALSE(tokens.valid("", 0));
  EXPECT_FALSE(tokens.valid(token.substr(1), 0));
  EXPECT_FALSE(tokens.valid(token + "0", 0));
  EXPECT_FALSE(tokens.valid(std::string(32, 'g'), 0));
  EXPECT_FALSE(tokens.valid(std::string(32, '0'), 0));
  token[31] = token[31] == '0' ? '1' : '0';
  EXPECT_FALSE(tokens.valid(token, 0));
  EXPECT_FALSE(Tokens().valid(*tokens.create(60, 0), 0)) << "another process";
}

TEST(Tokens, KeepTheLongestLivedWhenThereAreTooMany) {
  Tokens tokens;
  const std::string last = *tokens.create(21600, 0);
  const std::string first = *tokens.create(10, 0);
  std::set<std::string> others;
  for (size_t i = 0; i < Tokens::kLimit - 2; ++i) others.insert(*tokens.create(100, 0));
  EXPECT_EQ(others.size(), Tokens::kLimit - 2) << "no two are the same";
  EXPECT_TRUE(tokens.valid(first, 0));
  EXPECT_TRUE(tokens.valid(*tokens.create(100, 0), 0));
  EXPECT_FALSE(tokens.valid(first, 0));
  EXPECT_TRUE(tokens.valid(last, 0));
  // Those that are over make room for all.
  EXPECT_TRUE(tokens.create(100, 200 * kSecond));
  EXPECT_TRUE(tokens.valid(last, 200 * kSecond));
}

}  // namespace
}  // namespace mote::mmds
