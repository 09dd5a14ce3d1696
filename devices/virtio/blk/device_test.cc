// The block device as a whole: a driver on the guest side, a real file and a real io_uring on the
// other.

#include "devices/virtio/blk/device.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/clock.h"
#include "devices/virtio/testing/driver_mock.h"
#include "devices/virtio/testing/register_driver.h"
#include "memory/layout.h"

namespace mote::virtio::blk {
namespace {

using memory::Gpa;
using testing::Buffer;
using testing::DriverMock;
using testing::RegisterDriver;

constexpr Gpa kHeader{0x20000};
constexpr Gpa kStatus{0x20100};
constexpr Gpa kData{0x40000};

class BlockDeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    loop_ = io::EventLoop::create(256).value();
    path_ = ::testing::TempDir() + "mote_blk_test_" + std::to_string(::getpid());
    make_file(path_, 64 * 1024);
    config_.drive_id = "disk0";
    config_.path_on_host = path_;
    config_.cache_type = CacheType::kWriteback;
  }
  void TearDown() override {
    if (transport_) testing::run_beside_loop(*loop_, [&] { RegisterDriver(*transport_).reset(); });
    std::filesystem::remove(path_);
    std::filesystem::remove(path_ + ".2");
  }
  static void make_file(const std::string& path, uint64_t size) {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    for (uint64_t i = 0; i < size / 512; ++i)
      file << std::string(512, static_cast<char>('a' + i % 26));
  }
  void start(uint16_t queues = 1, uint64_t without_features = 0) {
    device_ = Device::create(config_, *loop_, queues).value();
    transport_ = MmioTransport::create(memory_, *loop_, *device_,
                                       base::UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)))
                     .value();
    for (uint16_t i = 0; i < queues; ++i) {
      rings_.emplace_back(
          std::make_unique<DriverMock>(memory_, Gpa{0x1000 + 0x2000U * i}, uint16_t{64}));
    }
    testing::run_beside_loop(*loop_, [&] {
      RegisterDriver driver(*transport_);
      ASSERT_TRUE(
          driver.negotiate(driver.device_features() & ~without_features & ~VIRTIO_F_EVENT_IDX));
      for (uint16_t i = 0; i < queues; ++i) driver.set_queue(i, rings_[i]->layout());
      driver.drive_ok();
    });
  }
  /// Makes a request available without kicking; `data` buffers follow the header.
  void add(uint32_t type, uint64_t sector, std::vector<Buffer> data, uint16_t queue = 0,
           uint64_t slot = 0) {
    const Gpa header = kHeader.offset(slot * 16);
    const Gpa status = kStatus.offset(0x1000 + slot);
    ASSERT_TRUE(memory_.store(header, virtio_blk_req_header{type, 0, sector}));
    ASSERT_TRUE(memory_.store(status, uint8_t{0xee}));
    data.insert(data.begin(), {header, 16});
    data.push_back({status, 1, true});
    rings_[queue]->add_chain(data);
  }
  uint8_t status(uint64_t slot = 0) {
    return memory_.load_once<uint8_t>(kStatus.offset(0x1000 + slot)).value();
  }
  void kick(uint16_t queue = 0) { ::eventfd_write(transport_->kick_fd(queue), 1); }
  bool run_until_used(uint16_t count, uint16_t queue = 0, uint64_t limit_ms = 5000) {
    const uint64_t end = base::monotonic_ns() + limit_ms * 1'000'000;
    while (rings_[queue]->used_index() != count && base::monotonic_ns() < end) {
      if (!loop_->run_once(false)) return false;
    }
    return rings_[queue]->used_index() == count;
  }
  /// One request from kick to status.
  uint8_t request(uint32_t type, uint64_t sector, std::vector<Buffer> data) {
    const auto before = rings_[0]->used_index();
    add(type, sector, std::move(data));
    kick();
    EXPECT_TRUE(run_until_used(static_cast<uint16_t>(before + 1)));
    used_ = rings_[0]->take_used().value_or(virtq_used_elem{});
    return status();
  }
  std::string guest_text(Gpa address, size_t size) {
    const auto bytes = memory_.slice(address, size);
    return {reinterpret_cast<const char*>(bytes.data()), size};
  }
  std::string file_text(uint64_t offset, size_t size) {
    std::ifstream file(path_, std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    std::string text(size, '\0');
    file.read(text.data(), static_cast<std::streamsize>(size));
    return text;
  }

  memory::GuestMemory memory_ =
      memory::GuestMemory::create(2 * memory::layout::kMib, memory::HugePages::kNone).value();
  std::string path_;
  DriveConfig config_;
  std::unique_ptr<io::EventLoop> loop_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<MmioTransport> transport_;
  std::vector<std::unique_ptr<DriverMock>> rings_;
  virtq_used_elem used_{};
};

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
  RegisterDriver driver(*transport_);
  for (int i = 0; i < 1000 && (driver.read(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET) == 0;
       ++i) {
    ASSERT_TRUE(loop_->run_once(false));
  }
  EXPECT_TRUE(driver.read(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
  testing::run_beside_loop(*loop_, [&] { driver.reset(); });
  EXPECT_EQ(driver.read(VIRTIO_MMIO_STATUS), 0U);
}

TEST_F(BlockDeviceTest, ResetUnderLoadWaitsForWhatIsInFlight) {
  start();
  for (int round = 0; round < 20; ++round) {
    for (uint64_t i = 0; i < 16; ++i)
      add(VIRTIO_BLK_T_IN, i, {{kData.offset(i * 512), 512, true}}, 0, i);
    kick();
    testing::run_beside_loop(*loop_, [&] {
      RegisterDriver driver(*transport_);
      driver.reset();
    });
    auto fresh = std::make_unique<DriverMock>(memory_, Gpa{0x1000}, uint16_t{64});
    std::ranges::fill(memory_.slice(Gpa{0x1000}, 0x1000), std::byte{0});
    rings_[0] = std::move(fresh);
    testing::run_beside_loop(*loop_, [&] {
      RegisterDriver driver(*transport_);
      ASSERT_TRUE(driver.negotiate(driver.device_features() & ~VIRTIO_F_EVENT_IDX));
      driver.set_queue(0, rings_[0]->layout());
      driver.drive_ok();
    });
  }
  EXPECT_EQ(request(VIRTIO_BLK_T_IN, 1, {{kData, 512, true}}), VIRTIO_BLK_S_OK);
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
