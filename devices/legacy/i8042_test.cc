#include "devices/legacy/i8042.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <array>
#include <vector>

namespace mote::legacy {
namespace {

constexpr uint64_t kData = 0;
constexpr uint64_t kCommand = 4;

class I8042Test : public testing::Test {
 protected:
  void write(uint64_t offset, uint8_t value) {
    keyboard_.write(offset, std::as_bytes(std::span(&value, 1)));
  }
  uint8_t read(uint64_t offset) {
    std::byte value{0xee};
    keyboard_.read(offset, std::span(&value, 1));
    return static_cast<uint8_t>(value);
  }
  /// Takes the interrupt; false if there is none.
  bool take_interrupt() {
    eventfd_t count = 0;
    return ::eventfd_read(interrupt_, &count) == 0;
  }
  bool output_full() { return (read(kCommand) & 1) != 0; }

  int interrupt_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  int resets_ = 0;
  I8042 keyboard_{base::UniqueFd(interrupt_), [this] { ++resets_; }};
};

TEST_F(I8042Test, PulsingTheResetLineCallsBack) {
  write(kCommand, 0xfe);
  EXPECT_EQ(resets_, 1);
  EXPECT_EQ(keyboard_.metrics().reset_count, 1U);
}

TEST_F(I8042Test, TheResetValueAsDataDoesNotReset) {
  write(kData, 0xfe);
  EXPECT_EQ(resets_, 0);
}

TEST_F(I8042Test, ControllerPassesItsSelfTests) {
  EXPECT_FALSE(output_full());
  write(kCommand, 0xaa);
  EXPECT_TRUE(output_full());
  EXPECT_EQ(read(kData), 0x55);
  EXPECT_FALSE(output_full());
  write(kCommand, 0xab);
  EXPECT_EQ(read(kData), 0x00);
}

TEST_F(I8042Test, CommandByteIsKept) {
  write(kCommand, 0x60);
  write(kData, 0x74);
  write(kCommand, 0x20);
  EXPECT_EQ(read(kData), 0x74);
}

TEST_F(I8042Test, OutputPortIsKept) {
  write(kCommand, 0xd1);
  write(kData, 0xdf);
  write(kCommand, 0xd0);
  EXPECT_EQ(read(kData), 0xdf);
}

TEST_F(I8042Test, KeyboardAcknowledgesWhatItIsSent) {
  write(kData, 0xed);
  EXPECT_EQ(read(kData), 0xfa);
}

TEST_F(I8042Test, CtrlAltDelComesAsFourScanCodesEachWithAnInterrupt) {
  keyboard_.trigger_ctrl_alt_del();
  std::vector<uint8_t> codes;
  while (take_interrupt()) codes.push_back(read(kData));
  EXPECT_EQ(codes, (std::vector<uint8_t>{0x14, 0x11, 0xe0, 0x71}));
  EXPECT_FALSE(output_full());
}

TEST_F(I8042Test, MaskedKeyboardInterruptStaysSilent) {
  write(kCommand, 0x60);
  write(kData, 0x00);
  keyboard_.trigger_ctrl_alt_del();
  EXPECT_FALSE(take_interrupt());
  EXPECT_TRUE(output_full());
}

TEST_F(I8042Test, AnOutputThatNobodyReadsStopsGrowing) {
  for (int i = 0; i < 1000; ++i) write(kData, 0xff);
  int bytes = 0;
  for (; output_full(); ++bytes) read(kData);
  EXPECT_EQ(bytes, 16);
  EXPECT_EQ(keyboard_.metrics().error_count, 984U);
}

TEST_F(I8042Test, WideAccessesAndStrangePortsAreCountedAndHarmless) {
  std::array<std::byte, 4> data;
  data.fill(std::byte{0xee});
  keyboard_.read(1, data);
  keyboard_.write(1, data);
  EXPECT_EQ(data[1], std::byte{0});
  EXPECT_GE(keyboard_.metrics().missed_read_count, 1U);
  EXPECT_EQ(keyboard_.metrics().missed_write_count, 1U);
}

}  // namespace
}  // namespace mote::legacy
