// Memory that changes under two running vCPUs: slots are added, moved, deleted and logged, pages
// are copied on write, protected and discarded. What the guest counted must be there at the end,
// the log must name what changed, and nothing may be written that is protected, a child's, or
// without a slot.

#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
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
constexpr std::size_t kVcpus = 2;
// Each vCPU counts in a word of its own, in every page.
constexpr std::size_t kWordsBetweenVcpus = 16;
// Long enough for the guest to come to every page.
constexpr unsigned kWatchedMicroseconds = 2000;

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
  std::uint32_t count(std::size_t vcpu, std::size_t page) const {
    return static_cast<const volatile std::uint32_t*>(at_)[page * 1024 + vcpu * kWordsBetweenVcpus];
  }

 private:
  void* at_;
};

using Counts = std::array<std::array<std::uint32_t, kVcpus>, kPages>;

Counts counts_of(const Pages& pages) {
  Counts counts{};
  for (std::size_t page = 0; page < kPages; ++page)
    for (std::size_t vcpu = 0; vcpu < kVcpus; ++vcpu) counts[page][vcpu] = pages.count(vcpu, page);
  return counts;
}

/// While nobody may write to them.
bool stay_the_same(const Pages& pages) {
  const Counts before = counts_of(pages);
  usleep(kWatchedMicroseconds);
  return counts_of(pages) == before;
}

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
  bool failed() const { return failed_; }
  /// What ended the guest before its time, if failed().
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
  void fail(const std::string& why) {
    failure_ = why;
    failed_ = true;
  }

  Vcpu& vcpu_;
  std::atomic<bool> stopping_ = false;
  std::atomic<std::uint32_t> rounds_ = 0;
  std::string failure_;  // Written before failed_.
  std::atomic<bool> failed_ = false;
  std::thread thread_;  // Last: it uses the rest.
};

bool any_failed(const std::vector<std::unique_ptr<Runner>>& runners) {
  return std::any_of(runners.begin(), runners.end(),
                     [](const auto& runner) { return runner->failed(); });
}

/// Copies on write come from a child that has the same pages for a moment, as they were.
void fork_once(const Pages& pages) {
  const pid_t child = fork();
  expect(child >= 0, "fork failed");
  if (child == 0) _exit(stay_the_same(pages) ? 0 : 1);
  int status = -1;
  waitpid(child, &status, 0);
  expect(status == 0, "the guest wrote to the pages of a child");
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
        return fork_once(stays_);
      case 4:
        return protect_once();
      default:
        return discard();
    }
  }

 private:
  /// At `gpa`, or deleted if that is 0.
  void change_slot(std::uint64_t gpa, std::uint32_t flags) {
    there_ = gpa != 0;
    machine_.set_slot(kChangingSlot, gpa, there_ ? kBytes : 0, comes_and_goes_.get(), flags);
    gpa_ = gpa;
  }

  void protect_once() {
    expect(mprotect(stays_.get(), kBytes, PROT_READ) == 0, "mprotect");
    const bool same = stay_the_same(stays_);
    expect(mprotect(stays_.get(), kBytes, PROT_READ | PROT_WRITE) == 0, "mprotect");
    expect(same, "the guest wrote to protected pages");
  }

  void discard() {
    expect(madvise(comes_and_goes_.get(), kBytes, MADV_DONTNEED) == 0, "madvise");
    if (!there_)
      expect(counts_of(comes_and_goes_) == Counts{}, "the guest wrote to pages without a slot");
  }

  /// Logging begins, is read (a page that changed since must be in it), or ends.
  void change_log() {
    if (logged_ && random_() % 4 == 0) return set_log(false);
    if (!logged_) set_log(true);
    // Said again, it forgets nothing.
    if (random_() % 2 == 0) set_slot(true);
    const Counts now = counts_of(stays_);
    std::uint64_t bitmap = 0;
    kvm_dirty_log log{};
    log.slot = kStayingSlot;
    log.dirty_bitmap = &bitmap;
    KVM_ABI_IOCTL(machine_.vm(), KVM_GET_DIRTY_LOG, &log);
    for (std::size_t page = 0; page < kPages; ++page)
      expect(now[page] == seen_[page] || (bitmap >> page & 1) != 0,
             "page " + std::to_string(page) + " changed and is not in the log");
    seen_ = counts_of(stays_);
  }

  void set_log(bool logged) {
    logged_ = logged;
    set_slot(logged);
    seen_ = counts_of(stays_);
  }

  void set_slot(bool logged) {
    machine_.set_slot(kStayingSlot, kStays, kBytes, stays_.get(),
                      logged ? KVM_MEM_LOG_DIRTY_PAGES : 0);
  }

  Machine& machine_;
  const Pages& stays_;
  const Pages& comes_and_goes_;
  std::minstd_rand random_{static_cast<unsigned>(getpid())};
  bool there_ = false;
  bool logged_ = false;
  Counts seen_{};  // After the last look at the log.
  std::uint64_t gpa_ = 0;
};

}  // namespace

void stress_memory(const Descriptor& system, unsigned changes) {
  const Pages stays, comes_and_goes;
  Machine machine(system, Interrupts::kNone, kVcpus);
  machine.set_slot(kStayingSlot, kStays, kBytes, stays.get());
  std::vector<std::unique_ptr<Runner>> runners;
  for (std::size_t i = 0; i < kVcpus; ++i) {
    kvm_regs regs{};
    regs.rdi = kStays + i * kWordsBetweenVcpus * sizeof(std::uint32_t);
    regs.rsi = kComesAndGoes + i * kWordsBetweenVcpus * sizeof(std::uint32_t);
    machine.load_long(long_rounds(), regs, i);
  }
  for (std::size_t i = 0; i < kVcpus; ++i)
    runners.push_back(std::make_unique<Runner>(machine.vcpu(i)));
  Changes change(machine, stays, comes_and_goes);
  for (unsigned i = 0; i < changes && !any_failed(runners); ++i) change.make_one();
  for (std::size_t vcpu = 0; vcpu < kVcpus; ++vcpu) {
    runners[vcpu]->stop();
    expect(!runners[vcpu]->failed(), runners[vcpu]->failure());
    for (std::size_t page = 0; page < kPages; ++page)
      expect_equal(
          stays.count(vcpu, page), runners[vcpu]->rounds(),
          "what vCPU " + std::to_string(vcpu) + " counted in page " + std::to_string(page));
  }
  std::printf("stress: %u changes, %u and %u rounds of the guest\n", changes, runners[0]->rounds(),
              runners[1]->rounds());
}

}  // namespace kvm_abi
