// virtio-blk from guest to file and back.

#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <thread>

#include "tests/integration/guest_test.h"

namespace mote::integration {
namespace {

using namespace std::chrono_literals;

constexpr size_t kSectors = 2048;

std::string one_drive(const std::string& path, const std::string& more = {}) {
  return R"(,"drives":[)" + drive_json("disk", path, more) + "]";
}

/// What the guest's `verify` leaves of the pattern: the second half plus one, sectors 16 to 31
/// zero.
std::string rewritten_pattern() {
  std::string content = disk_pattern(kSectors);
  for (size_t i = content.size() / 2; i < content.size(); ++i) {
    content[i] = static_cast<char>(content[i] + 1);
  }
  std::fill_n(content.begin() + 16 * 512, 16 * 512, '\0');
  return content;
}

/// Sectors 32 to 47 were discarded: their content is nobody's promise.
std::string without_discarded(std::string content) {
  return content.erase(32 * 512, 16 * 512);
}

class BlockTest : public GuestTest {
 protected:
  void SetUp() override {
    GuestTest::SetUp();
    disk_ = folder_.write("disk", disk_pattern(kSectors));
  }
  void expect_console(const std::string& text) const {
    EXPECT_NE(mote_->console().find(text), std::string::npos) << mote_->console() << mote_->log();
  }
  Response patch_path(const std::string& path) const {
    return mote_->request("PATCH", "/drives/disk",
                          R"({"drive_id":"disk","path_on_host":")" + path + R"("})");
  }
  /// Seconds between the guest's "begin" and "end".
  std::chrono::duration<double> time_reads() const {
    EXPECT_TRUE(mote_->wait_for_console("begin\n"));
    const auto start = std::chrono::steady_clock::now();
    EXPECT_TRUE(mote_->wait_for_console("end\n"));
    return std::chrono::steady_clock::now() - start;
  }

  std::string disk_;
};

TEST_F(BlockTest, DataIsTheSameOnBothSides) {
  EXPECT_EQ(run_to_end("blk", "mode=verify", one_drive(disk_, R"(,"cache_type":"Writeback")")),
            (Ending{0, 0}));
  EXPECT_EQ(mote_->console(), "capacity 2048 sectors flush\nid disk\nblk ok\n") << mote_->log();
  EXPECT_TRUE(without_discarded(read_file(disk_)) == without_discarded(rewritten_pattern()));
}

TEST_F(BlockTest, FlushIsNotOfferedWhenUnsafe) {
  run_to_end("blk", "mode=verify", one_drive(disk_, R"(,"cache_type":"Unsafe")"));
  EXPECT_EQ(mote_->console(), "capacity 2048 sectors\nid disk\nblk ok\n") << mote_->log();
}

TEST_F(BlockTest, AReadOnlyDriveRefusesWrites) {
  run_to_end("blk", "mode=readonly", one_drive(disk_, R"(,"is_read_only":true)"));
  EXPECT_EQ(mote_->console(), "capacity 2048 sectors ro\nblk ok\n") << mote_->log();
  EXPECT_TRUE(read_file(disk_) == disk_pattern(kSectors));
}

TEST_F(BlockTest, InterruptsComeThroughTheIoApic) {
  run_to_end("blk", "mode=interrupt", one_drive(disk_));
  expect_console("interrupts 8\nblk ok\n");
}

TEST_F(BlockTest, AnEmptyPlaceholderBecomesADiskByPatch) {
  const std::string placeholder = folder_.write("placeholder", "");
  ASSERT_NO_FATAL_FAILURE(prepare("blk", "mode=watch changes=2"));
  ASSERT_TRUE(
      is_status(mote_->request("PUT", "/drives/disk", drive_json("disk", placeholder)), 204));
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_TRUE(mote_->wait_for_console("capacity 0 sectors\nwatching\n"));
  ASSERT_TRUE(is_status(patch_path(disk_), 204));
  ASSERT_TRUE(mote_->wait_for_console("changed to 2048 sectors\nfirst byte 0\n"));
  std::string other = disk_pattern(16);
  other[0] = 'M';
  ASSERT_TRUE(is_status(patch_path(folder_.write("other", other)), 204));
  ASSERT_NO_FATAL_FAILURE(expect_end());
  expect_console("changed to 16 sectors\nfirst byte 4d\nblk ok\n");
}

TEST_F(BlockTest, APatchThatFailsLeavesTheOldDiskInPlace) {
  ASSERT_NO_FATAL_FAILURE(prepare("blk", "mode=read count=5000"));
  ASSERT_TRUE(is_status(mote_->request("PUT", "/drives/disk", drive_json("disk", disk_)), 204));
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_TRUE(mote_->wait_for_console("begin\n"));
  const Response missing = patch_path(folder_.path("missing"));
  ASSERT_TRUE(is_status(missing, 400));
  EXPECT_NE(missing.body.find("path_on_host"), std::string::npos) << missing.body;
  ASSERT_TRUE(is_status(patch_path("/dev/null"), 400));
  ASSERT_TRUE(is_status(
      mote_->request("PATCH", "/drives/other", R"({"drive_id":"other","path_on_host":"/x"})"),
      400));
  ASSERT_NO_FATAL_FAILURE(expect_end());
  expect_console("end\nblk ok\n");
}

TEST_F(BlockTest, TheRateLimiterSlowsAndAPatchFreesIt) {
  // 100 operations a second; the first 10 are free.
  const std::string limiter = R"(,"rate_limiter":{"ops":{"size":10,"refill_time":100}})";
  ASSERT_NO_FATAL_FAILURE(prepare("blk", "mode=read count=100"));
  ASSERT_TRUE(
      is_status(mote_->request("PUT", "/drives/disk", drive_json("disk", disk_, limiter)), 204));
  ASSERT_NO_FATAL_FAILURE(start());
  const double seconds = time_reads().count();
  EXPECT_GT(seconds, 0.7);
  EXPECT_LT(seconds, 10);
  ASSERT_NO_FATAL_FAILURE(expect_end());

  ASSERT_NO_FATAL_FAILURE(prepare("blk", "mode=read count=1000"));
  ASSERT_TRUE(
      is_status(mote_->request("PUT", "/drives/disk", drive_json("disk", disk_, limiter)), 204));
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_TRUE(mote_->wait_for_console("begin\n"));
  ASSERT_TRUE(is_status(
      mote_->request("PATCH", "/drives/disk",
                     R"({"drive_id":"disk","rate_limiter":{"ops":{"size":0,"refill_time":0}}})"),
      204));
  const auto patched = std::chrono::steady_clock::now();
  ASSERT_NO_FATAL_FAILURE(expect_end());  // Would take ten seconds with the limit.
  EXPECT_LT(std::chrono::steady_clock::now() - patched, 7s);
}

TEST_F(BlockTest, BandwidthIsLimitedToo) {
  // 400 KiB a second, 400 KiB to read beyond what the bucket holds.
  const std::string limiter = R"(,"rate_limiter":{"bandwidth":{"size":40960,"refill_time":100}})";
  ASSERT_NO_FATAL_FAILURE(prepare("blk", "mode=read count=110"));
  ASSERT_TRUE(
      is_status(mote_->request("PUT", "/drives/disk", drive_json("disk", disk_, limiter)), 204));
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_GT(time_reads().count(), 0.7);
  ASSERT_NO_FATAL_FAILURE(expect_end());
}

TEST_F(BlockTest, ADiskTruncatedBeneathTheGuestGivesErrorsAndNoHang) {
  ASSERT_NO_FATAL_FAILURE(prepare("blk", "mode=absent"));
  ASSERT_TRUE(is_status(mote_->request("PUT", "/drives/disk", drive_json("disk", disk_)), 204));
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_TRUE(mote_->wait_for_console("waiting\n"));
  ASSERT_EQ(::truncate(disk_.c_str(), 0), 0);
  ASSERT_NO_FATAL_FAILURE(expect_end());
  expect_console("blk ok\n");
  EXPECT_NE(mote_->log().find("drive disk"), std::string::npos) << mote_->log();
}

TEST_F(BlockTest, ADiskRemovedFromItsFolderStaysWithTheGuest) {
  ASSERT_NO_FATAL_FAILURE(prepare("blk", "mode=verify"));
  ASSERT_TRUE(is_status(mote_->request("PUT", "/drives/disk", drive_json("disk", disk_)), 204));
  ASSERT_EQ(::unlink(disk_.c_str()), 0);
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_NO_FATAL_FAILURE(expect_end());
  expect_console("blk ok\n");
}

TEST_F(BlockTest, SigtermDuringThrottledIoEndsCleanly) {
  ASSERT_NO_FATAL_FAILURE(prepare("blk", "mode=read count=1000000"));
  ASSERT_TRUE(is_status(
      mote_->request(
          "PUT", "/drives/disk",
          drive_json("disk", disk_, R"(,"rate_limiter":{"ops":{"size":1,"refill_time":3600000}})")),
      204));
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_TRUE(mote_->wait_for_console("begin\n"));
  mote_->signal(SIGTERM);
  ASSERT_NO_FATAL_FAILURE(expect_end());
}

TEST_F(BlockTest, NineteenDrivesFitAndTheTwentiethIsRefused) {
  ASSERT_NO_FATAL_FAILURE(prepare("blk", "mode=verify"));
  for (int i = 0; i < 20; ++i) {
    const std::string id = "d" + std::to_string(i);
    const std::string path = i == 0 ? disk_ : folder_.write(id, disk_pattern(64));
    ASSERT_TRUE(is_status(mote_->request("PUT", "/drives/" + id, drive_json(id, path)), 204));
  }
  const Response refused = mote_->request("PUT", "/actions", kInstanceStart);
  ASSERT_TRUE(is_status(refused, 400));
  EXPECT_NE(refused.body.find("drives"), std::string::npos) << refused.body;
  EXPECT_NE(refused.body.find("19"), std::string::npos) << refused.body;

  mote_.reset();
  ASSERT_NO_FATAL_FAILURE(prepare("blk", "mode=verify"));
  for (int i = 0; i < 19; ++i) {
    const std::string id = "d" + std::to_string(i);
    const std::string path = i == 0 ? disk_ : folder_.path(id);
    ASSERT_TRUE(is_status(mote_->request("PUT", "/drives/" + id, drive_json(id, path)), 204));
  }
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_NO_FATAL_FAILURE(expect_end());
  expect_console("id d0\nblk ok\n");
}

}  // namespace
}  // namespace mote::integration
