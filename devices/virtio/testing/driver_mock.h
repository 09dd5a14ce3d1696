#pragma once
// The driver's side of a virtqueue, for tests, benches and fuzzers: lays out rings in guest memory,
// adds good and bad chains, and reads what the device used. May live on another thread than the
// device: the fields both sides touch are atomic here as well.

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "devices/virtio/queue.h"
#include "devices/virtio/spec.h"
#include "memory/guest_memory.h"

namespace mote::virtio::testing {

/// One buffer of a chain.
struct Buffer {
  memory::Gpa address;
  uint32_t length = 0;
  bool device_writes = false;
};

class DriverMock final {
 public:
  /// Rings of `size` from `base` on (16-byte aligned).
  DriverMock(const memory::GuestMemory& memory, memory::Gpa base, uint16_t size);

  [[nodiscard]] const QueueLayout& layout() const { return layout_; }
  /// One past the last byte the rings take.
  [[nodiscard]] memory::Gpa end() const;

  /// Makes a chain available; gives its head. Descriptors are taken round robin.
  uint16_t add_chain(std::span<const Buffer> buffers);
  uint16_t add_chain(std::initializer_list<Buffer> buffers) {
    return add_chain(std::span(buffers));
  }
  /// The same through an indirect table at `table`.
  uint16_t add_indirect(std::span<const Buffer> buffers, memory::Gpa table);

  // For what a good driver never does.
  void write_descriptor(uint16_t index, const virtq_desc& descriptor);
  void make_available(uint16_t head);
  void set_avail_index(uint16_t index);

  /// Whether a driver would kick now (§2.7.10), for all that was made available since the last
  /// call.
  bool needs_kick(bool event_idx);
  void set_used_event(uint16_t index);
  void set_no_interrupt(bool on);
  [[nodiscard]] uint16_t used_flags() const;
  [[nodiscard]] uint16_t avail_event() const;
  [[nodiscard]] uint16_t used_index() const;
  /// The used index up to which take_used() has gone.
  [[nodiscard]] uint16_t seen_used() const { return seen_used_; }
  /// The next used element the driver has not seen.
  std::optional<virtq_used_elem> take_used();

 private:
  [[nodiscard]] std::atomic_ref<uint16_t> field(memory::Gpa ring, uint64_t offset) const;

  const memory::GuestMemory& memory_;
  QueueLayout layout_;
  uint16_t next_descriptor_ = 0;
  uint16_t avail_index_ = 0;
  uint16_t kicked_avail_ = 0;
  uint16_t seen_used_ = 0;
};

}  // namespace mote::virtio::testing
