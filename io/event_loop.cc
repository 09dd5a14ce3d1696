#include "io/event_loop.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace mote::io {
namespace {

constexpr uint16_t kNoSource = 0xffff;  // Completions nobody wants: those of cancel requests.

uint64_t encode(SourceId source, uint32_t tag) {
  return uint64_t{source.index} << 48 | uint64_t{source.generation} << 32 | tag;
}

std::string setup_failure_hint(int os_errno) {
  if (os_errno == EPERM) {
    return "io_uring is not permitted on this host: set sysctl kernel.io_uring_disabled=0 (or 1 "
           "and "
           "kernel.io_uring_group to a group of this process), and let the container's seccomp "
           "profile pass io_uring_setup";
  }
  if (os_errno == ENOSYS)
    return "this host's kernel has no io_uring (Mote needs Linux 6.1 or later)";
  if (os_errno == ENOMEM) return "io_uring_setup: raise RLIMIT_MEMLOCK (ulimit -l)";
  return "io_uring_setup";
}

}  // namespace

/// Tasks from other threads: a short mutex-guarded list and an eventfd the ring reads.
class EventLoop::Mailbox final : public CompletionHandler {
 public:
  explicit Mailbox(EventLoop& loop) : loop_(loop) {}

  base::Result<> start() {
    wake_.reset(::eventfd(0, EFD_CLOEXEC));
    if (!wake_.valid()) return base::fail_errno(errno, "eventfd for the event loop");
    source_ = loop_.add_source(*this);
    arm();
    return {};
  }

  void post(std::move_only_function<void()> task) {
    bool first = false;
    {
      const std::scoped_lock lock(mutex_);
      first = tasks_.empty();
      tasks_.push_back(std::move(task));
    }
    if (first) ::eventfd_write(wake_.get(), 1);
  }

  void on_completion(uint32_t, int32_t, uint32_t) override {
    arm();
    std::vector<std::move_only_function<void()>> tasks;
    {
      const std::scoped_lock lock(mutex_);
      tasks.swap(tasks_);
    }
    for (auto& task : tasks) task();
  }

 private:
  void arm() {
    io_uring_sqe* const sqe = loop_.prepare(source_, 0);
    io_uring_prep_read(sqe, wake_.get(), &count_, sizeof(count_), 0);
  }

  EventLoop& loop_;
  base::UniqueFd wake_;
  SourceId source_;
  uint64_t count_ = 0;
  std::mutex mutex_;  // Guards tasks_ only; never held while a task runs.
  std::vector<std::move_only_function<void()>> tasks_;
};

namespace {

/// The ring does these operations and no others, whatever a taken-over process writes into it: what
/// it does is out of sight of seccomp filters.
constexpr uint8_t kOperations[] = {
    IORING_OP_NOP,          IORING_OP_READ,  IORING_OP_WRITE,     IORING_OP_READV,
    IORING_OP_WRITEV,       IORING_OP_FSYNC, IORING_OP_FALLOCATE, IORING_OP_POLL_ADD,
    IORING_OP_ACCEPT,       IORING_OP_RECV,  IORING_OP_SEND,      IORING_OP_TIMEOUT,
    IORING_OP_ASYNC_CANCEL,
};

int restrict_ring(io_uring& ring) {
  std::array<io_uring_restriction, std::size(kOperations)> restrictions{};
  for (size_t i = 0; i < restrictions.size(); ++i) {
    restrictions[i].opcode = IORING_RESTRICTION_SQE_OP;
    restrictions[i].sqe_op = kOperations[i];
  }
  // By number: liburing 2.3 declares these two calls but does not export them.
  const auto do_register = [&ring](unsigned what, void* argument, size_t count) {
    return ::syscall(SYS_io_uring_register, ring.ring_fd, what, argument, count) < 0 ? -errno : 0;
  };
  const int outcome =
      do_register(IORING_REGISTER_RESTRICTIONS, restrictions.data(), restrictions.size());
  return outcome < 0 ? outcome : do_register(IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
}

}  // namespace

base::Result<std::unique_ptr<EventLoop>> EventLoop::create(uint32_t entries) {
  std::unique_ptr<EventLoop> loop(new EventLoop());
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CLAMP |
                 IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED;
  params.cq_entries = entries * 4;
  int outcome = io_uring_queue_init_params(entries, &loop->ring_, &params);
  if (outcome == -EINVAL) {  // A kernel before 6.1 knows no DEFER_TASKRUN.
    params = {};
    params.flags = IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED;
    params.cq_entries = entries * 4;
    outcome = io_uring_queue_init_params(entries, &loop->ring_, &params);
  }
  if (outcome < 0) return base::fail_errno(-outcome, setup_failure_hint(-outcome));
  loop->ring_ready_ = true;
  if (outcome = restrict_ring(loop->ring_); outcome < 0) {
    return base::fail_errno(-outcome, "io_uring restrictions");
  }
  loop->mailbox_ = std::make_unique<Mailbox>(*loop);
  MOTE_TRY_VOID(loop->mailbox_->start());
  return loop;
}

EventLoop::~EventLoop() {
  // Ends every operation in flight before the memory they write to goes away.
  if (ring_ready_) io_uring_queue_exit(&ring_);
}

SourceId EventLoop::add_source(CompletionHandler& handler) {
  size_t index = 0;
  while (index < slots_.size() && slots_[index].handler != nullptr) ++index;
  CHECK(index < kNoSource, "too many event sources");
  if (index == slots_.size()) slots_.emplace_back();
  slots_[index].handler = &handler;
  return {static_cast<uint16_t>(index), slots_[index].generation};
}

void EventLoop::remove_source(SourceId source) {
  Slot& slot = slots_[source.index];
  CHECK(slot.generation == source.generation && slot.handler != nullptr, "source removed twice");
  slot.handler = nullptr;
  ++slot.generation;
}

io_uring_sqe* EventLoop::prepare(SourceId source, uint32_t tag) {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  if (sqe == nullptr) {
    submit();
    sqe = io_uring_get_sqe(&ring_);
    CHECK(sqe != nullptr, "submission queue still full after a submit");
  }
  // liburing 2.3's prep helpers leave user_data as it is.
  io_uring_sqe_set_data64(sqe, encode(source, tag));
  return sqe;
}

void EventLoop::cancel(SourceId source, uint32_t tag) {
  io_uring_sqe* const sqe = prepare({kNoSource, 0}, 0);
  io_uring_prep_cancel64(sqe, encode(source, tag), 0);
}

void EventLoop::submit() {
  const int submitted = io_uring_submit(&ring_);
  // EAGAIN and EBUSY: the kernel wants completions reaped first; what was queued stays queued.
  if (submitted < 0 && submitted != -EAGAIN && submitted != -EBUSY && submitted != -EINTR) {
    LOG_ERROR("io_uring submit failed: {}", std::strerror(-submitted));
  }
}

void EventLoop::post(std::move_only_function<void()> task) {
  mailbox_->post(std::move(task));
}

base::Result<> EventLoop::run() {
  while (!stopping_) MOTE_TRY_VOID(run_once(true));
  return {};
}

base::Result<> EventLoop::run_once(bool block) {
  // Somebody asked for the end of this turn already: it must come, completions or not.
  const bool may_sleep = block && turn_end_.empty();
  const int outcome =
      may_sleep ? io_uring_submit_and_wait(&ring_, 1) : io_uring_submit_and_get_events(&ring_);
  if (outcome < 0 && outcome != -EINTR && outcome != -EAGAIN && outcome != -EBUSY) {
    return base::fail_errno(-outcome, "waiting for io_uring completions");
  }
  // A bounded batch, so that a handler which completes at once cannot keep the loop from
  // submitting.
  for (int budget = 256; budget > 0; --budget) {
    io_uring_cqe* cqe = nullptr;
    if (io_uring_peek_cqe(&ring_, &cqe) != 0) break;
    const io_uring_cqe copy{cqe->user_data, cqe->res, cqe->flags};
    io_uring_cqe_seen(&ring_, cqe);
    dispatch(copy);
  }
  end_turn();
  return {};
}

void EventLoop::end_turn() {
  // Handlers may defer again (for the next turn) or forget one another.
  ending_.swap(turn_end_);
  for (TurnEndHandler* const handler : ending_) {
    if (handler != nullptr) handler->on_turn_end();
  }
  ending_.clear();
}

void EventLoop::forget(TurnEndHandler& handler) {
  std::erase(turn_end_, &handler);
  std::ranges::replace(ending_, &handler, nullptr);
}

void EventLoop::dispatch(const io_uring_cqe& cqe) {
  const auto index = static_cast<uint16_t>(cqe.user_data >> 48);
  const auto generation = static_cast<uint16_t>(cqe.user_data >> 32);
  if (index >= slots_.size()) return;
  const Slot slot = slots_[index];  // A copy: the handler may add sources and move the table.
  if (slot.handler == nullptr || slot.generation != generation) return;
  slot.handler->on_completion(static_cast<uint32_t>(cqe.user_data), cqe.res, cqe.flags);
}

}  // namespace mote::io
