#pragma once
// Guest memory: the one place where a guest physical address becomes a host address and where its
// bounds are checked. Owns the mappings; they outlive all I/O that was given slices of them. Any
// thread may read and write; the guest does so at the same time, so every value is loaded once,
// checked, then used.

#include <cstddef>
#include <cstdint>
#include <cstring>
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

  /// Allocates `size_bytes` (a multiple of 4 KiB, of 2 MiB with k2M) of zero pages, lazily, laid
  /// out by layout.h: from 0 to the MMIO gap, the rest from 4 GiB.
  static base::Result<GuestMemory> create(uint64_t size_bytes, HugePages huge_pages);

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

  [[nodiscard]] std::span<const Region> regions() const { return regions_; }
  [[nodiscard]] uint64_t size_bytes() const;
  /// One past the last RAM byte below the MMIO gap.
  [[nodiscard]] Gpa low_memory_end() const;

 private:
  GuestMemory(std::vector<Region> regions, HugePages huge_pages)
      : regions_(std::move(regions)), huge_pages_(huge_pages) {}

  std::vector<Region> regions_;
  HugePages huge_pages_ = HugePages::kNone;
};

}  // namespace mote::memory
