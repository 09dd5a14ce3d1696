#include "memory/guest_memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <string_view>

#include "base/checked_math.h"
#include "base/unique_fd.h"
#include "memory/layout.h"

namespace mote::memory {
namespace {

base::Result<GuestMemory::Region> create_region(Gpa start, uint64_t size_bytes,
                                                HugePages huge_pages) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  if (huge_pages == HugePages::k2M) {
    // Reserve the huge pages now: a shortage must be an API error, not a SIGBUS later.
    flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (21 << MAP_HUGE_SHIFT);
  }
  // KVM maps 2 MiB at once only where host and guest addresses are a multiple of it apart.
  auto mapping = base::MappedRegion::map_aligned(
      size_bytes, 2 * layout::kMib, PROT_READ | PROT_WRITE, flags,
      huge_pages == HugePages::k2M
          ? "guest memory from 2 MiB huge pages (see /proc/sys/vm/nr_hugepages)"
          : "guest memory");
  if (!mapping) {
    return base::with_context(std::move(mapping).error(),
                              huge_pages == HugePages::k2M ? "huge_pages" : "mem_size_mib");
  }
  // kNone leaves the choice to the host's policy, as the reference does.
  if (huge_pages == HugePages::kTransparent &&
      ::madvise(mapping->data(), size_bytes, MADV_HUGEPAGE) != 0) {
    return base::fail_errno(errno, "huge_pages: the host has no transparent huge pages");
  }
  return GuestMemory::Region{start, std::move(*mapping)};
}

base::Result<> read_fully(int fd, std::span<std::byte> target, uint64_t offset) {
  while (!target.empty()) {
    const ssize_t got = ::pread(fd, target.data(), target.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return base::fail_errno(errno, "cannot read guest memory from its file");
    if (got == 0) {
      return base::fail(base::ErrorCode::kInvalidArgument, "the file is shorter than guest memory");
    }
    target = target.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
  return {};
}

}  // namespace

HugePages effective_huge_pages(HugePages wished) {
  if (wished != HugePages::kNone) return wished;
  const base::UniqueFd file(
      ::open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY | O_CLOEXEC));
  std::array<char, 64> text{};
  const ssize_t size = file.valid() ? ::read(file.get(), text.data(), text.size()) : 0;
  if (size <= 0) return HugePages::kNone;
  const std::string_view policy(text.data(), static_cast<size_t>(size));
  return policy.find("[always]") != std::string_view::npos ? HugePages::kTransparent
                                                           : HugePages::kNone;
}

base::Result<GuestMemory> GuestMemory::create(uint64_t size_bytes, HugePages huge_pages) {
  const uint64_t alignment = huge_pages == HugePages::k2M ? 2 * layout::kMib : layout::kPageSize;
  if (size_bytes == 0 || !base::is_aligned(size_bytes, alignment)) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      "mem_size_mib: guest memory must be a positive multiple of " +
                          std::to_string(alignment) + " bytes");
  }
  std::vector<Region> regions;
  const uint64_t low_bytes = std::min(size_bytes, layout::kMmioGapStart.value);
  MOTE_TRY(auto low, create_region(Gpa{0}, low_bytes, huge_pages));
  regions.push_back(std::move(low));
  if (size_bytes > low_bytes) {
    MOTE_TRY(auto high, create_region(layout::kMmioGapEnd, size_bytes - low_bytes, huge_pages));
    regions.push_back(std::move(high));
  }
  return GuestMemory(std::move(regions), huge_pages);
}

base::Result<GuestMemory> GuestMemory::create_from_file(uint64_t size_bytes, HugePages huge_pages,
                                                        int fd) {
  MOTE_TRY(auto memory,
           create(size_bytes, huge_pages == HugePages::k2M ? huge_pages : HugePages::kNone));
  uint64_t offset = 0;
  for (const Region& region : memory.regions_) {
    const Range range{offset, region.size_bytes()};
    if (huge_pages == HugePages::k2M) {
      MOTE_TRY_VOID(read_fully(fd, region.mapping.span(), offset));
    } else {
      MOTE_TRY_VOID(memory.map_file_private(region.start, range.size_bytes, fd, offset));
    }
    offset += range.size_bytes;
  }
  return memory;
}

std::span<std::byte> GuestMemory::bytes_of(Range range) const {
  uint64_t start = 0;
  for (const Region& region : regions_) {
    if (range.offset >= start &&
        base::range_fits(range.offset - start, range.size_bytes, region.size_bytes())) {
      return region.mapping.span().subspan(range.offset - start, range.size_bytes);
    }
    start += region.size_bytes();
  }
  return {};
}

std::span<std::byte> GuestMemory::slice(Gpa address, uint64_t size_bytes) const {
  if (size_bytes == 0) return {};
  for (const Region& region : regions_) {
    if (address < region.start) continue;
    const uint64_t offset = address.value - region.start.value;
    if (base::range_fits(offset, size_bytes, region.size_bytes())) {
      return region.mapping.span().subspan(offset, size_bytes);
    }
  }
  return {};
}

bool GuestMemory::write(Gpa address, std::span<const std::byte> bytes) const {
  if (bytes.empty()) return true;
  const auto target = slice(address, bytes.size());
  if (target.empty()) return false;
  std::memcpy(target.data(), bytes.data(), bytes.size());
  mark_written(target.data(), target.size());
  return true;
}

void GuestMemory::track_writes() {
  const uint64_t pages = size_bytes() / layout::kPageSize;
  written_ = std::make_unique<std::vector<std::atomic<uint64_t>>>((pages + 63) / 64);
}

void GuestMemory::mark_written(const void* bytes, uint64_t size_bytes) const {
  if (written_ == nullptr || size_bytes == 0) return;
  const auto address = reinterpret_cast<uintptr_t>(bytes);
  uint64_t start = 0;
  for (const Region& region : regions_) {
    const auto host = reinterpret_cast<uintptr_t>(region.mapping.data());
    if (address >= host && base::range_fits(address - host, size_bytes, region.size_bytes())) {
      const uint64_t first = (start + address - host) / layout::kPageSize;
      const uint64_t last = (start + address - host + size_bytes - 1) / layout::kPageSize;
      for (uint64_t page = first; page <= last; ++page) {
        (*written_)[page / 64].fetch_or(uint64_t{1} << (page % 64), std::memory_order_relaxed);
      }
      return;
    }
    start += region.size_bytes();
  }
}

std::vector<GuestMemory::Range> GuestMemory::take_device_writes() const {
  std::vector<Range> ranges;
  if (written_ == nullptr) return ranges;
  for (size_t word = 0; word < written_->size(); ++word) {
    uint64_t bits = (*written_)[word].exchange(0, std::memory_order_relaxed);
    for (; bits != 0; bits &= bits - 1) {
      const uint64_t page = word * 64 + static_cast<uint64_t>(std::countr_zero(bits));
      ranges.push_back({page * layout::kPageSize, layout::kPageSize});
    }
  }
  return ranges;
}

bool GuestMemory::read(Gpa address, std::span<std::byte> bytes) const {
  if (bytes.empty()) return true;
  const auto source = slice(address, bytes.size());
  if (source.empty()) return false;
  std::memcpy(bytes.data(), source.data(), bytes.size());
  return true;
}

base::Result<> GuestMemory::map_file_private(Gpa address, uint64_t size_bytes, int fd,
                                             uint64_t file_offset) {
  if (huge_pages_ != HugePages::kNone) {
    return base::fail(base::ErrorCode::kUnsupported, "huge pages cannot hold a file mapping");
  }
  if (!base::is_aligned(address.value | size_bytes | file_offset, layout::kPageSize)) {
    return base::fail(base::ErrorCode::kInvalidArgument, "file mapping is not page-aligned");
  }
  const auto target = slice(address, size_bytes);
  if (target.empty()) {
    return base::fail(base::ErrorCode::kInvalidArgument, "file mapping lies outside guest memory");
  }
  void* const mapped =
      ::mmap(target.data(), size_bytes, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd, static_cast<off_t>(file_offset));
  if (mapped == MAP_FAILED) return base::fail_errno(errno, "cannot map a file into guest memory");
  uint64_t start = 0;
  for (const Region& region : regions_) {
    if (address >= region.start && address.value - region.start.value < region.size_bytes()) {
      file_ranges_.push_back({start + address.value - region.start.value, size_bytes});
    }
    start += region.size_bytes();
  }
  return {};
}

uint64_t GuestMemory::size_bytes() const {
  uint64_t total = 0;
  for (const Region& region : regions_) total += region.size_bytes();
  return total;
}

Gpa GuestMemory::low_memory_end() const {
  return Gpa{regions_.front().size_bytes()};
}

}  // namespace mote::memory
