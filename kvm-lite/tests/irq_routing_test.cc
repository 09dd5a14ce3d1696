#include <gtest/gtest.h>
#include <linux/kvm.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <vector>

extern "C" {
#include "kvm-lite/irq_routing.h"
}

namespace mote::kvm_lite {
namespace {

struct FreeRoutes {
  void operator()(kvml_routes* routes) const { std::free(routes); }
};
using Routes = std::unique_ptr<kvml_routes, FreeRoutes>;

kvm_irq_routing_entry route(uint32_t gsi, uint32_t data = 0x31) {
  kvm_irq_routing_entry entry{};
  entry.gsi = gsi;
  entry.type = KVM_IRQ_ROUTING_MSI;
  entry.u.msi.address_lo = 0xfee01000;
  entry.u.msi.data = data;
  return entry;
}

Routes build(const std::vector<kvm_irq_routing_entry>& entries) {
  const auto count = static_cast<uint32_t>(entries.size());
  const int needed = kvml_routes_needed(entries.data(), count);
  EXPECT_GE(needed, 0);
  const auto places = static_cast<size_t>(needed);
  Routes routes(
      static_cast<kvml_routes*>(std::calloc(1, sizeof(kvml_routes) + places * sizeof(kvml_msi))));
  routes->count = static_cast<uint32_t>(needed);
  return kvml_routes_fill(routes.get(), entries.data(), count) == 0 ? std::move(routes) : nullptr;
}

TEST(IrqRouting, FindsRoutesByGsi) {
  const Routes routes = build({route(5, 0x35), route(0, 0x30)});
  ASSERT_NE(routes, nullptr);
  EXPECT_EQ(routes->count, 6u);
  EXPECT_EQ(kvml_routes_find(routes.get(), 5)->data, 0x35u);
  EXPECT_EQ(kvml_routes_find(routes.get(), 0)->data, 0x30u);
  EXPECT_EQ(kvml_routes_find(routes.get(), 3), nullptr);
  EXPECT_EQ(kvml_routes_find(routes.get(), 6), nullptr);
  EXPECT_EQ(kvml_routes_find(routes.get(), 0xffffffff), nullptr);
  EXPECT_EQ(kvml_routes_find(nullptr, 0), nullptr);
}

TEST(IrqRouting, EmptyTable) {
  EXPECT_EQ(kvml_routes_needed(nullptr, 0), 0);
  const Routes routes = build({});
  EXPECT_EQ(kvml_routes_find(routes.get(), 0), nullptr);
}

TEST(IrqRouting, LastGsiIsTheLimit) {
  auto entry = route(KVML_ROUTES_MAX - 1);
  EXPECT_EQ(kvml_routes_needed(&entry, 1), static_cast<int>(KVML_ROUTES_MAX));
  entry.gsi = KVML_ROUTES_MAX;
  EXPECT_EQ(kvml_routes_needed(&entry, 1), -EINVAL);
  entry.gsi = 0xffffffff;
  EXPECT_EQ(kvml_routes_needed(&entry, 1), -EINVAL);
}

TEST(IrqRouting, RefusesTooManyEntries) {
  const std::vector<kvm_irq_routing_entry> entries(KVML_ROUTES_MAX + 1, route(0));
  EXPECT_EQ(kvml_routes_needed(entries.data(), KVML_ROUTES_MAX + 1), -EINVAL);
}

TEST(IrqRouting, RefusesOtherKindsAndFlags) {
  auto entry = route(0);
  entry.type = KVM_IRQ_ROUTING_IRQCHIP;
  EXPECT_EQ(kvml_routes_needed(&entry, 1), -EINVAL);
  entry = route(0);
  entry.flags = 2;
  EXPECT_EQ(kvml_routes_needed(&entry, 1), -EINVAL);
  entry.flags = KVM_MSI_VALID_DEVID;
  EXPECT_EQ(kvml_routes_needed(&entry, 1), 1);
}

TEST(IrqRouting, RefusesASecondRouteForAGsi) {
  EXPECT_EQ(build({route(3), route(4), route(3)}), nullptr);
}

TEST(IrqRouting, FillStaysInItsTable) {
  kvml_routes empty{};
  const auto entry = route(0);
  EXPECT_EQ(kvml_routes_fill(&empty, &entry, 1), -EINVAL);
}

TEST(MsiDecode, ReadsEveryField) {
  kvml_msi msi{0xfee23000, 0x00004131, true};
  kvml_apic_message message{};
  ASSERT_TRUE(kvml_msi_decode(&msi, &message));
  EXPECT_EQ(message.destination, 0x23u);
  EXPECT_EQ(message.vector, 0x31);
  EXPECT_EQ(message.delivery, KVML_APIC_LOWEST_PRIORITY);
  EXPECT_FALSE(message.logical);
  EXPECT_FALSE(message.level_triggered);
  EXPECT_FALSE(message.wide);
  EXPECT_TRUE(message.lowest_priority);

  msi = {0xfee0100c, 0x0000c045, true};
  ASSERT_TRUE(kvml_msi_decode(&msi, &message));
  EXPECT_TRUE(message.logical);
  EXPECT_TRUE(message.lowest_priority) << "redirection hint";
  EXPECT_TRUE(message.level_triggered);
  EXPECT_FALSE(message.deasserted);
  EXPECT_EQ(message.delivery, KVML_APIC_FIXED);
}

TEST(MsiDecode, OtherAddressesAreNotInterrupts) {
  kvml_apic_message message{};
  for (const uint32_t address : {0U, 0xfed00000U, 0xfef00000U}) {
    const kvml_msi msi{address, 0x31, true};
    EXPECT_FALSE(kvml_msi_decode(&msi, &message)) << std::hex << address;
  }
}

TEST(IrqRouting, UserSpaceHearsOfItsLevelInterrupts) {
  constexpr uint32_t kLevel = 1U << 15;
  const Routes routes = build({route(3, kLevel | 0x33), route(4, 0x34), route(24, kLevel | 0x48)});
  EXPECT_TRUE(kvml_routes_ioapic_owns(routes.get(), 24, 0x33));
  EXPECT_FALSE(kvml_routes_ioapic_owns(routes.get(), 24, 0x34)) << "by edge";
  EXPECT_FALSE(kvml_routes_ioapic_owns(routes.get(), 24, 0x48)) << "not a pin";
  EXPECT_FALSE(kvml_routes_ioapic_owns(nullptr, 24, 0x33));
}

}  // namespace
}  // namespace mote::kvm_lite
