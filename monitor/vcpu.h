#pragma once
// One vCPU and its thread. The thread runs the guest and hands exits to an ExitHandler; the loop
// thread asks it to pause, go on or end, and hears of it by callbacks posted to the event loop.
// Nothing here waits for the loop while holding a lock.

#include <linux/filter.h>
#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <thread>

#include "base/result.h"
#include "io/event_loop.h"
#include "monitor/kvm.h"
#include "monitor/vm_exit.h"

namespace mote::monitor {

/// What the vCPU does after an exit was handled.
enum class AfterExit : uint8_t { kContinue, kStop };

/// Exit counters, named as in Firecracker's `vcpu` metrics. Written by one vCPU thread, read by the
/// loop.
struct VcpuMetrics {
  std::atomic<uint64_t> exit_io_in{0};
  std::atomic<uint64_t> exit_io_out{0};
  std::atomic<uint64_t> exit_mmio_read{0};
  std::atomic<uint64_t> exit_mmio_write{0};
  std::atomic<uint64_t> failures{0};
};

/// Receives the exits of all vCPUs, on their threads.
class ExitHandler {
 public:
  virtual ~ExitHandler() = default;
  virtual AfterExit handle_exit(uint32_t vcpu_index, const VmExit& exit, VcpuMetrics& metrics) = 0;
};

class Vcpu final {
 public:
  Vcpu(uint32_t index, VcpuFd fd, ExitHandler& handler, io::EventLoop& loop);
  ~Vcpu();
  Vcpu(const Vcpu&) = delete;
  Vcpu& operator=(const Vcpu&) = delete;

  /// Installs the empty signal handler that brings a vCPU thread out of KVM_RUN. Once a process.
  static base::Result<> install_kick_signal();

  /// How a fresh thread begins.
  enum class Begin : uint8_t { kRunning, kPaused };
  /// Starts the thread; it lays `filter` (may be empty; outlives the thread) on itself and runs the
  /// guest at once, or stands still until resume().
  base::Result<> start(Begin begin, std::span<const sock_filter> filter);
  /// Asks the thread to stand still; `paused` is posted to the loop when it does (at once, when it
  /// has ended already).
  void pause(std::move_only_function<void()> paused);
  void resume();
  /// Asks the thread to end; `ended` is posted to the loop when the guest will not run again.
  void end(std::move_only_function<void()> ended);

  /// The descriptor, for set-up and while paused.
  [[nodiscard]] VcpuFd& fd() { return fd_; }
  [[nodiscard]] VcpuMetrics& metrics() { return metrics_; }

 private:
  enum class Wish : uint8_t { kRun, kPause, kEnd };

  void thread_main(std::span<const sock_filter> filter);
  /// Follows the wish after an interruption; false: leave the thread.
  bool obey();
  void wish(Wish wish, std::move_only_function<void()> done);
  void answer();

  const uint32_t index_;
  VcpuFd fd_;
  ExitHandler& handler_;
  io::EventLoop& loop_;
  VcpuMetrics metrics_;

  std::mutex mutex_;  // Guards wish_, done_ and ended_; taken only when a wish is made or obeyed.
  std::condition_variable changed_;
  Wish wish_ = Wish::kRun;
  std::move_only_function<void()> done_;
  bool ended_ = false;

  std::thread thread_;
};

}  // namespace mote::monitor
