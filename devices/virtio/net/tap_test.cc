#include "devices/virtio/net/tap.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <unistd.h>

#include "devices/virtio/net/testing/tap_host.h"

namespace mote::virtio::net {
namespace {

using testing::Queues;

TEST(TapOffloads, LeaveOutWhatLacksItsFoundation) {
  EXPECT_EQ(tap_offloads(0), 0U);
  EXPECT_EQ(tap_offloads(VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_ECN), 0U);
  EXPECT_EQ(tap_offloads(VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_ECN), unsigned{TUN_F_CSUM});
  EXPECT_EQ(tap_offloads(VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4 |
                         VIRTIO_NET_F_GUEST_TSO6 | VIRTIO_NET_F_GUEST_ECN | VIRTIO_NET_F_GUEST_UFO),
            unsigned{TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_UFO});
}

class TapTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::access("/dev/net/tun", R_OK | W_OK) != 0) GTEST_SKIP() << "/dev/net/tun cannot be opened";
    const auto entered = testing::enter_network_namespace();
    if (!entered) GTEST_SKIP() << entered.error().message();
  }
};

TEST_F(TapTest, MakesOneThatVanishesWithItsOwner) {
  {
    const auto tap = Tap::open("mote0", 1);
    ASSERT_TRUE(tap) << tap.error().message();
    EXPECT_EQ(tap->queue_count(), 1U);
    EXPECT_NE(::if_nametoindex("mote0"), 0U);
  }
  EXPECT_EQ(::if_nametoindex("mote0"), 0U);
  const auto several = Tap::open("mote0", 3);
  ASSERT_TRUE(several) << several.error().message();
  EXPECT_EQ(several->queue_count(), 3U);
}

TEST_F(TapTest, TakesAnExistingOneAsItIs) {
  ASSERT_TRUE(testing::create_persistent_tap("single", Queues::kSingle));
  ASSERT_TRUE(testing::create_persistent_tap("multi", Queues::kMultiple));
  for (int round = 0; round < 2; ++round) {
    const auto single = Tap::open("single", 4);
    ASSERT_TRUE(single) << single.error().message();
    EXPECT_EQ(single->queue_count(), 1U);
    const auto multi = Tap::open("multi", 4);
    ASSERT_TRUE(multi) << multi.error().message();
    EXPECT_EQ(multi->queue_count(), 4U);
  }
  const auto one = Tap::open("multi", 1);
  ASSERT_TRUE(one) << one.error().message();
  EXPECT_EQ(one->queue_count(), 1U);
}

TEST_F(TapTest, AsksForNoMoreQueuesThanTheInterfaceAllows) {
  ASSERT_TRUE(testing::create_persistent_tap("multi", Queues::kMultiple));
  const auto tap = Tap::open("multi", 300);
  ASSERT_TRUE(tap) << tap.error().message();
  EXPECT_EQ(tap->queue_count(), 256U);  // The kernel's MAX_TAP_QUEUES.
}

TEST_F(TapTest, SaysWhenItIsInUse) {
  const auto owner = Tap::open("mote0", 1);
  ASSERT_TRUE(owner);
  const auto second = Tap::open("mote0", 1);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().os_errno, EBUSY);
  EXPECT_NE(second.error().message().find("host_dev_name: mote0 is in use by another process"),
            std::string::npos)
      << second.error().message();
}

TEST_F(TapTest, RefusesWhatIsNoTap) {
  const auto loopback = Tap::open("lo", 1);
  ASSERT_FALSE(loopback);
  EXPECT_NE(loopback.error().message().find("host_dev_name: lo is not a TAP"), std::string::npos)
      << loopback.error().message();
}

TEST_F(TapTest, RefusesNamesTheKernelWouldNotTakeLiterally) {
  for (const std::string name :
       {"", "sixteen-bytes-xx", "a/b", "tap%d", "with space", ".", "..", "a:1", "new\nline"}) {
    const auto tap = Tap::open(name, 1);
    ASSERT_FALSE(tap) << name;
    EXPECT_EQ(tap.error().code, base::ErrorCode::kInvalidArgument);
    EXPECT_NE(tap.error().message().find("host_dev_name: \"" + name + "\""), std::string::npos);
  }
  EXPECT_FALSE(Tap::open(std::string("a\0b", 3), 1));
  EXPECT_TRUE(Tap::open("fifteen-bytes-x", 1));
  EXPECT_TRUE(Tap::open("größe", 1)) << "any other bytes will do";
}

TEST_F(TapTest, NamesTheInterfaceWhenItMayNotBeOpened) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can drop its rights";
  ASSERT_TRUE(testing::create_persistent_tap("others", Queues::kSingle));
  ASSERT_EQ(::seteuid(65534), 0);
  const auto tap = Tap::open("others", 1);
  ASSERT_EQ(::seteuid(0), 0);
  ASSERT_FALSE(tap);
  EXPECT_NE(tap.error().message().find("host_dev_name: others"), std::string::npos)
      << tap.error().message();
  EXPECT_TRUE(tap.error().os_errno == EPERM || tap.error().os_errno == EACCES);
}

TEST_F(TapTest, SetsOffloadsAgainWhileQueuesAreDetached) {
  auto tap = Tap::open("mote0", 4).value();
  const uint64_t features = VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4;
  for (const size_t count : {1U, 4U, 2U, 1U, 3U}) {
    ASSERT_TRUE(tap.set_active_queues(count));
    const auto outcome = tap.set_offloads(features);
    EXPECT_TRUE(outcome) << outcome.error().message();
  }
}

TEST_F(TapTest, ADeletedInterfaceGivesErrors) {
  const auto tap = Tap::open("mote0", 1).value();
  ASSERT_TRUE(testing::delete_interface("mote0"));
  const auto outcome = tap.set_offloads(0);
  ASSERT_FALSE(outcome);
  EXPECT_NE(outcome.error().message().find("host_dev_name: mote0"), std::string::npos);
}

}  // namespace
}  // namespace mote::virtio::net
