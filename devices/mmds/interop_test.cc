// The metadata address with Linux's own TCP as the guest: a TAP in a namespace of its own, whose
// frames go to the endpoint and back, some of them lost on the way.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <boost/json.hpp>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "devices/mmds/endpoint.h"
#include "devices/virtio/net/tap.h"
#include "devices/virtio/net/testing/tap_host.h"

namespace mote::mmds {
namespace {

using namespace virtio::net;  // The names of the specification.

constexpr size_t kHeader = sizeof(virtio_net_hdr_v1);
constexpr const char* kTap = "mote0";

base::Result<> set_address(const char* name, const char* address, const char* mask) {
  const base::UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  sockaddr_in value{};
  value.sin_family = AF_INET;
  ::inet_pton(AF_INET, address, &value.sin_addr);
  std::memcpy(&request.ifr_addr, &value, sizeof(value));
  if (::ioctl(socket.get(), SIOCSIFADDR, &request) != 0) return base::fail_errno(errno, "address");
  ::inet_pton(AF_INET, mask, &value.sin_addr);
  std::memcpy(&request.ifr_netmask, &value, sizeof(value));
  if (::ioctl(socket.get(), SIOCSIFNETMASK, &request) != 0) return base::fail_errno(errno, "mask");
  return {};
}

class InteropTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::access("/dev/net/tun", R_OK | W_OK) != 0) GTEST_SKIP() << "/dev/net/tun cannot be opened";
    const auto entered = virtio::net::testing::enter_network_namespace();
    if (!entered) GTEST_SKIP() << entered.error().message();
    auto tap = virtio::net::Tap::open(kTap, 1);
    ASSERT_TRUE(tap) << tap.error().message();
    tap_.emplace(std::move(*tap));
    // A kernel that leaves checksums and segmentation to the device, as guests do.
    ASSERT_TRUE(tap_->set_offloads(VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4));
    ASSERT_TRUE(set_address(kTap, "169.254.10.2", "255.255.0.0"));
    ASSERT_TRUE(virtio::net::testing::set_up(kTap, true));
    large_ = std::string(40'000, ' ');
    for (size_t i = 0; i < large_.size(); ++i) large_[i] = static_cast<char>('a' + i % 26);
    service_.configure({.network_interfaces = {"eth0"}});
    ASSERT_TRUE(service_.store().replace({{"small", "yes"}, {"large", large_}}));
    endpoint_.emplace(service_);
    carrier_ = std::jthread([this](const std::stop_token& stop) { carry(stop); });
  }
  void TearDown() override {
    if (carrier_.joinable()) {
      carrier_.request_stop();
      carrier_.join();
    }
  }

  /// So many of a hundred frames of either direction are lost, by chance.
  void lose(unsigned percent) { loss_percent_ = percent; }

  /// The body of the answer to one request on a connection of its own.
  static std::string ask(const std::string& path) {
    const base::UniqueFd socket = connect();
    if (!socket.valid()) return "not connected";
    const std::string request = "GET " + path + " HTTP/1.1\r\nConnection: close\r\n\r\n";
    if (::send(socket.get(), request.data(), request.size(), 0) < 0) return "not sent";
    std::string answer;
    std::array<char, 4096> part;
    for (ssize_t got; (got = ::recv(socket.get(), part.data(), part.size(), 0)) > 0;)
      answer.append(part.data(), static_cast<size_t>(got));
    const size_t body = answer.find("\r\n\r\n");
    return body == std::string::npos ? answer : answer.substr(body + 4);
  }
  static base::UniqueFd connect() {
    base::UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval limit{20, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(80);
    ::inet_pton(AF_INET, "169.254.169.254", &address.sin_addr);
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
      socket.reset();
    return socket;
  }

  std::string large_;
  Service service_{1 << 16};

 private:
  bool lost() { return random_() % 100 < loss_percent_; }

  void carry(const std::stop_token& stop) {
    std::vector<std::byte> in(128 * 1024);
    std::array<std::byte, kHeader + kMaxFrameBytes> out{};
    while (!stop.stop_requested()) {
      pollfd waiting{tap_->fd(0), POLLIN, 0};
      ::poll(&waiting, 1, 5);
      const uint64_t now_ns = base::monotonic_ns();
      for (ssize_t got; (got = ::read(tap_->fd(0), in.data(), in.size())) > 0;) {
        virtio_net_hdr_v1 header;
        std::memcpy(&header, in.data(), kHeader);
        const auto frame = std::span(in).first(static_cast<size_t>(got)).subspan(kHeader);
        if (lost() || !endpoint_->takes(frame)) continue;
        endpoint_->receive(frame,
                           (header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0 ? Checksum::kPartial
                                                                             : Checksum::kComplete,
                           now_ns);
      }
      endpoint_->on_deadline(now_ns);
      for (size_t size;
           (size = endpoint_->next_frame(std::span(out).subspan(kHeader), now_ns)) > 0;)
        if (!lost()) (void)!::write(tap_->fd(0), out.data(), kHeader + size);
    }
  }

  std::optional<virtio::net::Tap> tap_;
  std::optional<Endpoint> endpoint_;
  std::atomic<unsigned> loss_percent_ = 0;
  std::minstd_rand random_{7};
  std::jthread carrier_;
};

TEST_F(InteropTest, LinuxReadsSmallAndLargeAnswers) {
  for (int i = 0; i < 20; ++i) ASSERT_EQ(ask("/small"), "yes") << i;
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(ask("/large") == large_) << i;
}

TEST_F(InteropTest, LinuxReadsThemAllWhenFramesAreLost) {
  for (const unsigned percent : {5U, 15U}) {
    lose(percent);
    EXPECT_EQ(ask("/small"), "yes") << percent;
    EXPECT_TRUE(ask("/large") == large_) << percent;
  }
}

TEST_F(InteropTest, ManyConnectionsAtOnceEachGetTheirAnswer) {
  std::atomic<int> right = 0;
  std::vector<std::jthread> clients;
  for (size_t i = 0; i < Endpoint::kMaxConnections; ++i)
    clients.emplace_back([&] { right += ask("/large") == large_ ? 1 : 0; });
  clients.clear();
  EXPECT_EQ(right, static_cast<int>(Endpoint::kMaxConnections));
}

TEST_F(InteropTest, AConnectionIsKeptForManyRequests) {
  const base::UniqueFd socket = connect();
  ASSERT_TRUE(socket.valid());
  for (int i = 0; i < 50; ++i) {
    const std::string request = "GET /small HTTP/1.1\r\n\r\n";
    ASSERT_EQ(::send(socket.get(), request.data(), request.size(), 0),
              static_cast<ssize_t>(request.size()));
    std::array<char, 512> answer{};
    const ssize_t got = ::recv(socket.get(), answer.data(), answer.size(), 0);
    ASSERT_GT(got, 0);
    ASSERT_TRUE(std::string_view(answer.data(), static_cast<size_t>(got)).ends_with("yes")) << i;
  }
}

TEST_F(InteropTest, AReaderThatDoesNotReadStopsOnlyItself) {
  const base::UniqueFd slow = connect();
  ASSERT_TRUE(slow.valid());
  const int bytes = 2048;
  ::setsockopt(slow.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
  std::string requests;
  for (int i = 0; i < 20; ++i) requests += "GET /large HTTP/1.1\r\n\r\n";
  ASSERT_GT(::send(slow.get(), requests.data(), requests.size(), 0), 0);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(ask("/large") == large_);
}

}  // namespace
}  // namespace mote::mmds
