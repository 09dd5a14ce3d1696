// Priorities, messages and destinations.
#include <gtest/gtest.h>

#include "kvm-lite/tests/apic_machine.h"

namespace mote::kvm_lite {
namespace {

TEST(LapicPriority, TakesTheHighestVectorFirst) {
  auto machine = ApicMachine::enabled();
  machine.raise(0x31);
  machine.raise(0xf0);
  machine.raise(0x80);
  EXPECT_EQ(machine.take(), 0xf0);
  EXPECT_EQ(machine.pending(), -1) << "lower classes wait for the end of the interrupt";
  machine.write(KVML_APIC_EOI, 0);
  EXPECT_EQ(machine.take(), 0x80);
  machine.write(KVML_APIC_EOI, 0);
  EXPECT_EQ(machine.take(), 0x31);
  machine.write(KVML_APIC_EOI, 0);
  EXPECT_EQ(machine.take(), -1);
}

TEST(LapicPriority, HigherClassInterruptsLowerOne) {
  auto machine = ApicMachine::enabled();
  machine.raise(0x31);
  EXPECT_EQ(machine.take(), 0x31);
  machine.raise(0x3f);
  EXPECT_EQ(machine.pending(), -1) << "same class, higher vector";
  machine.raise(0x40);
  EXPECT_EQ(machine.take(), 0x40);
  EXPECT_EQ(machine.read(KVML_APIC_PPR), 0x40u);
  machine.write(KVML_APIC_EOI, 0);
  EXPECT_EQ(machine.read(KVML_APIC_PPR), 0x30u);
}

TEST(LapicPriority, TaskPriorityHoldsBackItsClassAndBelow) {
  auto machine = ApicMachine::enabled();
  machine.write(KVML_APIC_TPR, 0x50);
  machine.raise(0x5f);
  EXPECT_EQ(machine.pending(), -1);
  machine.raise(0x60);
  EXPECT_EQ(machine.pending(), 0x60);
  machine.write(KVML_APIC_TPR, 0x40);
  EXPECT_EQ(machine.take(), 0x60);
}

TEST(LapicPriority, AnInterruptRaisedTwiceIsTakenOnce) {
  auto machine = ApicMachine::enabled();
  machine.raise(0x31);
  machine.raise(0x31);
  EXPECT_EQ(machine.take(), 0x31);
  machine.raise(0x31);
  machine.write(KVML_APIC_EOI, 0);
  EXPECT_EQ(machine.take(), 0x31) << "one more waits";
}

TEST(LapicPriority, EndOfNothingDoesNothing) {
  auto machine = ApicMachine::enabled();
  machine.write(KVML_APIC_EOI, 0);
  EXPECT_EQ(machine.take_ended(), 0);
}

TEST(LapicPriority, EndOfALevelInterruptIsReported) {
  auto machine = ApicMachine::enabled();
  kvml_apic_accept(&machine.apic(), 0x31, true);
  EXPECT_EQ(machine.take(), 0x31);
  machine.write(KVML_APIC_EOI, 0);
  EXPECT_EQ(machine.take_ended(), 0x31);
  machine.raise(0x31);
  machine.take();
  machine.write(KVML_APIC_EOI, 0);
  EXPECT_EQ(machine.take_ended(), 0) << "by edge this time";
}

TEST(LapicMessage, DisabledLapicTakesNoFixedInterrupt) {
  ApicMachine machine;
  EXPECT_FALSE(machine.raise(0x31));
  EXPECT_EQ(machine.pending(), -1);
}

TEST(LapicMessage, LegalVectorsBeginAtSixteen) {
  auto machine = ApicMachine::enabled();
  EXPECT_FALSE(machine.raise(15));
  EXPECT_TRUE(machine.raise(16));
  machine.write(KVML_APIC_ESR, 0);
  EXPECT_EQ(machine.read(KVML_APIC_ESR), 1u << 6) << "received illegal vector";
  machine.write(KVML_APIC_ESR, 0);
  EXPECT_EQ(machine.read(KVML_APIC_ESR), 0u);
}

TEST(LapicMessage, ErrorsInterruptThroughTheirLvtEntry) {
  auto machine = ApicMachine::enabled();
  machine.write(KVML_APIC_LVT_ERROR, 0xfe);
  machine.raise(3);
  EXPECT_EQ(machine.take(), 0xfe);
  machine.write(KVML_APIC_EOI, 0);
  machine.raise(4);
  EXPECT_EQ(machine.take(), -1) << "the error has not been read yet";
}

TEST(LapicMessage, IllegalErrorVectorIsNotRaised) {
  auto machine = ApicMachine::enabled();
  machine.write(KVML_APIC_LVT_ERROR, 0x02);
  machine.raise(3);
  EXPECT_EQ(machine.take(), -1);
}

TEST(LapicMessage, LapicOffTakesNothing) {
  auto machine = ApicMachine::enabled();
  ASSERT_EQ(machine.set_base(KVML_APIC_DEFAULT_BASE), 0);
  EXPECT_FALSE(machine.raise(0x44));
  kvml_apic_message message{};
  EXPECT_FALSE(kvml_apic_matches(&machine.apic(), &message, nullptr));
}

kvml_apic_message to(uint32_t destination, bool logical, bool wide) {
  kvml_apic_message message{};
  message.vector = 0x40;
  message.destination = destination;
  message.logical = logical;
  message.wide = wide;
  return message;
}

bool matches(ApicMachine& machine, const kvml_apic_message& message) {
  return kvml_apic_matches(&machine.apic(), &message, nullptr);
}

TEST(LapicDestination, PhysicalNamesOneOrAll) {
  auto machine = ApicMachine::enabled(5);
  EXPECT_TRUE(matches(machine, to(5, false, false)));
  EXPECT_FALSE(matches(machine, to(4, false, false)));
  EXPECT_TRUE(matches(machine, to(0xff, false, false)));
  EXPECT_FALSE(matches(machine, to(0xff, false, true))) << "255 is an id among 32-bit ones";
  EXPECT_TRUE(matches(machine, to(0xffffffff, false, true)));
}

TEST(LapicDestination, OnlyAPhysicalIdNamesOne) {
  const auto names_one = [](const kvml_apic_message& message) {
    return kvml_apic_names_one(&message);
  };
  EXPECT_TRUE(names_one(to(5, false, false)));
  EXPECT_TRUE(names_one(to(0xff, false, true)));
  EXPECT_FALSE(names_one(to(0xff, false, false)));
  EXPECT_FALSE(names_one(to(0xffffffff, false, true)));
  EXPECT_FALSE(names_one(to(1, true, false)));
  auto message = to(5, false, false);
  message.shorthand = KVML_APIC_ALL;
  EXPECT_FALSE(names_one(message)) << "a shorthand takes no notice of the destination";
}

TEST(LapicDestination, FlatModelIsAMask) {
  auto machine = ApicMachine::enabled(2);
  machine.write(KVML_APIC_LDR, 0x04000000);
  EXPECT_TRUE(matches(machine, to(0x04, true, false)));
  EXPECT_TRUE(matches(machine, to(0x0c, true, false)));
  EXPECT_FALSE(matches(machine, to(0x03, true, false)));
  EXPECT_FALSE(matches(machine, to(0x0104, true, true)));
}

TEST(LapicDestination, ClusterModelHasClusterAndMask) {
  auto machine = ApicMachine::enabled(2);
  machine.write(KVML_APIC_DFR, 0x0fffffff);
  machine.write(KVML_APIC_LDR, 0x24000000);
  EXPECT_TRUE(matches(machine, to(0x24, true, false)));
  EXPECT_TRUE(matches(machine, to(0x2f, true, false)));
  EXPECT_FALSE(matches(machine, to(0x34, true, false)));
  EXPECT_FALSE(matches(machine, to(0x23, true, false)));
}

TEST(LapicDestination, X2apicLogicalIdFollowsFromTheId) {
  auto machine = ApicMachine::x2apic(0x25);
  uint64_t value = 0;
  ASSERT_EQ(machine.read_msr(KVML_APIC_LDR, value), 0);
  EXPECT_EQ(value, 0x00020020u);
  EXPECT_TRUE(matches(machine, to(0x00020020, true, true)));
  EXPECT_TRUE(matches(machine, to(0x0002ffff, true, true)));
  EXPECT_FALSE(matches(machine, to(0x00030020, true, true)));
  EXPECT_FALSE(matches(machine, to(0x0002001f, true, true)));
  EXPECT_TRUE(matches(machine, to(0xff, false, false))) << "a device's broadcast";
}

TEST(LapicDestination, ShorthandsLookAtTheSender) {
  auto sender = ApicMachine::enabled(0);
  auto other = ApicMachine::enabled(1);
  auto message = to(0x77, false, false);
  const auto reaches = [&](ApicMachine& machine, uint8_t shorthand) {
    message.shorthand = shorthand;
    return kvml_apic_matches(&machine.apic(), &message, &sender.apic());
  };
  EXPECT_TRUE(reaches(sender, KVML_APIC_ALL));
  EXPECT_TRUE(reaches(other, KVML_APIC_ALL));
  EXPECT_FALSE(reaches(sender, KVML_APIC_ALL_BUT_SELF));
  EXPECT_TRUE(reaches(other, KVML_APIC_ALL_BUT_SELF));
}

}  // namespace
}  // namespace mote::kvm_lite
