#include "devices/virtio/queue.h"

#include <gtest/gtest.h>

#include <vector>

#include "devices/virtio/testing/driver_mock.h"
#include "memory/layout.h"

namespace mote::virtio {
namespace {

using memory::Gpa;
using testing::Buffer;
using testing::DriverMock;

class QueueTest : public ::testing::Test {
 protected:
  static constexpr uint16_t kSize = 8;
  Queue make(QueueFeatures features = {.event_idx = false, .indirect = true}) {
    auto queue = Queue::create(memory_, driver_.layout(), features);
    EXPECT_TRUE(queue) << queue.error().message();
    return std::move(*queue);
  }
  static constexpr Gpa kData{0x10000};
  memory::GuestMemory memory_ =
      memory::GuestMemory::create(memory::layout::kMib, memory::HugePages::kNone).value();
  DriverMock driver_{memory_, Gpa{0x1000}, kSize};
  Chain chain_;
};

TEST_F(QueueTest, PopsAChainInOrderAndSplitsItByDirection) {
  Queue queue = make();
  const uint16_t head =
      driver_.add_chain({{kData, 16}, {Gpa{0x11000}, 32}, {Gpa{0x12000}, 64, true}});
  ASSERT_EQ(queue.pop(chain_), Queue::Pop::kChain);
  EXPECT_EQ(chain_.head, head);
  EXPECT_EQ(chain_.readable.size(), 2U);
  EXPECT_EQ(chain_.readable_bytes, 48U);
  EXPECT_EQ(chain_.writable_bytes, 64U);
  EXPECT_EQ(chain_.readable[1].iov_base, memory_.slice(Gpa{0x11000}, 32).data());
  EXPECT_EQ(queue.pop(chain_), Queue::Pop::kEmpty);
}

TEST_F(QueueTest, UndoGivesTheSameChainAgain) {
  Queue queue = make();
  const uint16_t head = driver_.add_chain({{kData, 16}});
  ASSERT_EQ(queue.pop(chain_), Queue::Pop::kChain);
  queue.undo_pop();
  ASSERT_EQ(queue.pop(chain_), Queue::Pop::kChain);
  EXPECT_EQ(chain_.head, head);
}

TEST_F(QueueTest, FollowsAnIndirectTableAsLongAsTheQueue) {
  Queue queue = make();
  const std::vector<Buffer> buffers(kSize, Buffer{kData, 8});
  driver_.add_indirect(buffers, Gpa{0x20000});
  ASSERT_EQ(queue.pop(chain_), Queue::Pop::kChain);
  EXPECT_EQ(chain_.readable.size(), kSize);
}

TEST_F(QueueTest, SurvivesIndexWrapAround) {
  Queue queue = make();
  for (int i = 0; i < 70000; ++i) {
    driver_.add_chain({{kData, 4}});
    ASSERT_EQ(queue.pop(chain_), Queue::Pop::kChain);
    queue.push_used(chain_.head, 3);
    const auto used = driver_.take_used();
    ASSERT_TRUE(used);
    EXPECT_EQ(used->id, chain_.head);
    EXPECT_EQ(used->len, 3U);
  }
}

struct BadChain {
  const char* name;
  std::vector<virtq_desc> descriptors;  // From index 0.
  uint16_t head = 0;
};

class BadChainTest : public QueueTest, public ::testing::WithParamInterface<BadChain> {};

TEST_P(BadChainTest, IsBrokenAndNeverTouched) {
  Queue queue = make();
  for (uint16_t i = 0; i < GetParam().descriptors.size(); ++i) {
    driver_.write_descriptor(i, GetParam().descriptors[i]);
  }
  driver_.make_available(GetParam().head);
  EXPECT_EQ(queue.broken_reason(), nullptr);
  EXPECT_EQ(queue.pop(chain_), Queue::Pop::kBroken);
  EXPECT_NE(queue.broken_reason(), nullptr);
}

constexpr uint64_t kMib = memory::layout::kMib;
INSTANTIATE_TEST_SUITE_P(
    All, BadChainTest,
    ::testing::Values(
        BadChain{"self_loop", {{0x10000, 8, VIRTQ_DESC_F_NEXT, 0}}},
        BadChain{"two_loop",
                 {{0x10000, 8, VIRTQ_DESC_F_NEXT, 1}, {0x10000, 8, VIRTQ_DESC_F_NEXT, 0}}},
        BadChain{"empty_loop", {{0x10000, 0, VIRTQ_DESC_F_NEXT, 0}}},
        BadChain{"head_out_of_table", {{0x10000, 8, 0, 0}}, 8},
        BadChain{"next_out_of_table", {{0x10000, 8, VIRTQ_DESC_F_NEXT, 9}}},
        BadChain{"outside_memory", {{kMib, 1, 0, 0}}},
        BadChain{"crosses_the_end", {{kMib - 8, 9, 0, 0}}},
        BadChain{"address_overflow", {{UINT64_MAX - 3, 8, 0, 0}}},
        BadChain{"read_after_write",
                 {{0x10000, 8, VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_NEXT, 1}, {0x10000, 8, 0, 0}}},
        BadChain{"indirect_with_next",
                 {{0x20000, 16, VIRTQ_DESC_F_INDIRECT | VIRTQ_DESC_F_NEXT, 1}}},
        BadChain{"indirect_odd_length", {{0x20000, 17, VIRTQ_DESC_F_INDIRECT, 0}}},
        BadChain{"indirect_empty", {{0x20000, 0, VIRTQ_DESC_F_INDIRECT, 0}}},
        BadChain{"indirect_outside", {{kMib - 8, 16, VIRTQ_DESC_F_INDIRECT, 0}}}),
    [](const auto& test) { return test.param.name; });

TEST_F(QueueTest, IndirectIsRefusedUnlessNegotiated) {
  Queue queue = make({.event_idx = false, .indirect = false});
  const std::vector<Buffer> buffers(1, Buffer{kData, 8});
  driver_.add_indirect(buffers, Gpa{0x20000});
  EXPECT_EQ(queue.pop(chain_), Queue::Pop::kBroken);
}

TEST_F(QueueTest, NestedAndOverlongIndirectTablesAreBroken) {
  Queue queue = make();
  ASSERT_TRUE(memory_.store(Gpa{0x20000}, virtq_desc{0x21000, 16, VIRTQ_DESC_F_INDIRECT, 0}));
  driver_.write_descriptor(0, {0x20000, 16, VIRTQ_DESC_F_INDIRECT, 0});
  driver_.make_available(0);
  EXPECT_EQ(queue.pop(chain_), Queue::Pop::kBroken);

  Queue second = make();
  second.set_positions(1, 0);
  const std::vector<Buffer> buffers(kSize + 1, Buffer{kData, 8});
  driver_.add_indirect(buffers, Gpa{0x20000});
  EXPECT_EQ(second.pop(chain_), Queue::Pop::kBroken);
}

TEST_F(QueueTest, MoreAvailableThanTheRingHoldsIsBroken) {
  Queue queue = make();
  driver_.set_avail_index(kSize + 1);
  EXPECT_EQ(queue.pop(chain_), Queue::Pop::kBroken);
}

TEST_F(QueueTest, ChainsBeyondFourGibibytesAreBroken) {
  // Sixteen buffers of 512 MiB would need 8 GiB; the same bytes may be named again and again.
  auto memory =
      memory::GuestMemory::create(1024 * memory::layout::kMib, memory::HugePages::kNone).value();
  DriverMock driver(memory, Gpa{0x1000}, 16);
  Queue queue = Queue::create(memory, driver.layout(), {}).value();
  const std::vector<Buffer> buffers(9, Buffer{Gpa{0x100000}, 512U << 20});
  driver.add_chain(buffers);
  EXPECT_EQ(queue.pop(chain_), Queue::Pop::kBroken);
}

TEST_F(QueueTest, CreateChecksSizeAlignmentAndBounds) {
  QueueLayout layout = driver_.layout();
  layout.size = 3;
  EXPECT_FALSE(Queue::create(memory_, layout, {}));
  layout.size = 0;
  EXPECT_FALSE(Queue::create(memory_, layout, {}));
  layout = driver_.layout();
  layout.descriptor_table.value += 8;
  EXPECT_FALSE(Queue::create(memory_, layout, {}));
  layout = driver_.layout();
  layout.avail_ring.value += 1;
  EXPECT_FALSE(Queue::create(memory_, layout, {}));
  layout = driver_.layout();
  layout.used_ring = Gpa{kMib - 4};
  EXPECT_FALSE(Queue::create(memory_, layout, {}));
  layout.used_ring = Gpa{UINT64_MAX - 3};
  EXPECT_FALSE(Queue::create(memory_, layout, {}));
}

TEST_F(QueueTest, NotifiesByFlagWithoutEventIdx) {
  Queue queue = make();
  driver_.add_chain({{kData, 4}});
  ASSERT_EQ(queue.pop(chain_), Queue::Pop::kChain);
  EXPECT_FALSE(queue.should_notify()) << "nothing was used";
  queue.push_used(chain_.head, 0);
  EXPECT_TRUE(queue.should_notify());
  EXPECT_FALSE(queue.should_notify()) << "only once for the same elements";
  driver_.set_no_interrupt(true);
  driver_.add_chain({{kData, 4}});
  ASSERT_EQ(queue.pop(chain_), Queue::Pop::kChain);
  queue.push_used(chain_.head, 0);
  EXPECT_FALSE(queue.should_notify());
}

TEST_F(QueueTest, NotifiesWhenTheUsedEventIsPassed) {
  Queue queue = make({.event_idx = true, .indirect = true});
  driver_.set_used_event(2);
  std::vector<bool> notified;
  for (int i = 0; i < 5; ++i) {
    driver_.add_chain({{kData, 4}});
    ASSERT_EQ(queue.pop(chain_), Queue::Pop::kChain);
    queue.push_used(chain_.head, 0);
    notified.push_back(queue.should_notify());
  }
  EXPECT_EQ(notified, (std::vector<bool>{false, false, true, false, false}));
}

TEST_F(QueueTest, KickSuppressionSeesLateBuffers) {
  for (const bool event_idx : {false, true}) {
    DriverMock driver(memory_, Gpa{0x30000}, kSize);
    driver.set_avail_index(0);
    ASSERT_TRUE(memory_.store(driver.layout().used_ring, uint32_t{0}));
    Queue queue =
        Queue::create(memory_, driver.layout(), {.event_idx = event_idx, .indirect = false})
            .value();
    queue.disable_kicks();
    if (!event_idx) {
      EXPECT_EQ(driver.used_flags(), VIRTQ_USED_F_NO_NOTIFY);
    }
    EXPECT_FALSE(queue.enable_kicks());
    driver.add_chain({{kData, 4}});
    EXPECT_TRUE(queue.enable_kicks()) << "the driver need not have kicked";
    ASSERT_EQ(queue.pop(chain_), Queue::Pop::kChain);
    EXPECT_FALSE(queue.enable_kicks());
    if (event_idx) {
      EXPECT_EQ(driver.avail_event(), 1);
    }
  }
}

TEST_F(QueueTest, StagedElementsAppearTogether) {
  Queue queue = make();
  driver_.add_chain({{kData, 4}});
  driver_.add_chain({{kData, 4}});
  ASSERT_EQ(queue.pop(chain_), Queue::Pop::kChain);
  queue.stage_used(chain_.head, 1);
  ASSERT_EQ(queue.pop(chain_), Queue::Pop::kChain);
  queue.stage_used(chain_.head, 2);
  EXPECT_EQ(driver_.used_index(), 0);
  queue.publish_used();
  EXPECT_EQ(driver_.used_index(), 2);
}

}  // namespace
}  // namespace mote::virtio
