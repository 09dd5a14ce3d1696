#include "monitor/signals.h"

#include <signal.h>

namespace mote::monitor {
namespace {

sigset_t watched_signals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::sigaddset(&signals, SIGINT);
  return signals;
}

}  // namespace

base::Result<> SignalWatcher::block_signals() {
  const sigset_t signals = watched_signals();
  if (::sigprocmask(SIG_BLOCK, &signals, nullptr) != 0) {
    return base::fail_errno(errno, "sigprocmask");
  }
  ::signal(SIGPIPE, SIG_IGN);  // A log or metrics reader that goes away is an EPIPE, not an end.
  return {};
}

base::Result<std::unique_ptr<SignalWatcher>> SignalWatcher::create(
    io::EventLoop& loop, std::move_only_function<void(int signal)> callback) {
  const sigset_t signals = watched_signals();
  base::UniqueFd fd(::signalfd(-1, &signals, SFD_CLOEXEC));
  if (!fd.valid()) return base::fail_errno(errno, "signalfd");
  return std::unique_ptr<SignalWatcher>(
      new SignalWatcher(loop, std::move(fd), std::move(callback)));
}

SignalWatcher::SignalWatcher(io::EventLoop& loop, base::UniqueFd fd,
                             std::move_only_function<void(int signal)> callback)
    : fd_(std::move(fd)), callback_(std::move(callback)), registration_(loop, *this) {
  arm();
}

void SignalWatcher::arm() {
  io_uring_prep_read(registration_.loop().prepare(registration_.source(), 0), fd_.get(), &info_,
                     sizeof(info_), 0);
}

void SignalWatcher::on_completion(uint32_t, int32_t result, uint32_t) {
  arm();
  if (result == static_cast<int32_t>(sizeof(info_))) callback_(static_cast<int>(info_.ssi_signo));
}

}  // namespace mote::monitor
