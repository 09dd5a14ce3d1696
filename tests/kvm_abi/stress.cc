// Memory that changes under a running guest: slots are added, moved, deleted and logged, pages are
// copied on write, protected and discarded. What the guest counted must be there at the end.

#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <random>
#include <thread>

#include "tests/kvm_abi/machine.h"

KVM_ABI_GUEST(long_rounds)

namespace kvm_abi {
namespace {

constexpr std::size_t kPages = 16;
constexpr std::size_t kBytes = kPages * 4096;
constexpr std::uint64_t kStays = 0x400000;
constexpr std::uint64_t kComesAndGoes = 0x800000;
constexpr std::uint32_t kStayingSlot = 1, kChangingSlot = 2;

/// A piece of the process's memory.
class Pages final {
 public:
  Pages() : at_(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (at_ == MAP_FAILED) throw std::runtime_error("no memory for a slot");
  }
  ~Pages() { munmap(at_, kBytes); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  void* get() const { return at_; }

 private:
  void* at_;
};

/// Runs the guest in a thread of its own until it is told to stop at the end of a round.
class Runner final {
 public:
  explicit Runner(Vcpu& vcpu) : vcpu_(vcpu), thread_([this] { loop(); }) {}
  ~Runner() { stop(); }
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  void stop() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
  }
  std::uint32_t rounds() const { return rounds_; }
  /// Empty, or what ended the guest before its time.
  const std::string& failure() const { return failure_; }

 private:
  void loop() {
    for (;;) {
      const int result = vcpu_.fd().try_ioctl(KVM_RUN);
      // The guest met a page that the process may not write just now: it tries again.
      if (result == -EFAULT || result == -EINTR || result == -EAGAIN) {
        sched_yield();
        continue;
      }
      if (result < 0) return fail("KVM_RUN: error " + std::to_string(-result));
      const kvm_run& run = vcpu_.run_page();
      if (run.exit_reason == KVM_EXIT_MMIO) {
        if (run.mmio.phys_addr < kComesAndGoes)
          return fail("memory that stays became a device: " + hex(run.mmio.phys_addr));
        continue;
      }
      if (run.exit_reason != KVM_EXIT_IO || run.io.port != kEndPort)
        return fail("exit " + std::to_string(run.exit_reason));
      ++rounds_;
      if (stopping_) return;
    }
  }
  void fail(const std::string& why) { failure_ = why; }

  Vcpu& vcpu_;
  std::atomic<bool> stopping_ = false;
  std::atomic<std::uint32_t> rounds_ = 0;
  std::string failure_;
  std::thread thread_;  // Last: it uses the rest.
};

/// Copies on write come from a child that has the same pages for a moment.
void fork_once() {
  const pid_t child = fork();
  expect(child >= 0, "fork failed");
  if (child == 0) _exit(0);
  waitpid(child, nullptr, 0);
}

class Changes final {
 public:
  Changes(Machine& machine, const Pages& stays, const Pages& comes_and_goes)
      : machine_(machine), stays_(stays), comes_and_goes_(comes_and_goes) {}

  void make_one() {
    switch (random_() % 6) {
      case 0:
        if (there_)
          change_slot(0, 0);  // Slots are moved, or deleted, as they stand.
        else
          change_slot(kComesAndGoes, 0);
        return;
      case 1:
        if (there_) change_slot(gpa_ == kComesAndGoes ? kComesAndGoes + kBytes : kComesAndGoes, 0);
        return;
      case 2:
        return change_log();
      case 3:
        return fork_once();
      case 4:
        expect(mprotect(stays_.get(), kBytes, PROT_READ) == 0, "mprotect");
        sched_yield();
        expect(mprotect(stays_.get(), kBytes, PROT_READ | PROT_WRITE) == 0, "mprotect");
        return;
      default:
        expect(madvise(comes_and_goes_.get(), kBytes, MADV_DONTNEED) == 0, "madvise");
    }
  }

 private:
  /// At `gpa`, or deleted if that is 0.
  void change_slot(std::uint64_t gpa, std::uint32_t flags) {
    there_ = gpa != 0;
    machine_.set_slot(kChangingSlot, gpa, there_ ? kBytes : 0, comes_and_goes_.get(), flags);
    gpa_ = gpa;
  }

  void change_log() {
    if (logged_) {
      std::uint64_t bitmap = 0;
      kvm_dirty_log log{};
      log.slot = kStayingSlot;
      log.dirty_bitmap = &bitmap;
      KVM_ABI_IOCTL(machine_.vm(), KVM_GET_DIRTY_LOG, &log);
    }
    logged_ = !logged_;
    machine_.set_slot(kStayingSlot, kStays, kBytes, stays_.get(),
                      logged_ ? KVM_MEM_LOG_DIRTY_PAGES : 0);
  }

  Machine& machine_;
  const Pages& stays_;
  const Pages& comes_and_goes_;
  std::minstd_rand random_{static_cast<unsigned>(getpid())};
  bool there_ = false;
  bool logged_ = false;
  std::uint64_t gpa_ = 0;
};

}  // namespace

void stress_memory(const Descriptor& system, unsigned changes) {
  const Pages stays, comes_and_goes;
  Machine machine(system);
  machine.set_slot(kStayingSlot, kStays, kBytes, stays.get());
  kvm_regs regs{};
  regs.rdi = kStays;
  regs.rsi = kComesAndGoes;
  machine.load_long(long_rounds(), regs);
  Runner runner(machine.vcpu());
  Changes change(machine, stays, comes_and_goes);
  for (unsigned i = 0; i < changes && runner.failure().empty(); ++i) change.make_one();
  runner.stop();
  expect(runner.failure().empty(), runner.failure());
  for (std::size_t page = 0; page < kPages; ++page)
    expect_equal(static_cast<const std::uint32_t*>(stays.get())[page * 1024], runner.rounds(),
                 "what the guest counted in page " + std::to_string(page));
  std::printf("stress: %u changes, %u rounds of the guest\n", changes, runner.rounds());
}

}  // namespace kvm_abi
