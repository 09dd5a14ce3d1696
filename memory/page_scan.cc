#include "memory/page_scan.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/unique_fd.h"
#include "memory/layout.h"

namespace mote::memory {
namespace {

constexpr uint64_t kPresent = uint64_t{1} << 63;
constexpr uint64_t kSwapped = uint64_t{1} << 62;
constexpr uint64_t kFileOrShared = uint64_t{1} << 61;

bool is_own(uint64_t entry) {
  return (entry & kSwapped) != 0 || (entry & (kPresent | kFileOrShared)) == kPresent;
}
bool is_of_file(uint64_t entry) {
  return (entry & (kPresent | kFileOrShared)) == (kPresent | kFileOrShared);
}

void add_page(std::vector<GuestMemory::Range>& ranges, uint64_t offset) {
  if (!ranges.empty() && ranges.back().offset + ranges.back().size_bytes == offset) {
    ranges.back().size_bytes += layout::kPageSize;
  } else {
    ranges.push_back({offset, layout::kPageSize});
  }
}

/// False when the file cannot be read.
bool scan_region(int fd, std::span<const std::byte> region, uint64_t start,
                 TouchedRanges& touched) {
  std::array<uint64_t, 4096> entries{};
  const uint64_t first_page = reinterpret_cast<uint64_t>(region.data()) / layout::kPageSize;
  const uint64_t pages = region.size() / layout::kPageSize;
  for (uint64_t page = 0; page < pages;) {
    const size_t wanted = std::min<uint64_t>(entries.size(), pages - page) * sizeof(uint64_t);
    const ssize_t got = ::pread(fd, entries.data(), wanted,
                                static_cast<off_t>((first_page + page) * sizeof(uint64_t)));
    if (got <= 0) return false;
    const auto count = static_cast<uint64_t>(got) / sizeof(uint64_t);
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t offset = start + (page + i) * layout::kPageSize;
      if (is_own(entries[i])) add_page(touched.written, offset);
      if (is_of_file(entries[i])) add_page(touched.read, offset);
    }
    page += count;
  }
  return true;
}

}  // namespace

std::optional<TouchedRanges> touched_ranges(const GuestMemory& memory) {
  const base::UniqueFd fd(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return std::nullopt;
  TouchedRanges touched;
  uint64_t start = 0;
  for (const auto& region : memory.regions()) {
    if (!scan_region(fd.get(), region.mapping.span(), start, touched)) return std::nullopt;
    start += region.size_bytes();
  }
  return touched;
}

std::optional<std::vector<GuestMemory::Range>> written_ranges(const GuestMemory& memory) {
  auto touched = touched_ranges(memory);
  if (!touched) return std::nullopt;
  return std::move(touched->written);
}

std::vector<GuestMemory::Range> merge_ranges(std::vector<GuestMemory::Range> a,
                                             std::span<const GuestMemory::Range> b) {
  a.insert(a.end(), b.begin(), b.end());
  std::ranges::sort(a, {}, &GuestMemory::Range::offset);
  std::vector<GuestMemory::Range> merged;
  for (const auto& range : a) {
    if (range.size_bytes == 0) continue;
    if (!merged.empty() && range.offset <= merged.back().offset + merged.back().size_bytes) {
      const uint64_t end = std::max(merged.back().offset + merged.back().size_bytes,
                                    range.offset + range.size_bytes);
      merged.back().size_bytes = end - merged.back().offset;
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

}  // namespace mote::memory
