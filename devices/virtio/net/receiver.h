#pragma once
// The receive side of one queue pair: gathers chains the driver made available into room for one
// packet, and turns a packet read into them into used elements. Loop thread. Pure but for guest
// memory: its owner reads the TAP.

#include <sys/uio.h>

#include <cstdint>
#include <span>
#include <vector>

#include "devices/virtio/net/spec.h"
#include "devices/virtio/queue.h"

namespace mote::virtio::net {

/// Whether a packet may spread over several chains (VIRTIO_NET_F_MRG_RXBUF, §5.1.6.4).
enum class Mergeable : uint8_t { kNo, kYes };

class Receiver final {
 public:
  Receiver(Queue queue, Mergeable mergeable);

  /// What gather() came to.
  enum class Gather : uint8_t {
    kReady,      ///< buffers() may be read into.
    kNoBuffers,  ///< The driver must make more available first.
    kBroken,     ///< The driver broke its ring, or broken_reason() says what it did.
  };
  /// Takes chains until the longest packet fits (one chain where they are not mergeable), or as
  /// many as there are. Chains that no packet used stay for the next one.
  [[nodiscard]] Gather gather();
  /// Where to read the next packet to, vnet header first. The last part is one byte of our own:
  /// only a packet that is too long for the driver's buffers reaches it, since a TAP cuts off
  /// without a word what does not fit.
  [[nodiscard]] std::span<const iovec> buffers() const { return buffers_; }

  /// A packet of `bytes` (header included) lies in the buffers: fills in num_buffers and publishes
  /// the chains it used. False, with everything kept for the next packet, when it is cut off or
  /// too short to hold a header.
  [[nodiscard]] bool deliver(uint64_t bytes);

  [[nodiscard]] Queue& queue() { return queue_; }
  [[nodiscard]] const Queue& queue() const { return queue_; }
  /// Chains taken from the queue and not used yet.
  [[nodiscard]] size_t held_count() const { return count_; }
  /// Why gather() said kBroken.
  [[nodiscard]] const char* broken_reason() const { return broken_reason_; }

 private:
  [[nodiscard]] Chain& held(size_t index) { return ring_[(first_ + index) % ring_.size()]; }
  [[nodiscard]] Queue::Pop take_chain();
  void store_num_buffers(uint16_t count);

  Queue queue_;
  Mergeable mergeable_;
  /// Chains popped and not yet used, in order: `count_` of them from `first_` on, round about. As
  /// many as the queue has, so that their vectors are allocated once.
  std::vector<Chain> ring_;
  size_t first_ = 0;
  size_t count_ = 0;
  std::vector<iovec> buffers_;
  uint64_t room_bytes_ = 0;  ///< In buffers_, our own byte aside.
  std::byte overflow_{};
  const char* broken_reason_ = nullptr;
};

}  // namespace mote::virtio::net
