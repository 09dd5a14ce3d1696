// The network device as a whole: a driver on the guest side, a real TAP, a real io_uring and a
// packet socket on the other. The limiters, failures and hostile drivers are in the files beside.

#include "devices/virtio/net/device.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "devices/virtio/net/testing/net_device_fixture.h"

namespace mote::virtio::net {
namespace {

using testing::NetDeviceTest;
using testing::Queues;

TEST_F(NetDeviceTest, OffersWhatTheConfigurationAndTheTapAllow) {
  config_.guest_mac = MacAddress{{6, 0, 1, 2, 3, 4}};
  config_.mtu = uint16_t{9000};
  open(4);
  const Description many = driver_->device().describe();
  EXPECT_EQ(many.device_id, VIRTIO_ID_NET);
  EXPECT_EQ(many.queue_max_sizes, std::vector<uint16_t>(9, 256));
  virtio_net_config space{};
  ASSERT_EQ(many.config.size(), sizeof(space));
  std::memcpy(&space, many.config.data(), sizeof(space));
  EXPECT_EQ(std::memcmp(space.mac, config_.guest_mac->octets.data(), 6), 0);
  EXPECT_EQ(space.mtu, 9000);
  EXPECT_EQ(space.max_virtqueue_pairs, 4);
  const uint64_t optional =
      VIRTIO_NET_F_MAC | VIRTIO_NET_F_MTU | VIRTIO_NET_F_MQ | VIRTIO_NET_F_CTRL_VQ;
  EXPECT_EQ(many.features & optional, optional);

  driver_.reset();
  config_.guest_mac.reset();
  config_.mtu.reset();
  open(1);
  const Description few = driver_->device().describe();
  EXPECT_EQ(few.queue_max_sizes.size(), 2U);
  EXPECT_EQ(few.features & optional, 0U);
}

TEST_F(NetDeviceTest, SendsWhatTheDriverMadeAvailable) {
  start();
  const auto frame = make_frame(7, 300);
  driver_->add_packet(frame);
  driver_->kick(1);
  const auto sent = await_sent();
  ASSERT_TRUE(sent);
  EXPECT_EQ(sent->frame, frame);
  EXPECT_EQ(sent->header.gso_type, VIRTIO_NET_HDR_GSO_NONE);
  const auto used = driver_->transmit_ring().take_used();
  ASSERT_TRUE(used);
  EXPECT_EQ(used->len, 0U);
  const Metrics& metrics = driver_->device().metrics();
  EXPECT_EQ(metrics.tx_packets_count, 1U);
  EXPECT_EQ(metrics.tx_bytes_count, 300U);
  EXPECT_EQ(metrics.tx_queue_event_count, 2U) << "the transport kicks once at activation";
}

TEST_F(NetDeviceTest, SendsPacketsCutIntoAnyParts) {
  start();
  const auto frame = make_frame(1, 100);
  const memory::Gpa address = driver_->packet_address(0);
  ASSERT_TRUE(driver_->memory().store(address, virtio_net_hdr_v1{}));
  ASSERT_TRUE(driver_->memory().write(address.offset(12), frame));
  for (uint32_t step = 1; step < 112; step += 3) {
    std::vector<virtio::testing::Buffer> parts;
    for (uint32_t at = 0; at < 112; at += step)
      parts.push_back({address.offset(at), std::min(step, 112 - at), false});
    driver_->transmit_ring().add_indirect(parts, driver_->packet_address(1));
    driver_->kick(1);
    const auto sent = await_sent();
    ASSERT_TRUE(sent) << step;
    EXPECT_EQ(sent->frame, frame);
  }
}

TEST_F(NetDeviceTest, LeavesChecksumAndSegmentationToTheHost) {
  start();
  const auto packet = make_tcp_packet(60'000);
  driver_->add_packet(packet.frame, packet.header);
  driver_->kick(1);
  const auto sent = await_sent();
  ASSERT_TRUE(sent);
  EXPECT_EQ(sent->frame, packet.frame) << "one packet of 60,000 bytes, not forty";
  EXPECT_EQ(sent->header.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
  EXPECT_EQ(sent->header.gso_size, packet.header.gso_size);
  EXPECT_EQ(sent->header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_F_NEEDS_CSUM);
}

TEST_F(NetDeviceTest, DeliversPacketsIntoTheDriversBuffers) {
  for (const uint64_t without : {uint64_t{0}, VIRTIO_NET_F_MRG_RXBUF, VIRTIO_F_EVENT_IDX}) {
    start(without);
    driver_->post_buffers(4, 1526);
    driver_->kick(0);
    const auto frame = make_frame(9, 1000);
    ASSERT_TRUE(host_->send(frame));
    const auto received = await_received();
    ASSERT_TRUE(received);
    EXPECT_EQ(received->frame, frame);
    EXPECT_EQ(received->header.num_buffers, 1);
    EXPECT_EQ(received->lengths, std::vector<uint32_t>{1012});
    EXPECT_EQ(driver_->device().metrics().rx_packets_count, 1U);
    EXPECT_EQ(driver_->device().metrics().rx_bytes_count, 1000U);
    driver_.reset();
  }
}

TEST_F(NetDeviceTest, MergesBuffersForPacketsThatNeedSeveral) {
  start();
  ASSERT_TRUE(testing::set_mtu(config_.host_dev_name, 9000));
  driver_->post_buffers(256, 500);
  driver_->kick(0);
  for (const size_t bytes : {488U, 489U, 988U, 989U, 5000U, 9014U}) {
    const auto frame = make_frame(static_cast<uint32_t>(bytes), bytes);
    ASSERT_TRUE(host_->send(frame));
    const auto received = await_received();
    ASSERT_TRUE(received) << bytes;
    EXPECT_EQ(received->frame, frame);
    EXPECT_EQ(received->header.num_buffers, (bytes + 12 + 499) / 500);
  }
}

TEST_F(NetDeviceTest, DeliversUnsegmentedPacketsToDriversThatTakeThem) {
  start();
  driver_->post_buffers(256, 1526);
  driver_->kick(0);
  const auto packet = make_tcp_packet(60'000);
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(host_->send(packet.frame, packet.header));
    const auto received = await_received();
    ASSERT_TRUE(received);
    EXPECT_EQ(received->frame, packet.frame);
    EXPECT_EQ(received->header.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
    EXPECT_EQ(received->header.gso_size, packet.header.gso_size);
    driver_->post_buffers(received->lengths.size(), 1526);
    driver_->kick(0);
  }
}

TEST_F(NetDeviceTest, HasTheHostSegmentForDriversThatDoNot) {
  start(VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6);
  driver_->post_buffers(128, 1526);
  driver_->kick(0);
  const auto packet = make_tcp_packet(60'000);
  ASSERT_TRUE(host_->send(packet.frame, packet.header));
  size_t bytes = 0;
  while (bytes < 60'000 - 54) {
    const auto received = await_received();
    ASSERT_TRUE(received) << bytes;
    EXPECT_LE(received->frame.size(), 1514U);
    EXPECT_EQ(received->header.gso_type, VIRTIO_NET_HDR_GSO_NONE);
    bytes += received->frame.size() - 54;
  }
  EXPECT_EQ(bytes, 60'000U - 54U);
}

TEST_F(NetDeviceTest, KeepsTheOrderOfTenThousandPacketsEachWay) {
  constexpr uint32_t kPackets = 10'000;
  start();
  driver_->post_buffers(256, 1526);
  driver_->kick(0);
  uint32_t to_guest = 0;
  uint32_t at_guest = 0;
  uint32_t from_guest = 0;
  uint32_t at_host = 0;
  uint64_t interrupts = 0;
  while (at_guest < kPackets || at_host < kPackets) {
    // In flights, so that nothing is lost for want of room.
    for (; to_guest < std::min(kPackets, at_guest + 200); ++to_guest)
      ASSERT_TRUE(host_->send(make_frame(to_guest, 64 + to_guest % 1400)));
    for (; from_guest < std::min(kPackets, at_host + 200); ++from_guest)
      driver_->add_packet(make_frame(from_guest, 64 + from_guest % 1400), {}, from_guest);
    if (driver_->transmit_ring().needs_kick(true)) driver_->kick(1);
    const uint32_t before = at_guest + at_host;
    ASSERT_TRUE(driver_->run_until([&] {
      while (const auto received = driver_->take_received()) {
        EXPECT_EQ(received->frame, make_frame(at_guest, 64 + at_guest % 1400));
        ++at_guest;
        driver_->post_buffers(received->lengths.size(), 1526);
      }
      if (driver_->receive_ring().needs_kick(true)) driver_->kick(0);
      while (const auto sent = host_->receive()) {
        EXPECT_EQ(sent->frame, make_frame(at_host, 64 + at_host % 1400));
        ++at_host;
      }
      return at_guest + at_host != before;
    })) << at_guest
        << " " << at_host;
    interrupts += driver_->take_interrupts();
    driver_->receive_ring().set_used_event(driver_->receive_ring().used_index());
  }
  EXPECT_LT(interrupts, kPackets / 4) << "packets of one turn share an interrupt";
}

TEST_F(NetDeviceTest, LeavesPacketsInTheTapUntilThereAreBuffers) {
  start();
  for (uint32_t i = 0; i < 5; ++i) ASSERT_TRUE(host_->send(make_frame(i, 100)));
  EXPECT_LT(driver_->run_for(100), 10U) << "the loop must not spin";
  EXPECT_GE(driver_->device().metrics().no_rx_avail_buffer, 1U);
  driver_->post_buffers(3, 1526);
  EXPECT_TRUE(driver_->receive_ring().needs_kick(true));
  driver_->kick(0);
  for (uint32_t i = 0; i < 3; ++i) {
    const auto received = await_received();
    ASSERT_TRUE(received) << i;
    EXPECT_EQ(received->frame, make_frame(i, 100));
  }
  EXPECT_LT(driver_->run_for(50), 10U);
  EXPECT_FALSE(driver_->take_received());
  driver_->post_buffers(2, 1526);
  EXPECT_TRUE(driver_->receive_ring().needs_kick(true)) << "the device must have asked for a kick";
  driver_->kick(0);
  for (uint32_t i = 3; i < 5; ++i) {
    const auto received = await_received();
    ASSERT_TRUE(received) << i;
    EXPECT_EQ(received->frame, make_frame(i, 100));
  }
}

TEST_F(NetDeviceTest, AsksForAKickWheneverAQueueRanEmpty) {
  for (const bool event_idx : {true, false}) {
    start(event_idx ? 0 : VIRTIO_F_EVENT_IDX);
    for (uint32_t i = 0; i < 5; ++i) {
      driver_->run_for(5);
      driver_->add_packet(make_frame(i, 100));
      EXPECT_TRUE(driver_->transmit_ring().needs_kick(event_idx)) << i;
      driver_->kick(1);
      ASSERT_TRUE(await_sent());
      driver_->post_buffers(1, 1526);
      EXPECT_TRUE(driver_->receive_ring().needs_kick(event_idx)) << i;
      driver_->kick(0);
      ASSERT_TRUE(host_->send(make_frame(i, 100)));
      ASSERT_TRUE(await_received());
    }
    driver_.reset();
  }
}

TEST_F(NetDeviceTest, CountsForeignSenderAddresses) {
  config_.guest_mac = MacAddress{{2, 0, 0, 0, 0, 1}};
  start();
  driver_->add_packet(make_frame(1, 100), {}, 0);  // From 02:00:00:00:00:01.
  auto spoofed = make_frame(2, 100);
  spoofed[11] = std::byte{9};
  driver_->add_packet(spoofed, {}, 1);
  driver_->kick(1);
  ASSERT_TRUE(await_sent() && await_sent());
  EXPECT_EQ(driver_->device().metrics().tx_spoofed_mac_count, 1U);
}

TEST_F(NetDeviceTest, ResetUnderLoadAndWorksAgain) {
  open(1);
  std::atomic<bool> stop{false};
  std::thread sender([&] {
    while (!stop) {
      if (!host_->send(make_frame(1, 1000)))
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  for (int round = 0; round < 20; ++round) {
    EXPECT_TRUE(driver_->start());
    driver_->post_buffers(100, 1526);
    for (uint64_t i = 0; i < 100; ++i)
      driver_->add_packet(make_frame(static_cast<uint32_t>(i), 1000), {}, i);
    driver_->kick(0);
    driver_->kick(1);
    for (int turn = 0; turn < round % 5; ++turn) EXPECT_TRUE(driver_->loop().run_once(false));
    driver_->reset();
    // Nothing may be written into buffers the driver has taken back.
    const auto memory = driver_->memory().slice(memory::Gpa{0x400000}, 100 * 1526);
    std::ranges::fill(memory, std::byte{0x5a});
    driver_->run_for(2);
    EXPECT_TRUE(std::ranges::all_of(memory, [](std::byte b) { return b == std::byte{0x5a}; }));
  }
  stop = true;
  sender.join();
  while (host_->receive()) {
  }
  ASSERT_TRUE(driver_->start());
  driver_->add_packet(make_frame(77, 200));
  driver_->kick(1);
  const auto sent = await_sent();
  ASSERT_TRUE(sent);
  EXPECT_EQ(sent->frame, make_frame(77, 200));
}

class MultiQueueTest : public NetDeviceTest {
 protected:
  static std::vector<uint8_t> pairs_set(uint16_t pairs) {
    return {VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, static_cast<uint8_t>(pairs),
            static_cast<uint8_t>(pairs >> 8)};
  }
  /// Packets of many flows, and where they came out.
  std::vector<size_t> spread(size_t pairs, uint32_t count) {
    std::vector<size_t> seen(pairs);
    for (uint32_t i = 0; i < count; ++i) EXPECT_TRUE(host_->send(make_flow_frame(i)));
    size_t total = 0;
    EXPECT_TRUE(driver_->run_until([&] {
      for (size_t pair = 0; pair < pairs; ++pair) {
        while (driver_->take_received(pair)) {
          ++seen[pair];
          ++total;
        }
      }
      return total == count;
    })) << total;
    return seen;
  }
};

TEST_F(MultiQueueTest, ReceivesOnAsManyPairsAsTheDriverAskedFor) {
  ASSERT_TRUE(testing::create_persistent_tap(config_.host_dev_name, Queues::kMultiple));
  open(3);
  for (int round = 0; round < 2; ++round) {  // A second driver finds the first one's queues gone.
    ASSERT_TRUE(driver_->start());
    for (size_t pair = 0; pair < 3; ++pair) {
      driver_->post_buffers(256, 1526, pair);
      driver_->kick(2 * pair);
    }
    EXPECT_EQ(spread(3, 60), (std::vector<size_t>{60, 0, 0})) << "one pair until more are asked";
    EXPECT_EQ(driver_->command(pairs_set(3)), VIRTIO_NET_OK);
    auto seen = spread(3, 60);
    EXPECT_GT(seen[0], 0U);
    EXPECT_GT(seen[1], 0U);
    EXPECT_GT(seen[2], 0U);
    EXPECT_EQ(driver_->command(pairs_set(1)), VIRTIO_NET_OK);
    seen = spread(3, 60);
    EXPECT_EQ(seen, (std::vector<size_t>{60, 0, 0}));
    EXPECT_EQ(driver_->device().metrics().tap_read_fails, 0U);
    driver_->reset();
  }
}

TEST_F(MultiQueueTest, SendsFromEveryPairEvenThoseNotSwitchedOn) {
  start(0, 2);
  for (const uint16_t pairs : {uint16_t{1}, uint16_t{2}, uint16_t{1}}) {
    ASSERT_EQ(driver_->command(pairs_set(pairs)), VIRTIO_NET_OK);
    for (size_t pair = 0; pair < 2; ++pair) {
      const auto frame = make_frame(static_cast<uint32_t>(pair), 100 + pair);
      driver_->add_packet(frame, {}, pair, pair);
      driver_->kick(2 * pair + 1);
      const auto sent = await_sent();
      ASSERT_TRUE(sent) << pair;
      EXPECT_EQ(sent->frame, frame);
    }
  }
}

TEST_F(MultiQueueTest, RefusesCommandsItDoesNotKnow) {
  start(0, 2);
  for (const auto& command : std::vector<std::vector<uint8_t>>{pairs_set(0),
                                                               pairs_set(3),
                                                               pairs_set(0xffff),
                                                               {VIRTIO_NET_CTRL_MQ, 1, 1, 0},
                                                               {0, 0, 1, 0},
                                                               {VIRTIO_NET_CTRL_MQ, 0, 1},
                                                               {VIRTIO_NET_CTRL_MQ},
                                                               {VIRTIO_NET_CTRL_MQ, 0, 1, 0, 0}}) {
    EXPECT_EQ(driver_->command(command), VIRTIO_NET_ERR);
  }
  EXPECT_EQ(driver_->command(pairs_set(2)), VIRTIO_NET_OK);
  EXPECT_FALSE(driver_->needs_reset());
}

TEST_F(MultiQueueTest, WithoutTheFeatureThereIsOnePair) {
  open(2);
  ASSERT_TRUE(driver_->start(VIRTIO_NET_F_MQ));
  driver_->post_buffers(16, 1526);
  driver_->kick(0);
  EXPECT_EQ(spread(1, 10), std::vector<size_t>{10});
}

}  // namespace
}  // namespace mote::virtio::net
