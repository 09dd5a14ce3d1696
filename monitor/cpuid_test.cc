#include "monitor/cpuid.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace mote::monitor {
namespace {

kvm_cpuid_entry2 leaf(uint32_t function, uint32_t index = 0) {
  kvm_cpuid_entry2 entry{};
  entry.function = function;
  entry.index = index;
  if (index != 0 || function == 4) entry.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
  return entry;
}

std::vector<kvm_cpuid_entry2> host() {
  auto basic = leaf(0);
  basic.eax = 0x16;
  auto l1_cache = leaf(4, 0);
  l1_cache.eax = 1U | 1U << 5 | 63U << 14;
  auto l3_cache = leaf(4, 3);
  l3_cache.eax = 3U | 3U << 5 | 63U << 14;
  auto monitoring = leaf(0xa);
  monitoring.eax = 0x07300404;
  return {basic, leaf(1), l1_cache, l3_cache, leaf(6), monitoring, leaf(0x1f, 1), leaf(0x80000008)};
}

const kvm_cpuid_entry2& find(const std::vector<kvm_cpuid_entry2>& entries, uint32_t function,
                             uint32_t index = 0) {
  return *std::ranges::find_if(
      entries, [&](const auto& e) { return e.function == function && e.index == index; });
}

TEST(Cpuid, DescribesTheGuestsTopology) {
  const CpuTopology topology{.vcpu_count = 6, .threads_per_core = 2};
  auto entries = make_cpuid(host(), topology, TscDeadline::kPresent, {}).value();
  set_apic_id(entries, 5, topology);
  const auto& basic = find(entries, 1);
  EXPECT_EQ(basic.ebx >> 24, 5U);
  EXPECT_EQ(basic.ebx >> 16 & 0xff, 6U);
  EXPECT_TRUE(basic.ecx >> 24 & 1) << "TSC deadline";
  EXPECT_TRUE(basic.ecx >> 31 & 1) << "hypervisor";
  EXPECT_TRUE(basic.edx >> 28 & 1) << "HTT";
  EXPECT_EQ(find(entries, 0xb, 0).eax, 1U);
  EXPECT_EQ(find(entries, 0xb, 1).eax, 3U);
  EXPECT_EQ(find(entries, 0xb, 1).ebx, 6U);
  EXPECT_EQ(find(entries, 0xb, 1).edx, 5U);
  EXPECT_EQ(find(entries, 4, 0).eax >> 14 & 0xfff, 1U) << "L1 is shared by a core's threads";
  EXPECT_EQ(find(entries, 4, 3).eax >> 14 & 0xfff, 5U) << "L3 is shared by all";
  EXPECT_TRUE(std::ranges::none_of(entries, [](const auto& e) { return e.function == 0x1f; }));
}

TEST(Cpuid, HidesPerformanceMonitoring) {
  const auto entries = make_cpuid(host(), {}, TscDeadline::kAbsent, {}).value();
  EXPECT_EQ(find(entries, 0xa).eax, 0U);
  EXPECT_EQ(find(entries, 6).eax, 4U);
  EXPECT_FALSE(find(entries, 1).ecx >> 24 & 1);
  EXPECT_FALSE(find(entries, 1).edx >> 28 & 1);
}

TEST(Cpuid, AppliesModifiersAndNamesUnknownLeaves) {
  CpuConfig config;
  config.cpuid_modifiers.push_back({0x1, 0, 0, {{CpuidRegister::kEcx, {0x80000001, 0x1}}}});
  const auto entries = make_cpuid(host(), {}, TscDeadline::kAbsent, config).value();
  EXPECT_EQ(find(entries, 1).ecx, 1U);
  config.cpuid_modifiers.push_back({0x77, 2, 0, {}});
  const auto refused = make_cpuid(host(), {}, TscDeadline::kAbsent, config);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("leaf 0x77 subleaf 0x2"), std::string::npos);
}

}  // namespace
}  // namespace mote::monitor
