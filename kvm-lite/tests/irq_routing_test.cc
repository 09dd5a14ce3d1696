#include <gtest/gtest.h>
#include <linux/kvm.h>

#include <cerrno>
#include <optional>
#include <vector>

extern "C" {
#include "kvm-lite/irq_routing.h"
}

namespace mote::kvm_lite {
namespace {

using Entries = std::vector<kvm_irq_routing_entry>;

kvm_irq_routing_entry route(uint32_t gsi, uint32_t data = 0x31) {
  kvm_irq_routing_entry entry{};
  entry.gsi = gsi;
  entry.type = KVM_IRQ_ROUTING_MSI;
  entry.u.msi.address_lo = 0xfee01000;
  entry.u.msi.data = data;
  return entry;
}

uint32_t gsis(const Entries& entries) {
  return kvml_routes_gsis(entries.data(), static_cast<uint32_t>(entries.size()));
}

std::optional<std::vector<kvml_apic_message>> build(const Entries& entries) {
  std::vector<kvml_apic_message> messages(gsis(entries));
  if (kvml_routes_fill(messages.data(), static_cast<uint32_t>(messages.size()), entries.data(),
                       static_cast<uint32_t>(entries.size())) != 0)
    return std::nullopt;
  return messages;
}

TEST(IrqRouting, EachGsiHasItsMessage) {
  const auto messages = build({route(5, 0x35), route(0, 0x30)});
  ASSERT_TRUE(messages);
  ASSERT_EQ(messages->size(), 6u);
  EXPECT_EQ((*messages)[5].vector, 0x35);
  EXPECT_EQ((*messages)[0].vector, 0x30);
  EXPECT_EQ((*messages)[3].delivery, KVML_APIC_NOWHERE);
}

TEST(IrqRouting, EmptyTable) {
  EXPECT_EQ(gsis({}), 0u);
  EXPECT_TRUE(build({}));
}

TEST(IrqRouting, LastGsiIsTheLimit) {
  EXPECT_EQ(gsis({route(KVML_ROUTES_MAX - 1)}), KVML_ROUTES_MAX);
  EXPECT_TRUE(build({route(KVML_ROUTES_MAX - 1)}));
  EXPECT_FALSE(build({route(KVML_ROUTES_MAX)}));
  EXPECT_FALSE(build({route(0xffffffff), route(3)}));
  EXPECT_EQ(gsis({route(0xffffffff), route(3)}), 4u);
}

TEST(IrqRouting, RefusesOtherKindsAndFlags) {
  auto entry = route(0);
  entry.type = KVM_IRQ_ROUTING_IRQCHIP;
  EXPECT_FALSE(build({entry}));
  entry = route(0);
  entry.flags = 2;
  EXPECT_FALSE(build({entry}));
  entry.flags = KVM_MSI_VALID_DEVID;
  EXPECT_TRUE(build({entry}));
}

TEST(IrqRouting, RefusesASecondRouteForAGsi) {
  EXPECT_FALSE(build({route(3), route(4), route(3)}));
}

TEST(IrqRouting, AnAddressOfNoLapicIsNoRoute) {
  auto entry = route(0);
  entry.u.msi.address_lo = 0xfed00000;
  const auto messages = build({entry});
  ASSERT_TRUE(messages);
  EXPECT_EQ((*messages)[0].delivery, KVML_APIC_NOWHERE);
}

TEST(IrqRouting, FillStaysInItsTable) {
  const auto entry = route(0);
  EXPECT_EQ(kvml_routes_fill(nullptr, 0, &entry, 1), -EINVAL);
}

TEST(Msi, SaysEverything) {
  kvml_apic_message message = kvml_message_of_msi(0xfee23000, 0x00004131);
  EXPECT_EQ(message.destination, 0x23u);
  EXPECT_EQ(message.vector, 0x31);
  EXPECT_EQ(message.delivery, KVML_APIC_LOWEST_PRIORITY);
  EXPECT_FALSE(message.logical);
  EXPECT_FALSE(message.level_triggered);
  EXPECT_FALSE(message.wide);
  EXPECT_TRUE(message.lowest_priority);

  message = kvml_message_of_msi(0xfee0100c, 0x0000c045);
  EXPECT_TRUE(message.logical);
  EXPECT_TRUE(message.lowest_priority) << "redirection hint";
  EXPECT_TRUE(message.level_triggered);
  EXPECT_FALSE(message.deasserted);
  EXPECT_EQ(message.delivery, KVML_APIC_FIXED);
  EXPECT_TRUE(kvml_message_of_msi(0xfee00000, 0x8500).deasserted) << "INIT level de-assert";
}

TEST(Msi, ToOtherAddressesIsNoInterrupt) {
  for (const uint32_t address : {0U, 0xfed00000U, 0xfef00000U}) {
    EXPECT_EQ(kvml_message_of_msi(address, 0x31).delivery, KVML_APIC_NOWHERE);
  }
}

}  // namespace
}  // namespace mote::kvm_lite
