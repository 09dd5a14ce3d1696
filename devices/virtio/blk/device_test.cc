#include "devices/virtio/blk/device.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "devices/virtio/blk/device_fixture.h"

namespace mote::virtio::blk {
namespace {

TEST_F(BlockDeviceTest, ReadsAndWritesWhatTheFileHolds) {
  start();
  EXPECT_EQ(request(VIRTIO_BLK_T_IN, 1, {{kData, 512, true}, {kData.offset(0x1000), 512, true}}),
            VIRTIO_BLK_S_OK);
  EXPECT_EQ(used_.len, 1025U);
  EXPECT_EQ(guest_text(kData, 512), std::string(512, 'b'));
  EXPECT_EQ(guest_text(kData.offset(0x1000), 512), std::string(512, 'c'));
  EXPECT_EQ(request(VIRTIO_BLK_T_OUT, 5, {{kData, 512}}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(used_.len, 1U);
  EXPECT_EQ(request(VIRTIO_BLK_T_FLUSH, 0, {}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(file_text(5 * 512, 512), std::string(512, 'b'));
  EXPECT_EQ(file_text(6 * 512, 1), "g");
  EXPECT_EQ(device_->metrics().read_bytes, 1024U);
  EXPECT_EQ(device_->metrics().write_count, 1U);
  EXPECT_EQ(device_->metrics().flush_count, 1U);
}

TEST_F(BlockDeviceTest, DiscardAndWriteZeroesLeaveZeros) {
  start();
  const Gpa segment{0x30000};
  ASSERT_TRUE(memory_.store(segment, virtio_blk_discard_write_zeroes{8, 8, 0}));
  EXPECT_EQ(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, {{segment, 16}}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(file_text(8 * 512, 8 * 512), std::string(8 * 512, '\0'));
  EXPECT_NE(file_text(16 * 512, 1), std::string(1, '\0'));
  ASSERT_TRUE(memory_.store(segment, virtio_blk_discard_write_zeroes{16, 8, 0}));
  EXPECT_EQ(request(VIRTIO_BLK_T_DISCARD, 0, {{segment, 16}}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(std::filesystem::file_size(path_), 64U * 1024);
}

TEST_F(BlockDeviceTest, TellsItsIdAndRefusesTheUnknown) {
  start();
  EXPECT_EQ(request(VIRTIO_BLK_T_GET_ID, 0, {{kData, 20, true}}), VIRTIO_BLK_S_OK);
  EXPECT_EQ(guest_text(kData, 6), std::string("disk0\0", 6));
  EXPECT_EQ(request(77, 0, {}), VIRTIO_BLK_S_UNSUPP);
  EXPECT_EQ(request(VIRTIO_BLK_T_IN, 128, {{kData, 512, true}}), VIRTIO_BLK_S_IOERR);
}

TEST_F(BlockDeviceTest, ReadOnlyAndUnsafeAreWhatTheyOffer) {
  config_.is_read_only = true;
  config_.cache_type = CacheType::kUnsafe;
  start();
  const uint64_t features = device_->describe().features;
  EXPECT_TRUE(features & VIRTIO_BLK_F_RO);
  EXPECT_FALSE(features & (VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES));
  EXPECT_EQ(request(VIRTIO_BLK_T_OUT, 0, {{kData, 512}}), VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(file_text(0, 1), "a");
  EXPECT_EQ(request(VIRTIO_BLK_T_FLUSH, 0, {}), VIRTIO_BLK_S_UNSUPP);
}

TEST_F(BlockDeviceTest, ManyRequestsShareFewInterrupts) {
  start();
  for (uint64_t i = 0; i < 20; ++i)
    add(VIRTIO_BLK_T_IN, i, {{kData.offset(i * 512), 512, true}}, 0, i);
  kick();
  ASSERT_TRUE(run_until_used(20));
  for (uint64_t i = 0; i < 20; ++i) {
    EXPECT_EQ(status(i), VIRTIO_BLK_S_OK);
    EXPECT_EQ(guest_text(kData.offset(i * 512), 1)[0], static_cast<char>('a' + i % 26));
  }
  uint64_t interrupts = 0;
  ASSERT_EQ(::eventfd_read(transport_->interrupt_fd(), &interrupts), 0);
  EXPECT_LT(interrupts, 20U);
}

TEST_F(BlockDeviceTest, QueuesAreServedSideBySide) {
  start(3);
  EXPECT_TRUE(device_->describe().features & VIRTIO_BLK_F_MQ);
  for (uint16_t queue = 0; queue < 3; ++queue) {
    add(VIRTIO_BLK_T_IN, queue, {{kData.offset(queue * 512U), 512, true}}, queue, queue);
    kick(queue);
  }
  for (uint16_t queue = 0; queue < 3; ++queue) {
    ASSERT_TRUE(run_until_used(1, queue));
    EXPECT_EQ(status(queue), VIRTIO_BLK_S_OK);
  }
}

TEST_F(BlockDeviceTest, AFileThatShrinksGivesErrorsNotDeath) {
  start();
  ASSERT_EQ(::truncate(path_.c_str(), 512), 0);
  EXPECT_EQ(request(VIRTIO_BLK_T_IN, 0, {{kData, 4096, true}}), VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(request(VIRTIO_BLK_T_IN, 0, {{kData, 512, true}}), VIRTIO_BLK_S_OK);
  EXPECT_GE(device_->metrics().execute_fails, 1U);
}

TEST_F(BlockDeviceTest, PatchShowsTheNewFileAndSize) {
  make_file(path_, 0);  // A placeholder.
  start();
  EXPECT_EQ(request(VIRTIO_BLK_T_IN, 0, {{kData, 512, true}}), VIRTIO_BLK_S_IOERR);
  RegisterDriver driver(*transport_);
  EXPECT_EQ(driver.read(VIRTIO_MMIO_CONFIG), 0U);
  make_file(path_ + ".2", 8192);
  ASSERT_TRUE(device_->update_path(path_ + ".2"));
  EXPECT_EQ(driver.read(VIRTIO_MMIO_CONFIG), 16U);
  EXPECT_TRUE(driver.read(VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
  EXPECT_EQ(request(VIRTIO_BLK_T_IN, 15, {{kData, 512, true}}), VIRTIO_BLK_S_OK);
  EXPECT_FALSE(device_->update_path("/nonexistent"));
  EXPECT_EQ(request(VIRTIO_BLK_T_IN, 15, {{kData, 512, true}}), VIRTIO_BLK_S_OK)
      << "the old file stays";
}

TEST_F(BlockDeviceTest, RateLimiterDelaysAndLosesNothing) {
  config_.rate_limiter = RateLimiterConfig{.bandwidth = {}, .ops = TokenBucketConfig{5, {}, 50}};
  start();
  const uint64_t begin = base::monotonic_ns();
  for (uint64_t i = 0; i < 15; ++i) add(VIRTIO_BLK_T_IN, i, {{kData, 512, true}}, 0, i);
  kick();
  ASSERT_TRUE(run_until_used(15));
  EXPECT_GE(base::monotonic_ns() - begin, 90'000'000U);
  EXPECT_GT(device_->metrics().rate_limiter_throttled_events, 0U);
  for (uint64_t i = 0; i < 15; ++i) EXPECT_EQ(status(i), VIRTIO_BLK_S_OK);
}

TEST_F(BlockDeviceTest, BrokenChainsNeedAResetAndSurviveIt) {
  start();
  rings_[0]->write_descriptor(0, {kData.value, 512, VIRTQ_DESC_F_NEXT, 0});
  rings_[0]->make_available(0);
  kick();
  EXPECT_TRUE(run_until_needs_reset());
  reset();
  EXPECT_EQ(RegisterDriver(*transport_).read(VIRTIO_MMIO_STATUS), 0U);
}

TEST_F(BlockDeviceTest, RequestsWithoutHeaderOrStatusNeedAReset) {
  for (const Buffer& only : {Buffer{kHeader, 16}, Buffer{kStatus, 1, true}}) {
    if (!transport_) create();
    bring_up();
    rings_[0]->add_chain({only});
    kick();
    EXPECT_TRUE(run_until_needs_reset());
    EXPECT_EQ(rings_[0]->used_index(), 0);
    reset();
  }
  EXPECT_EQ(device_->metrics().invalid_reqs_count, 2U);
}

TEST_F(BlockDeviceTest, ResetUnderLoadWaitsForWhatIsInFlight) {
  create();
  for (int round = 0; round < 20; ++round) {
    bring_up();
    for (uint64_t i = 0; i < 16; ++i)
      add(VIRTIO_BLK_T_IN, i, {{kData.offset(i * 512), 512, true}}, 0, i);
    kick();
    reset();
    // What was taken was finished; nothing is written once the reset is done.
    const uint16_t used = rings_[0]->used_index();
    ASSERT_TRUE(loop_->run_once(false));
    EXPECT_EQ(rings_[0]->used_index(), used);
  }
  bring_up();
  EXPECT_EQ(request(VIRTIO_BLK_T_IN, 1, {{kData, 512, true}}), VIRTIO_BLK_S_OK);
}

TEST_F(BlockDeviceTest, ShutDownIsDoneAfterTheLastCompletion) {
  start();
  take_first_kicks();
  for (uint64_t i = 0; i < 4; ++i) add(VIRTIO_BLK_T_IN, i, {{kData, 512, true}}, 0, i);
  kick();
  take_kick();
  uint16_t used_when_done = 0xffff;
  transport_->shut_down([&] { used_when_done = rings_[0]->used_index(); });
  EXPECT_EQ(used_when_done, 0xffff) << "four requests are in flight";
  while (used_when_done == 0xffff) ASSERT_TRUE(loop_->run_once(true));
  EXPECT_EQ(used_when_done, 4);
}

TEST_F(BlockDeviceTest, ResetDoesNotWaitForTheRateLimiter) {
  config_.rate_limiter =
      RateLimiterConfig{.bandwidth = {}, .ops = TokenBucketConfig{1, {}, 3'600'000}};
  start();
  for (uint64_t i = 0; i < 4; ++i) add(VIRTIO_BLK_T_IN, i, {{kData, 512, true}}, 0, i);
  kick();
  ASSERT_TRUE(run_until_used(1));
  reset();
  EXPECT_EQ(rings_[0]->used_index(), 1);
}

TEST_F(BlockDeviceTest, PatchOfTheRateLimiterWakesWhatWaits) {
  config_.rate_limiter =
      RateLimiterConfig{.bandwidth = TokenBucketConfig{512, {}, 3'600'000}, .ops = {}};
  start();
  for (uint64_t i = 0; i < 8; ++i) add(VIRTIO_BLK_T_IN, i, {{kData, 512, true}}, 0, i);
  kick();
  ASSERT_TRUE(run_until_used(1));
  EXPECT_FALSE(run_until_used(2, 0, 50));
  device_->update_rate_limiter({.bandwidth = TokenBucketConfig{0, {}, 0}, .ops = {}});
  EXPECT_TRUE(run_until_used(8));
}

TEST_F(BlockDeviceTest, PatchUnderLoadLetsRequestsFinishOnTheOldFile) {
  start();
  take_first_kicks();
  make_file(path_ + ".2", 512);
  add(VIRTIO_BLK_T_IN, 5, {{kData, 512, true}}, 0, 0);
  kick();
  take_kick();  // The request was made, and is not with the kernel before the next turn.
  ASSERT_TRUE(device_->update_path(path_ + ".2"));
  add(VIRTIO_BLK_T_IN, 5, {{kData.offset(512), 512, true}}, 0, 1);
  kick();
  ASSERT_TRUE(run_until_used(2));
  EXPECT_EQ(status(0), VIRTIO_BLK_S_OK);
  EXPECT_EQ(guest_text(kData, 1), "f");
  EXPECT_EQ(status(1), VIRTIO_BLK_S_IOERR) << "behind the end of the new file";
}

TEST_F(BlockDeviceTest, APatchBeforeTheDriverIsUpIsNotLost) {
  make_file(path_, 0);
  create();
  make_file(path_ + ".2", 4096);
  ASSERT_TRUE(device_->update_path(path_ + ".2"));
  bring_up();
  RegisterDriver driver(*transport_);
  EXPECT_EQ(driver.read(VIRTIO_MMIO_CONFIG), 8U);
  EXPECT_TRUE(driver.read(VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
}

TEST_F(BlockDeviceTest, MoreRequestsThanSlotsAllGetServed) {
  create(3);
  bring_up(VIRTIO_F_EVENT_IDX, 128);
  for (uint16_t queue = 0; queue < 3; ++queue) {
    // All share header, data and status: the count is what matters.
    for (int i = 0; i < 42; ++i) add(VIRTIO_BLK_T_IN, 3, {{kData, 512, true}}, queue);
    // Heads may be named again while they are in flight: a driver's folly, not our problem.
    for (int i = 0; i < 86; ++i) rings_[queue]->make_available(0);
  }
  for (uint16_t queue = 0; queue < 3; ++queue) kick(queue);
  for (uint16_t queue = 0; queue < 3; ++queue) EXPECT_TRUE(run_until_used(128, queue));
  EXPECT_GT(device_->metrics().io_engine_throttled_events, 0U);
  EXPECT_EQ(device_->metrics().read_count, 384U);
}

TEST(BlockDeviceOpen, RefusesWhatIsNoDisk) {
  auto loop = io::EventLoop::create(8).value();
  const std::string fifo = ::testing::TempDir() + "mote_blk_fifo_" + std::to_string(::getpid());
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  for (const std::string& path :
       {std::string("/nonexistent"), fifo, std::string("/tmp"), std::string("/dev/null")}) {
    DriveConfig config;
    config.path_on_host = path;
    config.is_read_only = true;
    const auto device = Device::create(config, *loop, 1);
    ASSERT_FALSE(device) << path;
    EXPECT_NE(device.error().message().find("path_on_host: " + path), std::string::npos)
        << device.error().message();
  }
  std::filesystem::remove(fifo);
  EXPECT_FALSE(Device::create(DriveConfig{}, *loop, 1));
}

}  // namespace
}  // namespace mote::virtio::blk
