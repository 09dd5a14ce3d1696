#pragma once
// The receive side of one queue pair: chains the driver made available, one read of the TAP
// straight into them, and the used elements that come of it. Knows nothing of the event loop: its
// owner submits the read.

#include <sys/uio.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "devices/virtio/net/spec.h"
#include "devices/virtio/queue.h"

namespace mote::virtio::net {

enum class Mergeable : uint8_t { kNo, kYes };

class Receiver final {
 public:
  /// `packet_limit_bytes`: room to gather for a packet, vnet header included.
  Receiver(Queue queue, Mergeable mergeable, uint64_t packet_limit_bytes);

  /// What gather() came to.
  enum class Gather : uint8_t {
    kReady,      ///< buffers() may be read into.
    kNoBuffers,  ///< The driver must make more available first.
    kBroken,     ///< The driver broke its ring.
  };
  /// Takes chains until a packet of the limit fits, or as many as there are.
  [[nodiscard]] Gather gather();
  [[nodiscard]] std::span<iovec> buffers() { return buffers_; }

  /// A packet of `bytes` (header included) lies in the buffers: fills in num_buffers and publishes
  /// the chains it used. False, with everything kept, when the packet filled all the room and was
  /// surely cut off.
  [[nodiscard]] bool deliver(uint64_t bytes);

  [[nodiscard]] Queue& queue() { return queue_; }

 private:
  struct Held {
    Chain chain;
    uint64_t bytes = 0;
  };
  void store_num_buffers(uint16_t count);
  Held take_spare();

  Queue queue_;
  Mergeable mergeable_;
  uint64_t packet_limit_bytes_;
  std::deque<Held> held_;    ///< Popped and not yet used, in order.
  std::vector<Held> spare_;  ///< Keeps the vectors of used chains for the next ones.
  std::vector<iovec> buffers_;
  uint64_t room_bytes_ = 0;
};

}  // namespace mote::virtio::net
