// The metadata service on the network device: whose frames it takes, and when its answers come. The
// service itself is tested in devices/mmds.

#include "devices/virtio/net/metadata.h"

#include <gtest/gtest.h>

#include "devices/virtio/net/testing/net_device_fixture.h"

namespace mote::virtio::net {
namespace {

class MetadataTest : public testing::NetDeviceTest {
 protected:
  void start_without_buffers() {
    service_.configure({.network_interfaces = {"eth0"}});
    open();
    driver_->device().serve_metadata(service_);
    ASSERT_TRUE(driver_->start());
  }
  void start_with_metadata() {
    ASSERT_NO_FATAL_FAILURE(start_without_buffers());
    offer_buffers();
  }
  void offer_buffers() {
    driver_->post_buffers(4, 2048);
    driver_->kick(0);
  }
  /// Who has this address? Asked by 10.0.0.2.
  static std::vector<std::byte> arp_request(const mmds::Ipv4& address) {
    std::vector<std::byte> frame(60);
    const std::array<uint8_t, 32> head = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,  0, 0, 0, 0,
                                          1,    8,    6,    0,    1,    8,    0,  6, 4, 0, 1,
                                          2,    0,    0,    0,    0,    1,    10, 0, 0, 2};
    std::memcpy(frame.data(), head.data(), head.size());
    std::memcpy(&frame[38], address.data(), address.size());
    return frame;
  }
  void ask(size_t bytes = 60) {
    auto frame = arp_request(mmds::kDefaultAddress);
    frame.resize(bytes);
    driver_->add_packet(frame);
    driver_->kick(1);
  }
  void expect_answer() {
    const auto received = await_received();
    ASSERT_TRUE(received);
    ASSERT_EQ(received->frame.size(), mmds::kArpFrameBytes);
    EXPECT_EQ(std::memcmp(&received->frame[22], mmds::kOwnMac.data(), mmds::kOwnMac.size()), 0);
    EXPECT_EQ(received->header.gso_type, VIRTIO_NET_HDR_GSO_NONE);
    EXPECT_EQ(received->header.num_buffers, 1);
  }

  mmds::Service service_{4096};
};

TEST_F(MetadataTest, ItsFramesNeverReachTheNetworkAndOthersDo) {
  start_with_metadata();
  ask();
  expect_answer();
  EXPECT_TRUE(driver_->transmit_ring().take_used()) << "the chain is the driver's again";
  driver_->add_packet(arp_request({10, 0, 0, 1}));
  driver_->kick(1);
  const auto sent = await_sent();
  ASSERT_TRUE(sent);
  EXPECT_EQ(sent->frame, arp_request({10, 0, 0, 1})) << "the first that the network sees";
  EXPECT_EQ(driver_->device().metrics().tx_packets_count, 1U);
  EXPECT_EQ(service_.metrics().rx_accepted, 1U);
  EXPECT_EQ(service_.metrics().tx_frames, 1U);
}

TEST_F(MetadataTest, AnInterfaceWithoutItSendsAll) {
  start();
  ask();
  const auto sent = await_sent();
  ASSERT_TRUE(sent);
  EXPECT_EQ(sent->frame, arp_request(mmds::kDefaultAddress));
}

TEST_F(MetadataTest, AnAnswerWaitsForTheDriversBuffers) {
  start_without_buffers();
  ask();
  driver_->run_for(20);
  EXPECT_FALSE(driver_->take_received());
  offer_buffers();
  expect_answer();
}

TEST_F(MetadataTest, GoesOnAfterASuspensionAndAReset) {
  start_with_metadata();
  bool rests = false;
  driver_->device().suspend([&] { rests = true; });
  ASSERT_TRUE(driver_->run_until([&] { return rests; }));
  ask();
  driver_->run_for(10);
  EXPECT_FALSE(driver_->take_received());
  driver_->device().resume();
  expect_answer();
  driver_->reset();
  ASSERT_TRUE(driver_->start());
  offer_buffers();
  ask();
  expect_answer();
}

TEST_F(MetadataTest, FramesTooLongForAnyWindowAreDropped) {
  start_with_metadata();
  ask(20'000);
  ASSERT_TRUE(driver_->run_until([&] { return service_.metrics().rx_accepted_err == 1; }));
  ask();
  expect_answer();
}

}  // namespace
}  // namespace mote::virtio::net
