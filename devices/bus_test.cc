#include "devices/bus.h"

#include <gtest/gtest.h>

#include <array>

namespace mote::devices {
namespace {

struct Echo final : BusDevice {
  uint64_t last_offset = 0;
  void read(uint64_t offset, std::span<std::byte> data) override {
    for (auto& byte : data) byte = static_cast<std::byte>(offset);
  }
  void write(uint64_t offset, std::span<const std::byte>) override { last_offset = offset; }
};

TEST(Bus, FindsTheDeviceByAddress) {
  Bus bus;
  Echo a;
  Echo b;
  ASSERT_TRUE(bus.insert(0x200, 0x10, b));
  ASSERT_TRUE(bus.insert(0x100, 0x10, a));
  std::array<std::byte, 2> data{};
  EXPECT_TRUE(bus.read(0x20e, data));
  EXPECT_EQ(data[0], std::byte{0x0e});
  EXPECT_TRUE(bus.write(0x103, data));
  EXPECT_EQ(a.last_offset, 3U);
}

TEST(Bus, NobodyAnswersAllOnes) {
  Bus bus;
  Echo device;
  ASSERT_TRUE(bus.insert(0x100, 0x10, device));
  std::array<std::byte, 4> data{};
  EXPECT_FALSE(bus.read(0x0, data));
  EXPECT_EQ(data[3], std::byte{0xff});
  EXPECT_FALSE(bus.read(0x10e, data)) << "an access may not straddle the end of a range";
  EXPECT_FALSE(bus.write(0x110, data));
  EXPECT_FALSE(bus.read(UINT64_MAX - 1, data));
}

TEST(Bus, RefusesOverlapAndWrap) {
  Bus bus;
  Echo device;
  ASSERT_TRUE(bus.insert(0x100, 0x10, device));
  EXPECT_FALSE(bus.insert(0x10f, 1, device));
  EXPECT_FALSE(bus.insert(0xff, 2, device));
  EXPECT_FALSE(bus.insert(0x80, 0x200, device));
  EXPECT_FALSE(bus.insert(UINT64_MAX, 2, device));
  EXPECT_FALSE(bus.insert(0x500, 0, device));
  EXPECT_TRUE(bus.insert(0x110, 1, device));
}

}  // namespace
}  // namespace mote::devices
