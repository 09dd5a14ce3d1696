#pragma once
// The one reactor: an io_uring that carries the API socket, queue kicks, disks, TAPs, timers and
// signals.
//
// Owned by main; every method but post() and the Waker belongs to the loop thread. Completions are
// delivered in CQE order. An operation is named by (source, tag): the source is a handler
// registered here, the tag is the handler's own slot index. A source that was removed never hears
// of late completions, but the memory those operations write to must stay until they are done: a
// handler counts its operations in flight and removes itself when there are none left.

#include <liburing.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace mote::io {

/// Receives the completions of one source.
class CompletionHandler {
 public:
  virtual ~CompletionHandler() = default;
  /// `result` is the CQE's res (negative errno on failure), `flags` its flags
  /// (IORING_CQE_F_MORE...).
  virtual void on_completion(uint32_t tag, int32_t result, uint32_t flags) = 0;
};

/// Does something once at the end of a turn of the loop, when all completions at hand were
/// delivered: one interrupt for many finished requests, for instance.
class TurnEndHandler {
 public:
  virtual ~TurnEndHandler() = default;
  virtual void on_turn_end() = 0;
};

/// Names a registered handler. Cheap to copy.
struct SourceId {
  uint16_t index = 0;
  uint16_t generation = 0;
};

class EventLoop final {
 public:
  /// Sets up the ring (SINGLE_ISSUER, DEFER_TASKRUN where the kernel has them). `entries` bounds
  /// what is queued between two submissions, not what is in flight. Where the host forbids io_uring
  /// the error says which sysctl does.
  static base::Result<std::unique_ptr<EventLoop>> create(uint32_t entries);
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  /// Registers a handler, which must outlive its registration.
  [[nodiscard]] SourceId add_source(CompletionHandler& handler);
  void remove_source(SourceId source);

  /// A fresh SQE, already tagged; fill it with io_uring_prep_* helpers that leave user_data alone
  /// (all do but the cancel and timeout-remove helpers' targets). Submits first when the queue is
  /// full.
  [[nodiscard]] io_uring_sqe* prepare(SourceId source, uint32_t tag);
  /// An SQE that asks to cancel the operation (source, tag); its own completion is swallowed.
  void cancel(SourceId source, uint32_t tag);

  /// Hands what was prepared to the kernel now, without waiting. The loop does so before it sleeps.
  void submit();

  /// Calls handler.on_turn_end() once at the end of this turn, before the loop submits and sleeps.
  /// A handler asks at most once a turn, and calls forget() before it goes. One that asks during
  /// on_turn_end() is called at the end of the next turn, which then does not wait.
  void defer(TurnEndHandler& handler) { turn_end_.push_back(&handler); }
  void forget(TurnEndHandler& handler);

  /// Runs `task` on the loop thread, in order of posting. Any thread. Allocates: not for hot paths.
  void post(std::move_only_function<void()> task);

  /// Delivers completions until stop(). Once only.
  base::Result<> run();
  /// Makes run() return after the completions at hand. Loop thread; other threads post() it.
  void stop() { stopping_ = true; }
  /// Submits, waits for at least one completion (none when `block` is false) and delivers what is
  /// there.
  base::Result<> run_once(bool block);

  /// The ring, for registering files and restrictions.
  [[nodiscard]] io_uring& ring() { return ring_; }

 private:
  struct Slot {
    CompletionHandler* handler = nullptr;
    uint16_t generation = 0;
  };
  class Mailbox;

  EventLoop() = default;
  void dispatch(const io_uring_cqe& cqe);
  void end_turn();

  io_uring ring_{};
  bool ring_ready_ = false;
  bool stopping_ = false;
  std::vector<Slot> slots_;
  std::vector<TurnEndHandler*> turn_end_;
  std::vector<TurnEndHandler*> ending_;
  std::unique_ptr<Mailbox> mailbox_;
};

/// Keeps a handler registered for as long as it lives.
class Registration final {
 public:
  Registration() = default;
  Registration(EventLoop& loop, CompletionHandler& handler)
      : loop_(&loop), source_(loop.add_source(handler)) {}
  Registration(Registration&& other) noexcept
      : loop_(std::exchange(other.loop_, nullptr)), source_(other.source_) {}
  Registration& operator=(Registration&& other) noexcept {
    if (this != &other) {
      reset();
      loop_ = std::exchange(other.loop_, nullptr);
      source_ = other.source_;
    }
    return *this;
  }
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;
  ~Registration() { reset(); }

  [[nodiscard]] SourceId source() const { return source_; }
  [[nodiscard]] EventLoop& loop() const { return *loop_; }
  void reset() {
    if (loop_ != nullptr) loop_->remove_source(source_);
    loop_ = nullptr;
  }

 private:
  EventLoop* loop_ = nullptr;
  SourceId source_;
};

}  // namespace mote::io
