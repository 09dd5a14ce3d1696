#pragma once
// The block device as a whole, for tests: a driver on the guest side, a real file and a real
// io_uring on the other. The event loop belongs to the test's own thread.

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "devices/virtio/blk/device.h"
#include "devices/virtio/testing/driver_mock.h"
#include "devices/virtio/testing/register_driver.h"
#include "memory/layout.h"

namespace mote::virtio::blk {

using memory::Gpa;
using virtio::testing::Buffer;
using virtio::testing::DriverMock;
using virtio::testing::RegisterDriver;
using virtio::testing::run_beside_loop;

inline constexpr Gpa kRings{0x1000};
inline constexpr Gpa kHeader{0x20000};
inline constexpr Gpa kStatus{0x20100};
inline constexpr Gpa kData{0x40000};

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
    if (transport_) reset();
    std::filesystem::remove(path_);
    std::filesystem::remove(path_ + ".2");
  }
  static void make_file(const std::string& path, uint64_t size) {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    for (uint64_t i = 0; i < size / 512; ++i)
      file << std::string(512, static_cast<char>('a' + i % 26));
  }
  void create(uint16_t queues = 1) {
    device_ = Device::create(config_, *loop_, queues).value();
    transport_ = MmioTransport::create(memory_, *loop_, *device_,
                                       base::UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)))
                     .value();
  }
  /// Fresh rings, and a driver that takes all features but `without`.
  void bring_up(uint64_t without = VIRTIO_F_EVENT_IDX, uint16_t ring_size = 64) {
    rings_.clear();
    std::ranges::fill(memory_.slice(kRings, kHeader.value - kRings.value), std::byte{0});
    for (uint32_t i = 0; i < transport_->queue_count(); ++i) {
      rings_.push_back(std::make_unique<DriverMock>(memory_, kRings.offset(0x2000 * i), ring_size));
    }
    run_beside_loop(*loop_, [&] {
      RegisterDriver driver(*transport_);
      ASSERT_TRUE(driver.negotiate(driver.device_features() & ~without));
      for (uint32_t i = 0; i < rings_.size(); ++i) driver.set_queue(i, rings_[i]->layout());
      driver.drive_ok();
    });
  }
  void start(uint16_t queues = 1) {
    create(queues);
    bring_up();
  }
  void reset() {
    run_beside_loop(*loop_, [&] { RegisterDriver(*transport_).reset(); });
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
  /// Runs the loop until the kicks are seen that come with an activation, one a queue; some may
  /// have been seen already. For a device that was activated once.
  void take_first_kicks() {
    while (device_->metrics().queue_event_count < rings_.size()) ASSERT_TRUE(loop_->run_once(true));
  }
  /// Runs turns of the loop up to the one that sees the next kick, which none may have seen yet.
  void take_kick() {
    const uint64_t before = device_->metrics().queue_event_count;
    while (device_->metrics().queue_event_count == before) ASSERT_TRUE(loop_->run_once(true));
  }
  bool run_until(const std::function<bool()>& reached, uint64_t limit_ms = 20'000) {
    const uint64_t end = base::monotonic_ns() + limit_ms * 1'000'000;
    while (!reached() && base::monotonic_ns() < end) {
      if (!loop_->run_once(false)) return false;
    }
    return reached();
  }
  bool run_until_used(uint16_t count, uint16_t queue = 0, uint64_t limit_ms = 20'000) {
    return run_until([&] { return rings_[queue]->used_index() == count; }, limit_ms);
  }
  bool run_until_needs_reset() {
    RegisterDriver driver(*transport_);
    return run_until(
        [&] { return (driver.read(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET) != 0; });
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

}  // namespace mote::virtio::blk
