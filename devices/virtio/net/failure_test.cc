// The network device when something is in its way: rate limiters, interfaces that are down or gone,
// and drivers that break the rules.

#include <gtest/gtest.h>

#include "base/clock.h"
#include "devices/virtio/net/testing/net_device_fixture.h"

namespace mote::virtio::net {
namespace {

using testing::NetDeviceTest;
using virtio::testing::Buffer;

/// `packets` at once, and as many again every 50 ms.
RateLimiterConfig packets_per_50_ms(uint64_t packets) {
  return {.bandwidth = {}, .ops = TokenBucketConfig{packets, {}, 50}};
}

class LimiterTest : public NetDeviceTest {
 protected:
  void send_to_guest(uint32_t count, size_t bytes = 100) {
    for (uint32_t i = 0; i < count; ++i) ASSERT_TRUE(host_->send(make_frame(i, bytes)));
  }
  /// True when packets 0 to count - 1 came, in order.
  bool all_received(uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
      const auto received = await_received();
      if (!received || received->frame != make_frame(i, received->frame.size())) return false;
    }
    return true;
  }
  bool all_sent(uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
      const auto sent = await_sent();
      if (!sent || sent->frame != make_frame(i, sent->frame.size())) return false;
    }
    return true;
  }
  uint64_t elapsed_ms() const { return (base::monotonic_ns() - begin_ns_) / 1'000'000; }
  void begin() { begin_ns_ = base::monotonic_ns(); }

  uint64_t begin_ns_ = 0;
};

TEST_F(LimiterTest, DelaysReceivedPacketsAndLosesNone) {
  config_.rx_rate_limiter = packets_per_50_ms(5);
  start();
  driver_->post_buffers(64, 1526);
  driver_->kick(0);
  begin();
  send_to_guest(20);
  EXPECT_TRUE(all_received(20));
  // One packet is taken before it is paid for; the other 19 need 14 tokens beyond the first five.
  EXPECT_GE(elapsed_ms(), 130U);
  EXPECT_GT(driver_->device().metrics().rx_rate_limiter_throttled, 0U);
  EXPECT_GT(driver_->device().metrics().rx_event_rate_limiter_count, 0U);
}

TEST_F(LimiterTest, DelaysReceivedBytes) {
  config_.rx_rate_limiter = RateLimiterConfig{TokenBucketConfig{5000, {}, 50}, {}};
  start();
  driver_->post_buffers(64, 1526);
  driver_->kick(0);
  begin();
  send_to_guest(20, 1000);
  EXPECT_TRUE(all_received(20));
  EXPECT_GE(elapsed_ms(), 130U);
}

TEST_F(LimiterTest, DelaysSentPacketsAndLosesNone) {
  config_.tx_rate_limiter = packets_per_50_ms(5);
  start();
  begin();
  for (uint32_t i = 0; i < 20; ++i) driver_->add_packet(make_frame(i, 100), {}, i);
  driver_->kick(1);
  EXPECT_TRUE(all_sent(20));
  EXPECT_GE(elapsed_ms(), 140U);
  EXPECT_GT(driver_->device().metrics().tx_rate_limiter_throttled, 0U);
  EXPECT_GT(driver_->device().metrics().tx_rate_limiter_event_count, 0U);
  EXPECT_GT(driver_->device().metrics().tx_remaining_reqs_count, 0U);
}

TEST_F(LimiterTest, SendsPacketsLargerThanTheWholeBucket) {
  config_.tx_rate_limiter = RateLimiterConfig{TokenBucketConfig{500, {}, 20}, {}};
  start();
  for (uint32_t i = 0; i < 3; ++i) driver_->add_packet(make_frame(i, 1400), {}, i);
  driver_->kick(1);
  EXPECT_TRUE(all_sent(3));
}

TEST_F(LimiterTest, APatchTakesEffectAtOnce) {
  const RateLimiterConfig never{.bandwidth = {}, .ops = TokenBucketConfig{1, {}, 3'600'000}};
  const RateLimiterConfig always{.bandwidth = {}, .ops = TokenBucketConfig{0, {}, 0}};
  config_.rx_rate_limiter = never;
  config_.tx_rate_limiter = never;
  start();
  driver_->post_buffers(64, 1526);
  for (uint32_t i = 0; i < 10; ++i) driver_->add_packet(make_frame(i, 100), {}, i);
  driver_->kick(0);
  driver_->kick(1);
  send_to_guest(10);
  EXPECT_LT(driver_->run_for(100), 20U) << "waiting must not be spinning";
  EXPECT_EQ(driver_->transmit_ring().used_index(), 1);
  EXPECT_LE(driver_->receive_ring().used_index(), 2);
  driver_->device().update_rate_limiters({"eth0", always, {}});
  EXPECT_TRUE(all_received(10));
  EXPECT_EQ(driver_->transmit_ring().used_index(), 1) << "what is absent stays";
  driver_->device().update_rate_limiters({"eth0", {}, always});
  EXPECT_TRUE(all_sent(10));
}

TEST_F(LimiterTest, ResetWhileThrottled) {
  config_.rx_rate_limiter = packets_per_50_ms(1);
  config_.tx_rate_limiter = packets_per_50_ms(1);
  start();
  for (int round = 0; round < 5; ++round) {
    driver_->post_buffers(64, 1526);
    for (uint32_t i = 0; i < 10; ++i) driver_->add_packet(make_frame(i, 100), {}, i);
    driver_->kick(0);
    driver_->kick(1);
    send_to_guest(5);
    driver_->run_for(5);
    driver_->reset();
    driver_->run_for(60);
    ASSERT_TRUE(driver_->start());
  }
}

class AbsentInterfaceTest : public NetDeviceTest {
 protected:
  /// Sends `count` packets into the void; all must come back.
  void send_in_vain(uint16_t count) {
    const auto before = driver_->transmit_ring().used_index();
    for (uint32_t i = 0; i < count; ++i) driver_->add_packet(make_frame(i, 100), {}, i);
    driver_->kick(1);
    EXPECT_TRUE(driver_->run_until([&] {
      return static_cast<uint16_t>(driver_->transmit_ring().used_index() - before) == count;
    }));
  }
};

TEST_F(AbsentInterfaceTest, GivesPacketsBackWhileItIsDownAndWorksWhenItIsUpAgain) {
  start();
  driver_->post_buffers(64, 1526);
  driver_->kick(0);
  ASSERT_TRUE(testing::set_up(config_.host_dev_name, false));
  send_in_vain(10);
  EXPECT_EQ(driver_->device().metrics().tx_fails, 10U);
  EXPECT_LT(driver_->run_for(300), 20U) << "the loop must not spin";
  ASSERT_TRUE(testing::set_up(config_.host_dev_name, true));
  while (host_->receive()) {
  }
  driver_->add_packet(make_frame(1, 100));
  driver_->kick(1);
  EXPECT_TRUE(await_sent());
  ASSERT_TRUE(host_->send(make_frame(2, 100)));
  EXPECT_TRUE(await_received());
  EXPECT_FALSE(driver_->needs_reset());
}

TEST_F(AbsentInterfaceTest, SurvivesItsDeletion) {
  start();
  driver_->post_buffers(64, 1526);
  driver_->kick(0);
  ASSERT_TRUE(host_->send(make_frame(1, 100)));
  ASSERT_TRUE(await_received());
  ASSERT_TRUE(testing::delete_interface(config_.host_dev_name));
  send_in_vain(10);
  EXPECT_EQ(driver_->device().metrics().tx_fails, 10U);
  EXPECT_LT(driver_->run_for(500), 30U) << "the loop must not spin";
  EXPECT_GE(driver_->device().metrics().tap_read_fails, 1U);
  EXPECT_LE(driver_->device().metrics().tap_read_fails, 8U);
  driver_->reset();
  EXPECT_FALSE(driver_->start()) << "no TAP, no activation";
  EXPECT_TRUE(driver_->needs_reset());
  EXPECT_EQ(driver_->device().metrics().activate_fails, 1U);
  driver_->reset();
  EXPECT_FALSE(driver_->start()) << "and again, without a crash";
}

class HostileDriverTest : public NetDeviceTest {
 protected:
  /// The device stops; a reset makes it work again.
  void expect_reset_heals() {
    EXPECT_TRUE(await_reset_request());
    EXPECT_LT(driver_->run_for(50), 10U) << "a broken device must be still";
    driver_->reset();
    ASSERT_TRUE(driver_->start());
    while (host_->receive()) {
    }
    driver_->add_packet(make_frame(3, 100));
    driver_->kick(1);
    EXPECT_TRUE(await_sent());
  }
};

TEST_F(HostileDriverTest, HeadersTheKernelRefusesLoseOnlyTheirPacket) {
  start();
  const auto tcp = make_tcp_packet(20'000);
  std::vector<virtio_net_hdr_v1> headers;
  for (const int gso_type : {1, 2, 3, 4, 5, 0x7f, 0x80, 0xff}) {
    for (const uint16_t value : {uint16_t{0}, uint16_t{1}, uint16_t{53}, uint16_t{0xffff}}) {
      virtio_net_hdr_v1 header = tcp.header;
      header.gso_type = static_cast<uint8_t>(gso_type);
      header.gso_size = value;
      headers.push_back(header);
      header.hdr_len = value;
      headers.push_back(header);
      header.csum_start = value;
      headers.push_back(header);
      header.csum_offset = value;
      headers.push_back(header);
      header.flags = 0xff;
      headers.push_back(header);
      header.num_buffers = value;
      headers.push_back(header);
    }
  }
  ASSERT_LT(headers.size(), 256U);
  for (size_t i = 0; i < headers.size(); ++i) driver_->add_packet(tcp.frame, headers[i], i);
  driver_->kick(1);
  EXPECT_TRUE(
      driver_->run_until([&] { return driver_->transmit_ring().used_index() == headers.size(); }));
  const Metrics& metrics = driver_->device().metrics();
  EXPECT_GT(metrics.tx_fails, 0U);
  EXPECT_EQ(metrics.tx_fails + metrics.tx_packets_count, headers.size());
  while (host_->receive()) {
  }
  driver_->add_packet(make_frame(5, 100));
  driver_->kick(1);
  const auto sent = await_sent();
  ASSERT_TRUE(sent);
  EXPECT_EQ(sent->frame, make_frame(5, 100));
}

TEST_F(HostileDriverTest, ChainsThatAreNoPacketComeBack) {
  start();
  const memory::Gpa at = driver_->packet_address(0);
  auto& ring = driver_->transmit_ring();
  ring.add_chain({{at, 12, false}});      // A header without a frame.
  ring.add_chain({{at, 3, false}});       // Not even that.
  ring.add_chain({{at, 1000, true}});     // In the wrong direction.
  ring.add_chain({{at, 70'000, false}});  // Longer than any packet.
  ring.add_chain({{at, 0, false}});       // Nothing at all.
  ring.add_chain({{at, 13, false}});      // Too short for Ethernet: the kernel's refusal.
  ring.add_chain({{at, 100, false}, {at, 1, true}});  // A packet with room nobody needs.
  driver_->kick(1);
  EXPECT_TRUE(driver_->run_until([&] { return ring.used_index() == 7; }));
  while (const auto used = ring.take_used()) EXPECT_EQ(used->len, 0U);
  EXPECT_EQ(driver_->device().metrics().tx_malformed_frames, 5U);
  EXPECT_EQ(driver_->device().metrics().tx_fails, 1U);
  EXPECT_EQ(driver_->device().metrics().tx_packets_count, 1U);
  EXPECT_FALSE(driver_->needs_reset());
}

TEST_F(HostileDriverTest, MalformedPacketsAloneStillRaiseAnInterrupt) {
  start();
  (void)driver_->take_interrupts();
  driver_->transmit_ring().add_chain({{driver_->packet_address(0), 3, false}});
  driver_->kick(1);
  EXPECT_TRUE(driver_->run_until([&] { return driver_->take_interrupts() > 0; }));
}

TEST_F(HostileDriverTest, LoopsAndForeignAddressesNeedAReset) {
  start();
  const memory::Gpa at = driver_->packet_address(0);
  driver_->transmit_ring().write_descriptor(0, {at.value, 64, VIRTQ_DESC_F_NEXT, 0});
  driver_->transmit_ring().make_available(0);
  driver_->kick(1);
  expect_reset_heals();
  driver_->transmit_ring().add_chain({{memory::Gpa{0x7fffffff0000}, 64, false}});
  driver_->kick(1);
  expect_reset_heals();
  driver_->receive_ring().add_chain({{memory::Gpa{0xfffffffffffff000}, 0x2000, true}});
  driver_->kick(0);
  expect_reset_heals();
  driver_->receive_ring().set_avail_index(0x8000);
  driver_->kick(0);
  expect_reset_heals();
}

TEST_F(HostileDriverTest, ReceiveBuffersOfTheWrongKindNeedAReset) {
  start();
  const memory::Gpa at = driver_->packet_address(0);
  driver_->receive_ring().add_chain({{at, 2000, false}});
  driver_->kick(0);
  expect_reset_heals();
  driver_->receive_ring().add_chain({{at, 11, true}});
  driver_->kick(0);
  expect_reset_heals();
  // Found while packets come in, behind a good buffer.
  driver_->post_buffers(1, 1526);
  driver_->receive_ring().add_chain({{at, 12, false}, {at.offset(12), 1500, true}});
  driver_->kick(0);
  expect_reset_heals();
}

TEST_F(HostileDriverTest, PacketsTooLongForTheBuffersAreDroppedWhole) {
  for (const uint64_t without : {uint64_t{0}, VIRTIO_NET_F_MRG_RXBUF}) {
    start(without);
    driver_->post_buffers(1, 512);
    driver_->kick(0);
    ASSERT_TRUE(host_->send(make_frame(1, 1000)));
    ASSERT_TRUE(host_->send(make_frame(2, 501)));
    ASSERT_TRUE(host_->send(make_frame(3, 500)));  // Fits to the byte.
    const auto received = await_received();
    ASSERT_TRUE(received);
    EXPECT_EQ(received->frame, make_frame(3, 500));
    EXPECT_EQ(driver_->device().metrics().rx_partial_writes, 2U);
    driver_.reset();
  }
}

TEST_F(HostileDriverTest, HalfAQueuePairNeedsAReset) {
  open();
  EXPECT_FALSE(driver_->start(0, 1));
  EXPECT_EQ(driver_->device().metrics().activate_fails, 1U);
  expect_reset_heals();
}

TEST_F(HostileDriverTest, PairsThatWereNeverSetUpAreNotSwitchedOn) {
  open(3);
  ASSERT_TRUE(driver_->start(0, 3)) << "one pair and a half, and no control queue";
  driver_->kick(2);
  driver_->kick(3);
  driver_->kick(6);
  driver_->add_packet(make_frame(3, 100));
  driver_->kick(1);
  EXPECT_TRUE(await_sent());
}

TEST_F(HostileDriverTest, AControlQueueWithoutRoomForTheAnswerNeedsAReset) {
  start(0, 2);
  driver_->control_ring().add_chain({{driver_->packet_address(0), 4, false}});
  driver_->kick(4);
  expect_reset_heals();
}

TEST_F(HostileDriverTest, AFloodOfCommandsIsServedInTurns) {
  start(0, 2);
  const memory::Gpa at = driver_->packet_address(0);
  for (uint64_t i = 0; i < 100; ++i)
    driver_->control_ring().add_chain({{at, 4, false}, {at.offset(64), 1, true}});
  driver_->kick(4);
  EXPECT_TRUE(driver_->run_until([&] { return driver_->control_ring().used_index() == 100; }));
}

}  // namespace
}  // namespace mote::virtio::net
