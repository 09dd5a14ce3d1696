// Guests that break every rule of the virtqueue: the device asks for a reset, the monitor and its
// API live on, and after the reset an honest driver is served.

#include <csignal>

#include "tests/integration/guest_test.h"
#include "tests/integration/network_namespace.h"

namespace mote::integration {
namespace {

constexpr const char* kTap = "mote0";

struct Attack {
  const char* name;
  const char* block_outcome;    ///< What the guest tells; null: not meant for this device.
  const char* network_outcome;  ///< A frame that makes no sense is dropped, not punished.
};

constexpr const char* kNeedsReset = "needs reset";

constexpr Attack kAttacks[] = {
    {"loop", kNeedsReset, kNeedsReset},
    {"self_loop", kNeedsReset, kNeedsReset},
    {"next_outside", kNeedsReset, kNeedsReset},
    {"region_end", kNeedsReset, kNeedsReset},
    {"outside_ram", kNeedsReset, kNeedsReset},
    {"mmio_target", kNeedsReset, kNeedsReset},
    {"address_wrap", kNeedsReset, kNeedsReset},
    {"huge_length", kNeedsReset, kNeedsReset},
    {"zero_length", "used, status 0", "used, status ee"},
    {"header_outside", kNeedsReset, kNeedsReset},
    {"header_writable", kNeedsReset, kNeedsReset},
    {"short_header", kNeedsReset, "used, status ee"},
    {"wrong_direction", kNeedsReset, nullptr},
    {"no_status", kNeedsReset, nullptr},
    {"odd_size", "used, status 1", nullptr},
    {"indirect_nested", kNeedsReset, kNeedsReset},
    {"indirect_loop", kNeedsReset, kNeedsReset},
    {"indirect_odd", kNeedsReset, kNeedsReset},
    {"indirect_empty", kNeedsReset, kNeedsReset},
    {"indirect_outside", kNeedsReset, kNeedsReset},
    {"indirect_huge", kNeedsReset, kNeedsReset},
    {"rings_outside", kNeedsReset, kNeedsReset},
    {"used_across_end", kNeedsReset, kNeedsReset},
    {"table_wraps", kNeedsReset, kNeedsReset},
    {"table_unaligned", kNeedsReset, kNeedsReset},
    {"used_unaligned", kNeedsReset, kNeedsReset},
    {"size_odd", kNeedsReset, kNeedsReset},
    {"size_huge", kNeedsReset, kNeedsReset},
    {"size_zero", kNeedsReset, kNeedsReset},
    {"head_outside", kNeedsReset, kNeedsReset},
    {"index_jump", kNeedsReset, kNeedsReset},
    {"early_driver_ok", "refused", "refused"},
    {"unoffered_feature", "refused", "refused"},
};

class HostileGuestTest : public GuestTest {
 protected:
  void attack_block_device(const std::string& name, const std::string& outcome) {
    const std::string disk = folder_.write("disk", disk_pattern(64));
    ASSERT_NO_FATAL_FAILURE(prepare("hostile_queue", "stay=1 device=blk case=" + name));
    ASSERT_TRUE(is_status(mote_->request("PUT", "/drives/disk", drive_json("disk", disk)), 204));
    ASSERT_NO_FATAL_FAILURE(start());
    ASSERT_NO_FATAL_FAILURE(expect_survival(outcome));
    EXPECT_TRUE(read_file(disk) == disk_pattern(64)) << "the attack changed the disk";
  }
  void attack_network_device(const std::string& name, const std::string& outcome) {
    ASSERT_NO_FATAL_FAILURE(prepare("hostile_queue", "stay=1 device=net case=" + name));
    ASSERT_TRUE(is_status(
        mote_->request("PUT", "/network-interfaces/eth0", network_json("eth0", kTap)), 204));
    ASSERT_NO_FATAL_FAILURE(start());
    ASSERT_NO_FATAL_FAILURE(expect_survival(outcome));
  }
  /// The guest tells of its attack and of its recovery; meanwhile and afterwards the API answers.
  void expect_survival(const std::string& outcome) {
    EXPECT_TRUE(is_status(mote_->request("GET", "/"), 200));
    ASSERT_TRUE(mote_->wait_for_console("recovered\n")) << mote_->console() << mote_->log();
    EXPECT_EQ(mote_->console(), "outcome: " + outcome + "\nrecovered\n") << mote_->log();
    EXPECT_TRUE(is_status(mote_->request("GET", "/vm/config"), 200));
    EXPECT_LT(mote_->log().size(), 20'000U) << "a guest must not fill the log";
    mote_->signal(SIGTERM);
    ASSERT_NO_FATAL_FAILURE(expect_end());
  }
  /// True when there is a TAP to use; skips the test otherwise.
  bool prepare_network() {
    auto reason = enter_network_namespace();
    if (!reason) reason = create_tap(kTap);
    if (reason) skip(*reason);
    return !reason;
  }
  static void skip(const std::string& reason) { GTEST_SKIP() << reason; }
};

TEST_F(HostileGuestTest, TheBlockDeviceSurvivesEveryAttack) {
  for (const Attack& attack : kAttacks) {
    if (attack.block_outcome == nullptr) continue;
    SCOPED_TRACE(attack.name);
    ASSERT_NO_FATAL_FAILURE(attack_block_device(attack.name, attack.block_outcome));
  }
}

TEST_F(HostileGuestTest, TheNetworkDeviceSurvivesEveryAttack) {
  if (!prepare_network()) return;
  for (const Attack& attack : kAttacks) {
    if (attack.network_outcome == nullptr) continue;
    SCOPED_TRACE(attack.name);
    ASSERT_NO_FATAL_FAILURE(attack_network_device(attack.name, attack.network_outcome));
  }
}

TEST_F(HostileGuestTest, DescriptorsThatChangeUnderTheDeviceDoNoHarm) {
  const std::string disk = folder_.write("disk", disk_pattern(64));
  const std::string drive =
      R"(,"drives":[)" + drive_json("disk", disk, R"(,"is_read_only":true)") + "]";
  for (const std::string seed : {"1", "2", "3"}) {
    EXPECT_EQ(run_to_end("hostile_queue", "device=blk case=scribble seed=" + seed, drive),
              (Ending{0, 0}));
    EXPECT_EQ(mote_->console(), "outcome: scribbled\nrecovered\n") << mote_->log();
    EXPECT_LT(mote_->log().size(), 20'000U) << "a guest must not fill the log";
  }
  EXPECT_TRUE(read_file(disk) == disk_pattern(64));
  if (!prepare_network()) return;
  EXPECT_EQ(run_to_end("hostile_queue", "device=net case=scribble",
                       R"(,"network-interfaces":[)" + network_json("eth0", kTap) + "]"),
            (Ending{0, 0}));
  EXPECT_EQ(mote_->console(), "outcome: scribbled\nrecovered\n") << mote_->log();
}

TEST_F(HostileGuestTest, RandomRegisterWritesDoNoHarm) {
  if (!prepare_network()) return;
  const std::string disk = folder_.write("disk", disk_pattern(64));
  const std::string devices = R"(,"drives":[)" + drive_json("disk", disk) +
                              R"(],"network-interfaces":[)" + network_json("eth0", kTap) + "]";
  for (int seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    EXPECT_EQ(run_to_end("hostile_registers", "count=5000 seed=" + std::to_string(seed), devices),
              (Ending{0, 0}));
    EXPECT_EQ(mote_->console(), "registers ok\n") << mote_->log();
  }
}

TEST_F(HostileGuestTest, RandomAccessesEverywhereDoNoHarm) {
  const std::string disk = folder_.write("disk", disk_pattern(64));
  const std::string drives = R"(,"drives":[)" + drive_json("disk", disk) + "]";
  for (const std::string seed : {"11", "12", "13"}) {
    EXPECT_EQ(run_to_end("exits", "count=10000 seed=" + seed, drives), (Ending{0, 0})) << seed;
    EXPECT_NE(mote_->console().find("exits done\n"), std::string::npos) << mote_->console();
  }
}

}  // namespace
}  // namespace mote::integration
