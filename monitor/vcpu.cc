#include "monitor/vcpu.h"

#include <signal.h>

#include <cerrno>
#include <system_error>

#include "base/check.h"
#include "base/log.h"
#include "monitor/seccomp/filter.h"

namespace mote::monitor {
namespace {

// SIGRTMIN is 34 with glibc: free of meaning for libraries Mote links.
int kick_signal() {
  return SIGRTMIN;
}

void ignore_kick(int) {}

}  // namespace

Vcpu::Vcpu(uint32_t index, VcpuFd fd, ExitHandler& handler, io::EventLoop& loop)
    : index_(index), fd_(std::move(fd)), handler_(handler), loop_(loop) {}

Vcpu::~Vcpu() {
  if (!thread_.joinable()) return;
  wish(Wish::kEnd, {});
  thread_.join();
}

base::Result<> Vcpu::install_kick_signal() {
  struct sigaction action {};
  action.sa_handler = ignore_kick;  // Without SA_RESTART: KVM_RUN has to return.
  if (::sigaction(kick_signal(), &action, nullptr) != 0)
    return base::fail_errno(errno, "sigaction");
  return {};
}

base::Result<> Vcpu::start(Begin begin, std::span<const sock_filter> filter) {
  if (begin == Begin::kPaused) {
    wish_ = Wish::kPause;
    fd_.set_immediate_exit(1);
  }
  try {
    thread_ = std::thread([this, filter] { thread_main(filter); });
  } catch (const std::system_error& error) {
    return base::fail_errno(error.code().value(),
                            "vcpu_count: no thread for vCPU " + std::to_string(index_));
  }
  return {};
}

void Vcpu::thread_main(std::span<const sock_filter> filter) {
  const std::string name = "vcpu " + std::to_string(index_);
  ::pthread_setname_np(::pthread_self(), name.c_str());
  if (!filter.empty()) {
    // A guest may only run behind its filter.
    const auto installed = seccomp::install(filter, seccomp::Threads::kThis);
    CHECK(installed.has_value(), "a vCPU's seccomp filter cannot be installed");
  }
  while (true) {
    const int outcome = fd_.run();
    if (outcome == -EINTR) {
      // immediate_exit lets KVM finish the port or MMIO access in progress first, so the state is
      // whole.
      if (!obey()) return;
      continue;
    }
    if (outcome == -EAGAIN) continue;  // An application processor that was not started yet.
    VmExit exit = outcome == 0
                      ? decode_exit(fd_.run_page(), fd_.run_size_bytes())
                      : VmExit{FatalExit{KVM_EXIT_UNKNOWN, static_cast<uint64_t>(-outcome), 0}};
    if (handler_.handle_exit(index_, exit, metrics_) == AfterExit::kStop) break;
  }
  // Stand still until told to end: pause and end are answered in one place.
  fd_.set_immediate_exit(0);
  std::unique_lock lock(mutex_);
  ended_ = true;
  if (done_) answer();
}

bool Vcpu::obey() {
  std::unique_lock lock(mutex_);
  fd_.set_immediate_exit(0);
  if (wish_ == Wish::kRun && done_) answer();  // Paused and resumed again before we came here.
  while (wish_ != Wish::kRun) {
    const bool end = wish_ == Wish::kEnd;
    if (end) ended_ = true;
    if (done_) answer();
    if (end) return false;
    changed_.wait(lock);
  }
  return true;
}

void Vcpu::answer() {
  loop_.post(std::move(done_));
  done_ = nullptr;
}

void Vcpu::wish(Wish wish, std::move_only_function<void()> done) {
  {
    const std::scoped_lock lock(mutex_);
    if (wish_ != Wish::kEnd) wish_ = wish;
    done_ = std::move(done);
    if (ended_ || !thread_.joinable()) {
      ended_ = true;
      if (done_) answer();
      return;
    }
    fd_.set_immediate_exit(1);
  }
  changed_.notify_one();
  ::pthread_kill(thread_.native_handle(), kick_signal());
}

void Vcpu::pause(std::move_only_function<void()> paused) {
  wish(Wish::kPause, std::move(paused));
}

void Vcpu::resume() {
  {
    const std::scoped_lock lock(mutex_);
    if (wish_ == Wish::kPause) wish_ = Wish::kRun;
  }
  changed_.notify_one();
}

void Vcpu::end(std::move_only_function<void()> ended) {
  wish(Wish::kEnd, std::move(ended));
}

}  // namespace mote::monitor
