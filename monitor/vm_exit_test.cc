#include "monitor/vm_exit.h"

#include <gtest/gtest.h>

#include <vector>

namespace mote::monitor {
namespace {

class DecodeExit : public testing::Test {
 protected:
  static constexpr size_t kPageBytes = 3 * 4096;
  kvm_run& run() { return *reinterpret_cast<kvm_run*>(page_.data()); }
  VmExit decode() { return decode_exit(run(), kPageBytes); }
  std::vector<uint64_t> page_ = std::vector<uint64_t>(kPageBytes / sizeof(uint64_t));
};

TEST_F(DecodeExit, StringPortOutputGivesEveryElement) {
  run().exit_reason = KVM_EXIT_IO;
  run().io.direction = KVM_EXIT_IO_OUT;
  run().io.size = 2;
  run().io.count = 5;
  run().io.port = 0x3f8;
  run().io.data_offset = 4096;
  const auto exit = std::get<PortExit>(decode());
  EXPECT_EQ(exit.direction, Direction::kWrite);
  EXPECT_EQ(exit.data.size(), 10U);
  EXPECT_EQ(exit.element_size_bytes, 2);
  EXPECT_EQ(exit.data.data(), reinterpret_cast<std::byte*>(page_.data()) + 4096);
}

TEST_F(DecodeExit, PortDataOutsideTheRunPageIsFatal) {
  run().exit_reason = KVM_EXIT_IO;
  run().io.size = 4;
  run().io.count = 1;
  run().io.data_offset = kPageBytes - 3;
  EXPECT_TRUE(std::holds_alternative<FatalExit>(decode()));
  run().io.size = 3;
  run().io.data_offset = 4096;
  EXPECT_TRUE(std::holds_alternative<FatalExit>(decode()));
}

TEST_F(DecodeExit, MmioLengthIsBounded) {
  run().exit_reason = KVM_EXIT_MMIO;
  run().mmio.phys_addr = 0xc0001000;
  run().mmio.len = 200;
  run().mmio.is_write = 1;
  const auto exit = std::get<MmioExit>(decode());
  EXPECT_EQ(exit.data.size(), 8U);
  EXPECT_EQ(exit.address, 0xc0001000U);
}

TEST_F(DecodeExit, UnknownReasonsAreFatalAndKeepTheirNumber) {
  run().exit_reason = 9999;
  EXPECT_EQ(std::get<FatalExit>(decode()).exit_reason, 9999U);
  run().exit_reason = KVM_EXIT_FAIL_ENTRY;
  run().fail_entry.hardware_entry_failure_reason = 0x80000021;
  EXPECT_EQ(std::get<FatalExit>(decode()).reason, 0x80000021U);
}

}  // namespace
}  // namespace mote::monitor
