#include "devices/legacy/acpi_power.h"

#include <gtest/gtest.h>

#include <array>

namespace mote::legacy {
namespace {

class AcpiPowerTest : public testing::Test {
 protected:
  void write(uint64_t offset, uint8_t value) {
    power_.write(offset, std::as_bytes(std::span(&value, 1)));
  }

  int calls_ = 0;
  AcpiPower power_{[this] { ++calls_; }};
};

TEST_F(AcpiPowerTest, SleepTypeFiveWithEnablePowersOff) {
  write(0, 5 << 2 | 1 << 5);
  EXPECT_EQ(calls_, 1);
}

TEST_F(AcpiPowerTest, SleepWithoutEnableOrInAnotherStateDoesNothing) {
  write(0, 5 << 2);
  write(0, 3 << 2 | 1 << 5);
  write(1, 5 << 2 | 1 << 5);  // The status register takes no commands.
  EXPECT_EQ(calls_, 0);
}

TEST_F(AcpiPowerTest, ResetRegisterTakesItsValueOnly) {
  write(4, 0);
  write(4, 0xff);
  EXPECT_EQ(calls_, 0);
  write(4, memory::layout::kAcpiResetValue);
  EXPECT_EQ(calls_, 1);
}

TEST_F(AcpiPowerTest, ReadsAreZeroOverTheirWholeWidth) {
  std::array<std::byte, 4> data;
  data.fill(std::byte{0xee});
  power_.read(1, data);
  for (const std::byte byte : data) EXPECT_EQ(byte, std::byte{0});
}

}  // namespace
}  // namespace mote::legacy
