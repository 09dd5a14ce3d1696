#pragma once
// A split virtqueue, device side (Virtio 1.2 §2.7). Loop thread only. The rings lie in guest memory
// and are hostile: every index is loaded once, checked, then used; what we wrote is never read
// back.

#include <sys/uio.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "memory/guest_memory.h"

namespace mote::virtio {

/// Where the driver put a queue. `size` is a power of two, at most 32768 (§2.7).
struct QueueLayout {
  uint16_t size = 0;
  memory::Gpa descriptor_table;  ///< 16-byte aligned.
  memory::Gpa avail_ring;        ///< 2-byte aligned.
  memory::Gpa used_ring;         ///< 4-byte aligned.
};

struct QueueFeatures {
  bool event_idx = false;  ///< VIRTIO_F_EVENT_IDX negotiated.
  bool indirect = false;   ///< VIRTIO_F_INDIRECT_DESC negotiated.
};

/// One descriptor chain as host iovecs. The vectors keep their capacity from chain to chain:
/// reserve once, then no allocation. Readable parts come before writable ones (§2.7.4.2), else the
/// chain is refused.
struct Chain {
  uint16_t head = 0;
  std::vector<iovec> readable;  ///< Device-readable: the driver's data.
  std::vector<iovec> writable;  ///< Device-writable.
  uint64_t readable_bytes = 0;
  uint64_t writable_bytes = 0;

  void clear() {
    readable.clear();
    writable.clear();
    readable_bytes = writable_bytes = 0;
  }
};

class Queue final {
 public:
  /// Checks size, alignment and that all three areas lie inside guest memory. `memory` outlives the
  /// queue.
  static base::Result<Queue> create(const memory::GuestMemory& memory, const QueueLayout& layout,
                                    QueueFeatures features);

  /// What pop() found.
  enum class Pop : uint8_t {
    kEmpty,   ///< Nothing available.
    kChain,   ///< `chain` is filled; it must be returned by push_used().
    kBroken,  ///< The driver broke the ring or the chain: set NEEDS_RESET and stop serving.
  };
  /// Takes the next available chain. Walks at most `size` descriptors, direct and indirect together
  /// (§2.7.5.3.1). A chain with a bad address, direction, loop or length is kBroken, and
  /// broken_reason() says why. Buffers of length 0, which the specification allows, are left out.
  [[nodiscard]] Pop pop(Chain& chain);
  /// Gives back the chain popped last, unserved (rate limiter, full ring): the next pop() sees it
  /// again.
  void undo_pop();
  /// What the driver did wrong, for the owner's rate-limited log; nullptr as long as it behaves.
  [[nodiscard]] const char* broken_reason() const { return broken_reason_; }
  /// Chains made available and not popped yet. At most 65535: what the driver claims is not checked
  /// here.
  [[nodiscard]] uint16_t pending() const;
  /// True when the driver has made nothing more available than was popped.
  [[nodiscard]] bool empty() const { return pending() == 0; }

  /// Places a used element and moves the used index, with release order. `written_bytes` is what
  /// the device wrote into the writable part.
  void push_used(uint16_t head, uint32_t written_bytes);
  /// Places a used element without moving the index; several become visible at once by
  /// publish_used() (needed for mergeable receive buffers, §5.1.6.4).
  void stage_used(uint16_t head, uint32_t written_bytes);
  void publish_used();

  /// True when the driver wants an interrupt for what was used since the last call (§2.7.7,
  /// §2.7.10). Has the full fence between the used index and the driver's suppression field.
  [[nodiscard]] bool should_notify();

  /// Asks the driver to stop kicking while the queue is being drained (§2.7.10).
  void disable_kicks();
  /// Asks for a kick at the next available buffer; true when buffers came in between, so pop again.
  [[nodiscard]] bool enable_kicks();

  [[nodiscard]] uint16_t size() const { return layout_.size; }
  [[nodiscard]] const QueueLayout& layout() const { return layout_; }
  /// Ring positions, for snapshots.
  [[nodiscard]] uint16_t next_avail() const { return next_avail_; }
  [[nodiscard]] uint16_t next_used() const { return next_used_; }
  void set_positions(uint16_t next_avail, uint16_t next_used);
  /// For chains that are held over a snapshot: what is written into them now is news again.
  void mark_written(const Chain& chain) const;

 private:
  enum class Access : uint8_t { kDeviceReads, kDeviceWrites };

  /// The used ring is ours to write: tells the memory's write tracking, where it is on.
  void mark_used_ring() const;
  [[nodiscard]] const char* walk(uint16_t head, Chain& chain) const;
  [[nodiscard]] const char* append(uint64_t address, uint32_t length, Access access,
                                   Chain& chain) const;

  Queue(const memory::GuestMemory& memory, const QueueLayout& layout, QueueFeatures features);

  const memory::GuestMemory* memory_;
  QueueLayout layout_;
  QueueFeatures features_;
  std::byte* descriptors_ = nullptr;
  std::byte* avail_ = nullptr;
  std::byte* used_ = nullptr;
  const char* broken_reason_ = nullptr;
  uint16_t next_avail_ = 0;
  uint16_t next_used_ = 0;       // Staged elements included.
  uint16_t signalled_used_ = 0;  // Used index at the last should_notify().
};

}  // namespace mote::virtio
