// The timer's three modes, and the LAPIC's state saved and restored.
#include <gtest/gtest.h>

#include <array>
#include <cerrno>

#include "kvm-lite/tests/apic_machine.h"

namespace mote::kvm_lite {
namespace {

using Page = std::array<uint32_t, 4 * KVML_APIC_REGISTERS>;

constexpr uint32_t kDivideByOne = 0xb;
constexpr uint32_t kDivideBySixteen = 0x3;
constexpr uint32_t kPeriodic = 1U << 17;
constexpr uint32_t kDeadlineMode = 2U << 17;
constexpr uint32_t kMasked = 1U << 16;

ApicMachine with_timer(uint32_t lvt, uint32_t divide = kDivideByOne) {
  auto machine = ApicMachine::enabled();
  machine.write(KVML_APIC_LVT_TIMER, lvt);
  machine.write(KVML_APIC_TIMER_DIVIDE, divide);
  return machine;
}

TEST(LapicTimer, OneShotFiresOnce) {
  auto machine = with_timer(0x40);
  machine.write(KVML_APIC_TIMER_INITIAL, 500);
  EXPECT_TRUE(machine.apic().timer_changed);
  EXPECT_EQ(machine.apic().deadline_ns, machine.now_ns + 500);
  machine.now_ns += 499;
  machine.expire();
  EXPECT_EQ(machine.pending(), -1);
  machine.now_ns += 1;
  machine.expire();
  EXPECT_EQ(machine.take(), 0x40);
  EXPECT_EQ(machine.apic().deadline_ns, 0u);
  machine.write(KVML_APIC_EOI, 0);
  machine.now_ns += 10000;
  machine.expire();
  EXPECT_EQ(machine.take(), -1);
}

TEST(LapicTimer, CountsDown) {
  auto machine = with_timer(0x40, kDivideBySixteen);
  machine.write(KVML_APIC_TIMER_INITIAL, 1000);
  EXPECT_EQ(machine.read(KVML_APIC_TIMER_CURRENT), 1000u);
  machine.now_ns += 16 * 400;
  EXPECT_EQ(machine.read(KVML_APIC_TIMER_CURRENT), 600u);
  machine.now_ns += 16 * 600;
  EXPECT_EQ(machine.read(KVML_APIC_TIMER_CURRENT), 0u);
}

TEST(LapicTimer, EveryDivisor) {
  const uint32_t codes[] = {0, 1, 2, 3, 8, 9, 10, 11};
  const uint64_t divisors[] = {2, 4, 8, 16, 32, 64, 128, 1};
  for (size_t i = 0; i < std::size(codes); ++i) {
    auto machine = with_timer(0x40, codes[i]);
    machine.write(KVML_APIC_TIMER_INITIAL, 1000);
    EXPECT_EQ(machine.apic().deadline_ns, machine.now_ns + 1000 * divisors[i]) << codes[i];
  }
}

TEST(LapicTimer, NewDivisorGoesOnFromTheCurrentCount) {
  auto machine = with_timer(0x40, kDivideByOne);
  machine.write(KVML_APIC_TIMER_INITIAL, 1000);
  machine.now_ns += 400;
  machine.write(KVML_APIC_TIMER_DIVIDE, kDivideBySixteen);
  EXPECT_EQ(machine.read(KVML_APIC_TIMER_CURRENT), 600u);
  EXPECT_EQ(machine.apic().deadline_ns, machine.now_ns + 600 * 16);
}

TEST(LapicTimer, WritingZeroStops) {
  auto machine = with_timer(0x40);
  machine.write(KVML_APIC_TIMER_INITIAL, 1000);
  machine.write(KVML_APIC_TIMER_INITIAL, 0);
  EXPECT_TRUE(machine.apic().timer_changed);
  EXPECT_EQ(machine.apic().deadline_ns, 0u);
}

TEST(LapicTimer, PeriodicKeepsItsGrid) {
  auto machine = with_timer(0x40 | kPeriodic);
  machine.write(KVML_APIC_TIMER_INITIAL, 1000000);
  const uint64_t start = machine.now_ns;
  machine.now_ns = start + 1000000 + 300;
  machine.expire();
  EXPECT_EQ(machine.apic().deadline_ns, start + 2000000) << "lateness does not add up";
  machine.now_ns = start + 5500000;
  machine.expire();
  EXPECT_EQ(machine.apic().deadline_ns, start + 6000000) << "what was missed stays missed";
  EXPECT_EQ(machine.take(), 0x40);
}

TEST(LapicTimer, PeriodHasALowerLimit) {
  auto machine = with_timer(0x40 | kPeriodic);
  machine.write(KVML_APIC_TIMER_INITIAL, 1);
  EXPECT_EQ(machine.apic().deadline_ns, machine.now_ns + KVML_APIC_MIN_PERIOD_NS);
  machine.now_ns = machine.apic().deadline_ns;
  machine.expire();
  EXPECT_EQ(machine.apic().deadline_ns, machine.now_ns + KVML_APIC_MIN_PERIOD_NS);
}

TEST(LapicTimer, MaskedTimerCountsInSilence) {
  auto machine = with_timer(0x40 | kMasked);
  machine.write(KVML_APIC_TIMER_INITIAL, 100);
  machine.now_ns += 100;
  machine.expire();
  EXPECT_EQ(machine.pending(), -1);
  EXPECT_EQ(machine.apic().deadline_ns, 0u);
}

TEST(LapicTimer, AnIllegalVectorsErrorInterrupts) {
  auto machine = with_timer(0x05);
  machine.write(KVML_APIC_LVT_ERROR, 0xfe);
  machine.write(KVML_APIC_TIMER_INITIAL, 100);
  machine.now_ns += 100;
  machine.expire();
  EXPECT_EQ(machine.take(), 0xfe);
}

TEST(LapicTimer, DeadlineModeComparesTheTsc) {
  auto machine = with_timer(0x40 | kDeadlineMode);
  kvml_apic_write_tsc_deadline(&machine.apic(), 5000);
  EXPECT_TRUE(machine.apic().timer_changed);
  EXPECT_EQ(machine.apic().tsc_deadline, 5000u);
  machine.expire(4999);
  EXPECT_EQ(machine.pending(), -1);
  machine.expire(5000);
  EXPECT_EQ(machine.take(), 0x40);
  EXPECT_EQ(machine.apic().tsc_deadline, 0u);
}

TEST(LapicTimer, DeadlineIsIgnoredInOtherModes) {
  auto machine = with_timer(0x40);
  machine.write(KVML_APIC_TPR, 0);
  kvml_apic_write_tsc_deadline(&machine.apic(), 5000);
  EXPECT_FALSE(machine.apic().timer_changed);
  EXPECT_EQ(machine.apic().tsc_deadline, 0u);
}

TEST(LapicTimer, InitialCountIsIgnoredInDeadlineMode) {
  auto machine = with_timer(0x40 | kDeadlineMode);
  machine.write(KVML_APIC_TIMER_INITIAL, 100);
  EXPECT_EQ(machine.read(KVML_APIC_TIMER_INITIAL), 0u);
  EXPECT_EQ(machine.apic().deadline_ns, 0u);
}

TEST(LapicTimer, ChangingToOrFromDeadlineModeDisarms) {
  auto machine = with_timer(0x40);
  machine.write(KVML_APIC_TIMER_INITIAL, 1000);
  machine.write(KVML_APIC_LVT_TIMER, 0x40 | kDeadlineMode);
  EXPECT_TRUE(machine.apic().timer_changed);
  EXPECT_EQ(machine.apic().deadline_ns, 0u);
  kvml_apic_write_tsc_deadline(&machine.apic(), 5000);
  machine.write(KVML_APIC_LVT_TIMER, 0x40 | kPeriodic);
  EXPECT_EQ(machine.apic().tsc_deadline, 0u);
}

TEST(LapicTimer, OneShotMayBecomePeriodicWhileItCounts) {
  auto machine = with_timer(0x40);
  machine.write(KVML_APIC_TIMER_INITIAL, 1000000);
  const uint64_t deadline = machine.apic().deadline_ns;
  machine.write(KVML_APIC_LVT_TIMER, 0x40 | kPeriodic);
  EXPECT_EQ(machine.apic().deadline_ns, deadline);
  machine.now_ns = deadline;
  machine.expire();
  EXPECT_EQ(machine.apic().deadline_ns, deadline + 1000000);
}

TEST(LapicTimer, ReservedModeNeverRuns) {
  auto machine = with_timer(0x40 | kPeriodic | kDeadlineMode);
  machine.write(KVML_APIC_TIMER_INITIAL, 100);
  kvml_apic_write_tsc_deadline(&machine.apic(), 1);
  machine.now_ns += 1000000000;
  machine.expire(~0ULL);
  EXPECT_EQ(machine.pending(), -1);
}

TEST(LapicState, SurvivesSaveAndRestore) {
  auto machine = ApicMachine::enabled(4);
  machine.write(KVML_APIC_LVT_TIMER, 0xec);
  machine.write(KVML_APIC_TIMER_DIVIDE, kDivideByOne);
  machine.write(KVML_APIC_TIMER_INITIAL, 5000);
  machine.write(KVML_APIC_LDR, 0x10000000);
  machine.raise(0x55);
  EXPECT_EQ(machine.take(), 0x55);
  machine.raise(0x31);
  machine.raise(0x99);
  machine.now_ns += 2000;
  Page page{};
  kvml_apic_save(&machine.apic(), page.data());

  ApicMachine restored(4);
  restored.now_ns = 77777;
  ASSERT_EQ(kvml_apic_restore(&restored.apic(), page.data()), 0);
  EXPECT_EQ(restored.apic().deadline_ns, restored.now_ns + 3000);
  EXPECT_EQ(restored.take(), 0x99);
  restored.write(KVML_APIC_EOI, 0);
  EXPECT_EQ(restored.take(), -1) << "0x55 is in service";
  restored.write(KVML_APIC_EOI, 0);
  EXPECT_EQ(restored.take(), 0x31);
  EXPECT_EQ(restored.read(KVML_APIC_LDR), 0x10000000u);
}

TEST(LapicState, X2apicIdStandsWhereTheAbiWantsIt) {
  auto machine = ApicMachine::x2apic(9);
  ASSERT_EQ(machine.write_msr(KVML_APIC_ICR, 0x0000000300000844), 0);
  Page page{};
  kvml_apic_save(&machine.apic(), page.data());
  EXPECT_EQ(page[4 * KVML_APIC_ID], 9u << 24);
  ASSERT_EQ(kvml_apic_restore(&machine.apic(), page.data()), 0);
  uint64_t command = 0;
  ASSERT_EQ(machine.read_msr(KVML_APIC_ICR, command), 0);
  EXPECT_EQ(command, 0x0000000300000844u);
}

TEST(LapicState, RefusesAnotherOnesId) {
  auto machine = ApicMachine::enabled(4);
  machine.raise(0x31);
  Page page{};
  kvml_apic_save(&machine.apic(), page.data());
  ApicMachine other(5);
  EXPECT_EQ(kvml_apic_restore(&other.apic(), page.data()), -EINVAL);
  EXPECT_EQ(other.read(KVML_APIC_IRR + 1), 0u);
}

TEST(LapicState, WhatCannotBeIsMaskedAway) {
  Page page{};
  page.fill(~0U);
  ApicMachine machine(0xff);
  ASSERT_EQ(kvml_apic_restore(&machine.apic(), page.data()), 0);
  EXPECT_EQ(machine.read(KVML_APIC_IRR), 0xffff0000u);
  EXPECT_EQ(machine.read(KVML_APIC_TIMER_DIVIDE), kDivideByOne);
  EXPECT_EQ(machine.read(KVML_APIC_LVT_ERROR), 0x000100ffu);
  EXPECT_EQ(machine.pending(), -1) << "everything is in service";
  EXPECT_EQ(machine.apic().deadline_ns, 0u) << "timer mode 3";
}

TEST(LapicState, PeriodicTimerAtZeroStartsOver) {
  auto machine = with_timer(0x40 | kPeriodic);
  machine.write(KVML_APIC_TIMER_INITIAL, 1000000);
  machine.now_ns += 1000000;
  Page page{};
  kvml_apic_save(&machine.apic(), page.data());
  ASSERT_EQ(kvml_apic_restore(&machine.apic(), page.data()), 0);
  EXPECT_EQ(machine.apic().deadline_ns, machine.now_ns + 1000000);
}

TEST(LapicState, OneShotTimerAtItsLastMomentIsNotLost) {
  auto machine = with_timer(0x40, kDivideBySixteen);
  machine.write(KVML_APIC_TIMER_INITIAL, 100);
  machine.now_ns += 16 * 100 - 1;
  Page page{};
  kvml_apic_save(&machine.apic(), page.data());
  ASSERT_EQ(kvml_apic_restore(&machine.apic(), page.data()), 0);
  machine.now_ns += 16;
  machine.expire();
  EXPECT_EQ(machine.take(), 0x40);
}

TEST(LapicState, RestoredWhileDisabledIsMasked) {
  auto machine = ApicMachine::enabled();
  machine.write(KVML_APIC_LVT_TIMER, 0x40);
  Page page{};
  kvml_apic_save(&machine.apic(), page.data());
  page[4 * KVML_APIC_SVR] &= 0xff;
  ASSERT_EQ(kvml_apic_restore(&machine.apic(), page.data()), 0);
  EXPECT_EQ(machine.read(KVML_APIC_LVT_TIMER), 0x40u | kMasked);
}

}  // namespace
}  // namespace mote::kvm_lite
