#include <gtest/gtest.h>

#include <random>

#include "kvm-lite/tests/ept_model.h"

namespace mote::kvm_lite {
namespace {

constexpr std::uint64_t kPage = 0x1234000;
constexpr std::uint64_t kLargePage = 0x40000000;
// Accessed and dirty: the processor's own.
constexpr std::uint64_t kUsed = 1u << 8 | 1u << 9;

TEST(EptWalk, NothingIsMappedAtFirst) {
  EptModel ept;
  EXPECT_TRUE(ept.holds());
}

TEST(EptWalk, FirstAndLastFrameOfFourLevels) {
  EptModel ept;
  EXPECT_TRUE(ept.map(0, kPage, false, true));
  EXPECT_TRUE(ept.map(EptModel::kPages - 1, kPage + 0x1000, false, false));
  EXPECT_TRUE(ept.holds());
}

TEST(EptWalk, EachMissingTableIsAskedFor) {
  alignas(4096) std::uint64_t tables[4][KVML_EPT_ENTRIES] = {};
  kvml_ept_mapping map{};
  map.gfn = 7;
  map.level = KVML_EPT_LEAF_LEVEL;
  map.leaf = kvml_ept_leaf(kPage, map.level, true);
  for (int i = 1; i < 4; ++i) {
    EXPECT_EQ(kvml_ept_map(tables[0], &map), nullptr);
    map.spare = tables[i];
  }
  EXPECT_EQ(kvml_ept_map(tables[0], &map), &tables[3][7]);
  EXPECT_EQ(map.spare, nullptr);
  EXPECT_EQ(map.unused, nullptr);
  EXPECT_FALSE(map.flush);
  // With all tables there, a spare one stays the caller's.
  alignas(4096) std::uint64_t spare[KVML_EPT_ENTRIES] = {};
  map.spare = spare;
  EXPECT_EQ(kvml_ept_map(tables[0], &map), &tables[3][7]);
  EXPECT_EQ(map.spare, spare);
}

// On processors that must not execute from large pages, the guest's code is in small ones.
TEST(EptWalk, ALargePageIsSplitIntoSmallOnesThatExecute) {
  alignas(4096) std::uint64_t tables[4][KVML_EPT_ENTRIES] = {};
  kvml_ept_mapping large{};
  large.level = KVML_EPT_LARGE_LEVEL;
  large.leaf = kvml_ept_leaf(kLargePage, large.level, true) & ~KVML_EPT_EXECUTE;
  for (int i = 1; i < 3; ++i) {
    kvml_ept_map(tables[0], &large);
    large.spare = tables[i];
  }
  ASSERT_EQ(kvml_ept_map(tables[0], &large), &tables[2][0]);
  tables[2][0] |= kUsed;
  kvml_ept_mapping small{};
  small.gfn = 3;
  small.level = KVML_EPT_LEAF_LEVEL;
  small.leaf = kvml_ept_leaf(kLargePage + 3 * 4096, small.level, false);
  EXPECT_EQ(kvml_ept_map(tables[0], &small), nullptr);
  EXPECT_FALSE(small.flush);  // Nothing is changed before there is a table.
  small.spare = tables[3];
  EXPECT_EQ(kvml_ept_map(tables[0], &small), &tables[3][3]);
  EXPECT_TRUE(small.flush);
  for (std::uint64_t i = 0; i < KVML_EPT_ENTRIES; ++i) {
    EXPECT_EQ(tables[3][i], kvml_ept_leaf(kLargePage + i * 4096, KVML_EPT_LEAF_LEVEL, true));
  }
}

TEST(EptWalk, RangesMeetTheBordersOfTables) {
  EptModel ept;
  for (const unsigned page : {511u, 512u, 1023u}) EXPECT_TRUE(ept.map(page, kPage, false, true));
  // Of two tables that lie side by side, from the last page of one to the first of the other.
  EXPECT_TRUE(ept.change(511, 1, KVML_EPT_ZAP));
  EXPECT_TRUE(ept.change(512, 1, KVML_EPT_WRITE_PROTECT));
  EXPECT_TRUE(ept.holds());
  EXPECT_NE(ept.walk(EptModel::frame(1023)) & KVML_EPT_WRITE, 0u);
}

TEST(EptWalk, ALargePageKeepsItsOwnAddressBits) {
  EptModel ept;
  // The fault was in the middle: the leaf begins where 2 MiB begin.
  EXPECT_TRUE(ept.map(5, kLargePage + 5 * 4096, true, true));
  EXPECT_TRUE(ept.holds());
  EXPECT_EQ(ept.walk(EptModel::frame(511)) & KVML_EPT_ADDRESS, kLargePage + 511 * 4096);
}

TEST(EptWalk, ALargePageTakesThePlaceOfATable) {
  EptModel ept;
  for (unsigned page = 0; page < 20; ++page)
    EXPECT_TRUE(ept.map(page, kPage + page * 8192, false, true));
  EXPECT_TRUE(ept.map(3, kLargePage, true, false));
  EXPECT_TRUE(ept.holds());
}

TEST(EptWalk, ASmallPageLeavesTheRestOfALargeOne) {
  EptModel ept;
  EXPECT_TRUE(ept.map(0, kLargePage, true, true));
  EXPECT_TRUE(ept.map(9, kPage, false, true));
  EXPECT_TRUE(ept.holds());
  EXPECT_EQ(ept.walk(EptModel::frame(8)) & KVML_EPT_ADDRESS, kLargePage + 8 * 4096);
}

TEST(EptWalk, ZapOfAPartOfALargePageTakesAllOfIt) {
  EptModel ept;
  EXPECT_TRUE(ept.map(512, kLargePage, true, true));
  EXPECT_TRUE(ept.change(600, 1, KVML_EPT_ZAP));
  EXPECT_TRUE(ept.holds());
  EXPECT_EQ(ept.walk(EptModel::frame(512)), 0u);
}

TEST(EptWalk, ChangesTellWhetherThereWasSomethingToChange) {
  EptModel ept;
  EXPECT_TRUE(ept.map(1, kPage, false, false));
  EXPECT_TRUE(ept.change(1, 1, KVML_EPT_WRITE_PROTECT));  // It was read-only: no flush is due.
  EXPECT_TRUE(ept.change(2, 100, KVML_EPT_ZAP));          // Nothing there.
  EXPECT_TRUE(ept.change(0, 512, KVML_EPT_ZAP));
  EXPECT_TRUE(ept.change(0, 0, KVML_EPT_ZAP));
  EXPECT_TRUE(ept.holds());
}

// A root whose tables are there, and a leaf of its own beside the model.
class EptEntry : public ::testing::Test {
 protected:
  kvml_ept_mapping put(std::uint64_t address, bool writable) {
    kvml_ept_mapping map{};
    map.level = KVML_EPT_LEAF_LEVEL;
    map.leaf = kvml_ept_leaf(address, map.level, writable);
    for (int i = 0; kvml_ept_map(tables_[0], &map) == nullptr && i < 3; ++i)
      map.spare = tables_[i + 1];
    return map;
  }
  bool change(kvml_ept_change what) { return kvml_ept_apply(tables_[0], 0, 1, what); }
  std::uint64_t& entry() { return tables_[3][0]; }

 private:
  alignas(4096) std::uint64_t tables_[4][KVML_EPT_ENTRIES] = {};
};

// A vCPU that reads must not take back what another was allowed a moment ago: that one's TLB would
// still write, and the dirty log would not hear of it.
TEST_F(EptEntry, AReadKeepsTheWriteThatAnotherVcpuWasAllowed) {
  put(kPage, true);
  entry() |= kUsed;
  EXPECT_FALSE(put(kPage, false).flush);
  EXPECT_NE(entry() & KVML_EPT_WRITE, 0u);
}

TEST_F(EptEntry, ChangesLookAtNothingThatTheProcessorSets) {
  put(kPage, true);
  entry() |= kUsed;
  EXPECT_TRUE(change(KVML_EPT_WRITE_PROTECT));
  EXPECT_EQ(entry() & ~kUsed, kvml_ept_leaf(kPage, KVML_EPT_LEAF_LEVEL, false));
  EXPECT_FALSE(change(KVML_EPT_WRITE_PROTECT));
  EXPECT_TRUE(change(KVML_EPT_ZAP));
  EXPECT_EQ(entry(), 0u);
}

TEST_F(EptEntry, AnotherPageInItsPlaceIsFlushedAndStartsAfresh) {
  put(kPage, true);
  entry() |= kUsed;
  EXPECT_TRUE(put(kPage + 0x1000, false).flush);
  EXPECT_EQ(entry(), kvml_ept_leaf(kPage + 0x1000, KVML_EPT_LEAF_LEVEL, false));
}

TEST(EptWalk, LongRandomHistoriesAgreeWithTheModel) {
  std::minstd_rand engine(1);
  const auto random = [&engine] { return static_cast<unsigned>(engine()); };
  EptModel ept;
  for (int step = 0; step < 3000; ++step) {
    const unsigned page = random() % EptModel::kPages;
    const bool done = random() % 3 == 0
                          ? ept.change(page, random() % 600,
                                       random() % 2 == 0 ? KVML_EPT_ZAP : KVML_EPT_WRITE_PROTECT)
                          : ept.map(page, (random() % 64) << 21 | (page % 512) << 12,
                                    random() % 16 == 0, random() % 2 == 0);
    ASSERT_TRUE(done) << "step " << step;
    if (step % 16 == 0) {
      ASSERT_TRUE(ept.holds()) << "step " << step;
    }
  }
  EXPECT_TRUE(ept.holds());
}

}  // namespace
}  // namespace mote::kvm_lite
