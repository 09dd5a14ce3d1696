#include "devices/legacy/ioapic.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <thread>
#include <vector>

namespace mote::legacy {
namespace {

class RecordingSink final : public RouteSink {
 public:
  void update_all(std::span<const InterruptRoute> all) override {
    for (const InterruptRoute& route : all) update(route);
  }
  void update(const InterruptRoute& route) override { routes.push_back(route); }
  std::vector<InterruptRoute> routes;
};

class IoApicTest : public testing::Test {
 protected:
  void write(uint8_t index, uint32_t value) {
    const uint32_t selected = index;
    ioapic_.write(0x00, std::as_bytes(std::span(&selected, 1)));
    ioapic_.write(0x10, std::as_bytes(std::span(&value, 1)));
  }
  uint32_t read(uint8_t index) {
    const uint32_t selected = index;
    ioapic_.write(0x00, std::as_bytes(std::span(&selected, 1)));
    uint32_t value = 0xeeeeeeee;
    ioapic_.read(0x10, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  RecordingSink sink_;
  IoApic ioapic_{sink_};
};

TEST_F(IoApicTest, TellsVersionPinsAndId) {
  EXPECT_EQ(read(1), 0x00170011U);  // Maximum entry 23, version 0x11.
  write(0, 0xff000000);
  EXPECT_EQ(read(0), 0x0f000000U);
  EXPECT_EQ(read(2), 0x0f000000U);
  EXPECT_EQ(read(3), 0U);
}

TEST_F(IoApicTest, StartsMasked) {
  for (uint8_t pin = 0; pin < IoApic::kPins; ++pin) {
    EXPECT_EQ(read(static_cast<uint8_t>(0x10 + 2 * pin)), 0x10000U);
    EXPECT_EQ(read(static_cast<uint8_t>(0x11 + 2 * pin)), 0U);
  }
  EXPECT_TRUE(sink_.routes.empty());
}

TEST_F(IoApicTest, UnmaskingAnnouncesTheRouteOnce) {
  write(0x10 + 2 * 5 + 1, 0x03000000);
  EXPECT_TRUE(sink_.routes.empty()) << "a change beneath the mask is nobody's business";
  write(0x10 + 2 * 5, 0x31);
  ASSERT_EQ(sink_.routes.size(), 1U);
  EXPECT_EQ(sink_.routes[0].pin, 5U);
  EXPECT_EQ(sink_.routes[0].address, 0xfee03000U);
  EXPECT_EQ(sink_.routes[0].data, 0x31U);
  EXPECT_FALSE(sink_.routes[0].masked);
  write(0x10 + 2 * 5, 0x31);
  EXPECT_EQ(sink_.routes.size(), 1U) << "the same value again changes nothing";
  write(0x10 + 2 * 5, 0x10031);
  ASSERT_EQ(sink_.routes.size(), 2U);
  EXPECT_TRUE(sink_.routes[1].masked);
}

TEST_F(IoApicTest, ReservedAndReadOnlyBitsDoNotStick) {
  write(0x10, 0xffffffff);
  EXPECT_EQ(read(0x10), 0x0001afffU);
  write(0x11, 0xffffffff);
  EXPECT_EQ(read(0x11), 0xff000000U);
}

TEST_F(IoApicTest, RegistersBeyondTheTableReadZeroAndSwallowWrites) {
  for (const int index : {0x0f, 0x40, 0x41, 0xff}) {
    write(static_cast<uint8_t>(index), 0x31);
    EXPECT_EQ(read(static_cast<uint8_t>(index)), 0U) << index;
  }
  EXPECT_TRUE(sink_.routes.empty());
}

TEST_F(IoApicTest, OddWidthsAndOffsetsAreHarmless) {
  std::array<std::byte, 8> wide;
  wide.fill(std::byte{0xff});
  ioapic_.write(0x00, wide);
  ioapic_.write(0x10, std::span(wide).first(1));
  ioapic_.write(0xff8, wide);
  ioapic_.read(0x11, wide);
  EXPECT_EQ(wide, (std::array<std::byte, 8>{}));
  ioapic_.read(0x00, wide);
  EXPECT_EQ(wide[0], std::byte{0xff});
  EXPECT_EQ(wide[1], std::byte{0});
}

TEST(DecodeRedirection, CarriesDestinationModeAndTrigger) {
  // Vector 0x55, lowest priority, logical destination 0x0f, level.
  const InterruptRoute route = decode_redirection(7, 0x0f0000000000'8955);
  EXPECT_EQ(route.address, 0xfee0f004U);
  EXPECT_EQ(route.data, 0xc155U);
  EXPECT_FALSE(route.masked);
}

TEST_F(IoApicTest, EndOfInterruptClearsRemoteIrrOfItsVectorOnly) {
  IoApic::State state;
  state.redirection.fill(0x10000);
  state.redirection[3] = 0xc031;  // Level, remote IRR.
  state.redirection[4] = 0xc032;
  ioapic_.restore(state);
  ioapic_.end_of_interrupt(0x31);
  EXPECT_EQ(read(0x16), 0x8031U);
  EXPECT_EQ(read(0x18), 0xc032U);
}

TEST_F(IoApicTest, RestoreAnnouncesEveryPinAndKeepsTheState) {
  write(0x20, 0x44);
  write(0, 0x05000000);
  const IoApic::State saved = ioapic_.save();
  RecordingSink sink;
  IoApic other(sink);
  other.restore(saved);
  ASSERT_EQ(sink.routes.size(), IoApic::kPins);
  EXPECT_FALSE(sink.routes[8].masked);
  EXPECT_EQ(sink.routes[8].data, 0x44U);
  EXPECT_EQ(other.save().redirection, saved.redirection);
  EXPECT_EQ(other.save().id, 5);
}

TEST_F(IoApicTest, SurvivesVcpusThatProgramItAtOnce) {
  std::vector<std::jthread> vcpus;
  for (uint8_t thread = 0; thread < 4; ++thread) {
    vcpus.emplace_back([this, thread] {
      for (uint32_t i = 0; i < 500; ++i) {
        write(static_cast<uint8_t>(0x10 + 2 * thread), i & 0xff);
        ioapic_.end_of_interrupt(static_cast<uint8_t>(i));
        (void)ioapic_.save();
      }
    });
  }
  vcpus.clear();
  EXPECT_FALSE(sink_.routes.empty());
}

}  // namespace
}  // namespace mote::legacy
