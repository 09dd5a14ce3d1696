#include "tests/integration/monitor_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

namespace mote::integration {
namespace {

constexpr int kReadyFd = 3;
constexpr auto kPatience = std::chrono::seconds(30);

bool wait_until(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

struct Pipe {
  base::UniqueFd reader;
  base::UniqueFd writer;
};

Pipe make_pipe() {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) ADD_FAILURE() << "pipe2: " << std::strerror(errno);
  return {base::UniqueFd(ends[0]), base::UniqueFd(ends[1])};
}

int create_file(const std::string& path) {
  return ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
}

size_t count_descriptors(pid_t pid) {
  const std::filesystem::directory_iterator folder("/proc/" + std::to_string(pid) + "/fd");
  return static_cast<size_t>(std::distance(begin(folder), end(folder)));
}

/// Has two system calls (the same one twice, for one) fail with `error`.
void deny(uint32_t first, uint32_t second, uint32_t error) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, first, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, second, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{std::size(program), program};
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

void apply(Host host) {
  // As by the sysctl kernel.io_uring_disabled, and as by a cgroup's pids.max.
  if (host == Host::kDeniesIoUring) deny(SYS_io_uring_setup, SYS_io_uring_setup, EPERM);
  if (host == Host::kDeniesThreads) deny(SYS_clone3, SYS_clone, EAGAIN);
}

/// In the child: only system calls from here to exec.
[[noreturn]] void become_monitor(char* const* arguments, int input, int output, int log, int ready,
                                 Host host) {
  apply(host);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::dup2(input, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  if (ready >= 0 && ready != kReadyFd) ::dup2(ready, kReadyFd);
  ::close_range(ready >= 0 ? kReadyFd + 1 : kReadyFd, ~0U, 0);
  if (ready >= 0) ::fcntl(kReadyFd, F_SETFD, 0);
  ::execv(MOTE_BINARY, arguments);
  ::_exit(127);
}

pid_t spawn(const std::vector<std::string>& arguments, const std::string& console_path,
            const std::string& log_path, int input, int ready, Host host) {
  std::vector<char*> pointers;
  // execv takes non-const pointers but leaves the strings alone.
  for (const std::string& argument : arguments) {
    pointers.push_back(const_cast<char*>(argument.c_str()));
  }
  pointers.push_back(nullptr);
  const base::UniqueFd output(create_file(console_path));
  const base::UniqueFd log(create_file(log_path));
  const pid_t pid = ::fork();
  if (pid == 0) become_monitor(pointers.data(), input, output.get(), log.get(), ready, host);
  return pid;
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  // Short, for a unix socket's path takes 107 bytes at most.
  std::string pattern = "/tmp/mote-test-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) ADD_FAILURE() << "mkdtemp: " << std::strerror(errno);
  folder_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::string TemporaryFolder::write(const std::string& name, std::string_view content) const {
  std::ofstream file(path(name), std::ios::binary | std::ios::trunc);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  return path(name);
}

std::string read_file(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::ostream& operator<<(std::ostream& stream, const Ending& ending) {
  return ending.signal != 0 ? stream << "signal " << ending.signal
                            : stream << "exit code " << ending.exit_code;
}

MonitorProcess::MonitorProcess(const TemporaryFolder& folder, std::vector<std::string> arguments,
                               const std::string& name, Host host)
    : console_path_(folder.path(name + ".console")), log_path_(folder.path(name + ".log")) {
  arguments.insert(arguments.begin(), "mote");
  const base::UniqueFd nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  pid_ = spawn(arguments, console_path_, log_path_, nothing.get(), -1, host);
}

std::unique_ptr<MonitorProcess> MonitorProcess::with_api(const TemporaryFolder& folder,
                                                         std::vector<std::string> arguments,
                                                         const std::string& name, Host host) {
  auto process = std::unique_ptr<MonitorProcess>(new MonitorProcess());
  process->socket_path_ = folder.path(name + ".sock");
  ::unlink(process->socket_path_.c_str());  // Of a predecessor that was killed.
  process->console_path_ = folder.path(name + ".console");
  process->log_path_ = folder.path(name + ".log");
  arguments.insert(arguments.begin(), {"mote", "--api-sock", process->socket_path_, "--ready-fd",
                                       std::to_string(kReadyFd)});
  Pipe ready = make_pipe();
  Pipe input = make_pipe();
  process->input_ = std::move(input.writer);
  process->pid_ = spawn(arguments, process->console_path_, process->log_path_, input.reader.get(),
                        ready.writer.get(), host);
  ready.writer.reset();
  pollfd answer{ready.reader.get(), POLLIN, 0};
  char byte = 0;
  const bool told = ::poll(&answer, 1, 30'000) == 1 && ::read(ready.reader.get(), &byte, 1) == 1;
  EXPECT_TRUE(told) << "no ready byte; log: " << process->log();
  return process;
}

MonitorProcess::~MonitorProcess() {
  if (pid_ > 0 && !ending_) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  // What a sanitizer said counts however the process ended.
  for (const char* const words : {"Sanitizer", "runtime error"}) {
    EXPECT_EQ(log().find(words), std::string::npos) << log();
  }
}

Response MonitorProcess::request(std::string_view method, std::string_view path,
                                 std::string_view body) const {
  return ApiClient(socket_path_).request(method, path, body);
}

bool MonitorProcess::type(const std::string& text) const {
  return ::write(input_.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

std::optional<Ending> MonitorProcess::wait(std::chrono::seconds limit) {
  if (ending_) return ending_;
  const base::UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  pollfd ended{process.get(), POLLIN, 0};
  const auto limit_ms = std::chrono::duration_cast<std::chrono::milliseconds>(limit);
  if (::poll(&ended, 1, static_cast<int>(limit_ms.count())) != 1) return std::nullopt;
  int status = 0;
  ::waitpid(pid_, &status, 0);
  ending_ = WIFEXITED(status) ? Ending{WEXITSTATUS(status), 0} : Ending{-1, WTERMSIG(status)};
  return ending_;
}

void MonitorProcess::signal(int number) const {
  if (!ending_) ::kill(pid_, number);
}

bool MonitorProcess::wait_for_console(const std::string& text) const {
  return wait_until([&] { return console().find(text) != std::string::npos; });
}

bool MonitorProcess::wait_for_log(const std::string& text) const {
  return wait_until([&] { return log().find(text) != std::string::npos; });
}

size_t MonitorProcess::open_descriptors() const {
  size_t least = SIZE_MAX;
  for (int look = 0; look < 10; ++look) {
    least = std::min(least, count_descriptors(pid_));
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return least;
}

bool MonitorProcess::holds_at_most(size_t count) const {
  return wait_until([&] { return count_descriptors(pid_) <= count; });
}

size_t MonitorProcess::resident_bytes() const {
  std::istringstream sizes(read_file("/proc/" + std::to_string(pid_) + "/statm"));
  size_t total = 0;
  size_t resident = 0;
  sizes >> total >> resident;
  return resident * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace mote::integration
