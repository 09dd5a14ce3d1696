#include "monitor/snapshot/working_set.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "memory/layout.h"
#include "memory/page_scan.h"

namespace mote::monitor::snapshot {
namespace {

using memory::GuestMemory;
constexpr uint64_t kPage = 4096;
constexpr uint64_t kMemoryBytes = memory::layout::kMib;

Snapshot snapshot_of_one_mib() {
  Snapshot snapshot;
  snapshot.id = {1, 2, 3};
  snapshot.machine.mem_size_mib = 1;
  return snapshot;
}

std::string refusal(const WorkingSet& set) {
  const auto read = decode_working_set(encode_working_set(set), snapshot_of_one_mib());
  return read ? "" : read.error().message();
}

TEST(WorkingSetFile, IsReadAsItWasWritten) {
  const WorkingSet set{
      {1, 2, 3}, {{0, kPage}, {8 * kPage, 2 * kPage}}, {{kMemoryBytes - kPage, kPage}}};
  const auto read = decode_working_set(encode_working_set(set), snapshot_of_one_mib());
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(read->written, set.written);
  EXPECT_EQ(read->read, set.read);
}

TEST(WorkingSetFile, RefusesWhatDoesNotBelongToTheSnapshot) {
  EXPECT_EQ(refusal({{1, 2, 3}, {}, {}}), "");
  EXPECT_NE(refusal({{9}, {}, {}}).find("another snapshot"), std::string::npos);
  for (const GuestMemory::Range range :
       {GuestMemory::Range{1, kPage}, GuestMemory::Range{0, 17},
        GuestMemory::Range{kMemoryBytes, kPage}, GuestMemory::Range{kPage, kMemoryBytes},
        GuestMemory::Range{UINT64_MAX - kPage + 1, kPage},
        GuestMemory::Range{kPage, UINT64_MAX - kPage + 1}}) {
    EXPECT_NE(refusal({{1, 2, 3}, {range}, {}}).find("does not fit"), std::string::npos);
    EXPECT_NE(refusal({{1, 2, 3}, {}, {range}}).find("does not fit"), std::string::npos);
  }
}

TEST(WorkingSetFile, RefusesEveryFlippedByteAndEveryCut) {
  const auto file = encode_working_set({{1, 2, 3}, {{0, kPage}}, {{kPage, kPage}}});
  for (size_t at = 0; at < file.size(); ++at) {
    auto flipped = file;
    flipped[at] ^= std::byte{0x10};
    EXPECT_FALSE(decode_working_set(flipped, snapshot_of_one_mib())) << at;
    EXPECT_FALSE(decode_working_set(std::span(file).first(at), snapshot_of_one_mib())) << at;
  }
  EXPECT_FALSE(decode_working_set(encode_container({}), snapshot_of_one_mib()));
}

class MappedMemory : public testing::Test {
 protected:
  void SetUp() override {
    std::FILE* const file = std::tmpfile();
    ASSERT_NE(file, nullptr);
    for (uint64_t page = 0; page < kMemoryBytes / kPage; ++page) {
      const std::vector<char> content(kPage, static_cast<char>(page));
      ASSERT_EQ(std::fwrite(content.data(), 1, kPage, file), kPage);
    }
    ASSERT_EQ(std::fflush(file), 0);
    file_.reset(::dup(::fileno(file)));
    std::fclose(file);
  }
  [[nodiscard]] GuestMemory map() const {
    auto memory =
        GuestMemory::create_from_file(kMemoryBytes, memory::HugePages::kNone, file_.get());
    EXPECT_TRUE(memory);
    return std::move(*memory);
  }
  static bool contains(const std::vector<GuestMemory::Range>& ranges, uint64_t page) {
    return std::ranges::any_of(ranges, [&](const auto& range) {
      return range.offset <= page * kPage && page * kPage < range.offset + range.size_bytes;
    });
  }

  base::UniqueFd file_;
};

TEST_F(MappedMemory, WhatOneProcessTouchedTheNextHasMappedAndUnchanged) {
  const GuestMemory first = map();
  ASSERT_TRUE(first.store(memory::Gpa{3 * kPage}, uint64_t{77}));
  ASSERT_EQ(first.load_once<uint8_t>(memory::Gpa{200 * kPage}), 200);
  const auto set = record_working_set(first, {1, 2, 3});
  if (!set) GTEST_SKIP() << set.error().message();
  EXPECT_EQ(set->written, (std::vector<GuestMemory::Range>{{3 * kPage, kPage}}));
  EXPECT_TRUE(contains(set->read, 200));
  EXPECT_FALSE(contains(set->read, 3));

  const GuestMemory second = map();
  EXPECT_GE(prefetch(second, *set), 2 * kPage);
  const auto mapped = memory::touched_ranges(second);
  ASSERT_TRUE(mapped);
  EXPECT_EQ(mapped->written, set->written);
  EXPECT_TRUE(contains(mapped->read, 200));
  for (uint64_t page = 0; page < kMemoryBytes / kPage; ++page) {
    ASSERT_EQ(second.load_once<uint8_t>(memory::Gpa{page * kPage + 5}), static_cast<uint8_t>(page));
  }
  EXPECT_EQ(second.load_once<uint64_t>(memory::Gpa{3 * kPage}), 0x0303030303030303U)
      << "its own copy of the file's page";
}

TEST_F(MappedMemory, RangesOutsideMemoryAreLeftAlone) {
  const GuestMemory memory = map();
  EXPECT_EQ(prefetch(memory, {{}, {{kMemoryBytes, kPage}}, {{2 * kMemoryBytes, kPage}}}), 0U);
}

}  // namespace
}  // namespace mote::monitor::snapshot
