#pragma once
// Guest memory: the one place where a guest physical address becomes a host address and where its
// bounds are checked. Owns the mappings; they outlive all I/O that was given slices of them. Any
// thread may read and write; the guest does so at the same time, so every value is loaded once,
// checked, then used.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "base/mapped_region.h"
#include "base/result.h"
#include "memory/gpa.h"

namespace mote::memory {

/// Backing pages of guest memory (API field `huge_pages`). kNone: what the host does by itself.
enum class HugePages : uint8_t { kNone, kTransparent, k2M };

/// What `wished` comes to on this host: kNone is kTransparent where the host gives huge pages
/// unasked. An unreadable policy counts as small pages.
[[nodiscard]] HugePages effective_huge_pages(HugePages wished);

class GuestMemory final {
 public:
  /// One contiguous piece of guest RAM.
  struct Region {
    Gpa start;
    base::MappedRegion mapping;
    [[nodiscard]] uint64_t size_bytes() const { return mapping.size_bytes(); }
  };

  /// A range of all of memory, region after region without the gap: as a memory file has it.
  struct Range {
    uint64_t offset = 0;
    uint64_t size_bytes = 0;
    bool operator==(const Range&) const = default;
  };

  /// Allocates `size_bytes` (a multiple of 4 KiB, of 2 MiB with k2M) of zero pages, lazily, laid
  /// out by layout.h: from 0 to the MMIO gap, the rest from 4 GiB.
  static base::Result<GuestMemory> create(uint64_t size_bytes, HugePages huge_pages);

  /// The same layout, private to this process and backed by `fd`, which holds all of memory from
  /// offset 0: pages are shared with whoever else maps the file until they are written. Nothing is
  /// read. k2M reads the file into huge pages instead.
  static base::Result<GuestMemory> create_from_file(uint64_t size_bytes, HugePages huge_pages,
                                                    int fd);

  /// Copies a trivially copyable value out of guest memory exactly once. Nothing when any byte lies
  /// outside RAM. No alignment is needed.
  template <typename T>
  [[nodiscard]] std::optional<T> load_once(Gpa address) const {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto bytes = slice(address, sizeof(T));
    if (bytes.empty()) return std::nullopt;
    T value;
    std::memcpy(&value, bytes.data(), sizeof(T));
    // Without this GCC may turn later uses of `value` back into loads of guest memory.
    asm volatile("" : "+m"(value) : : "memory");
    return value;
  }

  /// Copies a value into guest memory; false when any byte lies outside RAM.
  template <typename T>
  [[nodiscard]] bool store(Gpa address, const T& value) const {
    static_assert(std::is_trivially_copyable_v<T>);
    return write(address, std::as_bytes(std::span(&value, 1)));
  }

  /// Copies bytes in or out; false, with nothing copied, when the range is not wholly RAM.
  [[nodiscard]] bool write(Gpa address, std::span<const std::byte> bytes) const;
  [[nodiscard]] bool read(Gpa address, std::span<std::byte> bytes) const;

  /// The host bytes of [address, address + size): for iovecs handed to the kernel and for ring
  /// pointers. Empty when size is 0 or the range is not wholly inside one region.
  [[nodiscard]] std::span<std::byte> slice(Gpa address, uint64_t size_bytes) const;

  /// Replaces the pages of [address, address + size) by a private mapping of a file range, without
  /// a copy. All of address, size and file_offset are page-aligned, and the file covers the range.
  /// kUnsupported with huge pages of either kind: the caller copies
  /// (docs/adr/0001-kernel-placement.md).
  base::Result<> map_file_private(Gpa address, uint64_t size_bytes, int fd, uint64_t file_offset);

  /// From now on, what this process writes (write(), store(), and what mark_written() is told of)
  /// is remembered by page. Once, before any device is active.
  void track_writes();
  /// Bytes that the kernel or a caller of slice() writes. Cheap, and nothing without
  /// track_writes(). Any thread; `bytes` from elsewhere are ignored.
  void mark_written(const void* bytes, uint64_t size_bytes) const;
  /// The pages marked since the last call. While nobody writes.
  [[nodiscard]] std::vector<Range> take_device_writes() const;

  [[nodiscard]] std::span<const Region> regions() const { return regions_; }
  /// What file mappings back, in order.
  [[nodiscard]] std::span<const Range> file_ranges() const { return file_ranges_; }
  /// The host bytes of a range, which must not cross a region's end; empty outside memory.
  [[nodiscard]] std::span<std::byte> bytes_of(Range range) const;
  [[nodiscard]] uint64_t size_bytes() const;
  /// One past the last RAM byte below the MMIO gap.
  [[nodiscard]] Gpa low_memory_end() const;

 private:
  GuestMemory(std::vector<Region> regions, HugePages huge_pages)
      : regions_(std::move(regions)), huge_pages_(huge_pages) {}

  std::vector<Region> regions_;
  std::vector<Range> file_ranges_;
  /// One bit a page of all memory, when writes are tracked.
  std::unique_ptr<std::vector<std::atomic<uint64_t>>> written_;
  HugePages huge_pages_ = HugePages::kNone;
};

}  // namespace mote::memory
