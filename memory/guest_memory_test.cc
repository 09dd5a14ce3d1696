#include "memory/guest_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vector>

#include "base/unique_fd.h"
#include "memory/layout.h"

namespace mote::memory {
namespace {

GuestMemory make(uint64_t size_bytes) {
  auto memory = GuestMemory::create(size_bytes, HugePages::kNone);
  EXPECT_TRUE(memory) << memory.error().message();
  return std::move(*memory);
}

TEST(GuestMemory, StoresAndLoadsUnaligned) {
  const GuestMemory memory = make(layout::kMib);
  ASSERT_TRUE(memory.store(Gpa{4093}, uint64_t{0x1122334455667788}));
  EXPECT_EQ(memory.load_once<uint64_t>(Gpa{4093}), 0x1122334455667788U);
}

TEST(GuestMemory, RefusesWhatLiesOutside) {
  const GuestMemory memory = make(layout::kMib);
  EXPECT_FALSE(memory.store(Gpa{layout::kMib - 7}, uint64_t{1}));
  EXPECT_FALSE(memory.load_once<uint64_t>(Gpa{layout::kMib}));
  EXPECT_FALSE(memory.load_once<uint8_t>(Gpa{UINT64_MAX}));
  EXPECT_TRUE(memory.slice(Gpa{1}, UINT64_MAX).empty());
  EXPECT_TRUE(memory.slice(Gpa{0}, 0).empty());
  EXPECT_TRUE(memory.load_once<uint8_t>(Gpa{layout::kMib - 1}));
}

TEST(GuestMemory, SplitsAtTheMmioGap) {
  const GuestMemory memory = make(layout::kMmioGapStart.value + 2 * layout::kMib);
  ASSERT_EQ(memory.regions().size(), 2U);
  EXPECT_TRUE(memory.store(Gpa{layout::kMmioGapStart.value - 1}, uint8_t{1}));
  EXPECT_FALSE(memory.store(layout::kMmioGapStart, uint8_t{1}));
  // A range may not cross from the end of one region into the gap.
  EXPECT_FALSE(memory.store(Gpa{layout::kMmioGapStart.value - 1}, uint16_t{1}));
  EXPECT_TRUE(memory.store(Gpa{layout::kMmioGapEnd.value + 2 * layout::kMib - 1}, uint8_t{1}));
  EXPECT_FALSE(memory.store(Gpa{layout::kMmioGapEnd.value + 2 * layout::kMib}, uint8_t{1}));
}

TEST(GuestMemory, LiesWhereTheHostCanMapHugePages) {
  // Several at once, so that no address is right by luck.
  std::vector<GuestMemory> memories;
  for (int i = 1; i <= 8; ++i) {
    memories.push_back(make(8 * layout::kMib + static_cast<uint64_t>(i) * layout::kPageSize));
    const auto& region = memories.back().regions()[0];
    EXPECT_EQ(reinterpret_cast<uintptr_t>(region.mapping.data()) % (2 * layout::kMib), 0U);
    EXPECT_TRUE(memories.back().store(Gpa{region.size_bytes() - 1}, uint8_t{1}));
  }
}

TEST(GuestMemory, RefusesBadSizes) {
  EXPECT_FALSE(GuestMemory::create(0, HugePages::kNone));
  EXPECT_FALSE(GuestMemory::create(4095, HugePages::kNone));
  EXPECT_FALSE(GuestMemory::create(layout::kMib, HugePages::k2M));
}

TEST(GuestMemory, MapsFilesPrivately) {
  GuestMemory memory = make(layout::kMib);
  const base::UniqueFd file(::memfd_create("kernel", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(file.get(), 8192), 0);
  ASSERT_EQ(::pwrite(file.get(), "abcd", 4, 4096), 4);
  ASSERT_TRUE(memory.map_file_private(Gpa{0x10000}, 4096, file.get(), 4096));
  EXPECT_EQ(memory.load_once<char>(Gpa{0x10000}), 'a');
  ASSERT_TRUE(memory.store(Gpa{0x10000}, 'x'));
  char byte = 0;
  ASSERT_EQ(::pread(file.get(), &byte, 1, 4096), 1);
  EXPECT_EQ(byte, 'a');
  EXPECT_FALSE(memory.map_file_private(Gpa{0x10001}, 4096, file.get(), 0));
  EXPECT_FALSE(memory.map_file_private(Gpa{layout::kMib - 4096}, 8192, file.get(), 0));
}

TEST(GuestMemory, HugePagesAreFilledByCopies) {
  auto memory = GuestMemory::create(4 * layout::kMib, HugePages::kTransparent);
  if (!memory) GTEST_SKIP() << memory.error().message();
  const base::UniqueFd file(::memfd_create("kernel", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(file.get(), 4096), 0);
  const auto mapped = memory->map_file_private(Gpa{0x10000}, 4096, file.get(), 0);
  ASSERT_FALSE(mapped);
  EXPECT_EQ(mapped.error().code, base::ErrorCode::kUnsupported);
}

TEST(GuestMemory, AskedForPagesAreWhatYouGet) {
  EXPECT_EQ(effective_huge_pages(HugePages::k2M), HugePages::k2M);
  EXPECT_EQ(effective_huge_pages(HugePages::kTransparent), HugePages::kTransparent);
}

}  // namespace
}  // namespace mote::memory
