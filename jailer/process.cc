#include "jailer/process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

#include "base/clock.h"

namespace mote::jailer {
namespace {

base::Result<> leave_terminal(int null) {
  if (::setsid() < 0) return base::fail_errno(errno, "setsid");
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::dup2(null, fd) < 0) return base::fail_errno(errno, "dup2");
  }
  return {};
}

/// What the child says before it ends; nothing when it runs the program.
std::string read_report(int pipe) {
  std::string text;
  std::array<char, 512> chunk{};
  while (true) {
    const ssize_t got = ::read(pipe, chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    text.append(chunk.data(), static_cast<size_t>(got));
  }
}

}  // namespace

base::Result<> close_at_exec(const std::vector<int>& kept) {
  if (::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) != 0)
    return base::fail_errno(errno, "close_range");
  for (const int fd : kept) {
    if (::fcntl(fd, F_SETFD, 0) != 0) return base::fail_errno(errno, "--keep-fd");
  }
  return {};
}

base::Result<> write_pid(int pid_file, pid_t pid) {
  const std::string text = std::to_string(pid);
  if (::write(pid_file, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return base::fail_errno(errno, "the PID file");
  }
  return {};
}

base::Result<std::unique_ptr<Child>> Child::become(bool new_pid_namespace, bool daemonize,
                                                   int pid_file) {
  const base::UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null.valid()) return base::fail_errno(errno, "/dev/null");
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) return base::fail_errno(errno, "pipe2");
  base::UniqueFd reader(ends[0]), writer(ends[1]);
  if (new_pid_namespace && ::unshare(CLONE_NEWPID) != 0) {
    return base::fail_errno(errno, "unshare(CLONE_NEWPID)");
  }
  const pid_t pid = ::fork();
  if (pid < 0) return base::fail_errno(errno, "fork");
  if (pid == 0) {
    auto child = std::make_unique<Child>();
    child->report_ = std::move(writer);
    if (daemonize) {
      if (const auto left = leave_terminal(null.get()); !left) child->fail(left.error().message());
    }
    return child;
  }
  writer.reset();
  const auto written = write_pid(pid_file, pid);
  if (!written) ::kill(pid, SIGKILL);
  const std::string report = read_report(reader.get());
  if (written && report.empty()) {
    int status = 0;  // A child that died without a word did not run the program either.
    if (::waitpid(pid, &status, WNOHANG) == 0 || WIFEXITED(status)) ::_exit(0);
  }
  ::waitpid(pid, nullptr, 0);
  if (!written) return std::unexpected(written.error());
  return base::fail(base::ErrorCode::kIo, report.empty() ? "the child died" : report);
}

void Child::fail(const std::string& text) const {
  if (::write(report_.get(), text.data(), text.size()) < 0) ::_exit(2);
  ::_exit(1);
}

base::Result<> run_program(int program, const std::string& name, const Options& options) {
  const auto now_us = std::to_string(base::monotonic_us());
  const auto cpu_us = std::to_string(base::process_cpu_us());
  std::vector<std::string> words = {name,       "--id",
                                    options.id, "--start-time-us",
                                    now_us,     "--start-time-cpu-us",
                                    "0",        "--parent-cpu-time-us",
                                    cpu_us};
  words.insert(words.end(), options.monitor_arguments.begin(), options.monitor_arguments.end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  char* const environment[] = {nullptr};
  ::execveat(program, "", arguments.data(), environment, AT_EMPTY_PATH);
  return base::fail_errno(errno, "execveat");
}

}  // namespace mote::jailer
