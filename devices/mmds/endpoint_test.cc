// The metadata address with a guest that speaks TCP by hand: what is lost, repeated, out of order
// or hostile. interop_test.cc has a real TCP on the other side.

#include "devices/mmds/endpoint.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <vector>

namespace mote::mmds {
namespace {

constexpr Peer kGuest = {{2, 0, 0, 0, 0, 0x42}, {10, 0, 0, 2}, 40000};
constexpr uint64_t kMs = 1'000'000;

/// A segment of ours, and its payload.
struct Sent {
  Segment segment;
  std::string payload;
};

class EndpointTest : public testing::Test {
 protected:
  EndpointTest() {
    service_.configure({.network_interfaces = {"eth0"}});
    boost::json::object content{{"small", "yes"}, {"large", std::string(5000, 'x')}};
    EXPECT_TRUE(service_.store().replace(std::move(content)));
    endpoint_.emplace(service_);
  }

  void give(const Segment& segment, Peer guest = kGuest, uint16_t port = 80) {
    std::vector<std::byte> frame(kHeaderBytes + kMssOptionBytes + segment.payload.size());
    frame.resize(build_tcp(frame, {kOwnMac, kDefaultAddress, port}, guest.mac, guest.address,
                           guest.port, segment));
    EXPECT_TRUE(endpoint_->takes(frame));
    endpoint_->receive(frame, Checksum::kComplete, now_ns_);
  }
  void give_text(std::string_view text, uint8_t flags = kAck | kPsh) {
    give({.sequence = sequence_,
          .acknowledgment = expected_,
          .window = window_,
          .flags = flags,
          .payload = std::as_bytes(std::span(text))});
    sequence_ += static_cast<uint32_t>(text.size()) + ((flags & kFin) != 0 ? 1 : 0);
  }
  void acknowledge() { give_text({}, kAck); }

  /// The next segment to the guest. `expected_` goes on behind it when it is in order.
  std::optional<Sent> take() {
    std::vector<std::byte> frame(kMaxFrameBytes);
    frame.resize(endpoint_->next_frame(frame, now_ns_));
    if (frame.empty()) return std::nullopt;
    const auto received = parse_tcp(frame, Checksum::kComplete, kGuest.address);
    EXPECT_TRUE(received);
    if (!received) return std::nullopt;
    EXPECT_EQ(received->from.mac, kOwnMac);
    EXPECT_EQ(received->from.address, kDefaultAddress);
    const Segment& segment = received->segment;
    if (segment.sequence == expected_) expected_ += segment.length();
    return Sent{segment, std::string(reinterpret_cast<const char*>(segment.payload.data()),
                                     segment.payload.size())};
  }
  /// All that is to be sent now, in order.
  std::string take_text() {
    std::string text;
    for (auto sent = take(); sent; sent = take()) text += sent->payload;
    return text;
  }
  void connect() {
    give({.sequence = sequence_++, .window = window_, .flags = kSyn, .mss = 1460});
    const auto answer = take();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->segment.flags, kSyn | kAck);
    EXPECT_EQ(answer->segment.acknowledgment, sequence_);
    EXPECT_EQ(answer->segment.mss, 1460);
    expected_ = answer->segment.sequence + 1;
    acknowledge();
  }
  static constexpr const char* kAskSmall = "GET /small HTTP/1.1\r\n\r\n";
  static constexpr const char* kAskLarge = "GET /large HTTP/1.1\r\n\r\n";

  Service service_{1 << 16};
  std::optional<Endpoint> endpoint_;
  uint64_t now_ns_ = 1'000'000 * kMs;
  uint32_t sequence_ = 0xfffffff0;  // Goes round soon.
  uint32_t expected_ = 0;
  uint16_t window_ = 64000;
};

TEST_F(EndpointTest, AnswersRequestAfterRequestOnOneConnection) {
  connect();
  for (int i = 0; i < 5; ++i) {
    give_text(kAskSmall);
    EXPECT_TRUE(take_text().ends_with("\r\n\r\nyes")) << i;
    acknowledge();
    EXPECT_FALSE(take());
  }
  give_text({}, kAck | kFin);
  const auto fin = take();
  ASSERT_TRUE(fin);
  EXPECT_TRUE(fin->segment.has(kFin));
  EXPECT_EQ(fin->segment.acknowledgment, sequence_);
  acknowledge();
  EXPECT_EQ(endpoint_->connection_count(), 0U);
  EXPECT_EQ(endpoint_->deadline_ns(), 0U);
  EXPECT_EQ(service_.metrics().connections_created, 1U);
  EXPECT_EQ(service_.metrics().connections_destroyed, 1U);
}

TEST_F(EndpointTest, TakesARequestByteByByteAndTwoAtOnce) {
  connect();
  for (const char* byte = kAskSmall; *byte != 0; ++byte) give_text({byte, 1});
  EXPECT_TRUE(take_text().ends_with("yes"));
  give_text(std::string(kAskSmall) + kAskSmall);  // The first answer is acknowledged with it.
  EXPECT_TRUE(take_text().ends_with("yes"));
  acknowledge();
  EXPECT_TRUE(take_text().ends_with("yes"));
}

TEST_F(EndpointTest, SendsAgainWhatWasLost) {
  connect();
  give_text(kAskLarge);
  const uint32_t before = expected_;
  const std::string whole = take_text();
  ASSERT_GT(whole.size(), 5000U);
  expected_ = before;  // Not one of them came.
  EXPECT_FALSE(take()) << "not before the time is over";
  for (uint64_t wait = 200; wait <= 800; wait *= 2) {
    ASSERT_EQ(endpoint_->deadline_ns(), now_ns_ + wait * kMs);
    now_ns_ += wait * kMs;
    endpoint_->on_deadline(now_ns_);
    EXPECT_EQ(take_text(), whole) << wait;
    expected_ = before;
  }
  expected_ = before + 1460;  // The first one came.
  acknowledge();
  now_ns_ += 200 * kMs;
  endpoint_->on_deadline(now_ns_);
  EXPECT_EQ(take_text(), whole.substr(1460));
  acknowledge();
  EXPECT_EQ(endpoint_->deadline_ns(), 0U);
}

TEST_F(EndpointTest, RepeatsItsSynAndGivesUpInTheEnd) {
  give({.sequence = 7, .flags = kSyn});
  ASSERT_TRUE(take());
  give({.sequence = 7, .flags = kSyn});
  EXPECT_EQ(take()->segment.flags, kSyn | kAck) << "the guest repeats, so do we";
  EXPECT_EQ(endpoint_->connection_count(), 1U);
  int repeated = 0;
  while (endpoint_->deadline_ns() != 0) {
    now_ns_ = endpoint_->deadline_ns();
    endpoint_->on_deadline(now_ns_);
    for (; take(); ++repeated) {
    }
    ASSERT_LE(repeated, 10);
  }
  EXPECT_EQ(repeated, 6);
  EXPECT_EQ(endpoint_->connection_count(), 0U);
}

TEST_F(EndpointTest, KeepsToTheGuestsWindowAndProbesAClosedOne) {
  connect();
  window_ = 1000;
  give_text(kAskLarge);
  const auto first = take();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->payload.size(), 1000U);
  EXPECT_FALSE(take());
  window_ = 0;
  acknowledge();
  EXPECT_FALSE(take());
  ASSERT_NE(endpoint_->deadline_ns(), 0U);
  now_ns_ = endpoint_->deadline_ns();
  endpoint_->on_deadline(now_ns_);
  const auto probe = take();
  ASSERT_TRUE(probe);
  EXPECT_EQ(probe->payload.size(), 1U);
  EXPECT_FALSE(take());
  window_ = 64000;
  acknowledge();
  EXPECT_GT(take_text().size(), 4000U);
}

TEST_F(EndpointTest, DropsWhatIsOutOfOrderAndSaysWhereItStands) {
  connect();
  sequence_ += 10;
  give_text("later");
  const auto answer = take();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->segment.flags, kAck);
  EXPECT_EQ(answer->segment.acknowledgment, sequence_ - 15);
  sequence_ -= 15;
  give_text(kAskSmall);
  EXPECT_TRUE(take_text().ends_with("yes"));
  sequence_ -= 2;  // Two bytes once more, and new ones behind them.
  give_text("\n" + std::string("\n") + kAskSmall);
  EXPECT_TRUE(take_text().ends_with("yes"));
  EXPECT_EQ(service_.metrics().rx_count, 2U);
}

TEST_F(EndpointTest, ItsWindowClosesAndOpensAgain) {
  connect();
  const uint32_t before = expected_;
  give_text(kAskLarge);
  uint32_t end = expected_;
  const std::string filler(1000, 'x');
  std::optional<Sent> last;
  for (int i = 0; i < 15; ++i) {
    while (auto sent = take()) last = sent;
    end = std::max(end, expected_);
    expected_ = before;  // The guest does not acknowledge the answer.
    give_text(filler);
  }
  while (auto sent = take()) last = sent;
  ASSERT_TRUE(last);
  EXPECT_EQ(last->segment.window, 0) << "what came while an answer is out fills it";
  EXPECT_EQ(sequence_ - last->segment.acknowledgment, 15000U - TcpConnection::kReceiveBytes);
  sequence_ = last->segment.acknowledgment;
  expected_ = end;
  acknowledge();  // The answer came; what waited turns out to be no HTTP.
  EXPECT_NE(take_text().find("400 Bad Request"), std::string::npos);
}

TEST_F(EndpointTest, RefusesHeadsWithoutEnd) {
  connect();
  give_text("GET /small HTTP/1.1\r\n");
  for (int i = 0; i < 12; ++i) give_text("A: " + std::string(900, 'a') + "\r\n");
  EXPECT_NE(take_text().find("400 Bad Request"), std::string::npos);
}

TEST_F(EndpointTest, ResetsWhatItDoesNotKnow) {
  give({.sequence = 5, .flags = kSyn}, kGuest, 443);
  auto reset = take();
  ASSERT_TRUE(reset);
  EXPECT_EQ(reset->segment.flags, kRst | kAck);
  EXPECT_EQ(reset->segment.acknowledgment, 6U);
  give({.sequence = 5, .acknowledgment = 99, .flags = kAck});
  reset = take();
  ASSERT_TRUE(reset);
  EXPECT_EQ(reset->segment.flags, kRst);
  EXPECT_EQ(reset->segment.sequence, 99U);
  give({.sequence = 5, .flags = kRst});
  EXPECT_FALSE(take()) << "a reset is never answered";
  EXPECT_EQ(service_.metrics().rx_accepted_unusual, 3U);
}

TEST_F(EndpointTest, ObeysAResetInItsPlaceOnly) {
  connect();
  give({.sequence = sequence_ + 1, .flags = kRst});
  EXPECT_EQ(endpoint_->connection_count(), 1U);
  give({.sequence = sequence_, .flags = kRst});
  EXPECT_EQ(endpoint_->connection_count(), 0U);
}

TEST_F(EndpointTest, ConnectionsAreBoundedAndTheIdlestGivesWay) {
  Peer guest = kGuest;
  for (size_t i = 0; i < Endpoint::kMaxConnections; ++i, ++guest.port) {
    give({.sequence = 1, .flags = kSyn}, guest);
    ASSERT_EQ(take()->segment.flags, kSyn | kAck);
  }
  give({.sequence = 1, .flags = kSyn}, guest);
  EXPECT_TRUE(take()->segment.has(kRst)) << "none is idle yet";
  now_ns_ += 1001 * kMs;
  give({.sequence = 1, .flags = kSyn}, guest);
  EXPECT_EQ(take()->segment.flags, kSyn | kAck);
  EXPECT_EQ(endpoint_->connection_count(), Endpoint::kMaxConnections);
}

TEST_F(EndpointTest, AnswersArpOfTheGuest) {
  std::vector<std::byte> request(60);
  const std::array<uint8_t, 42> arp = {
      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,  0, 0, 0, 0, 0x42, 8, 6, 0, 1, 8,   0,   6,   4,  0, 1,
      2,    0,    0,    0,    0,    0x42, 10, 0, 0, 2, 0, 0,    0, 0, 0, 0, 169, 254, 169, 254};
  std::memcpy(request.data(), arp.data(), arp.size());
  ASSERT_TRUE(endpoint_->takes(request));
  endpoint_->receive(request, Checksum::kComplete, now_ns_);
  std::vector<std::byte> frame(kMaxFrameBytes);
  EXPECT_EQ(endpoint_->next_frame(frame, now_ns_), kArpFrameBytes);
  EXPECT_EQ(frame[21], std::byte{2}) << "a reply";
  EXPECT_EQ(endpoint_->next_frame(frame, now_ns_), 0U);
}

}  // namespace
}  // namespace mote::mmds
