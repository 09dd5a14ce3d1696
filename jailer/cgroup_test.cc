#include "jailer/cgroup.h"

#include <gtest/gtest.h>

namespace mote::jailer {
namespace {

constexpr const char* kUnified = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
constexpr const char* kLegacy =
    "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n"
    "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n"
    "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n";

Options options_with(std::vector<CgroupSetting> settings) {
  Options options;
  options.id = "vm1";
  options.cgroup_settings = std::move(settings);
  return options;
}

TEST(CgroupPlan, NothingAskedNothingDone) {
  const auto plans = plan_cgroups(options_with({}), "mote", kUnified);
  ASSERT_TRUE(plans);
  EXPECT_TRUE(plans->empty());
}

TEST(CgroupPlan, UnifiedHasOneGroupForAllSettings) {
  const auto plans =
      plan_cgroups(options_with({{"memory.max", "1M"}, {"cpu.weight", "10"}}), "mote", kUnified);
  ASSERT_TRUE(plans) << plans.error().message();
  ASSERT_EQ(plans->size(), 1U);
  EXPECT_EQ((*plans)[0].mount, "/sys/fs/cgroup");
  EXPECT_EQ((*plans)[0].path, "mote/vm1");
  EXPECT_EQ((*plans)[0].settings.size(), 2U);
}

TEST(CgroupPlan, AParentWithoutSettingsIsJoinedAsItIs) {
  Options options = options_with({});
  options.parent_cgroup = "tenants/a";
  const auto plans = plan_cgroups(options, "mote", kUnified);
  ASSERT_TRUE(plans);
  ASSERT_EQ(plans->size(), 1U);
  EXPECT_EQ((*plans)[0].path, "tenants/a");
  EXPECT_FALSE((*plans)[0].make);
}

TEST(CgroupPlan, LegacyHasOneGroupForEachHierarchy) {
  const auto plans = plan_cgroups(
      options_with({{"cpu.shares", "2"}, {"memory.limit_in_bytes", "1"}, {"cpuacct.usage", "0"}}),
      "mote", kLegacy);
  ASSERT_TRUE(plans) << plans.error().message();
  ASSERT_EQ(plans->size(), 2U);
  EXPECT_EQ((*plans)[0].mount, "/sys/fs/cgroup/cpu,cpuacct");
  EXPECT_EQ((*plans)[0].settings.size(), 2U);
  EXPECT_EQ((*plans)[1].version, 1);
}

TEST(CgroupPlan, WhatIsNotMountedIsNamed) {
  Options options = options_with({{"pids.max", "1"}});
  EXPECT_NE(plan_cgroups(options, "mote", kLegacy).error().message().find("pids.max"),
            std::string::npos);
  options.cgroup_version = 2;
  EXPECT_NE(plan_cgroups(options, "mote", kLegacy).error().message().find("cgroup2"),
            std::string::npos);
}

}  // namespace
}  // namespace mote::jailer
