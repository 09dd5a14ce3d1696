#include "monitor/seccomp/filter.h"

#include <fmt/format.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>

#include "base/log.h"
#include "monitor/exit_code.h"

namespace mote::monitor::seccomp {
namespace {

/// Runs on the thread that made the call, in the middle of anything: no lock, no allocation.
void on_violation(int, siginfo_t* info, void* context) {
  std::array<char, 192> line{};
  const auto number = static_cast<uint64_t>(static_cast<uint32_t>(info->si_syscall));
  const std::string_view name = system_call_name(number);
  // Argument registers of the x86-64 system call convention.
  const auto& registers = static_cast<const ucontext_t*>(context)->uc_mcontext.gregs;
  const auto end = fmt::format_to_n(
      line.data(), line.size(),
      "forbidden system call {} ({}, {:#x}, {:#x}, {:#x}) in thread {}: exiting with code {}\n",
      name.empty() ? "without a name" : name, number, registers[REG_RDI], registers[REG_RSI],
      registers[REG_RDX], ::syscall(SYS_gettid), static_cast<int>(ExitCode::kBadSystemCall));
  base::log::write_in_signal({line.data(), std::min(end.size, line.size())});
  ::_exit(static_cast<int>(ExitCode::kBadSystemCall));
}

}  // namespace

base::Result<> report_violations() {
  struct sigaction action {};
  action.sa_sigaction = on_violation;
  action.sa_flags = SA_SIGINFO;
  if (::sigaction(SIGSYS, &action, nullptr) != 0) return base::fail_errno(errno, "sigaction");
  return {};
}

base::Result<> install(std::span<const sock_filter> program, Threads threads) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return base::fail_errno(errno, "prctl(PR_SET_NO_NEW_PRIVS)");
  }
  // The kernel only reads the program; its interface says otherwise.
  const sock_fprog filter{static_cast<unsigned short>(program.size()),
                          const_cast<sock_filter*>(program.data())};
  const unsigned flags = threads == Threads::kAll ? SECCOMP_FILTER_FLAG_TSYNC : 0;
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter) != 0) {
    return base::fail_errno(errno, "seccomp filter");
  }
  return {};
}

}  // namespace mote::monitor::seccomp
