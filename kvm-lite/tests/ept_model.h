#pragma once

// Extended page tables beside a plain map of what they should say, for tests and fuzzers. The pages
// live in kAreas pieces of 2 MiB that lie far apart, so that tables of all levels come and go.

#include <algorithm>
#include <array>
#include <bitset>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <utility>

extern "C" {
#include "kvm-lite/ept_walk.h"
}

namespace mote::kvm_lite {

class EptModel final {
 public:
  static constexpr unsigned kAreas = 4;
  static constexpr unsigned kPages = kAreas * KVML_EPT_LARGE_PAGES;

  EptModel() { root_ = new_table(); }
  ~EptModel() {
    kvml_ept_free(root_, KVML_EPT_ROOT_LEVEL, release);
    // Each table was handed back once, and none is left.
    if (!tables().empty()) std::abort();
  }
  EptModel(const EptModel&) = delete;
  EptModel& operator=(const EptModel&) = delete;

  /// The guest's frame behind page `page` of the model.
  static std::uint64_t frame(unsigned page) {
    constexpr std::array<std::uint64_t, kAreas> kFirst = {0, 512, 1ULL << 18, (1ULL << 36) - 512};
    return kFirst[page / KVML_EPT_LARGE_PAGES] + page % KVML_EPT_LARGE_PAGES;
  }

  /// Maps a page, or all of its 2 MiB; false if what was asked to be flushed or freed is not what
  /// had to be.
  bool map(unsigned page, std::uint64_t address, bool large, bool writable) {
    const unsigned area = page / KVML_EPT_LARGE_PAGES;
    const unsigned first = large ? area * KVML_EPT_LARGE_PAGES : page;
    const std::uint64_t base = large ? address & ~0x1fffffULL : address;
    const bool table_goes = large && table_[area];
    const bool mapped_so = mapped_[first] && (!large || large_[area]);
    const bool same = mapped_so && address_[first] == base;
    const bool other = (mapped_so && !same) || table_goes || (!large && large_[area]);

    kvml_ept_mapping map{};
    map.gfn = frame(page);
    map.level = large ? KVML_EPT_LARGE_LEVEL : KVML_EPT_LEAF_LEVEL;
    map.leaf = kvml_ept_leaf(address, map.level, writable);
    const std::uint64_t* entry = nullptr;
    while ((entry = kvml_ept_map(root_, &map)) == nullptr) map.spare = new_table();
    if (map.spare != nullptr || (*entry & KVML_EPT_ADDRESS) != base) std::abort();
    if (map.flush != other || (map.unused != nullptr) != table_goes) return false;
    if (map.unused != nullptr) release(map.unused);

    // What was allowed for the same page stays allowed.
    const bool allowed = writable || (same && writable_[first]);
    large_[area] = large;
    table_[area] = !large;
    for (unsigned i = 0; i < (large ? KVML_EPT_LARGE_PAGES : 1); ++i) {
      mapped_[first + i] = true;
      writable_[first + i] = allowed;
      address_[first + i] = base + i * 4096ULL;
    }
    use(frame(page));
    return true;
  }

  /// As the tables do it: a 2 MiB page that is touched goes, or is protected, whole.
  bool change(unsigned page, unsigned pages, kvml_ept_change what) {
    const unsigned area = page / KVML_EPT_LARGE_PAGES;
    const unsigned end = std::min(page + pages, (area + 1) * KVML_EPT_LARGE_PAGES);
    if (end == page) return !kvml_ept_apply(root_, frame(page), 0, what);
    const unsigned from = large_[area] ? area * KVML_EPT_LARGE_PAGES : page;
    const unsigned to = large_[area] ? (area + 1) * KVML_EPT_LARGE_PAGES : end;
    bool expected = false;
    for (unsigned i = from; i < to; ++i) {
      if (what == KVML_EPT_ZAP) {
        expected |= mapped_[i];
        mapped_[i] = false;
      } else {
        expected |= mapped_[i] && writable_[i];
        writable_[i] = false;
      }
    }
    if (what == KVML_EPT_ZAP) large_[area] = false;
    return kvml_ept_apply(root_, frame(page), end - page, what) == expected;
  }

  /// Do the tables say of each page what they should?
  bool holds() const {
    for (unsigned page = 0; page < kPages; ++page) {
      const std::uint64_t found = walk(frame(page));
      if (!mapped_[page]) {
        if (found != 0) return false;
      } else if ((found & KVML_EPT_ADDRESS) != address_[page] ||
                 ((found & KVML_EPT_WRITE) != 0) != writable_[page] ||
                 (found & (KVML_EPT_READ | KVML_EPT_EXECUTE)) !=
                     (KVML_EPT_READ | KVML_EPT_EXECUTE)) {
        return false;
      }
    }
    return true;
  }

  /// The entry that maps the frame, as the processor finds it, with the page's own address; 0 if
  /// none.
  std::uint64_t walk(std::uint64_t gfn) const {
    constexpr std::uint64_t kLarge = 1u << 7;
    const std::uint64_t* table = root_;
    for (int level = KVML_EPT_ROOT_LEVEL;; --level) {
      const std::uint64_t entry = table[(gfn >> (9 * (level - 1))) % KVML_EPT_ENTRIES];
      if (entry == 0 || level == KVML_EPT_LEAF_LEVEL) return entry;
      if ((entry & kLarge) != 0)
        return level == KVML_EPT_LARGE_LEVEL ? entry + gfn % KVML_EPT_LARGE_PAGES * 4096 : 0;
      table = reinterpret_cast<const std::uint64_t*>(entry & KVML_EPT_ADDRESS);
    }
  }

 private:
  struct alignas(4096) Table {
    std::array<std::uint64_t, KVML_EPT_ENTRIES> entries{};
  };
  // The callback that frees a table is told nothing but the table.
  static std::map<const std::uint64_t*, std::unique_ptr<Table>>& tables() {
    thread_local std::map<const std::uint64_t*, std::unique_ptr<Table>> all;
    return all;
  }
  static std::uint64_t* new_table() {
    auto table = std::make_unique<Table>();
    std::uint64_t* const entries = table->entries.data();
    tables()[entries] = std::move(table);
    return entries;
  }
  // What an access does to the entries on its way: accessed, and the leaf dirty, where it may be.
  void use(std::uint64_t gfn) {
    constexpr std::uint64_t kLarge = 1u << 7, kAccessed = 1u << 8, kDirty = 1u << 9;
    std::uint64_t* table = root_;
    for (int level = KVML_EPT_ROOT_LEVEL;; --level) {
      std::uint64_t& entry = table[(gfn >> (9 * (level - 1))) % KVML_EPT_ENTRIES];
      const bool leaf = level == KVML_EPT_LEAF_LEVEL || (entry & kLarge) != 0;
      entry |= kAccessed | (leaf && (entry & KVML_EPT_WRITE) != 0 ? kDirty : 0);
      if (leaf) return;
      table = reinterpret_cast<std::uint64_t*>(entry & KVML_EPT_ADDRESS);
    }
  }
  static void release(std::uint64_t* table) {
    if (tables().erase(table) != 1) std::abort();  // Freed twice, or never a table.
  }

  std::uint64_t* root_;
  std::bitset<kPages> mapped_, writable_;
  std::bitset<kAreas> large_, table_;  // What the entry of each area is; neither: empty.
  std::array<std::uint64_t, kPages> address_{};
};

}  // namespace mote::kvm_lite
