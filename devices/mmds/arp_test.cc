#include "devices/mmds/arp.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace mote::mmds {
namespace {

constexpr Mac kOwnMac = {6, 1, 0x23, 0x45, 0x67, 1};
constexpr Ipv4 kAddress = {169, 254, 169, 254};

using Bytes = std::array<uint8_t, kArpFrameBytes>;

// clang-format off
constexpr Bytes kRequest = {
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff,  2, 0, 0, 0, 0, 9,  8, 6,
    0, 1, 8, 0, 6, 4, 0, 1,
    2, 0, 0, 0, 0, 9,  172, 16, 0, 2,  0, 0, 0, 0, 0, 0,  169, 254, 169, 254};
constexpr Bytes kReply = {
    2, 0, 0, 0, 0, 9,  6, 1, 0x23, 0x45, 0x67, 1,  8, 6,
    0, 1, 8, 0, 6, 4, 0, 2,
    6, 1, 0x23, 0x45, 0x67, 1,  169, 254, 169, 254,  2, 0, 0, 0, 0, 9,  172, 16, 0, 2};
// clang-format on

std::optional<ArpFrame> answer(std::span<const uint8_t> frame) {
  return answer_arp(std::as_bytes(frame), kOwnMac, kAddress);
}

TEST(MmdsArp, AnswersARequestForItsAddress) {
  const auto reply = answer(kRequest);
  ASSERT_TRUE(reply);
  EXPECT_EQ(std::memcmp(reply->data(), kReply.data(), kReply.size()), 0);
}

TEST(MmdsArp, IgnoresPadding) {
  std::vector<uint8_t> padded(kRequest.begin(), kRequest.end());
  padded.resize(60, 0xee);
  EXPECT_EQ(answer(padded), answer(kRequest));
}

TEST(MmdsArp, IgnoresFramesCutShort) {
  for (size_t size = 0; size < kRequest.size(); ++size)
    EXPECT_FALSE(answer(std::span(kRequest).first(size))) << size;
}

TEST(MmdsArp, IgnoresEveryOtherTypeOperationAndAddress) {
  for (size_t at = 12; at < kRequest.size(); ++at) {
    if (at >= 22 && at < 38) continue;  // Who asks, and the target's address yet unknown.
    Bytes other = kRequest;
    other[at] ^= 0x03;
    EXPECT_FALSE(answer(other)) << at;
  }
  EXPECT_FALSE(answer(kReply));
}

}  // namespace
}  // namespace mote::mmds
