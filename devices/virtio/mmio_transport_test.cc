#include "devices/virtio/mmio_transport.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <atomic>
#include <thread>

#include "devices/virtio/testing/driver_mock.h"
#include "devices/virtio/testing/register_driver.h"
#include "memory/layout.h"

namespace mote::virtio {
namespace {

using testing::DriverMock;
using testing::RegisterDriver;
using testing::run_beside_loop;

constexpr uint64_t kOffered = VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | 0x5;

struct FakeDevice final : Device {
  [[nodiscard]] Description describe() const override {
    return {VIRTIO_ID_BLOCK,
            kOffered,
            {16, 16},
            {std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}}};
  }
  base::Result<> activate(Activation given) override {
    ++activations;
    if (fail_activation) return base::fail(base::ErrorCode::kInternal, "told to fail");
    activation.emplace(std::move(given));
    return {};
  }
  void reset(std::move_only_function<void()> done) override {
    ++resets;
    activation.reset();
    if (hold_reset) {
      held = std::move(done);
      reset_asked = true;
      return;
    }
    done();
  }
  void suspend(std::move_only_function<void()> done) override { done(); }
  void resume() override {}
  [[nodiscard]] DeviceState save() const override { return state; }
  DeviceState state;
  bool hold_reset = false;
  std::atomic<bool> reset_asked = false;
  std::move_only_function<void()> held;
  bool fail_activation = false;
  int activations = 0;
  int resets = 0;
  std::optional<Activation> activation;
};

class MmioTransportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    loop_ = io::EventLoop::create(16).value();
    transport_ = MmioTransport::create(memory_, *loop_, device_,
                                       base::UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)))
                     .value();
  }
  uint64_t interrupts() {
    uint64_t count = 0;
    return ::eventfd_read(transport_->interrupt_fd(), &count) == 0 ? count : 0;
  }
  void bring_up(RegisterDriver& driver) {
    ASSERT_TRUE(driver.negotiate(kOffered));
    driver.set_queue(0, ring_.layout());
    driver.drive_ok();
  }
  memory::GuestMemory memory_ =
      memory::GuestMemory::create(memory::layout::kMib, memory::HugePages::kNone).value();
  DriverMock ring_{memory_, memory::Gpa{0x1000}, 16};
  FakeDevice device_;
  std::unique_ptr<io::EventLoop> loop_;
  std::unique_ptr<MmioTransport> transport_;
};

TEST_F(MmioTransportTest, ShowsItsIdentity) {
  RegisterDriver driver(*transport_);
  EXPECT_EQ(driver.read(VIRTIO_MMIO_MAGIC_VALUE), VIRTIO_MMIO_MAGIC);
  EXPECT_EQ(driver.read(VIRTIO_MMIO_VERSION), 2U);
  EXPECT_EQ(driver.read(VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_BLOCK);
  EXPECT_EQ(driver.device_features(), kOffered);
  driver.write(VIRTIO_MMIO_QUEUE_SEL, 1);
  EXPECT_EQ(driver.read(VIRTIO_MMIO_QUEUE_NUM_MAX), 16U);
  driver.write(VIRTIO_MMIO_QUEUE_SEL, 2);
  EXPECT_EQ(driver.read(VIRTIO_MMIO_QUEUE_NUM_MAX), 0U);
  EXPECT_EQ(driver.read(VIRTIO_MMIO_SHM_LEN_LOW), UINT32_MAX);
}

TEST_F(MmioTransportTest, ActivatesWithTheQueuesThatAreReady) {
  run_beside_loop(*loop_, [&] {
    RegisterDriver driver(*transport_);
    bring_up(driver);
    EXPECT_TRUE(driver.read(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_DRIVER_OK);
  });
  ASSERT_TRUE(device_.activation);
  EXPECT_EQ(device_.activation->features, kOffered);
  ASSERT_EQ(device_.activation->queues.size(), 1U);
  uint64_t kicks = 0;
  EXPECT_EQ(::eventfd_read(device_.activation->queues[0].kick_fd, &kicks), 0)
      << "the ring may have been filled before";
}

TEST_F(MmioTransportTest, RefusesFeaturesThatWereNotOffered) {
  RegisterDriver driver(*transport_);
  EXPECT_FALSE(driver.negotiate(kOffered | 0x100));
  run_beside_loop(*loop_, [&] { driver.reset(); });
  EXPECT_FALSE(driver.negotiate(0x5)) << "legacy drivers are not served";
}

TEST_F(MmioTransportTest, StatusStepsCannotBeSkipped) {
  RegisterDriver driver(*transport_);
  driver.write(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER_OK);
  EXPECT_EQ(driver.read(VIRTIO_MMIO_STATUS), 0U);
  driver.write(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER);
  EXPECT_EQ(driver.read(VIRTIO_MMIO_STATUS), 0U);
  driver.write(VIRTIO_MMIO_STATUS, 0xff);
  EXPECT_FALSE(driver.read(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_DRIVER_OK);
  EXPECT_FALSE(driver.read(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET)
      << "that bit is the device's";
  EXPECT_EQ(device_.activations, 0);
}

TEST_F(MmioTransportTest, BadQueuesAndFailedActivationNeedAReset) {
  run_beside_loop(*loop_, [&] {
    RegisterDriver driver(*transport_);
    ASSERT_TRUE(driver.negotiate(kOffered));
    QueueLayout layout = ring_.layout();
    layout.used_ring = memory::Gpa{memory::layout::kMib};
    driver.set_queue(0, layout);
    driver.drive_ok();
    EXPECT_TRUE(driver.read(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
    EXPECT_TRUE(driver.read(VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
    EXPECT_EQ(device_.activations, 0);
    driver.reset();
    EXPECT_EQ(driver.read(VIRTIO_MMIO_STATUS), 0U);
    layout = ring_.layout();
    layout.size = 32;  // Above the maximum.
    ASSERT_TRUE(driver.negotiate(kOffered));
    driver.set_queue(0, layout);
    driver.drive_ok();
    EXPECT_TRUE(driver.read(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
    driver.reset();
    device_.fail_activation = true;
    bring_up(driver);
    EXPECT_TRUE(driver.read(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
  });
  EXPECT_GT(interrupts(), 0U);
}

TEST_F(MmioTransportTest, ResetClearsWhatTheDriverSet) {
  run_beside_loop(*loop_, [&] {
    RegisterDriver driver(*transport_);
    bring_up(driver);
    driver.reset();
    driver.write(VIRTIO_MMIO_QUEUE_SEL, 0);
    EXPECT_EQ(driver.read(VIRTIO_MMIO_QUEUE_READY), 0U);
    EXPECT_EQ(driver.read(VIRTIO_MMIO_STATUS), 0U);
    bring_up(driver);
  });
  EXPECT_EQ(device_.resets, 1);
  EXPECT_EQ(device_.activations, 2);
}

TEST_F(MmioTransportTest, QueuesAreSettledOnceTheDriverIsUp) {
  run_beside_loop(*loop_, [&] {
    RegisterDriver driver(*transport_);
    bring_up(driver);
    driver.write(VIRTIO_MMIO_QUEUE_SEL, 0);
    driver.write(VIRTIO_MMIO_QUEUE_READY, 0);
    EXPECT_EQ(driver.read(VIRTIO_MMIO_QUEUE_READY), 1U);
  });
}

TEST_F(MmioTransportTest, InterruptsAreRaisedAndAcknowledged) {
  transport_->notify_queues();
  transport_->notify_queues();
  RegisterDriver driver(*transport_);
  EXPECT_EQ(interrupts(), 2U);
  EXPECT_EQ(driver.read(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
  driver.write(VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
  EXPECT_EQ(driver.read(VIRTIO_MMIO_INTERRUPT_STATUS), 0U);
}

TEST_F(MmioTransportTest, ConfigurationReadsAreBoundedAndVersioned) {
  RegisterDriver driver(*transport_);
  EXPECT_EQ(driver.read(VIRTIO_MMIO_CONFIG), 0x04030201U);
  std::array<std::byte, 8> wide{};
  wide.fill(std::byte{0xaa});
  transport_->read(VIRTIO_MMIO_CONFIG + 2, wide);
  EXPECT_EQ(wide[0], std::byte{3});
  EXPECT_EQ(wide[1], std::byte{4});
  EXPECT_EQ(wide[2], std::byte{0}) << "behind the end there is nothing";
  transport_->read(0xff8, wide);
  EXPECT_EQ(wide[0], std::byte{0});
  const uint32_t before = driver.read(VIRTIO_MMIO_CONFIG_GENERATION);
  transport_->update_config(std::as_bytes(std::span("\x09\x09\x09\x09", 4)));
  EXPECT_NE(driver.read(VIRTIO_MMIO_CONFIG_GENERATION), before);
  EXPECT_EQ(driver.read(VIRTIO_MMIO_CONFIG), 0x09090909U);
  EXPECT_EQ(interrupts(), 0U) << "no driver is up to hear of it";
}

TEST_F(MmioTransportTest, NeverStartsForADriverThatGaveUp) {
  RegisterDriver driver(*transport_);
  ASSERT_TRUE(driver.negotiate(kOffered));
  driver.set_queue(0, ring_.layout());
  driver.write(VIRTIO_MMIO_STATUS, RegisterDriver::kFeaturesOk | VIRTIO_CONFIG_S_FAILED);
  driver.drive_ok();
  EXPECT_FALSE(driver.read(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_DRIVER_OK);
  EXPECT_EQ(device_.activations, 0);
}

TEST_F(MmioTransportTest, QueueRegistersAreLockedWhileTheQueueIsReady) {
  RegisterDriver driver(*transport_);
  driver.set_queue(0, ring_.layout());
  EXPECT_EQ(driver.read(VIRTIO_MMIO_QUEUE_READY), 0U) << "not before FEATURES_OK";
  run_beside_loop(*loop_, [&] {
    ASSERT_TRUE(driver.negotiate(kOffered));
    driver.set_queue(0, ring_.layout());
    driver.write(VIRTIO_MMIO_QUEUE_NUM, 4);
    driver.write(VIRTIO_MMIO_QUEUE_DESC_HIGH, 0xffffffff);
    driver.drive_ok();
  });
  ASSERT_TRUE(device_.activation);
  EXPECT_EQ(device_.activation->queues[0].queue.size(), 16);
  EXPECT_EQ(device_.activation->queues[0].queue.layout().descriptor_table,
            ring_.layout().descriptor_table);
}

TEST_F(MmioTransportTest, ResetWaitsUntilTheDeviceIsDone) {
  device_.hold_reset = true;
  std::atomic<bool> returned = false;
  run_beside_loop(*loop_, [&] {
    RegisterDriver driver(*transport_);
    bring_up(driver);
    std::thread other([&] {
      driver.reset();
      returned = true;
    });
    // Another vCPU still gets its answers while the reset is under way.
    while (!device_.reset_asked) EXPECT_EQ(driver.read(VIRTIO_MMIO_VERSION), 2U);
    EXPECT_EQ(driver.read(VIRTIO_MMIO_QUEUE_READY), 1U);
    EXPECT_FALSE(returned);
    loop_->post([&] { device_.held(); });
    other.join();
    EXPECT_EQ(driver.read(VIRTIO_MMIO_STATUS), 0U);
  });
}

TEST_F(MmioTransportTest, RegistersReadAllOnesUnlessWholeAndAligned) {
  std::array<std::byte, 8> data{};
  transport_->read(VIRTIO_MMIO_MAGIC_VALUE, std::span(data).first(8));
  EXPECT_EQ(data[7], std::byte{0xff});
  transport_->read(VIRTIO_MMIO_MAGIC_VALUE + 1, std::span(data).first(1));
  EXPECT_EQ(data[0], std::byte{0xff});
}

TEST_F(MmioTransportTest, OddAccessesAreHarmless) {
  std::array<std::byte, 8> data{};
  for (uint64_t offset = 0; offset < 0x1000; ++offset) {
    if (offset / 4 * 4 == VIRTIO_MMIO_STATUS) continue;
    for (const size_t size : {1U, 2U, 4U, 8U}) {
      transport_->write(offset, std::span(data).first(size));
      transport_->read(offset, std::span(data).first(size));
    }
  }
  EXPECT_EQ(RegisterDriver(*transport_).read(VIRTIO_MMIO_MAGIC_VALUE), VIRTIO_MMIO_MAGIC);
}

TEST_F(MmioTransportTest, AKickThatReachesUserSpaceIsPassedOn) {
  RegisterDriver driver(*transport_);
  driver.write(VIRTIO_MMIO_QUEUE_NOTIFY, 1);
  driver.write(VIRTIO_MMIO_QUEUE_NOTIFY, 77);
  uint64_t kicks = 0;
  EXPECT_EQ(::eventfd_read(transport_->kick_fd(1), &kicks), 0);
  EXPECT_EQ(kicks, 1U);
}

}  // namespace
}  // namespace mote::virtio
