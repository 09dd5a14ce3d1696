#include "monitor/seccomp/filter.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/json.hpp>
#include <fstream>
#include <functional>
#include <iterator>
#include <set>

#include "base/result.h"
#include "monitor/exit_code.h"

namespace mote::monitor::seccomp {
namespace {

// A child under the filter makes raw calls and nothing of a sanitizer's runtime is in their way;
// but the runtime itself makes calls that the filter forbids.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

constexpr int kForbidden = static_cast<int>(ExitCode::kBadSystemCall);
constexpr int kAllowed = 7;

/// How a child ends that lays the filter on itself and then makes one system call.
int outcome_of(std::span<const sock_filter> filter, long number, std::array<long, 6> a = {}) {
  const pid_t child = ::fork();
  if (child == 0) {
    // The line that names the call is the monitor's log's, not this test's.
    const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    ::dup2(null, STDERR_FILENO);
    ::alarm(5);  // A call that waits for ever was allowed.
    ::signal(SIGALRM, [](int) { ::_exit(kAllowed); });
    if (!report_violations() || !install(filter, Threads::kThis)) ::_exit(99);
    ::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    ::syscall(SYS_exit_group, kAllowed);
  }
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/// The system calls that the policy's text lets a role make.
std::set<std::string> allowed_names(std::string_view role) {
  std::ifstream in(SECCOMP_POLICY_FILE);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const auto policy = boost::json::parse(text);
  std::set<std::string> names;
  for (const auto& rule : policy.at(role).at("filter").as_array()) {
    names.insert(std::string(rule.at("syscall").as_string()));
  }
  return names;
}

/// uretprobe(2) and uprobe(2): the kernel hides them from filters, for it makes them itself; they
/// fail for everybody else.
bool is_trampoline(long number) {
  return number == 335 || number == 336;
}

class SeccompFilter : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (kSanitized) GTEST_SKIP() << "a sanitizer's runtime makes calls of its own";
  }
  [[nodiscard]] static std::span<const sock_filter> program() {
    return GetParam() == "loop" ? built_in_loop_program() : built_in_vcpu_program();
  }
};

TEST_P(SeccompFilter, KillsEveryCallThatThePolicyDoesNotName) {
  const auto allowed = allowed_names(GetParam());
  size_t killed = 0;
  for (long number = 0; number < 480; ++number) {
    const std::string name(system_call_name(static_cast<uint64_t>(number)));
    if (allowed.contains(name) || is_trampoline(number)) continue;
    EXPECT_EQ(outcome_of(program(), number), kForbidden) << name << " (" << number << ")";
    ++killed;
  }
  EXPECT_GT(killed, 400U);
  // The x32 numbers and those beyond any table.
  for (const long number : {0x40000000L, 0x40000000L + SYS_execve, 100000L, -1L}) {
    EXPECT_NE(outcome_of(program(), number), kAllowed) << number;
  }
}

TEST_P(SeccompFilter, LooksAtArguments) {
  const std::pair<long, std::array<long, 6>> forbidden[] = {
      {SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0}},
      {SYS_mprotect, {0, 4096, PROT_EXEC}},
      {SYS_clone, {SIGCHLD}},
      {SYS_clone, {CLONE_VM | CLONE_NEWUSER | SIGCHLD}},
      {SYS_socket, {AF_INET, SOCK_STREAM, 0}},
      {SYS_socket, {AF_PACKET, SOCK_RAW, 0}},
      {SYS_socket, {AF_NETLINK, SOCK_RAW, 0}},
      {SYS_ioctl, {0, 0x5412 /* TIOCSTI */, 0}},
      {SYS_ioctl, {0, 0x100005412L, 0}},
      {SYS_fcntl, {0, F_SETOWN, 1}},
      {SYS_prctl, {PR_SET_DUMPABLE, 1}},
      {SYS_tgkill, {1, 1, SIGKILL}},
      {SYS_seccomp, {2 /* SECCOMP_GET_ACTION_AVAIL */, 0, 0}},
  };
  for (const auto& [number, arguments] : forbidden) {
    EXPECT_EQ(outcome_of(program(), number, arguments), kForbidden)
        << system_call_name(static_cast<uint64_t>(number)) << " " << arguments[0] << " "
        << arguments[1] << " " << arguments[2];
  }
  EXPECT_EQ(outcome_of(program(), SYS_mmap,
                       {0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0}),
            kAllowed);
  EXPECT_EQ(outcome_of(program(), SYS_ioctl, {-1, KVM_RUN, 0}), kAllowed);
}

INSTANTIATE_TEST_SUITE_P(Roles, SeccompFilter, testing::Values("loop", "vcpu"),
                         [](const auto& role) { return role.param; });

TEST(SeccompFilter, VcpusMayDoLessThanTheLoop) {
  const auto loop = allowed_names("loop");
  const auto vcpu = allowed_names("vcpu");
  // A vCPU's thread comes of the loop's: what the loop may not do, it cannot do either.
  EXPECT_TRUE(std::ranges::includes(loop, vcpu));
  EXPECT_LE(loop.size(), 50U);
  EXPECT_LE(vcpu.size(), 15U);
}

TEST(SeccompFilter, KnowsTheNamesOfCalls) {
  EXPECT_EQ(system_call_name(SYS_execve), "execve");
  EXPECT_EQ(system_call_name(1 << 20), "");
}

}  // namespace
}  // namespace mote::monitor::seccomp
