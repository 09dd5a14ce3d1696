#include "devices/mmds/packet.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <random>
#include <string_view>
#include <vector>

namespace mote::mmds {
namespace {

constexpr Ipv4 kOwn = {169, 254, 169, 254};
constexpr Mac kOwnMac = {0x06, 0x01, 0x23, 0x45, 0x67, 0x01};
constexpr Peer kPeer = {{2, 0, 0, 0, 0, 0x42}, {10, 0, 0, 2}, 40000};

// SYN from 10.0.0.2:40000 to 169.254.169.254:80, sequence 0x01020304, window 64240, MSS 1460 behind
// two NOPs; both checksums worked out by hand.
constexpr std::array<uint8_t, 62> kSynFrame = {
    0x06, 0x01, 0x23, 0x45, 0x67, 0x01, 0x02, 0x00, 0x00, 0x00, 0x00, 0x42, 0x08, 0x00,  //
    0x45, 0x00, 0x00, 0x30, 0x00, 0x00, 0x40, 0x00, 0x40, 0x06, 0xdc, 0xc9, 0x0a, 0x00,  //
    0x00, 0x02, 0xa9, 0xfe, 0xa9, 0xfe,                                                  //
    0x9c, 0x40, 0x00, 0x50, 0x01, 0x02, 0x03, 0x04, 0x00, 0x00, 0x00, 0x00, 0x70, 0x02,  //
    0xfa, 0xf0, 0x00, 0x00, 0x00, 0x00, 0x01, 0x01, 0x02, 0x04, 0x05, 0xb4, 0x01, 0x01};

std::vector<std::byte> syn_frame() {
  std::vector<std::byte> frame(kSynFrame.size());
  std::memcpy(frame.data(), kSynFrame.data(), frame.size());
  return frame;
}

std::vector<std::byte> build(const Segment& segment) {
  std::vector<std::byte> frame(kMaxFrameBytes);
  // As the guest would: from it to the service.
  frame.resize(
      build_tcp(frame, {kOwnMac, kOwn, 80}, kPeer.mac, kPeer.address, kPeer.port, segment));
  return frame;
}

TEST(ParseTcp, ReadsASynWithItsMss) {
  const auto received = parse_tcp(syn_frame(), Checksum::kPartial, kOwn);
  ASSERT_TRUE(received);
  EXPECT_EQ(received->from, kPeer);
  EXPECT_EQ(received->own_port, 80);
  EXPECT_EQ(received->segment.sequence, 0x01020304U);
  EXPECT_EQ(received->segment.flags, kSyn);
  EXPECT_EQ(received->segment.window, 64240);
  EXPECT_EQ(received->segment.mss, 1460);
  EXPECT_TRUE(received->segment.payload.empty());
  EXPECT_FALSE(parse_tcp(syn_frame(), Checksum::kComplete, kOwn)) << "its TCP checksum is left out";
}

TEST(ParseTcp, ReadsWhatBuildTcpWrites) {
  for (const size_t size : {0U, 1U, 2U, 999U, 1460U}) {
    const std::vector<std::byte> payload(size, std::byte{0xa5});
    const auto frame = build({.sequence = 0xfffffff0,
                              .acknowledgment = 77,
                              .window = 12288,
                              .flags = kAck | kPsh | kFin,
                              .payload = payload});
    ASSERT_EQ(frame.size(), kHeaderBytes + size);
    const auto received = parse_tcp(frame, Checksum::kComplete, kOwn);
    ASSERT_TRUE(received) << size;
    EXPECT_EQ(received->from, kPeer);
    EXPECT_EQ(received->segment.sequence, 0xfffffff0U);
    EXPECT_EQ(received->segment.acknowledgment, 77U);
    EXPECT_EQ(received->segment.window, 12288);
    EXPECT_EQ(received->segment.length(), size + 1);
    EXPECT_TRUE(std::ranges::equal(received->segment.payload, payload));
  }
}

TEST(ParseTcp, IgnoresPaddingBehindThePacket) {
  auto frame = build({.flags = kAck});
  frame.resize(frame.size() + 6, std::byte{0xff});
  const auto received = parse_tcp(frame, Checksum::kComplete, kOwn);
  ASSERT_TRUE(received);
  EXPECT_TRUE(received->segment.payload.empty());
}

TEST(ParseTcp, RefusesEveryFlippedBitBehindTheEthernetHeader) {
  const std::vector<std::byte> payload(33, std::byte{0x5a});
  const auto whole = build({.sequence = 5, .flags = kAck, .payload = payload});
  for (size_t bit = 14 * 8; bit < whole.size() * 8; ++bit) {
    auto frame = whole;
    frame[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_FALSE(parse_tcp(frame, Checksum::kComplete, kOwn)) << "bit " << bit;
  }
}

TEST(ParseTcp, RefusesEveryFrameThatIsCutOff) {
  const auto whole = build({.flags = kAck});
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(parse_tcp(std::span(whole).first(size), Checksum::kComplete, kOwn)) << size;
    EXPECT_FALSE(parse_tcp(std::span(whole).first(size), Checksum::kPartial, kOwn)) << size;
  }
}

TEST(ParseTcp, RefusesBrokenOptions) {
  // The kind of the first option, the second, their lengths: behind the 20 bytes of the header.
  const auto with_options = [](std::array<uint8_t, 8> options) {
    auto frame = syn_frame();
    std::memcpy(&frame[54], options.data(), options.size());
    return parse_tcp(frame, Checksum::kPartial, kOwn);
  };
  EXPECT_FALSE(with_options({3, 0, 0, 0, 0, 0, 0, 0})) << "a length of nothing";
  EXPECT_FALSE(with_options({3, 9, 0, 0, 0, 0, 0, 0})) << "longer than the header";
  EXPECT_FALSE(with_options({1, 1, 1, 1, 1, 1, 1, 2})) << "a kind without a length";
  const auto other = with_options({3, 3, 7, 8, 4, 1, 1, 0});
  ASSERT_TRUE(other) << "options we do not know are passed over";
  EXPECT_EQ(other->segment.mss, 0);
}

TEST(ParseTcp, RefusesFragmentsAndOtherAddresses) {
  auto fragment = syn_frame();
  fragment[20] = std::byte{0x20};  // More fragments.
  fragment[24] = std::byte{0xfc};  // The checksum that belongs to it.
  EXPECT_FALSE(parse_tcp(fragment, Checksum::kPartial, kOwn));
  fragment[20] = std::byte{0x40};
  fragment[24] = std::byte{0xdc};
  EXPECT_TRUE(parse_tcp(fragment, Checksum::kPartial, kOwn)) << "as it was";
  EXPECT_FALSE(parse_tcp(syn_frame(), Checksum::kPartial, Ipv4{169, 254, 169, 253}));
}

TEST(IsFor, TakesTheServicesFramesAndLeavesTheNetworksAlone) {
  const auto syn = syn_frame();
  EXPECT_TRUE(is_for(syn, kOwn));
  EXPECT_TRUE(is_for(std::span(syn).first(kArpFrameBytes), kOwn));
  EXPECT_FALSE(is_for(syn_frame(), Ipv4{10, 0, 0, 1}));
  EXPECT_FALSE(is_for(std::span(syn).first(33), kOwn));
  auto other = syn_frame();
  other[12] = std::byte{0x86};
  other[13] = std::byte{0xdd};
  EXPECT_FALSE(is_for(other, kOwn));
  std::vector<std::byte> arp(kArpFrameBytes);
  arp[12] = std::byte{8};
  arp[13] = std::byte{6};
  EXPECT_FALSE(is_for(arp, kOwn));
  std::memcpy(&arp[38], kOwn.data(), kOwn.size());
  EXPECT_TRUE(is_for(arp, kOwn));
}

}  // namespace
}  // namespace mote::mmds
