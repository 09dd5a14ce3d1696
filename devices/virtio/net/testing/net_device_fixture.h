#pragma once
// What the tests of the network device share: a driver on a TAP in a fresh namespace, a socket on
// the host's side, and frames to send.

#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "devices/virtio/net/testing/net_driver.h"

namespace mote::virtio::net::testing {

class NetDeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::access("/dev/net/tun", R_OK | W_OK) != 0) GTEST_SKIP() << "/dev/net/tun cannot be opened";
    const auto entered = enter_network_namespace();
    if (!entered) GTEST_SKIP() << entered.error().message();
    config_.iface_id = "eth0";
    config_.host_dev_name = "mote0";
  }

  void open(uint16_t pairs = 1) {
    auto driver = NetDriver::create(config_, pairs);
    ASSERT_TRUE(driver) << driver.error().message();
    driver_ = std::move(*driver);
    auto host = PacketSocket::open(config_.host_dev_name, ETH_P_ALL);
    ASSERT_TRUE(host) << host.error().message();
    host_.emplace(std::move(*host));
  }
  void start(uint64_t without = 0, uint16_t pairs = 1) {
    open(pairs);
    ASSERT_TRUE(driver_->start(without));
  }

  /// `bytes` (18 and more) that depend on `number`, from 02:00:00:00:00:01.
  static std::vector<std::byte> make_frame(uint32_t number, size_t bytes) {
    std::vector<std::byte> frame(bytes);
    for (size_t i = 18; i < bytes; ++i) frame[i] = static_cast<std::byte>(number + 7 * i);
    frame[0] = frame[6] = std::byte{2};
    frame[5] = std::byte{2};
    frame[11] = std::byte{1};
    frame[12] = std::byte{kEtherType >> 8};
    frame[13] = std::byte{kEtherType & 0xff};
    std::memcpy(frame.data() + 14, &number, sizeof(number));
    return frame;
  }
  /// A UDP packet of a flow of its own, as multi-queue interfaces tell flows apart.
  static std::vector<std::byte> make_flow_frame(uint32_t flow) {
    auto frame = make_ip_frame(100, 17);
    frame[34] = static_cast<std::byte>(flow >> 8);
    frame[35] = static_cast<std::byte>(flow);
    return frame;
  }
  struct TcpPacket {
    std::vector<std::byte> frame;
    virtio_net_hdr_v1 header{};
  };
  /// An IPv4 TCP packet of `bytes` whose segmentation and checksum are left to somebody else.
  static TcpPacket make_tcp_packet(size_t bytes) {
    TcpPacket packet{make_ip_frame(bytes, 6), {}};
    packet.frame[46] = std::byte{0x50};  // A header of 20 bytes.
    packet.frame[47] = std::byte{0x10};  // ACK.
    packet.header = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                     .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                     .hdr_len = 54,
                     .gso_size = 1448,
                     .csum_start = 34,
                     .csum_offset = 16,
                     .num_buffers = 0};
    return packet;
  }

  std::optional<PacketSocket::Packet> await_sent() {
    std::optional<PacketSocket::Packet> packet;
    (void)driver_->run_until([&] { return (packet = host_->receive()).has_value(); });
    return packet;
  }
  std::optional<NetDriver::Received> await_received(size_t pair = 0) {
    std::optional<NetDriver::Received> packet;
    (void)driver_->run_until([&] { return (packet = driver_->take_received(pair)).has_value(); });
    return packet;
  }
  bool await_reset_request() {
    return driver_->run_until([&] { return driver_->needs_reset(); });
  }

  NetworkInterfaceConfig config_;
  std::unique_ptr<NetDriver> driver_;
  std::optional<PacketSocket> host_;

 private:
  static std::vector<std::byte> make_ip_frame(size_t bytes, uint8_t protocol) {
    auto frame = make_frame(0, bytes);
    const auto total = static_cast<uint16_t>(bytes - 14);
    // Type, then the IPv4 header: 10.0.0.1 to 10.0.0.2.
    std::array<uint8_t, 22> head{8, 0, 0x45};
    head[4] = static_cast<uint8_t>(total >> 8);
    head[5] = static_cast<uint8_t>(total);
    head[10] = 64;
    head[11] = protocol;
    head[14] = head[18] = 10;
    head[17] = 1;
    head[21] = 2;
    std::memcpy(frame.data() + 12, head.data(), head.size());
    uint32_t sum = 0;
    for (size_t i = 2; i < head.size(); i += 2)
      sum += static_cast<uint32_t>(head[i] << 8 | head[i + 1]);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    frame[24] = static_cast<std::byte>(~sum >> 8 & 0xff);
    frame[25] = static_cast<std::byte>(~sum & 0xff);
    return frame;
  }
};

}  // namespace mote::virtio::net::testing
