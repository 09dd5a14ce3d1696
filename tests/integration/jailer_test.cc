// The jailer, and what a taken-over monitor finds in its jail: `intruder` runs there in its place.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/landlock.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <thread>

#include "base/unique_fd.h"
#include "tests/integration/guest_test.h"
#include "tests/integration/monitor_process.h"

namespace mote::integration {
namespace {

namespace fs = std::filesystem;

struct Finished {
  int exit_code = -1;
  std::string output;  ///< Standard output and error.
};

/// Runs a program to its end. `before` runs in the child; false ends it with code 96.
Finished run(std::vector<std::string> words, const std::string& output_path,
             bool (*before)(const std::string&) = nullptr, const std::string& argument = {}) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    const int out = ::open(output_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(out, STDERR_FILENO);
    if (before != nullptr && !before(argument)) ::_exit(96);
    ::execv(arguments[0], arguments.data());
    ::_exit(97);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), read_file(output_path)};
}

int landlock_version() {
  return static_cast<int>(
      ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION));
}

/// A listening unix socket; an empty first byte makes an abstract name.
base::UniqueFd listen_at(const std::string& name) {
  base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::copy(name.begin(), name.end(), address.sun_path);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + 1);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
  EXPECT_EQ(::listen(fd.get(), 1), 0);
  return fd;
}

class JailerTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can make jails";
    if (::access("/dev/kvm", F_OK) != 0) GTEST_SKIP() << "no /dev/kvm to give to a jail";
    fs::create_directory(base());
    if (::mknod(folder_.path("node").c_str(), S_IFCHR | 0600, 0x0a00) != 0) {
      GTEST_SKIP() << "devices cannot be made here: " << std::strerror(errno);
    }
  }

  [[nodiscard]] std::string base() const { return folder_.path("jails"); }
  [[nodiscard]] std::string root(const std::string& id) const {
    return base() + "/intruder/" + id + "/root";
  }

  [[nodiscard]] std::vector<std::string> words(const std::string& id,
                                               const std::vector<std::string>& options) const {
    std::vector<std::string> all = {
        JAILER_BINARY, "--id",  id,      "--exec-file",       INTRUDER_BINARY, "--uid",
        "65534",       "--gid", "65533", "--chroot-base-dir", base()};
    all.insert(all.end(), options.begin(), options.end());
    return all;
  }
  Finished jail(const std::string& id, const std::vector<std::string>& options) {
    return run(words(id, options), folder_.path("output-" + id));
  }

  /// What was made below the base, as relative paths.
  [[nodiscard]] std::vector<std::string> made() const {
    std::vector<std::string> paths;
    for (const auto& entry : fs::recursive_directory_iterator(base())) {
      paths.push_back(fs::relative(entry.path(), base()));
    }
    return paths;
  }

  TemporaryFolder folder_;
};

TEST_F(JailerTest, ThePlanIsShownAndNothingIsDone) {
  const auto kernel = folder_.write("kernel", "k");
  const Finished shown =
      jail("a", {"--dry-run", "--new-pid-ns", "--resource-limit", "no-file=64", "--bind",
                 kernel + "=boot/kernel:ro", "--", "--api-sock", "/run/x"});
  EXPECT_EQ(shown.exit_code, 0) << shown.output;
  size_t at = 0;
  for (const char* const step :
       {"close all descriptors", "clear the environment", "mount namespace", "make the folder",
        "claim the jail", "bind ", "as /boot/kernel, read-only", "make the device /dev/kvm",
        "make /run", "limit descriptors to 64", "in a new PID namespace",
        "the root, and the host's files unreachable", "Landlock", "become 65534:65533", "seccomp",
        "--api-sock /run/x"}) {
    at = shown.output.find(step, at);
    ASSERT_NE(at, std::string::npos) << step << " is missing or out of order in\n" << shown.output;
  }
  EXPECT_TRUE(made().empty());
}

/// Runs the intruder and judges every line it printed.
void expect_empty_room(const Finished& ran, std::map<std::string, std::string> facts) {
  EXPECT_EQ(ran.exit_code, 0) << ran.output;
  std::istringstream lines(ran.output);
  size_t denied = 0;
  bool ended = false;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream parts(line);
    std::string kind, name, value;
    parts >> kind >> name >> value;
    if (kind == "denied") ++denied;
    if (kind == "is") {
      EXPECT_EQ(value, facts[name]) << line;
      facts.erase(name);
    }
    // Kernels before 6.12 keep abstract names apart by network namespaces only.
    const bool needs_landlock = line.ends_with("an abstract name of the host");
    if (needs_landlock && landlock_version() < 6) continue;
    EXPECT_NE(kind, "ALLOWED") << line;
    ended = ended || line == "end";
  }
  EXPECT_TRUE(ended) << ran.output;
  EXPECT_TRUE(facts.empty()) << facts.begin()->first << " was not told";
  EXPECT_GE(denied, 75U);
  std::printf("%zu attempts were denied\n", denied);
}

const std::map<std::string, std::string> kFacts = {
    {"uid", "65534"},  {"gid", "65533"},      {"groups", "0"},      {"capabilities", "0"},
    {"bounding", "0"}, {"no_new_privs", "1"}, {"environment", "0"}, {"descriptors", "64"},
    {"pid1", "0"},     {"kvm", "1"}};

TEST_F(JailerTest, AnIntruderFindsAnEmptyRoom) {
  const auto secret = folder_.write("secret", "of the host");
  const auto victim = listen_at(folder_.path("victim.sock"));
  const auto abstract = listen_at(std::string("\0mote-victim", 12));
  const base::UniqueFd leaked(::open("/etc/passwd", O_RDONLY));  // Without close-on-exec.
  ::setenv("SECRET", "of the launcher", 1);
  const Finished ran = jail("a", {"--resource-limit", "no-file=64", "--", secret,
                                  folder_.path("victim.sock"), std::to_string(::getpid())});
  expect_empty_room(ran, kFacts);
  EXPECT_EQ(read_file(secret), "of the host");
}

TEST_F(JailerTest, AnIntruderInAPidNamespaceIsAlone) {
  const auto secret = folder_.write("secret", "of the host");
  // The jailer's end is not the intruder's.
  const Finished ran = jail("b", {"--new-pid-ns", "--resource-limit", "no-file=64", "--", secret,
                                  folder_.path("victim.sock"), std::to_string(::getpid())});
  EXPECT_EQ(ran.exit_code, 0) << ran.output;
  Finished whole = ran;
  for (int i = 0; i < 200 && !whole.output.ends_with("end\n"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    whole.output = read_file(folder_.path("output-b"));
  }
  auto facts = kFacts;
  facts["pid1"] = "1";
  expect_empty_room(whole, facts);
  EXPECT_GT(std::stol(read_file(root("b") + "/intruder.pid")), 1);
}

TEST_F(JailerTest, OneIdIsOneJail) {
  constexpr int kJailers = 8;
  std::vector<Finished> runs(kJailers);
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kJailers; ++i) {
      threads.emplace_back([&, i] {
        runs[static_cast<size_t>(i)] =
            run(words("same", {"--", "/x", "/y", "1"}), folder_.path("race-" + std::to_string(i)));
      });
    }
  }
  int started = 0;
  for (const Finished& one : runs) {
    if (one.exit_code == 0) ++started;
    if (one.exit_code != 0) {
      EXPECT_NE(one.output.find("exists: another VM"), std::string::npos) << one.output;
    }
  }
  EXPECT_EQ(started, 1);
  // The losers took nothing of the winner's away.
  EXPECT_TRUE(fs::exists(root("same") + "/dev/kvm"));
  EXPECT_TRUE(fs::exists(root("same") + "/intruder.pid"));
}

TEST_F(JailerTest, PlantedLinksAreRefusedAndNothingStays) {
  const auto elsewhere = folder_.path("elsewhere");
  fs::create_directory(elsewhere);
  const auto expect_refusal = [&](const char* what) {
    const auto before = made();
    const Finished ran = jail("a", {"--", "/x", "/y", "1"});
    EXPECT_EQ(ran.exit_code, 1) << what << ran.output;
    EXPECT_NE(ran.output.find("jailer: "), std::string::npos);
    EXPECT_EQ(made(), before) << what;
    EXPECT_TRUE(fs::is_empty(elsewhere)) << what;
  };
  fs::create_directory_symlink(elsewhere, base() + "/intruder");
  expect_refusal("the program's folder is a link");
  fs::remove(base() + "/intruder");
  fs::create_directories(base() + "/intruder");
  fs::create_directory_symlink(elsewhere, base() + "/intruder/a");
  expect_refusal("the VM's folder is a link");
  fs::remove(base() + "/intruder/a");
  fs::create_directories(root("a"));
  fs::create_directory_symlink(elsewhere, root("a") + "/dev");
  expect_refusal("dev is a link");
  fs::remove(root("a") + "/dev");
  fs::create_directory_symlink(elsewhere, root("a") + "/run");
  expect_refusal("run is a link");
  fs::remove(root("a") + "/run");
  fs::create_symlink(elsewhere + "/pid", root("a") + "/intruder.pid");
  expect_refusal("the PID file is a link");
  fs::remove(root("a") + "/intruder.pid");
  ASSERT_EQ(::chmod(root("a").c_str(), 0777), 0);
  expect_refusal("everybody may write to the root");
  fs::remove_all(base() + "/intruder");
  ASSERT_EQ(::chmod(base().c_str(), 0777), 0);
  expect_refusal("everybody may write to the base");
}

TEST_F(JailerTest, AFailureAtALaterStepLeavesNothing) {
  // A hard link cannot leave its file system.
  const std::string elsewhere = "/dev/shm/mote-jailer-test-" + std::to_string(::getpid());
  std::ofstream(elsewhere) << "disk";
  struct stat here {
  }, there{};
  ASSERT_EQ(::stat(base().c_str(), &here), 0);
  ASSERT_EQ(::stat(elsewhere.c_str(), &there), 0);
  if (here.st_dev != there.st_dev) {
    for (const char* const more : {"--daemonize", "--new-pid-ns", "--dry-run"}) {
      if (std::string_view(more) == "--dry-run") break;
      const Finished ran = jail("a", {more, "--link", elsewhere + "=disk", "--", "/x", "/y", "1"});
      EXPECT_EQ(ran.exit_code, 1);
      EXPECT_NE(ran.output.find("hard link " + elsewhere), std::string::npos) << ran.output;
      EXPECT_TRUE(made().empty());
    }
  }
  fs::remove(elsewhere);
  // A file that says it is a program and is none: only exec finds out, in the child.
  const auto bad = folder_.path("bad");
  fs::copy_file(INTRUDER_BINARY, bad);
  {
    std::fstream file(bad, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(18);  // e_machine
    file.write("\xff\xff", 2);
  }
  ASSERT_EQ(::chmod(bad.c_str(), 0755), 0);
  auto all = words("a", {"--new-pid-ns", "--", "/x", "/y", "1"});
  *std::ranges::find(all, INTRUDER_BINARY) = bad;
  const Finished ran = run(all, folder_.path("output"));
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_NE(ran.output.find("execveat"), std::string::npos) << ran.output;
  EXPECT_TRUE(made().empty());
}

TEST_F(JailerTest, WhatCannotWorkIsRefusedBeforeTheFirstStep) {
  const auto text = folder_.write("text", "#!/bin/sh\n");
  ASSERT_EQ(::chmod(text.c_str(), 0755), 0);
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"--netns", "/proc/self/ns/mnt"}, "--netns: /proc/self/ns/mnt is no network namespace"},
      {{"--netns", folder_.path("missing")}, "--netns"},
      {{"--link", "/dev/null=x"}, "--link: /dev/null is neither"},
      {{"--bind", folder_.path("missing") + "=x"}, "--bind"},
      {{"--keep-fd", "900"}, "--keep-fd: 900"},
      {{"--kvm-device", "/dev/net"}, "--kvm-device: /dev/net is no device"},
      {{"--exec-file", text}, "--exec-file"},
  };
  for (const auto& [options, message] : cases) {
    auto all = words("a", options);
    if (options[0] == "--exec-file") all.erase(all.begin() + 3, all.begin() + 5);
    const Finished ran = run(all, folder_.path("output"));
    EXPECT_EQ(ran.exit_code, 1);
    EXPECT_NE(ran.output.find(message), std::string::npos) << ran.output;
    EXPECT_TRUE(made().empty());
  }
}

/// In the child: a cgroup2 file system of the test's own at `path`, seen by nobody else.
bool mount_cgroups(const std::string& path) {
  return ::unshare(CLONE_NEWNS) == 0 &&
         ::mount(nullptr, "/", nullptr, MS_PRIVATE | MS_REC, nullptr) == 0 &&
         ::mount("none", path.c_str(), "cgroup2", 0, nullptr) == 0;
}

/// Where the host's cgroup2 file system is mounted; nothing when it has none.
std::string host_cgroups() {
  std::istringstream lines(read_file("/proc/self/mounts"));
  for (std::string device, point, type, rest; lines >> device >> point >> type;) {
    std::getline(lines, rest);
    if (type == "cgroup2") return point;
  }
  return {};
}

TEST_F(JailerTest, ACgroupIsMadeSetAndEntered) {
  const auto output = folder_.path("output");
  const std::string parent = "mote-test-" + std::to_string(::getpid());
  std::string mount = host_cgroups();
  bool (*before)(const std::string&) = nullptr;
  if (mount.empty()) {
    mount = folder_.path("cgroup");
    before = mount_cgroups;
    fs::create_directory(mount);
  }
  const std::string probe = "mkdir " + mount + "/" + parent + " && rmdir " + mount + "/" + parent;
  if (run({"/bin/sh", "-c", probe}, output, before, mount).exit_code != 0) {
    GTEST_SKIP() << "no control groups can be made here";
  }
  const Finished ran = run(words("a", {"--parent-cgroup", parent, "--cgroup", "cgroup.max.depth=3",
                                       "--", "/x", "/y", "1"}),
                           output, before, mount);
  EXPECT_EQ(ran.exit_code, 0) << ran.output;
  // Look into it from a namespace like the jailer's, and take it away.
  const std::string script = "cat " + mount + "/" + parent + "/a/cgroup.max.depth; rmdir " + mount +
                             "/" + parent + "/a " + mount + "/" + parent;
  const Finished looked = run({"/bin/sh", "-c", script}, output, before, mount);
  EXPECT_EQ(looked.output, "3\n");

  const Finished refused = run(words("b", {"--parent-cgroup", parent, "--cgroup",
                                           "cgroup.max.depth=many", "--", "/x", "/y", "1"}),
                               output, before, mount);
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.output.find("cgroup.max.depth does not take \"many\""), std::string::npos)
      << refused.output;
  const Finished gone =
      run({"/bin/sh", "-c", "ls -d " + mount + "/" + parent}, output, before, mount);
  EXPECT_NE(gone.exit_code, 0) << "the control group of a failed launch stays";
}

TEST_F(JailerTest, AJailedMonitorRunsAGuest) {
  const auto guest = folder_.path("guest");
  fs::copy_file(guest_image("hello"), guest);
  ASSERT_EQ(::chmod(guest.c_str(), 0644), 0);
  const auto config = folder_.write(
      "config.json",
      R"({"boot-source":{"kernel_image_path":"/kernel"},"machine-config":{"vcpu_count":2,"mem_size_mib":128}})");
  ASSERT_EQ(::chmod(config.c_str(), 0644), 0);
  auto all = words("vm", {"--bind", guest + "=kernel:ro", "--bind", config + "=config:ro", "--",
                          "--no-api", "--config-file", "/config"});
  *std::ranges::find(all, INTRUDER_BINARY) = MOTE_BINARY;
  const Finished ran = run(all, folder_.path("output"));
  EXPECT_EQ(ran.exit_code, 0) << ran.output;
  EXPECT_NE(ran.output.find("hello from a tiny guest"), std::string::npos) << ran.output;
}

}  // namespace
}  // namespace mote::integration
