#include "devices/legacy/boot_timer.h"

#include <gtest/gtest.h>

#include <array>
#include <thread>
#include <vector>

namespace mote::legacy {
namespace {

void store(BootTimer& timer, uint64_t offset, uint32_t value, size_t size_bytes) {
  timer.write(offset, std::as_bytes(std::span(&value, 1)).first(size_bytes));
}

TEST(BootTimer, FiresOnceForTheMagicValueInAnyWidth) {
  int calls = 0;
  BootTimer timer([&] { ++calls; });
  store(timer, 0, 122, 1);
  store(timer, 4, 123, 1);
  EXPECT_EQ(calls, 0);
  store(timer, 0, 123, 4);
  EXPECT_EQ(calls, 1);
  store(timer, 0, 123, 1);
  EXPECT_EQ(calls, 1);
}

TEST(BootTimer, FiresOnceEvenWhenAllVcpusStoreAtOnce) {
  std::atomic<int> calls{0};
  BootTimer timer([&] { ++calls; });
  std::vector<std::jthread> vcpus;
  for (int i = 0; i < 4; ++i) vcpus.emplace_back([&] { store(timer, 0, 123, 1); });
  vcpus.clear();
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace mote::legacy
