#pragma once
// Routes guest port and MMIO accesses to device register files. Filled before the first vCPU runs
// and immutable afterwards, so that vCPU threads look up without a lock.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"

namespace mote::devices {

/// A register file. Called on vCPU threads, several at once: it guards itself.
class BusDevice {
 public:
  virtual ~BusDevice() = default;
  /// `offset` from the start of the device's range; data.size() is 1, 2, 4 or 8. Fills all of
  /// `data`.
  virtual void read(uint64_t offset, std::span<std::byte> data) = 0;
  virtual void write(uint64_t offset, std::span<const std::byte> data) = 0;
};

class Bus final {
 public:
  /// Adds [start, start + size). kInvalidArgument on overlap. The device must outlive the bus.
  base::Result<> insert(uint64_t start, uint64_t size, BusDevice& device);
  /// Unclaimed or straddling reads give all ones, writes vanish, as on a real bus; false tells so.
  bool read(uint64_t address, std::span<std::byte> data) const;
  bool write(uint64_t address, std::span<const std::byte> data) const;

 private:
  struct Range {
    uint64_t start;
    uint64_t size;
    BusDevice* device;
  };
  const Range* find(uint64_t address, uint64_t length) const;

  std::vector<Range> ranges_;  // Sorted by start.
};

}  // namespace mote::devices
