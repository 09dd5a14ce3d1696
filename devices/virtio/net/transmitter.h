#pragma once
// The transmit side of one queue pair: packets the driver made available, each in a slot of its own
// while the kernel reads it. Loop thread. Knows nothing of TAP and event loop: its owner writes.

#include <sys/uio.h>

#include <cstdint>
#include <span>
#include <vector>

#include "devices/virtio/net/spec.h"
#include "devices/virtio/queue.h"

namespace mote::virtio::net {

class Transmitter final {
 public:
  /// Packets in flight at most; the rest waits in the queue.
  static constexpr uint16_t kSlots = 64;

  explicit Transmitter(Queue queue);

  /// What take() found.
  enum class Take : uint8_t {
    kPacket,     ///< `slot` holds one: begin() or put_back() or discard() it.
    kMalformed,  ///< A chain that is no packet; it was given back to the driver.
    kEmpty,      ///< Nothing available.
    kNoSlot,     ///< All slots are in flight.
    kBroken,     ///< The driver broke its ring: queue().broken_reason() says how.
  };
  struct Taken {
    Take outcome;
    uint16_t slot;
  };
  [[nodiscard]] Taken take();
  /// The packet taken last waits for its turn in the queue again.
  void put_back() { queue_.undo_pop(); }
  /// The packet taken last is done with already: its chain goes back to the driver.
  void discard(uint16_t slot) { queue_.push_used(slots_[slot].chain.head, 0); }
  /// The packet taken last goes to the kernel.
  void begin(uint16_t slot, uint64_t now_us);
  /// The kernel is done with it: the chain goes back to the driver.
  void finish(uint16_t slot);

  [[nodiscard]] std::span<const iovec> packet(uint16_t slot) const {
    return slots_[slot].chain.readable;
  }
  /// Without the vnet header.
  [[nodiscard]] uint64_t frame_bytes(uint16_t slot) const {
    return slots_[slot].chain.readable_bytes - sizeof(virtio_net_hdr_v1);
  }
  [[nodiscard]] uint64_t begun_us(uint16_t slot) const { return slots_[slot].begun_us; }
  [[nodiscard]] bool in_flight(uint16_t slot) const { return slots_[slot].in_flight; }

  [[nodiscard]] Queue& queue() { return queue_; }
  [[nodiscard]] const Queue& queue() const { return queue_; }

 private:
  struct Slot {
    Chain chain;
    uint64_t begun_us = 0;
    bool in_flight = false;
  };

  Queue queue_;
  std::vector<Slot> slots_;
  std::vector<uint16_t> free_slots_;
};

}  // namespace mote::virtio::net
