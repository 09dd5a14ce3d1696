// Drivers at full speed on threads of their own: no kick, no interrupt and no request gets lost.

#include <poll.h>

#include <array>
#include <thread>

#include "devices/virtio/blk/device_fixture.h"

namespace mote::virtio::blk {
namespace {

/// A driver of one queue that keeps `kDepth` requests in flight, and sleeps until the interrupt
/// when it has nothing to do. Request i lives in slot i % kDepth.
class LoadDriver final {
 public:
  static constexpr uint32_t kDepth = 16;

  LoadDriver(const memory::GuestMemory& memory, DriverMock& ring, MmioTransport& transport,
             uint16_t queue, bool event_idx)
      : memory_(memory),
        ring_(ring),
        transport_(transport),
        queue_(queue),
        area_{0x80000 + 0x10000 * uint64_t{queue}},
        event_idx_(event_idx) {}

  /// True when `count` requests came back in good order.
  bool run(uint32_t count) {
    for (uint32_t slot = 0; slot < kDepth; ++slot) free_.push_back(slot);
    uint32_t done = 0;
    while (done < count) {
      while (!free_.empty() && issued_ < count) issue();
      if (ring_.needs_kick(event_idx_)) ::eventfd_write(transport_.kick_fd(queue_), 1);
      const uint32_t finished = reap();
      done += finished;
      if (finished == 0 && !sleep_until_interrupt()) return false;
    }
    return good_;
  }

 private:
  static constexpr uint64_t kSlotBytes = 2048;
  [[nodiscard]] Gpa slot_address(uint32_t slot) const { return area_.offset(slot * kSlotBytes); }
  [[nodiscard]] static uint64_t sector_of(uint32_t request) { return request % 100; }

  void issue() {
    const uint32_t slot = free_.back();
    free_.pop_back();
    const Gpa address = slot_address(slot);
    const uint64_t sector = sector_of(issued_++);
    expected_[slot] = static_cast<char>('a' + sector % 26);
    good_ &= memory_.store(address, virtio_blk_req_header{VIRTIO_BLK_T_IN, 0, sector});
    good_ &= memory_.store(address.offset(16), uint8_t{0xee});
    head_slot_[ring_.add_chain(
        {{address, 16}, {address.offset(512), 512, true}, {address.offset(16), 1, true}})] = slot;
  }

  uint32_t reap() {
    uint32_t finished = 0;
    while (const auto used = ring_.take_used()) {
      ++finished;
      const uint32_t slot = head_slot_[used->id % head_slot_.size()];
      const Gpa address = slot_address(slot);
      good_ &= used->len == 513;
      good_ &= memory_.load_once<uint8_t>(address.offset(16)) == VIRTIO_BLK_S_OK;
      good_ &= memory_.load_once<char>(address.offset(512 + 511)) == expected_[slot];
      free_.push_back(slot);
    }
    return finished;
  }

  /// As a driver does it: ask for the interrupt, look once more, then sleep. False: it never came.
  bool sleep_until_interrupt() {
    ring_.set_used_event(ring_.seen_used());
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (ring_.used_index() != ring_.seen_used()) return true;
    pollfd interrupt{transport_.interrupt_fd(), POLLIN, 0};
    if (::poll(&interrupt, 1, 30'000) != 1) return false;
    uint64_t count = 0;
    return ::eventfd_read(interrupt.fd, &count) == 0;
  }

  const memory::GuestMemory& memory_;
  DriverMock& ring_;
  MmioTransport& transport_;
  uint16_t queue_;
  Gpa area_;
  bool event_idx_;
  bool good_ = true;
  uint32_t issued_ = 0;
  std::vector<uint32_t> free_;
  std::array<uint32_t, 64> head_slot_{};
  std::array<char, kDepth> expected_{};
};

class BlockLoadTest : public BlockDeviceTest, public ::testing::WithParamInterface<bool> {};

TEST_P(BlockLoadTest, OneQueueLosesNeitherKicksNorInterrupts) {
  const bool event_idx = GetParam();
  create();
  bring_up(event_idx ? 0 : VIRTIO_F_EVENT_IDX);
  LoadDriver driver(memory_, *rings_[0], *transport_, 0, event_idx);
  bool good = false;
  run_beside_loop(*loop_, [&] { good = driver.run(20'000); });
  EXPECT_TRUE(good);
  EXPECT_EQ(device_->metrics().read_count, 20'000U);
  EXPECT_LT(device_->metrics().queue_event_count, 20'000U) << "kicks were suppressed";
}

INSTANTIATE_TEST_SUITE_P(EventIdx, BlockLoadTest, ::testing::Bool(),
                         [](const auto& instance) { return instance.param ? "on" : "off"; });

TEST_F(BlockDeviceTest, ResetsWhileADriverIsAtFullSpeed) {
  create(2);
  for (int round = 0; round < 10; ++round) {
    bring_up();
    add(VIRTIO_BLK_T_IN, 1, {{kData, 512, true}}, 1);
    DriverMock& ring = *rings_[1];
    std::atomic<bool> was_reset = false;
    run_beside_loop(*loop_, [&] {
      std::thread resetter([&] {
        const int wanted = 10 * (round + 1);  // In full flight, each time at another point.
        while (ring.used_index() < wanted) std::this_thread::yield();
        RegisterDriver(*transport_).reset();
        was_reset = true;
      });
      // The same request over and over, with the ring kept full.
      for (uint16_t issued = 1; !was_reset;) {
        if (static_cast<uint16_t>(issued - ring.used_index()) == ring.layout().size) {
          std::this_thread::yield();
          continue;
        }
        ring.make_available(0);
        ++issued;
        if (ring.needs_kick(false)) kick(1);
      }
      resetter.join();
    });
    const uint16_t used = ring.used_index();
    ASSERT_TRUE(loop_->run_once(false));
    EXPECT_EQ(ring.used_index(), used) << "a device that was reset leaves the ring alone";
  }
  EXPECT_EQ(device_->metrics().event_fails, 0U);
  bring_up();
  EXPECT_EQ(request(VIRTIO_BLK_T_IN, 1, {{kData, 512, true}}), VIRTIO_BLK_S_OK);
}

}  // namespace
}  // namespace mote::virtio::blk
