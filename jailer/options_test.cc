#include "jailer/options.h"

#include <gtest/gtest.h>

#include <vector>

namespace mote::jailer {
namespace {

std::variant<Options, Leave> parse(std::vector<const char*> words) {
  words.insert(words.begin(), "jailer");
  return parse_options(static_cast<int>(words.size()), words.data());
}

std::vector<const char*> with(std::vector<const char*> more) {
  std::vector<const char*> words = {"--id",  "vm-1", "--exec-file", "/usr/bin/mote",
                                    "--uid", "123",  "--gid",       "100"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

TEST(JailerOptions, TakesWhatLaunchScriptsGive) {
  const auto parsed = parse(with({"--chroot-base-dir",
                                  "/srv/jailer",
                                  "--netns",
                                  "/run/netns/vm1",
                                  "--cgroup",
                                  "memory.max=256M",
                                  "--cgroup",
                                  "cpu.max=50000 100000",
                                  "--cgroup-version",
                                  "2",
                                  "--parent-cgroup",
                                  "vms/tenant",
                                  "--resource-limit",
                                  "fsize=1000",
                                  "--resource-limit",
                                  "no-file=64",
                                  "--daemonize",
                                  "--new-pid-ns",
                                  "--bind",
                                  "/img/vmlinux=boot/vmlinux:ro",
                                  "--link",
                                  "/img/a=b.ext4=/disk",
                                  "--",
                                  "--api-sock",
                                  "/run/x.sock",
                                  "--id"}));
  ASSERT_TRUE(std::holds_alternative<Options>(parsed));
  const auto& options = std::get<Options>(parsed);
  EXPECT_EQ(options.uid, 123U);
  ASSERT_EQ(options.cgroup_settings.size(), 2U);
  EXPECT_EQ(options.cgroup_settings[1].file, "cpu.max");
  EXPECT_EQ(options.cgroup_settings[1].value, "50000 100000");
  EXPECT_EQ(options.file_size_limit, 1000U);
  EXPECT_EQ(options.descriptor_limit, 64U);
  EXPECT_TRUE(options.daemonize && options.new_pid_namespace);
  ASSERT_EQ(options.files.size(), 2U);
  EXPECT_EQ(options.files[0].source, "/img/a=b.ext4");
  EXPECT_EQ(options.files[0].name, "disk");
  EXPECT_EQ(options.files[1].how, FileSetting::How::kBindReadOnly);
  EXPECT_EQ(options.files[1].name, "boot/vmlinux");
  // Behind "--" nothing is ours, not even what looks like it.
  EXPECT_EQ(options.monitor_arguments,
            (std::vector<std::string>{"--api-sock", "/run/x.sock", "--id"}));
}

TEST(JailerOptions, RefusesByNamingTheArgument) {
  const std::pair<std::vector<const char*>, const char*> cases[] = {
      {{}, "--id"},
      {{"--id", "a/b", "--exec-file", "/x", "--uid", "1", "--gid", "1"}, "--id"},
      {{"--id", "..", "--exec-file", "/x", "--uid", "1", "--gid", "1"}, "--id"},
      {{"--id", "", "--exec-file", "/x", "--uid", "1", "--gid", "1"}, "--id"},
      {{"--id", "a", "--exec-file", "/x", "--uid", "-1", "--gid", "1"}, "--uid"},
      {with({"--cgroup", "memory.max"}), "--cgroup"},
      {with({"--cgroup", "../memory.max=1"}), "--cgroup"},
      {with({"--cgroup", "a/memory.max=1"}), "--cgroup"},
      {with({"--cgroup-version", "3"}), "--cgroup-version"},
      {with({"--parent-cgroup", "../x"}), "--parent-cgroup"},
      {with({"--parent-cgroup", "/x"}), "--parent-cgroup"},
      {with({"--resource-limit", "nproc=1"}), "--resource-limit"},
      {with({"--resource-limit", "fsize=many"}), "--resource-limit"},
      {with({"--link", "relative=x"}), "--link"},
      {with({"--link", "/a=../x"}), "--link"},
      {with({"--bind", "/a=x/../../y"}), "--bind"},
      {with({"--bind", "/a="}), "--bind"},
      {with({"--kvm-device", "/etc/passwd"}), "--kvm-device"},
      {with({"--kvm-device", "/dev/../etc"}), "--kvm-device"},
      {with({"--keep-fd", "1"}), "--keep-fd"},
      {with({"--no-such-thing"}), "--no-such-thing"},
  };
  for (const auto& [words, name] : cases) {
    testing::internal::CaptureStderr();
    const auto parsed = parse(words);
    const std::string said = testing::internal::GetCapturedStderr();
    ASSERT_TRUE(std::holds_alternative<Leave>(parsed)) << name;
    EXPECT_EQ(std::get<Leave>(parsed).code, 1);
    EXPECT_NE(said.find(name), std::string::npos) << said;
  }
}

}  // namespace
}  // namespace mote::jailer
