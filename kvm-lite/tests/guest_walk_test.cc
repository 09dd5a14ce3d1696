#include <asm/processor-flags.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <map>

extern "C" {
#include "kvm-lite/guest_walk.h"
}

/// Guest memory as single entries; what was never written is not there.
struct kvml_vm {
  std::map<std::uint64_t, std::uint64_t> entries;
  unsigned reads = 0;
  unsigned replaced = 0;
  bool read_only = false;
  bool races = false;  // Another processor changes each entry before it can be replaced.
};

extern "C" {

int kvml_read_guest(kvml_vm* vm, std::uint64_t gpa, void* data, std::uint32_t size) {
  ++vm->reads;
  const auto found = vm->entries.find(gpa);
  if (found == vm->entries.end()) return -EFAULT;
  std::memcpy(data, &found->second, size);
  return 0;
}
int kvml_replace_guest(kvml_vm* vm, std::uint64_t gpa, std::uint64_t old, std::uint64_t value,
                       std::uint32_t size) {
  if (vm->read_only) return -EFAULT;
  if (vm->races) return -EAGAIN;
  ++vm->replaced;
  EXPECT_EQ(std::memcmp(&vm->entries[gpa], &old, size), 0);
  std::memcpy(&vm->entries[gpa], &value, size);
  return 0;
}

}  // extern "C"

namespace mote::kvm_lite {
namespace {

constexpr std::uint64_t kPresent = 1, kWritable = 2, kUser = 4, kLarge = 0x80;
constexpr std::uint64_t kAccessed = 0x20, kDirty = 0x40;
constexpr std::uint64_t kNoExecute = 1ULL << 63;
constexpr std::uint64_t kAll = kPresent | kWritable | kUser;
constexpr std::uint64_t kRoot = 0x1000;
constexpr std::uint8_t kPhysicalBits = 46;
constexpr std::uint32_t kReserved = KVML_FAULT_PRESENT | KVML_FAULT_RESERVED;

class GuestWalk : public ::testing::Test {
 protected:
  GuestWalk() {
    paging_.cr0 = X86_CR0_PG | X86_CR0_WP;
    paging_.physical_bits = kPhysicalBits;
    paging_.cr3 = kRoot;
    paging_.vm = &vm_;
  }

  void entry(std::uint64_t address, std::uint64_t value) { vm_.entries[address] = value; }
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

  kvml_vm vm_;
  kvml_paging paging_{};
  std::uint64_t gpa_ = 0;
  std::uint32_t error_ = 0;
};

TEST_F(GuestWalk, WithoutPagingAnAddressIsItself) {
  paging_.cr0 = 0;
  EXPECT_EQ(walk(0x1234), 0);
  EXPECT_EQ(gpa_, 0x1234u);
  EXPECT_EQ(vm_.reads, 0u);
}

TEST_F(GuestWalk, FourLevelsReadEachEntryOnce) {
  map_long(0xabc000 | kAll);
  EXPECT_EQ(walk(kLinear + 0x45), 0);
  EXPECT_EQ(gpa_, 0xabc045u);
  EXPECT_EQ(vm_.reads, 4u);
}

TEST_F(GuestWalk, MarksWhatItUsesAccessedAndWhatIsWrittenDirty) {
  map_long(0xabc000 | kAll);
  EXPECT_EQ(walk(kLinear), 0);
  EXPECT_EQ(vm_.entries[kRoot], 0x2000 | kAll | kAccessed);
  EXPECT_EQ(vm_.entries[0x3008], 0x4000 | kAll | kAccessed);
  EXPECT_EQ(vm_.entries[0x4018], 0xabc000 | kAll | kAccessed);
  EXPECT_EQ(vm_.replaced, 4u);
  EXPECT_EQ(walk(kLinear), 0);
  EXPECT_EQ(vm_.replaced, 4u) << "they are marked already";
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_WRITE), 0);
  EXPECT_EQ(vm_.entries[0x3008], 0x4000 | kAll | kAccessed) << "only a page can be dirty";
  EXPECT_EQ(vm_.entries[0x4018], 0xabc000 | kAll | kAccessed | kDirty);
}

TEST_F(GuestWalk, MarksEntriesOfFourBytes) {
  entry(kRoot + 4, 0xffffffff00002000 | kAll);
  entry(0x2000 + 2 * 4, 0xffffffff00007000 | kAll);
  EXPECT_EQ(walk((1u << 22) + 0x2345, KVML_ACCESS_WRITE), 0);
  EXPECT_EQ(vm_.entries[kRoot + 4], 0xffffffff00002000 | kAll | kAccessed);
  EXPECT_EQ(vm_.entries[0x2008], 0xffffffff00007000 | kAll | kAccessed | kDirty);
}

TEST_F(GuestWalk, MarksNoEntryThatRefuses) {
  map_long(0xabc000 | kPresent);
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_WRITE), -EFAULT);
  EXPECT_EQ(vm_.entries[0x4018], 0xabc000 | kPresent);
}

TEST_F(GuestWalk, AnEntryThatChangesMeanwhileEndsTheWalk) {
  map_long(0xabc000 | kAll);
  vm_.races = true;
  EXPECT_EQ(walk(kLinear), -EAGAIN);
  EXPECT_EQ(vm_.reads, 1u);
}

TEST_F(GuestWalk, PageTablesInReadOnlyMemoryAreWalkedAllTheSame) {
  map_long(0xabc000 | kAll);
  vm_.read_only = true;
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_WRITE), 0);
  EXPECT_EQ(gpa_, 0xabc000u);
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
  paging_.pdpte = 0x2000 | kPresent;
  entry(0x2000, 0x3000 | kAll);
  entry(0x3008, 0x5000 | kAll);
  EXPECT_EQ(walk(0xc0001010, KVML_ACCESS_WRITE | KVML_ACCESS_USER), 0);
  EXPECT_EQ(gpa_, 0x5010u);
  EXPECT_EQ(vm_.reads, 2u);
  paging_.pdpte = 0x2000;
  EXPECT_EQ(walk(0xc0001010, KVML_ACCESS_WRITE), -EFAULT);
  EXPECT_EQ(error_, KVML_ACCESS_WRITE);
}

TEST_F(GuestWalk, PaeHas2MiBPagesAndNoLargerOnes) {
  paging_.cr4 = X86_CR4_PAE;
  paging_.pdpte = 0x2000 | kPresent | kLarge;
  entry(0x2000, 0xa00000 | kAll | kLarge);
  EXPECT_EQ(walk(0x1234), 0);
  EXPECT_EQ(gpa_, 0xa01234u);
}

TEST_F(GuestWalk, AddressesOutside64BitCodeWrapAt4GiB) {
  paging_.cr4 = X86_CR4_PAE;
  paging_.pdpte = 0x2000 | kPresent;
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
  EXPECT_EQ(vm_.reads, 0u);
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

TEST_F(GuestWalk, KeysKeepDataAccessesOffTheUsersPages) {
  constexpr std::uint64_t kKey3 = 3ULL << 59;
  constexpr std::uint32_t kNoAccess = 1u << 6, kNoWrite = 2u << 6;
  constexpr std::uint32_t kRefused = KVML_FAULT_PRESENT | KVML_FAULT_KEY;
  map_long(0xabc000 | kAll | kKey3);
  paging_.cr4 = X86_CR4_PKE;
  paging_.pkru = ~(kNoAccess | kNoWrite);
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_WRITE), 0) << "other keys do not matter";
  EXPECT_EQ(gpa_, 0xabc000u);
  paging_.pkru = kNoAccess;
  for (const std::uint32_t access :
       {std::uint32_t{0}, std::uint32_t{KVML_ACCESS_USER}, std::uint32_t{KVML_ACCESS_WRITE}}) {
    EXPECT_EQ(walk(kLinear, access), -EFAULT) << access;
    EXPECT_EQ(error_, access | kRefused) << access;
  }
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_FETCH), 0) << "code is no data";
  map_long(0xabc000 | kPresent | kWritable | kKey3);
  EXPECT_EQ(walk(kLinear), 0) << "nor is the supervisor's page the user's";
}

TEST_F(GuestWalk, KeysThatForbidWritingHeedWriteProtect) {
  map_long(0xabc000 | kAll | 1ULL << 59);
  paging_.cr4 = X86_CR4_PKE;
  paging_.pkru = 2u << 2;
  EXPECT_EQ(walk(kLinear), 0);
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_WRITE), -EFAULT);
  EXPECT_EQ(error_, KVML_ACCESS_WRITE | KVML_FAULT_PRESENT | KVML_FAULT_KEY);
  paging_.cr0 = X86_CR0_PG;
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_WRITE), 0);
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_WRITE | KVML_ACCESS_USER), -EFAULT);
  paging_.cr4 = 0;
  EXPECT_EQ(walk(kLinear, KVML_ACCESS_WRITE | KVML_ACCESS_USER), 0);
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
  paging_.pdpte = 0x2000 | kPresent;
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
