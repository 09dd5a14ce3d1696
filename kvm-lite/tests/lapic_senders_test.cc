// Interrupts from other threads: none is lost, and none comes twice.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "kvm-lite/tests/apic_machine.h"

namespace mote::kvm_lite {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint32_t kRounds = 20000;
constexpr uint8_t kErrorVector = 0xfe;

class LapicSenders : public testing::Test {
 protected:
  /// Waits for so many interrupts of @vector. False: the test is over.
  bool wait_for(uint32_t count, uint8_t vector) {
    for (uint32_t spins = 1; taken_[vector].load() != count; ++spins) {
      if (over_.load()) return false;
      if (spins % 1024 == 0) std::this_thread::yield();
    }
    return true;
  }

  /// Sends each of @vectors in each round, odd ones by level, once all of the last round are taken.
  void send(const std::vector<uint8_t>& vectors) {
    for (uint32_t round = 1; round <= kRounds; ++round) {
      for (const uint8_t vector : vectors) {
        EXPECT_TRUE(kvml_apic_accept(&machine_.apic(), vector, (vector & 1) != 0));
      }
      for (const uint8_t vector : vectors) {
        if (!wait_for(round, vector)) return;
      }
    }
  }

  /// The processor: takes and ends interrupts until there were so many, or none comes any more.
  void serve(uint32_t total) {
    auto last = Clock::now();
    for (uint32_t idle = 1; total != 0; ++idle) {
      const int taken = machine_.take();
      if (taken < 0) {
        if (idle % 1024 != 0) continue;
        if (Clock::now() - last > std::chrono::seconds(10)) break;
        std::this_thread::yield();
        continue;
      }
      last = Clock::now();
      idle = 0;
      --total;
      machine_.write(KVML_APIC_EOI, 0);
      const auto vector = static_cast<uint8_t>(taken);
      EXPECT_EQ(machine_.take_ended(), (vector & 1) != 0 ? vector : 0);
      taken_[vector].fetch_add(1);
    }
    EXPECT_EQ(total, 0u) << "interrupts are missing";
    over_.store(true);
  }

  ApicMachine machine_ = ApicMachine::enabled();
  std::array<std::atomic<uint32_t>, 256> taken_{};
  std::atomic<bool> over_{false};
};

TEST_F(LapicSenders, LoseNoInterrupt) {
  // Neighbours in a register and in a pair of registers.
  const std::vector<std::vector<uint8_t>> vectors = {{0x80, 0x82, 0x85, 0x87, 0xa0, 0xa3},
                                                     {0x81, 0x83, 0x84, 0x86, 0xa1, 0xa2}};
  std::vector<std::jthread> senders;
  for (const auto& own : vectors) senders.emplace_back([this, &own] { send(own); });
  serve(kRounds * 12);
  senders.clear();
  for (const auto& own : vectors) {
    for (const uint8_t vector : own) EXPECT_EQ(taken_[vector].load(), kRounds) << int{vector};
  }
  EXPECT_EQ(machine_.take(), -1);
}

TEST_F(LapicSenders, LoseNoError) {
  // The error's interrupt tells of each error that ESR did not have yet when it was last written.
  machine_.write(KVML_APIC_LVT_ERROR, kErrorVector);
  std::jthread sender([this] {
    for (uint32_t round = 1; round <= kRounds; ++round) {
      EXPECT_FALSE(kvml_apic_accept(&machine_.apic(), 3, false));
      if (!wait_for(round, kErrorVector)) return;
    }
  });
  const auto deadline = Clock::now() + std::chrono::seconds(60);
  for (uint32_t round = 1; round <= kRounds && !HasFailure(); ++round) {
    while (machine_.take() != kErrorVector && Clock::now() < deadline) {
    }
    machine_.write(KVML_APIC_EOI, 0);
    machine_.write(KVML_APIC_ESR, 0);
    EXPECT_EQ(machine_.read(KVML_APIC_ESR), 1U << 6) << round;
    taken_[kErrorVector].store(round);
  }
  over_.store(HasFailure());
}

}  // namespace
}  // namespace mote::kvm_lite
