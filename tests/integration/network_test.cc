// virtio-net from a TAP to the guest and back.

#include <chrono>
#include <csignal>

#include "tests/integration/guest_test.h"
#include "tests/integration/network_namespace.h"

namespace mote::integration {
namespace {

constexpr const char* kTap = "mote0";

class NetworkTest : public GuestTest {
 protected:
  void SetUp() override {
    GuestTest::SetUp();
    if (IsSkipped()) return;
    if (const auto reason = enter_network_namespace()) GTEST_SKIP() << *reason;
    if (const auto reason = create_tap(kTap)) GTEST_SKIP() << *reason;
  }
  void TearDown() override {
    mote_.reset();
    remove_tap(kTap);
  }
  void boot(const std::string& more = {}) {
    ASSERT_NO_FATAL_FAILURE(prepare("net", "ip=0x0a000002"));
    std::string body = network_json("eth0", kTap);
    body.insert(body.size() - 1, more);
    ASSERT_TRUE(is_status(mote_->request("PUT", "/network-interfaces/eth0", body), 204));
    ASSERT_NO_FATAL_FAILURE(start());
    ASSERT_TRUE(mote_->wait_for_console("net up, mac 2:0:0:0:0:42\n")) << mote_->console();
  }
  void expect_quit() {
    ask_to_quit();
    ASSERT_NO_FATAL_FAILURE(expect_end());
    EXPECT_NE(mote_->console().find("net ok after"), std::string::npos) << mote_->console();
  }
  /// Seconds that this many echoes of 1,000 bytes take.
  static double time_echoes(int count) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) EXPECT_TRUE(echo_by_udp(std::string(1000, 'x')));
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
};

TEST_F(NetworkTest, AnswersPingAndUdpEchoOfAllSizes) {
  ASSERT_NO_FATAL_FAILURE(boot());
  for (const size_t size : {0U, 1U, 56U, 57U, 512U, 1400U, 1472U}) {
    EXPECT_TRUE(ping(size)) << size;
    EXPECT_TRUE(echo_by_udp(std::string(size, static_cast<char>('a' + size % 26)))) << size;
  }
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(echo_by_udp("datagram " + std::to_string(i))) << i;
  }
  ASSERT_NO_FATAL_FAILURE(expect_quit());
}

TEST_F(NetworkTest, TheReceiveLimiterSlows) {
  // 20 packets a second.
  ASSERT_NO_FATAL_FAILURE(boot(R"(,"rx_rate_limiter":{"ops":{"size":2,"refill_time":100}})"));
  EXPECT_GT(time_echoes(20), 0.5);
  ASSERT_TRUE(is_status(
      mote_->request("PATCH", "/network-interfaces/eth0",
                     R"({"iface_id":"eth0","rx_rate_limiter":{"ops":{"size":0,"refill_time":0}}})"),
      204));
  EXPECT_LT(time_echoes(20), 0.5);
  ASSERT_NO_FATAL_FAILURE(expect_quit());
}

TEST_F(NetworkTest, TheTransmitLimiterSlows) {
  // 20,000 bytes a second.
  ASSERT_NO_FATAL_FAILURE(
      boot(R"(,"tx_rate_limiter":{"bandwidth":{"size":2000,"refill_time":100}})"));
  EXPECT_GT(time_echoes(20), 0.5);
  ASSERT_NO_FATAL_FAILURE(expect_quit());
}

TEST_F(NetworkTest, ATapThatGoesAwayDisturbsNeitherGuestNorApi) {
  ASSERT_NO_FATAL_FAILURE(boot());
  ASSERT_TRUE(echo_by_udp("before"));
  remove_tap(kTap);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(is_status(mote_->request("GET", "/"), 200));
  ASSERT_TRUE(is_status(mote_->request("PATCH", "/vm", R"({"state":"Paused"})"), 204));
  ASSERT_TRUE(is_status(mote_->request("PATCH", "/vm", R"({"state":"Resumed"})"), 204));
  mote_->signal(SIGTERM);
  ASSERT_NO_FATAL_FAILURE(expect_end());
}

TEST_F(NetworkTest, ATapThatCannotBeHadIsNamed) {
  ASSERT_NO_FATAL_FAILURE(boot());
  const auto other = MonitorProcess::with_api(folder_, {}, "other");
  const Response busy =
      other->request("PUT", "/network-interfaces/eth0", network_json("eth0", kTap));
  ASSERT_TRUE(is_status(busy, 400));
  EXPECT_NE(busy.body.find("host_dev_name"), std::string::npos) << busy.body;
  EXPECT_NE(busy.body.find(kTap), std::string::npos) << busy.body;
  const Response loopback =
      other->request("PUT", "/network-interfaces/eth0", network_json("eth0", "lo"));
  ASSERT_TRUE(is_status(loopback, 400));
  EXPECT_NE(loopback.body.find("host_dev_name"), std::string::npos) << loopback.body;
}

TEST_F(NetworkTest, OneTapCannotServeTwoInterfaces) {
  ASSERT_NO_FATAL_FAILURE(prepare("net", ""));
  ASSERT_TRUE(is_status(
      mote_->request("PUT", "/network-interfaces/eth0", network_json("eth0", kTap)), 204));
  const Response again =
      mote_->request("PUT", "/network-interfaces/eth1", network_json("eth1", kTap));
  ASSERT_TRUE(is_status(again, 400));
  EXPECT_NE(again.body.find("host_dev_name"), std::string::npos) << again.body;
  // The same interface may be described anew.
  EXPECT_TRUE(is_status(
      mote_->request("PUT", "/network-interfaces/eth0", network_json("eth0", kTap)), 204));
}

}  // namespace
}  // namespace mote::integration
