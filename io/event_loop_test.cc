#include "io/event_loop.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <thread>

#include "base/clock.h"
#include "io/timer.h"

namespace mote::io {
namespace {

struct Recorder final : CompletionHandler {
  std::vector<std::pair<uint32_t, int32_t>> seen;
  void on_completion(uint32_t tag, int32_t result, uint32_t) override {
    seen.emplace_back(tag, result);
  }
};

std::unique_ptr<EventLoop> make_loop() {
  auto loop = EventLoop::create(8);
  EXPECT_TRUE(loop) << loop.error().message();
  return std::move(*loop);
}

TEST(EventLoop, DeliversCompletionsWithTheirTag) {
  const auto loop = make_loop();
  Recorder recorder;
  const Registration registration(*loop, recorder);
  for (uint32_t tag = 0; tag < 20; ++tag)
    io_uring_prep_nop(loop->prepare(registration.source(), tag));
  while (recorder.seen.size() < 20) ASSERT_TRUE(loop->run_once(true));
  for (uint32_t tag = 0; tag < 20; ++tag) EXPECT_EQ(recorder.seen[tag].first, tag);
}

TEST(EventLoop, RemovedSourcesHearNothing) {
  const auto loop = make_loop();
  Recorder gone;
  Recorder next;
  {
    const Registration registration(*loop, gone);
    io_uring_prep_nop(loop->prepare(registration.source(), 1));
  }
  const Registration reused(*loop, next);  // Takes the freed slot with a new generation.
  io_uring_prep_nop(loop->prepare(reused.source(), 2));
  while (next.seen.empty()) ASSERT_TRUE(loop->run_once(true));
  EXPECT_TRUE(gone.seen.empty());
  EXPECT_EQ(next.seen.size(), 1U);
}

TEST(EventLoop, PostedTasksRunOnTheLoopInOrder) {
  const auto loop = make_loop();
  std::vector<int> order;
  std::thread poster([&] {
    for (int i = 0; i < 100; ++i) loop->post([&order, i] { order.push_back(i); });
    loop->post([&] { loop->stop(); });
  });
  ASSERT_TRUE(loop->run());
  poster.join();
  ASSERT_EQ(order.size(), 100U);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(EventLoop, CancelEndsAWaitingRead) {
  const auto loop = make_loop();
  Recorder recorder;
  const Registration registration(*loop, recorder);
  const base::UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  uint64_t count = 0;
  io_uring_prep_read(loop->prepare(registration.source(), 5), event.get(), &count, sizeof(count),
                     0);
  loop->submit();
  loop->cancel(registration.source(), 5);
  while (recorder.seen.empty()) ASSERT_TRUE(loop->run_once(true));
  EXPECT_EQ(recorder.seen[0].first, 5U);
  EXPECT_EQ(recorder.seen[0].second, -ECANCELED);
}

TEST(EventLoop, TurnEndsOnceForManyCompletions) {
  struct Batching final : CompletionHandler, TurnEndHandler {
    explicit Batching(EventLoop& l) : loop(l) {}
    EventLoop& loop;
    int completions = 0;
    int ends = 0;
    bool deferred = false;
    void on_completion(uint32_t, int32_t, uint32_t) override {
      ++completions;
      if (!deferred) loop.defer(*this);
      deferred = true;
    }
    void on_turn_end() override { ++ends; }
  };
  const auto loop = make_loop();
  Batching batching(*loop);
  const Registration registration(*loop, batching);
  for (uint32_t tag = 0; tag < 6; ++tag)
    io_uring_prep_nop(loop->prepare(registration.source(), tag));
  ASSERT_TRUE(loop->run_once(true));
  EXPECT_EQ(batching.completions, 6);
  EXPECT_EQ(batching.ends, 1);
  ASSERT_TRUE(loop->run_once(false));
  EXPECT_EQ(batching.ends, 1) << "only for the turn it asked for";
}

TEST(EventLoop, DoesNotSleepOnAHandlerThatAskedAgain) {
  struct Again final : TurnEndHandler {
    explicit Again(EventLoop& l) : loop(l) {}
    EventLoop& loop;
    int ends = 0;
    void on_turn_end() override {
      if (++ends < 3) loop.defer(*this);
    }
  };
  const auto loop = make_loop();
  Again again(*loop);
  loop->defer(again);
  for (int turn = 1; turn <= 3; ++turn) {
    ASSERT_TRUE(loop->run_once(true));  // Nothing is in flight but the mailbox: it would hang.
    EXPECT_EQ(again.ends, turn);
  }
}

TEST(Timer, FiresOnceAndRearmsReplace) {
  const auto loop = make_loop();
  int fired = 0;
  Timer timer(*loop, [&] {
    ++fired;
    loop->stop();
  });
  timer.arm(3'600'000'000'000);
  timer.arm(2'000'000);
  const uint64_t start = base::monotonic_ns();
  ASSERT_TRUE(loop->run());
  EXPECT_EQ(fired, 1);
  EXPECT_GE(base::monotonic_ns() - start, 2'000'000U);
  EXPECT_FALSE(timer.armed());
}

}  // namespace
}  // namespace mote::io
