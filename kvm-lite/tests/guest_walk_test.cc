#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <map>

extern "C" {
#include "kvm-lite/guest_walk.h"
}

namespace mote::kvm_lite {
namespace {

constexpr std::uint64_t kPresent = 1, kWritable = 2, kUser = 4, kLarge = 0x80;
constexpr std::uint64_t kNoExecute = 1ULL << 63;
constexpr std::uint64_t kAll = kPresent | kWritable | kUser;
constexpr std::uint64_t kRoot = 0x1000;

/// Guest memory as single entries; what was never written is not there.
class GuestWalk : public ::testing::Test {
 protected:
  GuestWalk() {
    paging_.enabled = true;
    paging_.write_protect = true;
    paging_.cr3 = kRoot;
    paging_.read = read;
    paging_.context = this;
  }

  void entry(std::uint64_t address, std::uint64_t value) { entries_[address] = value; }
  /// Four levels that lead linear 0x8000_4020_3000 (0, 1, 1, 3 of each table) to `page`.
  void map_long(std::uint64_t leaf, std::uint64_t upper = kAll) {
    paging_.long_mode = true;
    entry(kRoot, 0x2000 | upper);
    entry(0x2008, 0x3000 | kAll);
    entry(0x3008, 0x4000 | kAll);
    entry(0x4018, leaf);
  }
  static constexpr std::uint64_t kLinear = (1ULL << 30) + (1ULL << 21) + 0x3000;

  int walk(std::uint64_t linear, std::uint32_t access = 0) {
    return kvml_guest_walk(&paging_, linear, access, &gpa_, &error_);
  }

  kvml_paging paging_{};
  std::uint64_t gpa_ = 0;
  std::uint32_t error_ = 0;
  unsigned reads_ = 0;

 private:
  static int read(void* context, std::uint64_t gpa, void* data, std::uint32_t size) {
    auto& self = *static_cast<GuestWalk*>(context);
    ++self.reads_;
    const auto found = self.entries_.find(gpa);
    if (found == self.entries_.end()) return -EFAULT;
    std::memcpy(data, &found->second, size);
    return 0;
  }
  std::map<std::uint64_t, std::uint64_t> entries_;
};

TEST_F(GuestWalk, WithoutPagingAnAddressIsItself) {
  paging_.enabled = false;
  EXPECT_EQ(walk(0x1234), 0);
  EXPECT_EQ(gpa_, 0x1234u);
  EXPECT_EQ(reads_, 0u);
}

TEST_F(GuestWalk, FourLevelsReadEachEntryOnce) {
  map_long(0xabc000 | kAll);
  EXPECT_EQ(walk(kLinear + 0x45), 0);
  EXPECT_EQ(gpa_, 0xabc045u);
  EXPECT_EQ(reads_, 4u);
}

TEST_F(GuestWalk, HighAddressesUseTheLowBitsOfTheirIndices) {
  paging_.long_mode = true;
  entry(kRoot + 511 * 8, 0x2000 | kAll);
  entry(0x2000 + 511 * 8, 0x40000000 | kAll | kLarge);
  EXPECT_EQ(walk(~0xfffULL), 0);
  EXPECT_EQ(gpa_, 0x7ffff000u);
}

TEST_F(GuestWalk, LargePagesOf2MiBAnd1GiB) {
  paging_.long_mode = true;
  entry(kRoot, 0x2000 | kAll);
  entry(0x2008, 0x3000 | kAll);
  entry(0x3008, 0x600000 | kAll | kLarge);
  EXPECT_EQ(walk(kLinear), 0);
  EXPECT_EQ(gpa_, 0x603000u);
  entry(0x2008, 0x80000000 | kAll | kLarge);
  EXPECT_EQ(walk(kLinear), 0);
  EXPECT_EQ(gpa_, 0x80203000u);
}

TEST_F(GuestWalk, WhatIsMissingIsAFaultOfThisAccess) {
  map_long(kWritable | kUser);  // Not present.
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_WRITE), -EFAULT);
  EXPECT_EQ(error_, KVML_ACCESS_WRITE);
  EXPECT_EQ(walk(1ULL << 39, KVML_ACCESS_USER), -EFAULT);  // A table outside memory.
  EXPECT_EQ(error_, KVML_ACCESS_USER);
}

TEST_F(GuestWalk, PermissionsOfEveryLevelCount) {
  map_long(0xabc000 | kPresent | kUser);
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_WRITE), -EFAULT);
  EXPECT_EQ(error_, KVML_ACCESS_WRITE | KVML_FAULT_PRESENT);
  map_long(0xabc000 | kAll, kPresent | kWritable);
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_USER), -EFAULT);
  EXPECT_EQ(error_, KVML_ACCESS_USER | KVML_FAULT_PRESENT);
  EXPECT_EQ(walk(kLinear), 0);
  map_long(0xabc000 | kAll | kNoExecute);
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_FETCH), -EFAULT);
  EXPECT_EQ(walk(kLinear), 0);
}

TEST_F(GuestWalk, ASupervisorWritesToReadOnlyPagesIfWriteProtectIsOff) {
  map_long(0xabc000 | kPresent | kUser);
  paging_.write_protect = false;
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_WRITE), 0);
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_WRITE | KVML_ACCESS_USER), -EFAULT);
}

TEST_F(GuestWalk, TopEntriesOfPaeCarryNoPermissions) {
  paging_.pae = true;
  paging_.cr3 = kRoot | 0x20;  // The table of four entries is aligned to 32 bytes only.
  entry(kRoot + 0x20 + 3 * 8, 0x2000 | kPresent);
  entry(0x2000, 0x3000 | kAll);
  entry(0x3008, 0x5000 | kAll);
  EXPECT_EQ(walk(0xc0001010, KVML_ACCESS_WRITE | KVML_ACCESS_USER), 0);
  EXPECT_EQ(gpa_, 0x5010u);
  EXPECT_EQ(reads_, 3u);
}

TEST_F(GuestWalk, PaeHas2MiBPagesAndNoLargerOnes) {
  paging_.pae = true;
  entry(kRoot, 0x2000 | kPresent | kLarge);
  entry(0x2000, 0xa00000 | kAll | kLarge);
  EXPECT_EQ(walk(0x1234), 0);
  EXPECT_EQ(gpa_, 0xa01234u);
}

TEST_F(GuestWalk, AddressesOutside64BitCodeWrapAt4GiB) {
  paging_.pae = true;
  entry(kRoot, 0x2000 | kPresent);
  entry(0x2000, 0xa00000 | kAll | kLarge);
  EXPECT_EQ(walk(0x100001234), 0);
  EXPECT_EQ(gpa_, 0xa01234u);
}

TEST_F(GuestWalk, TwoLevelsOfFourByteEntries) {
  entry(kRoot + 1 * 4, 0x2000 | kAll);
  entry(0x2000 + 2 * 4, 0x7000 | kAll);
  EXPECT_EQ(walk((1u << 22) + 0x2345), 0);
  EXPECT_EQ(gpa_, 0x7345u);
}

TEST_F(GuestWalk, LargePagesOf32BitPagingNeedTheirSwitchAndReachBeyond4GiB) {
  paging_.large = true;
  entry(kRoot + 4, 0x00c00000 | 3u << 13 | kAll | kLarge);
  EXPECT_EQ(walk((1u << 22) + 0x2345), 0);
  EXPECT_EQ(gpa_, 0x300c02345u);
  paging_.large = false;  // Now it is a table that is not there.
  EXPECT_EQ(walk((1u << 22) + 0x2345), -EFAULT);
}

}  // namespace
}  // namespace mote::kvm_lite
