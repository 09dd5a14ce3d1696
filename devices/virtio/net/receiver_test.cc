#include "devices/virtio/net/receiver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "devices/virtio/testing/driver_mock.h"
#include "memory/layout.h"

namespace mote::virtio::net {
namespace {

using memory::Gpa;
using virtio::testing::Buffer;
using virtio::testing::DriverMock;

constexpr Gpa kRings{0x1000};
constexpr Gpa kBuffers{0x10000};
constexpr uint16_t kRingSize = 64;

class ReceiverTest : public ::testing::Test {
 protected:
  ReceiverTest() { start_over(); }
  void start_over() {
    driver_.emplace(memory_, kRings, kRingSize);
    std::ranges::fill(memory_.slice(kRings, driver_->end().value - kRings.value), std::byte{0});
    next_ = kBuffers;
  }
  Receiver make(Mergeable mergeable) {
    return Receiver(
        Queue::create(memory_, driver_->layout(), {.event_idx = false, .indirect = true}).value(),
        mergeable);
  }
  /// A buffer of `bytes`, the next in memory.
  uint16_t post(uint32_t bytes) {
    const Gpa at = next_;
    next_ = next_.offset(bytes);
    return driver_->add_chain({{at, bytes, true}});
  }
  /// What readv does: bytes 0, 1, 2... over the buffers.
  static void fill(std::span<const iovec> parts, uint64_t bytes) {
    uint64_t at = 0;
    for (const iovec& part : parts) {
      for (size_t i = 0; i < part.iov_len && at < bytes; ++i, ++at)
        static_cast<uint8_t*>(part.iov_base)[i] = static_cast<uint8_t>(at);
    }
  }
  static uint64_t room(Receiver& receiver) {
    uint64_t bytes = 0;
    for (const iovec& part : receiver.buffers()) bytes += part.iov_len;
    return bytes - 1;  // Our own byte.
  }
  uint16_t num_buffers(Gpa packet = kBuffers) {
    return memory_.load_once<uint16_t>(packet.offset(10)).value();
  }

  memory::GuestMemory memory_ =
      memory::GuestMemory::create(2 * memory::layout::kMib, memory::HugePages::kNone).value();
  std::optional<DriverMock> driver_;
  Gpa next_ = kBuffers;
};

TEST_F(ReceiverTest, WaitsForBuffers) {
  Receiver receiver = make(Mergeable::kYes);
  EXPECT_EQ(receiver.gather(), Receiver::Gather::kNoBuffers);
  post(100);
  EXPECT_EQ(receiver.gather(), Receiver::Gather::kReady);
  EXPECT_EQ(room(receiver), 100U);
}

TEST_F(ReceiverTest, PutsAPacketIntoOneChainWhereTheyAreNotMergeable) {
  Receiver receiver = make(Mergeable::kNo);
  const uint16_t first = post(1526);
  const uint16_t second = post(1526);
  ASSERT_EQ(receiver.gather(), Receiver::Gather::kReady);
  EXPECT_EQ(room(receiver), 1526U);
  fill(receiver.buffers(), 1526);
  ASSERT_TRUE(receiver.deliver(1526));
  EXPECT_EQ(num_buffers(), 1);
  ASSERT_EQ(receiver.gather(), Receiver::Gather::kReady);
  ASSERT_TRUE(receiver.deliver(60));
  EXPECT_EQ(driver_->used_index(), 2);
  auto used = driver_->take_used();
  EXPECT_EQ(used->id, first);
  EXPECT_EQ(used->len, 1526U);
  used = driver_->take_used();
  EXPECT_EQ(used->id, second);
  EXPECT_EQ(used->len, 60U);
}

TEST_F(ReceiverTest, SpreadsAPacketOverMergeableChainsAndKeepsTheRest) {
  Receiver receiver = make(Mergeable::kYes);
  for (int i = 0; i < 5; ++i) post(100);
  ASSERT_EQ(receiver.gather(), Receiver::Gather::kReady);
  EXPECT_EQ(room(receiver), 500U);
  fill(receiver.buffers(), 250);
  ASSERT_TRUE(receiver.deliver(250));
  EXPECT_EQ(num_buffers(), 3);
  for (const uint32_t length : {100U, 100U, 50U}) EXPECT_EQ(driver_->take_used()->len, length);
  EXPECT_FALSE(driver_->take_used());
  ASSERT_EQ(receiver.gather(), Receiver::Gather::kReady);
  EXPECT_EQ(room(receiver), 200U);
  ASSERT_TRUE(receiver.deliver(200));
  EXPECT_EQ(num_buffers(kBuffers.offset(300)), 2);
  EXPECT_EQ(receiver.gather(), Receiver::Gather::kNoBuffers);
}

TEST_F(ReceiverTest, TakesNoMoreThanTheLongestPacketNeeds) {
  Receiver receiver = make(Mergeable::kYes);
  for (int i = 0; i < 64; ++i) post(4096);
  ASSERT_EQ(receiver.gather(), Receiver::Gather::kReady);
  EXPECT_GE(room(receiver), kMaxPacketBytes);
  EXPECT_LT(room(receiver), kMaxPacketBytes + 4096);
  ASSERT_TRUE(receiver.deliver(kMaxPacketBytes));
  EXPECT_EQ(num_buffers(), 17);
}

TEST_F(ReceiverTest, NoticesPacketsThatAreCutOffAndKeepsTheBuffers) {
  for (const Mergeable mergeable : {Mergeable::kNo, Mergeable::kYes}) {
    start_over();
    Receiver receiver = make(mergeable);
    post(200);
    ASSERT_EQ(receiver.gather(), Receiver::Gather::kReady);
    EXPECT_FALSE(receiver.deliver(201));
    EXPECT_FALSE(receiver.deliver(11)) << "shorter than a header";
    EXPECT_EQ(driver_->used_index(), 0);
    ASSERT_EQ(receiver.gather(), Receiver::Gather::kReady);
    EXPECT_TRUE(receiver.deliver(200)) << "an exact fit is no cut";
    EXPECT_EQ(driver_->used_index(), 1);
  }
}

TEST_F(ReceiverTest, FillsInTheHeaderHoweverTheBufferIsCut) {
  for (uint32_t step = 1; step <= 13; ++step) {
    start_over();
    Receiver receiver = make(Mergeable::kYes);
    std::vector<Buffer> parts;
    for (uint32_t at = 0; at < 26; at += step)
      parts.push_back({kBuffers.offset(at), std::min(step, 26 - at), true});
    driver_->add_chain(parts);
    ASSERT_EQ(receiver.gather(), Receiver::Gather::kReady);
    fill(receiver.buffers(), 26);
    ASSERT_TRUE(receiver.deliver(26));
    EXPECT_EQ(num_buffers(), 1) << step;
    EXPECT_EQ(memory_.load_once<uint8_t>(kBuffers.offset(9)), 9);
    EXPECT_EQ(memory_.load_once<uint8_t>(kBuffers.offset(12)), 12);
  }
}

TEST_F(ReceiverTest, RefusesBuffersThatAreTooShortOrReadable) {
  {
    Receiver receiver = make(Mergeable::kYes);
    post(11);
    EXPECT_EQ(receiver.gather(), Receiver::Gather::kBroken);
    EXPECT_NE(receiver.broken_reason(), nullptr);
  }
  start_over();
  Receiver receiver = make(Mergeable::kYes);
  driver_->add_chain({{kBuffers, 12, false}, {kBuffers.offset(12), 2000, true}});
  EXPECT_EQ(receiver.gather(), Receiver::Gather::kBroken);
  EXPECT_NE(receiver.broken_reason(), nullptr);
}

TEST_F(ReceiverTest, BoundsWhatADriverMakesAvailableTwice) {
  Receiver receiver = make(Mergeable::kYes);
  // The same buffer of 12 bytes for ever: it is never enough for the longest packet.
  for (uint16_t round = 1; round <= 8; ++round) {
    for (uint16_t i = 0; i < kRingSize; ++i) driver_->add_chain({{kBuffers, 12, true}});
    ASSERT_EQ(receiver.gather(), Receiver::Gather::kReady);
    EXPECT_EQ(room(receiver), uint64_t{12} * kRingSize);
  }
}

TEST_F(ReceiverTest, NeverHandsReadvMorePartsThanItTakes) {
  Receiver receiver = make(Mergeable::kYes);
  // 64 chains of 32 parts each, through indirect tables.
  for (uint64_t chain = 0; chain < 64; ++chain) {
    const std::vector<Buffer> parts(32, Buffer{kBuffers.offset(chain * 32), 1, true});
    driver_->add_indirect(parts, Gpa{0x80000 + chain * 1024});
  }
  ASSERT_EQ(receiver.gather(), Receiver::Gather::kReady);
  EXPECT_LE(receiver.buffers().size(), 1024U);
  EXPECT_GE(receiver.buffers().size(), 900U);
  EXPECT_EQ(room(receiver), receiver.buffers().size() - 1);
}

}  // namespace
}  // namespace mote::virtio::net
