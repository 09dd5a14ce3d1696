#include "devices/bus.h"

#include <algorithm>

#include "base/checked_math.h"

namespace mote::devices {

base::Result<> Bus::insert(uint64_t start, uint64_t size, BusDevice& device) {
  const auto end = base::checked_add(start, size);
  if (size == 0 || !end) {
    return base::fail(base::ErrorCode::kInvalidArgument, "bus range is empty or wraps around");
  }
  const auto next = std::ranges::find_if(ranges_, [&](const Range& r) { return r.start >= start; });
  const bool hits_next = next != ranges_.end() && *end > next->start;
  const bool hits_previous =
      next != ranges_.begin() && std::prev(next)->start + std::prev(next)->size > start;
  if (hits_next || hits_previous) {
    return base::fail(base::ErrorCode::kInvalidArgument, "bus ranges overlap");
  }
  ranges_.insert(next, Range{start, size, &device});
  return {};
}

const Bus::Range* Bus::find(uint64_t address, uint64_t length) const {
  const auto next = std::ranges::upper_bound(ranges_, address, {}, &Range::start);
  if (next == ranges_.begin()) return nullptr;
  const Range& range = *std::prev(next);
  return base::range_fits(address - range.start, length, range.size) ? &range : nullptr;
}

bool Bus::read(uint64_t address, std::span<std::byte> data) const {
  const Range* const range = find(address, data.size());
  if (range == nullptr) {
    std::ranges::fill(data, std::byte{0xff});
    return false;
  }
  range->device->read(address - range->start, data);
  return true;
}

bool Bus::write(uint64_t address, std::span<const std::byte> data) const {
  const Range* const range = find(address, data.size());
  if (range == nullptr) return false;
  range->device->write(address - range->start, data);
  return true;
}

}  // namespace mote::devices
