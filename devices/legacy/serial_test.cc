#include "devices/legacy/serial.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <string>
#include <string_view>
#include <thread>

namespace mote::legacy {
namespace {

struct Console {
  std::vector<std::string> writes;
  size_t limit = SIZE_MAX;  ///< Bytes it takes a write.
  [[nodiscard]] std::string text() const {
    std::string all;
    for (const std::string& part : writes) all += part;
    return all;
  }
};

class RecordingOutput final : public SerialOutput {
 public:
  explicit RecordingOutput(Console& console) : console_(console) {}
  size_t write(std::span<const std::byte> bytes) override {
    const auto taken = bytes.first(std::min(bytes.size(), console_.limit));
    console_.writes.emplace_back(reinterpret_cast<const char*>(taken.data()), taken.size());
    return taken.size();
  }

 private:
  Console& console_;
};

class SerialTest : public testing::Test {
 protected:
  static constexpr uint64_t kData = 0, kIer = 1, kIir = 2, kLcr = 3, kMcr = 4, kLsr = 5, kMsr = 6,
                            kScr = 7;

  void write(uint64_t offset, uint8_t value) {
    serial_->write(offset, std::as_bytes(std::span(&value, 1)));
  }
  uint8_t read(uint64_t offset) {
    std::byte value{0xee};
    serial_->read(offset, std::span(&value, 1));
    return static_cast<uint8_t>(value);
  }
  void print(std::string_view text) {
    for (const char c : text) write(kData, static_cast<uint8_t>(c));
  }
  size_t type(std::string_view text) { return serial_->receive(std::as_bytes(std::span(text))); }
  bool take_interrupt() {
    eventfd_t count = 0;
    return ::eventfd_read(interrupt_, &count) == 0;
  }
  void limit_output(const virtio::TokenBucketConfig& limit) { serial_ = make(limit); }
  std::unique_ptr<Serial> make(const std::optional<virtio::TokenBucketConfig>& limit) {
    interrupt_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return std::make_unique<Serial>(std::make_unique<RecordingOutput>(console_),
                                    base::UniqueFd(interrupt_), limit);
  }

  Console console_;
  int interrupt_ = -1;
  std::unique_ptr<Serial> serial_ = make(std::nullopt);
};

TEST_F(SerialTest, ALineIsOneWrite) {
  print("hello\nworld\n");
  EXPECT_EQ(console_.writes, (std::vector<std::string>{"hello\n", "world\n"}));
}

TEST_F(SerialTest, ALongLineIsWrittenWhenTheBufferIsFull) {
  print(std::string(1100, 'x'));
  ASSERT_EQ(console_.writes.size(), 2U);
  EXPECT_EQ(console_.writes[0].size(), 512U);
  serial_->flush();
  EXPECT_EQ(console_.text().size(), 1100U);
}

TEST_F(SerialTest, APromptShowsWhenTheGuestIsDoneWithItsMessage) {
  print("login: ");
  EXPECT_TRUE(console_.writes.empty());
  write(kIer, 0x05);
  EXPECT_EQ(console_.text(), "login: ");
}

TEST_F(SerialTest, TheOwnerIsToldOnceThatOutputWaits) {
  int calls = 0;
  serial_->on_waiting_output([&] { ++calls; });
  print("\n");
  EXPECT_EQ(calls, 0) << "nothing waits";
  print("> ");
  EXPECT_EQ(calls, 1);
  print("x\ny");
  EXPECT_EQ(calls, 1) << "the flush is still to come";
  serial_->flush();
  EXPECT_EQ(console_.text(), "\n> x\ny");
  print("z");
  EXPECT_EQ(calls, 2);
}

TEST_F(SerialTest, TheLastPartialLineSurvivesTheEnd) {
  print("panic");
  serial_.reset();
  EXPECT_EQ(console_.text(), "panic");
}

TEST_F(SerialTest, AStalledReaderLosesBytesAndIsCounted) {
  console_.limit = 3;
  print("hello\n");
  print("again\n");
  EXPECT_EQ(console_.text(), "helaga");
  EXPECT_EQ(serial_->metrics().error_count, 2U);
  EXPECT_EQ(serial_->metrics().flush_count, 2U);
  EXPECT_EQ(serial_->metrics().write_count, 12U);
}

TEST_F(SerialTest, OutputOverTheLimitIsDroppedAndCounted) {
  limit_output({.size = 10, .one_time_burst = std::nullopt, .refill_time_ms = 3'600'000});
  print(std::string(50, 'x'));
  serial_->flush();
  EXPECT_EQ(console_.text().size(), 10U);
  EXPECT_EQ(serial_->metrics().rate_limiter_dropped_bytes, 40U);
}

TEST_F(SerialTest, TransmitterIsAlwaysReady) {
  EXPECT_EQ(read(kLsr), 0x60);
  print("x");
  EXPECT_EQ(read(kLsr), 0x60);
}

TEST_F(SerialTest, EnablingTheTransmitInterruptRaisesItOnce) {
  EXPECT_EQ(read(kIir), 0x01);
  write(kIer, 0x02);
  EXPECT_TRUE(take_interrupt());
  EXPECT_EQ(read(kIir), 0x02);
  EXPECT_EQ(read(kIir), 0x01) << "reading IIR takes the transmitter cause away";
  print("x");
  EXPECT_TRUE(take_interrupt());
  EXPECT_EQ(read(kIir), 0x02);
}

TEST_F(SerialTest, InputRaisesTheReceiveInterruptAndIsReadInOrder) {
  write(kIer, 0x01);
  EXPECT_FALSE(take_interrupt());
  EXPECT_EQ(type("ls"), 2U);
  EXPECT_TRUE(take_interrupt());
  EXPECT_EQ(read(kIir), 0x04);
  EXPECT_EQ(read(kLsr), 0x61);
  EXPECT_EQ(read(kData), 'l');
  EXPECT_EQ(read(kData), 's');
  EXPECT_EQ(read(kLsr), 0x60);
  EXPECT_EQ(read(kIir), 0x01);
  EXPECT_EQ(serial_->metrics().read_count, 2U);
}

TEST_F(SerialTest, InputWaitsSilentlyUntilTheGuestEnablesIt) {
  EXPECT_EQ(type("x"), 1U);
  EXPECT_FALSE(take_interrupt());
  write(kIer, 0x01);
  EXPECT_TRUE(take_interrupt());
}

TEST_F(SerialTest, AFullFifoTakesNoMore) {
  EXPECT_EQ(type(std::string(100, 'x')), 64U);
  EXPECT_EQ(type("y"), 0U);
  read(kData);
  EXPECT_EQ(type("yz"), 1U);
}

TEST_F(SerialTest, ClearingTheFifoDropsInput) {
  type("stale");
  write(kIir, 0x07);
  EXPECT_EQ(read(kLsr), 0x60);
  EXPECT_EQ(read(kIir), 0xc1) << "FIFOs enabled";
}

TEST_F(SerialTest, ReadingNothingGivesZeroAndIsCounted) {
  EXPECT_EQ(read(kData), 0);
  EXPECT_EQ(serial_->metrics().missed_read_count, 1U);
}

TEST_F(SerialTest, DivisorLatchHidesDataAndInterruptEnable) {
  write(kIer, 0x01);
  write(kLcr, 0x83);
  write(kData, 0x34);
  write(kIer, 0x12);
  EXPECT_EQ(read(kData), 0x34);
  EXPECT_EQ(read(kIer), 0x12);
  write(kLcr, 0x03);
  EXPECT_EQ(read(kIer), 0x01);
  serial_->flush();
  EXPECT_EQ(console_.text(), "");
}

TEST_F(SerialTest, LoopbackReturnsDataAndModemLines) {
  write(kMcr, 0x1a);  // Loopback, OUT2, RTS: Linux's probe.
  EXPECT_EQ(read(kMsr) & 0xf0, 0x90);
  write(kData, 'x');
  EXPECT_EQ(read(kData), 'x');
  serial_->flush();
  EXPECT_EQ(console_.text(), "");
  write(kMcr, 0x0b);
  EXPECT_EQ(read(kMsr), 0xb0);
}

TEST_F(SerialTest, ScratchIsKeptAndInterruptEnableHasFourBits) {
  write(kScr, 0xa5);
  EXPECT_EQ(read(kScr), 0xa5);
  write(kIer, 0xff);
  EXPECT_EQ(read(kIer), 0x0f);
}

TEST_F(SerialTest, WideAccessesAreCountedAndHarmless) {
  std::array<std::byte, 4> data;
  data.fill(std::byte{0xee});
  serial_->write(kData, data);
  serial_->read(kLsr, data);
  EXPECT_EQ(data, (std::array<std::byte, 4>{}));
  EXPECT_EQ(serial_->metrics().missed_read_count, 1U);
  EXPECT_EQ(serial_->metrics().missed_write_count, 1U);
}

TEST_F(SerialTest, SurvivesVcpusAndInputAtOnce) {
  std::jthread input([this] {
    for (int i = 0; i < 500; ++i) type("abc");
  });
  std::jthread other([this] {
    for (int i = 0; i < 500; ++i) read(kData);
  });
  for (int i = 0; i < 500; ++i) {
    print("x\n");
    write(kIer, static_cast<uint8_t>(i & 3));
    (void)serial_->metrics();
  }
  input.join();
  other.join();
  EXPECT_EQ(console_.text().size(), 1000U);
}

}  // namespace
}  // namespace mote::legacy
