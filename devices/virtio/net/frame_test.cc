#include "devices/virtio/net/frame.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "devices/virtio/net/spec.h"

namespace mote::virtio::net {
namespace {

/// `bytes` cut into parts of at most `step`.
std::vector<iovec> cut(std::span<std::byte> bytes, size_t step) {
  std::vector<iovec> parts;
  for (size_t at = 0; at < bytes.size(); at += step)
    parts.push_back({bytes.data() + at, std::min(step, bytes.size() - at)});
  return parts;
}

TEST(MacAddress, IsReadAndWrittenBack) {
  const auto mac = parse_mac("06:00:AC:10:00:0f");
  ASSERT_TRUE(mac);
  EXPECT_EQ(mac->octets, (std::array<uint8_t, 6>{0x06, 0x00, 0xac, 0x10, 0x00, 0x0f}));
  EXPECT_EQ(format_mac(*mac), "06:00:ac:10:00:0f");
}

TEST(MacAddress, RefusesEverythingElse) {
  for (const char* text :
       {"", "06:00:ac:10:00", "06:00:ac:10:00:02:03", "06-00-ac-10-00-02", "06:00:ac:10:00:0g",
        "6:0:ac:10:0:2", "0600ac100002", "06:00:ac:10:00:0", "06:00:ac:10:00: 2",
        "+6:00:ac:10:00:02", "06:00:ac:10:00:-2", "06:00:ac:10:0002:"}) {
    const auto mac = parse_mac(text);
    ASSERT_FALSE(mac) << text;
    EXPECT_NE(mac.error().message().find(std::string("\"") + text + "\""), std::string::npos);
  }
}

TEST(CopyFront, CrossesPartsAndStopsAtEitherEnd) {
  std::array<std::byte, 8> bytes{};
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
  std::array<std::byte, 5> front{};
  for (size_t step = 1; step <= bytes.size(); ++step) {
    front.fill(std::byte{0xff});
    EXPECT_EQ(copy_front(cut(bytes, step), front), front.size());
    EXPECT_EQ(std::memcmp(front.data(), bytes.data(), front.size()), 0) << step;
  }
  EXPECT_EQ(copy_front(cut(std::span(bytes).first(3), 2), front), 3U);
  EXPECT_EQ(copy_front({}, front), 0U);
}

TEST(SourceMac, IsFoundBehindTheHeaderHoweverThePacketIsCut) {
  std::array<std::byte, 64> packet{};
  const MacAddress mac{{2, 4, 6, 8, 10, 12}};
  std::memcpy(packet.data() + sizeof(virtio_net_hdr_v1) + 6, mac.octets.data(), 6);
  for (size_t step = 1; step <= packet.size(); ++step)
    EXPECT_EQ(source_mac(cut(packet, step)), mac) << step;
  const size_t needed = sizeof(virtio_net_hdr_v1) + 12;
  EXPECT_EQ(source_mac(cut(std::span(packet).first(needed), 7)), mac);
  EXPECT_FALSE(source_mac(cut(std::span(packet).first(needed - 1), 7)));
}

TEST(PairsSet, TakesOnlyTheWholeCommand) {
  std::array<std::byte, 5> command{std::byte{VIRTIO_NET_CTRL_MQ},
                                   std::byte{VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET}, std::byte{0x02},
                                   std::byte{0x01}, std::byte{0}};
  const auto whole = std::span(command).first(4);
  for (size_t step = 1; step <= whole.size(); ++step)
    EXPECT_EQ(parse_pairs_set(cut(whole, step)), 0x0102);
  for (const size_t wrong : {0U, 1U, 2U, 3U, 5U})
    EXPECT_FALSE(parse_pairs_set(cut(std::span(command).first(wrong), 8))) << wrong;
  command[1] = std::byte{1};
  EXPECT_FALSE(parse_pairs_set(cut(whole, 4)));
  command[1] = std::byte{0};
  command[0] = std::byte{0};
  EXPECT_FALSE(parse_pairs_set(cut(whole, 4)));
}

}  // namespace
}  // namespace mote::virtio::net
