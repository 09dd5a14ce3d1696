#include <asm/processor-flags.h>
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
constexpr std::uint8_t kPhysicalBits = 46;
constexpr std::uint32_t kReserved = KVML_FAULT_PRESENT | KVML_FAULT_RESERVED;

/// Guest memory as single entries; what was never written is not there.
class GuestWalk : public ::testing::Test {
 protected:
  GuestWalk() {
    paging_.cr0 = X86_CR0_PG | X86_CR0_WP;
    paging_.physical_bits = kPhysicalBits;
    paging_.cr3 = kRoot;
    paging_.read = read;
    paging_.context = this;
  }

  void entry(std::uint64_t address, std::uint64_t value) { entries_[address] = value; }
  /// Four levels that lead kLinear (entries 0, 1, 1 and 3 of their tables) to `leaf`.
  void map_long(std::uint64_t leaf, std::uint64_t upper = kAll) {
    paging_.efer = KVML_EFER_LMA | KVML_EFER_NXE;
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
  paging_.cr0 = 0;
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
  paging_.efer = KVML_EFER_LMA | KVML_EFER_NXE;
  entry(kRoot + 511 * 8, 0x2000 | kAll);
  entry(0x2000 + 511 * 8, 0x40000000 | kAll | kLarge);
  EXPECT_EQ(walk(~0xfffULL), 0);
  EXPECT_EQ(gpa_, 0x7ffff000u);
}

TEST_F(GuestWalk, LargePagesOf2MiBAnd1GiB) {
  paging_.efer = KVML_EFER_LMA | KVML_EFER_NXE;
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
  paging_.cr0 = X86_CR0_PG;
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_WRITE), 0);
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_WRITE | KVML_ACCESS_USER), -EFAULT);
}

TEST_F(GuestWalk, TopEntriesOfPaeCarryNoPermissions) {
  paging_.cr4 = X86_CR4_PAE;
  paging_.cr3 = kRoot | 0x20;  // The table of four entries is aligned to 32 bytes only.
  entry(kRoot + 0x20 + 3 * 8, 0x2000 | kPresent);
  entry(0x2000, 0x3000 | kAll);
  entry(0x3008, 0x5000 | kAll);
  EXPECT_EQ(walk(0xc0001010, KVML_ACCESS_WRITE | KVML_ACCESS_USER), 0);
  EXPECT_EQ(gpa_, 0x5010u);
  EXPECT_EQ(reads_, 3u);
}

TEST_F(GuestWalk, PaeHas2MiBPagesAndNoLargerOnes) {
  paging_.cr4 = X86_CR4_PAE;
  entry(kRoot, 0x2000 | kPresent | kLarge);
  entry(0x2000, 0xa00000 | kAll | kLarge);
  EXPECT_EQ(walk(0x1234), 0);
  EXPECT_EQ(gpa_, 0xa01234u);
}

TEST_F(GuestWalk, AddressesOutside64BitCodeWrapAt4GiB) {
  paging_.cr4 = X86_CR4_PAE;
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
  paging_.cr4 = X86_CR4_PSE;
  entry(kRoot + 4, 0x00c00000 | 3u << 13 | kAll | kLarge);
  EXPECT_EQ(walk((1u << 22) + 0x2345), 0);
  EXPECT_EQ(gpa_, 0x300c02345u);
  paging_.cr4 = 0;  // Now it is a table that is not there.
  EXPECT_EQ(walk((1u << 22) + 0x2345), -EFAULT);
}

TEST_F(GuestWalk, AnAddressThatIsNotCanonicalIsNotLookedUp) {
  map_long(0xabc000 | kAll);
  for (const std::uint64_t linear : {1ULL << 47, kLinear | 1ULL << 48, kLinear | 1ULL << 63}) {
    EXPECT_EQ(walk(linear), -EINVAL) << std::hex << linear;
  }
  EXPECT_EQ(reads_, 0u);
}

TEST_F(GuestWalk, AMissingEntryIsToldBeforeRightsAboveIt) {
  map_long(0, kPresent);
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_USER | KVML_ACCESS_WRITE), -EFAULT);
  EXPECT_EQ(error_, KVML_ACCESS_USER | KVML_ACCESS_WRITE);
}

TEST_F(GuestWalk, AFetchIsToldOnlyWhereItMakesADifference) {
  map_long(0);
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_FETCH), -EFAULT);
  EXPECT_EQ(error_, KVML_ACCESS_FETCH);
  paging_.efer = KVML_EFER_LMA;
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_FETCH), -EFAULT);
  EXPECT_EQ(error_, 0u);
  paging_.cr4 = X86_CR4_SMEP;
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_FETCH), -EFAULT);
  EXPECT_EQ(error_, KVML_ACCESS_FETCH);
}

TEST_F(GuestWalk, SmepKeepsTheSupervisorFromTheUsersCode) {
  map_long(0xabc000 | kAll);
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_FETCH), 0);
  paging_.cr4 = X86_CR4_SMEP;
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_FETCH), -EFAULT);
  EXPECT_EQ(error_, KVML_ACCESS_FETCH | KVML_FAULT_PRESENT);
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_FETCH | KVML_ACCESS_USER), 0);
  EXPECT_EQ(walk(kLinear), 0);
  map_long(0xabc000 | kAll, kPresent | kWritable);  // One level without USER: the supervisor's.
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_FETCH), 0);
}

TEST_F(GuestWalk, SmapKeepsTheSupervisorFromTheUsersDataUnlessItSaysSo) {
  map_long(0xabc000 | kAll);
  paging_.cr4 = X86_CR4_SMAP;
  EXPECT_EQ(walk(kLinear), -EFAULT);
  EXPECT_EQ(error_, KVML_FAULT_PRESENT);
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_USER), 0);
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_FETCH), 0);
  paging_.rflags = X86_EFLAGS_AC;
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_WRITE), 0);
}

TEST_F(GuestWalk, ReservedBitsOfFourLevels) {
  for (const unsigned bit : {46u, 51u}) {
    map_long(0xabc000 | kAll | 1ULL << bit);
    EXPECT_EQ(walk(kLinear), -EFAULT) << bit;
    EXPECT_EQ(error_, kReserved) << bit;
  }
  map_long(0xabc000 | kAll | 1ULL << 45);
  EXPECT_EQ(walk(kLinear), 0);
  map_long(0xabc000 | kAll | 1ULL << 52 | 1ULL << 62);  // Software's.
  EXPECT_EQ(walk(kLinear), 0);
  EXPECT_EQ(gpa_, 0xabc000u);
  map_long(0xabc000 | kAll, kAll | kLarge);  // There are no pages of 512 GiB.
  EXPECT_EQ(walk(kLinear), -EFAULT);
  EXPECT_EQ(error_, kReserved);
  map_long(0xabc000 | kAll | kNoExecute);
  paging_.efer = KVML_EFER_LMA;
  EXPECT_EQ(walk(kLinear), -EFAULT);
  EXPECT_EQ(error_, kReserved);
}

TEST_F(GuestWalk, ReservedBitsOfLargePages) {
  map_long(0xabc000 | kAll);
  entry(0x3008, 0x600000 | kAll | kLarge | 1u << 12);  // PAT.
  EXPECT_EQ(walk(kLinear), 0);
  EXPECT_EQ(gpa_, 0x603000u);
  entry(0x3008, 0x600000 | kAll | kLarge | 1u << 13);
  EXPECT_EQ(walk(kLinear), -EFAULT);
  EXPECT_EQ(error_, kReserved);
  entry(0x2008, 0x80000000 | kAll | kLarge | 1u << 29);
  EXPECT_EQ(walk(kLinear), -EFAULT);
  EXPECT_EQ(error_, kReserved);
}

TEST_F(GuestWalk, ReservedBitsOfPaeReachFarther) {
  paging_.cr4 = X86_CR4_PAE;
  paging_.efer = KVML_EFER_NXE;
  entry(kRoot, 0x2000 | kPresent);
  for (const unsigned bit : {46u, 52u, 62u}) {
    entry(0x2000, 0xa00000 | kAll | kLarge | 1ULL << bit);
    EXPECT_EQ(walk(0x1234), -EFAULT) << bit;
    EXPECT_EQ(error_, kReserved) << bit;
  }
  entry(0x2000, 0xa00000 | kAll | kLarge | kNoExecute);
  EXPECT_EQ(walk(0x1234), 0);
  EXPECT_EQ(walk(0x1234, KVML_ACCESS_FETCH), -EFAULT);
  EXPECT_EQ(error_, KVML_ACCESS_FETCH | KVML_FAULT_PRESENT);
  paging_.efer = 0;
  EXPECT_EQ(walk(0x1234), -EFAULT);
  EXPECT_EQ(error_, kReserved);
}

TEST_F(GuestWalk, ReservedBitsOf4MiBPagesBeginBehindThePhysicalAddress) {
  paging_.cr4 = X86_CR4_PSE;
  entry(kRoot, 0x00c00000 | 1u << 21 | kAll | kLarge);
  EXPECT_EQ(walk(0), -EFAULT);
  EXPECT_EQ(error_, kReserved);
  paging_.physical_bits = 36;
  entry(kRoot, 0x00c00000 | 1u << 17 | kAll | kLarge);
  EXPECT_EQ(walk(0), -EFAULT);
  entry(kRoot, 0x00c00000 | 1u << 16 | kAll | kLarge);
  EXPECT_EQ(walk(0), 0);
  EXPECT_EQ(gpa_, 0x800c00000u);
}

}  // namespace
}  // namespace mote::kvm_lite
