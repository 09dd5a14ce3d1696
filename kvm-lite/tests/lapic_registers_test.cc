// What the guest reads and writes: the xAPIC page, the x2APIC MSRs, IA32_APIC_BASE.
#include <gtest/gtest.h>

#include <cerrno>
#include <initializer_list>

#include "kvm-lite/tests/apic_machine.h"

namespace mote::kvm_lite {
namespace {

constexpr uint32_t kMasked = 1U << 16;

TEST(LapicPage, PowerUpState) {
  ApicMachine machine(3);
  EXPECT_EQ(machine.read(KVML_APIC_ID), 3u << 24);
  EXPECT_EQ(machine.read(KVML_APIC_VERSION), 0x00050014u);
  EXPECT_EQ(machine.read(KVML_APIC_SVR), 0xffu);
  EXPECT_EQ(machine.read(KVML_APIC_DFR), 0xffffffffu);
  EXPECT_EQ(machine.read(KVML_APIC_LDR), 0u);
  for (uint32_t entry = KVML_APIC_LVT_TIMER; entry <= KVML_APIC_LVT_ERROR; ++entry) {
    EXPECT_EQ(machine.read(entry), kMasked) << std::hex << entry;
  }
}

TEST(LapicPage, ReadOnlyRegistersStay) {
  auto machine = ApicMachine::enabled(3);
  for (const uint32_t offset :
       {KVML_APIC_ID, KVML_APIC_VERSION, KVML_APIC_PPR, KVML_APIC_TIMER_CURRENT, KVML_APIC_ISR,
        KVML_APIC_TMR, KVML_APIC_IRR}) {
    const uint32_t before = machine.read(offset);
    machine.write(offset, 0x5a5a5a5a);
    EXPECT_EQ(machine.read(offset), before) << std::hex << offset;
  }
}

TEST(LapicPage, PartialReadsAreBytesOfTheRegister) {
  auto machine = ApicMachine::enabled(0x12);
  EXPECT_EQ(kvml_apic_page_read(&machine.apic(), KVML_APIC_ID * 16 + 3, 1), 0x12u);
  EXPECT_EQ(kvml_apic_page_read(&machine.apic(), KVML_APIC_ID * 16 + 2, 2), 0x1200u);
  EXPECT_EQ(kvml_apic_page_read(&machine.apic(), KVML_APIC_ID * 16 + 3, 2), 0u) << "over the edge";
  EXPECT_EQ(kvml_apic_page_read(&machine.apic(), KVML_APIC_ID * 16, 8), 0u);
  EXPECT_EQ(kvml_apic_page_read(&machine.apic(), 0xffc, 4), 0u) << "no register up there";
}

TEST(LapicPage, PartialAndUnalignedWritesAreIgnored) {
  auto machine = ApicMachine::enabled();
  machine.write(KVML_APIC_TPR, 0x30);
  for (const uint32_t length : {1U, 2U, 8U}) {
    kvml_apic_page_write(&machine.apic(), KVML_APIC_TPR * 16, length, 0x70);
  }
  kvml_apic_page_write(&machine.apic(), KVML_APIC_TPR * 16 + 4, 4, 0x70);
  kvml_apic_page_write(&machine.apic(), 0xff0, 4, 0x70);
  EXPECT_EQ(machine.read(KVML_APIC_TPR), 0x30u);
}

TEST(LapicPage, SoftwareDisableMasksEveryLvtEntry) {
  auto machine = ApicMachine::enabled();
  machine.write(KVML_APIC_LVT_TIMER, 0x40);
  machine.write(KVML_APIC_SVR, 0xff);
  EXPECT_EQ(machine.read(KVML_APIC_LVT_TIMER), 0x40u | kMasked);
  machine.write(KVML_APIC_LVT_TIMER, 0x41);
  EXPECT_EQ(machine.read(KVML_APIC_LVT_TIMER), 0x41u | kMasked) << "cannot be unmasked meanwhile";
}

TEST(LapicPage, LvtEntriesKeepOnlyTheirBits) {
  auto machine = ApicMachine::enabled();
  for (uint32_t entry = KVML_APIC_LVT_TIMER; entry <= KVML_APIC_LVT_ERROR; ++entry) {
    machine.write(entry, 0xffffffff);
  }
  EXPECT_EQ(machine.read(KVML_APIC_LVT_TIMER), 0x000700ffu);
  EXPECT_EQ(machine.read(KVML_APIC_LVT_LINT0), 0x0001a7ffu);
  EXPECT_EQ(machine.read(KVML_APIC_LVT_ERROR), 0x000100ffu);
  EXPECT_EQ(machine.read(KVML_APIC_LVT_PERFORMANCE), 0x000107ffu);
}

TEST(LapicPage, CommandRegisterSendsToTheUpperHalf) {
  auto machine = ApicMachine::enabled();
  machine.write(KVML_APIC_ICR2, 0x07000000);
  EXPECT_FALSE(machine.apic().sent);
  machine.write(KVML_APIC_ICR, 0x00004844);
  ASSERT_TRUE(machine.apic().sent);
  EXPECT_EQ(machine.apic().sent->destination, 7u);
  EXPECT_EQ(machine.apic().sent->vector, 0x44);
  EXPECT_EQ(machine.apic().sent->delivery, KVML_APIC_FIXED);
  EXPECT_TRUE(machine.apic().sent->logical);
  EXPECT_FALSE(machine.apic().sent->wide);
  EXPECT_EQ(machine.read(KVML_APIC_ICR), 0x00004844u);
}

TEST(LapicPage, StartupSequence) {
  auto machine = ApicMachine::enabled();
  machine.write(KVML_APIC_ICR, 0x000c4500);
  ASSERT_TRUE(machine.apic().sent);
  EXPECT_EQ(machine.apic().sent->delivery, KVML_APIC_INIT);
  EXPECT_EQ(machine.apic().sent->shorthand, KVML_APIC_ALL_BUT_SELF);
  EXPECT_FALSE(machine.apic().sent->deasserted);
  machine.write(KVML_APIC_ICR, 0x00008500);
  EXPECT_TRUE(machine.apic().sent->deasserted);
  machine.write(KVML_APIC_ICR, 0x0000069a);
  EXPECT_EQ(machine.apic().sent->delivery, KVML_APIC_STARTUP);
  EXPECT_EQ(machine.apic().sent->vector, 0x9a);
}

TEST(LapicPage, IllegalVectorIsNotSent) {
  auto machine = ApicMachine::enabled();
  machine.write(KVML_APIC_ICR, 0x0000400f);
  EXPECT_FALSE(machine.apic().sent);
  machine.write(KVML_APIC_ESR, 0);
  EXPECT_EQ(machine.read(KVML_APIC_ESR), 1u << 5);
}

TEST(LapicX2apic, WholeRegistersInMsrs) {
  auto machine = ApicMachine::x2apic(0x21);
  uint64_t value = 0;
  ASSERT_EQ(machine.read_msr(KVML_APIC_ID, value), 0);
  EXPECT_EQ(value, 0x21u);
  ASSERT_EQ(machine.write_msr(KVML_APIC_ICR, 0x0000002300000844), 0);
  EXPECT_EQ(machine.apic().sent->destination, 0x23u);
  EXPECT_TRUE(machine.apic().sent->wide);
  ASSERT_EQ(machine.read_msr(KVML_APIC_ICR, value), 0);
  EXPECT_EQ(value, 0x0000002300000844u);
}

TEST(LapicX2apic, SelfIpi) {
  auto machine = ApicMachine::x2apic();
  ASSERT_EQ(machine.write_msr(KVML_APIC_SELF_IPI, 0x77), 0);
  ASSERT_TRUE(machine.apic().sent);
  EXPECT_EQ(machine.apic().sent->shorthand, KVML_APIC_SELF);
  EXPECT_EQ(machine.apic().sent->delivery, KVML_APIC_FIXED);
  EXPECT_EQ(machine.apic().sent->vector, 0x77);
  ASSERT_EQ(machine.write_msr(KVML_APIC_SELF_IPI, 0x07), 0);
  EXPECT_FALSE(machine.apic().sent);
  EXPECT_EQ(machine.write_msr(KVML_APIC_ESR, 0), 0);
  EXPECT_EQ(machine.apic().regs[KVML_APIC_ESR], 1U << 5);
}

struct RefusedWrite {
  uint32_t offset;
  uint64_t value;
};

class LapicX2apicRefusal : public testing::TestWithParam<RefusedWrite> {};

TEST_P(LapicX2apicRefusal, IsAProtectionFault) {
  auto machine = ApicMachine::x2apic();
  EXPECT_EQ(machine.write_msr(GetParam().offset, GetParam().value), -EINVAL);
  EXPECT_FALSE(machine.apic().sent);
  EXPECT_FALSE(machine.apic().timer_changed);
}

INSTANTIATE_TEST_SUITE_P(
    Writes, LapicX2apicRefusal,
    testing::Values(RefusedWrite{KVML_APIC_ID, 0}, RefusedWrite{KVML_APIC_VERSION, 0},
                    RefusedWrite{KVML_APIC_PPR, 0}, RefusedWrite{KVML_APIC_LDR, 0},
                    RefusedWrite{KVML_APIC_DFR, 0}, RefusedWrite{KVML_APIC_ISR, 0},
                    RefusedWrite{KVML_APIC_IRR, 0}, RefusedWrite{KVML_APIC_ICR2, 0},
                    RefusedWrite{KVML_APIC_TIMER_CURRENT, 0}, RefusedWrite{KVML_APIC_EOI, 1},
                    RefusedWrite{KVML_APIC_ESR, 1}, RefusedWrite{KVML_APIC_TPR, 0x100},
                    RefusedWrite{KVML_APIC_SVR, 0x10000}, RefusedWrite{KVML_APIC_SELF_IPI, 0x100},
                    RefusedWrite{KVML_APIC_ICR, 0x00002000},
                    RefusedWrite{KVML_APIC_ICR, 0x00100000},
                    RefusedWrite{KVML_APIC_TIMER_INITIAL, 1ULL << 32},
                    RefusedWrite{KVML_APIC_LVT_TIMER, 1U << 20}, RefusedWrite{0x40, 0},
                    RefusedWrite{0x2f, 0}, RefusedWrite{0xff, 0}));

TEST(LapicX2apic, WriteOnlyRegistersCannotBeRead) {
  auto machine = ApicMachine::x2apic();
  uint64_t value = 1;
  for (const uint32_t offset : {KVML_APIC_EOI, KVML_APIC_SELF_IPI, KVML_APIC_DFR, KVML_APIC_ICR2}) {
    EXPECT_EQ(machine.read_msr(offset, value), -EINVAL) << std::hex << offset;
    EXPECT_EQ(value, 0u);
  }
}

TEST(LapicX2apic, MsrsExistInThatModeOnly) {
  auto machine = ApicMachine::enabled();
  uint64_t value = 0;
  EXPECT_EQ(machine.read_msr(KVML_APIC_TPR, value), -EINVAL);
  EXPECT_EQ(machine.write_msr(KVML_APIC_TPR, 0), -EINVAL);
  EXPECT_EQ(kvml_apic_msr_read(&machine.apic(), 0x7ff, &value), -EINVAL);
}

TEST(LapicBase, Transitions) {
  constexpr uint64_t kOff = KVML_APIC_DEFAULT_BASE;
  constexpr uint64_t kXapic = kOff | KVML_APIC_BASE_ENABLE;
  constexpr uint64_t kX2apic = kXapic | KVML_APIC_BASE_X2APIC;
  ApicMachine machine(1);
  EXPECT_EQ(machine.set_base(kX2apic), 0);
  EXPECT_EQ(machine.set_base(kXapic), -EINVAL);
  EXPECT_EQ(machine.set_base(kOff), 0);
  EXPECT_EQ(machine.set_base(kX2apic), -EINVAL);
  EXPECT_EQ(machine.set_base(kOff | KVML_APIC_BASE_X2APIC), -EINVAL);
  EXPECT_EQ(machine.set_base(kXapic), 0);
}

TEST(LapicBase, RefusesReservedBits) {
  ApicMachine machine;
  const uint64_t base = machine.apic().base;
  for (const uint64_t bit : {1ULL, 1ULL << 7, 1ULL << 9, 1ULL << ApicMachine::kPhysicalBits}) {
    EXPECT_EQ(machine.set_base(base | bit), -EINVAL) << std::hex << bit;
    EXPECT_EQ(kvml_apic_restore_base(&machine.apic(), base | bit, ApicMachine::kPhysicalBits),
              -EINVAL);
  }
  EXPECT_EQ(machine.apic().base, base);
}

TEST(LapicBase, UserSpaceMaySetAnyMode) {
  auto machine = ApicMachine::x2apic();
  const uint64_t xapic = KVML_APIC_DEFAULT_BASE | KVML_APIC_BASE_ENABLE;
  EXPECT_EQ(kvml_apic_restore_base(&machine.apic(), xapic, ApicMachine::kPhysicalBits), 0);
  EXPECT_FALSE(kvml_apic_is_x2apic(&machine.apic()));
}

TEST(LapicBase, TurningOffResets) {
  auto machine = ApicMachine::enabled();
  machine.raise(0x31);
  ASSERT_EQ(machine.set_base(KVML_APIC_DEFAULT_BASE), 0);
  EXPECT_TRUE(machine.apic().timer_changed);
  EXPECT_EQ(machine.pending(), -1);
  ASSERT_EQ(machine.set_base(KVML_APIC_DEFAULT_BASE | KVML_APIC_BASE_ENABLE), 0);
  EXPECT_EQ(machine.read(KVML_APIC_SVR), 0xffu);
  EXPECT_EQ(machine.read(KVML_APIC_IRR + 1), 0u);
}

}  // namespace
}  // namespace mote::kvm_lite
