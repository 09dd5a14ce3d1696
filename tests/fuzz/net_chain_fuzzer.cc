// Random ring memory for both directions of a network queue pair: what is handed to the kernel must
// lie in guest memory, and no more may be used than was made available.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

#include "devices/virtio/net/frame.h"
#include "devices/virtio/net/receiver.h"
#include "devices/virtio/net/transmitter.h"
#include "memory/layout.h"

namespace {

using mote::memory::Gpa;
using mote::memory::GuestMemory;
using mote::virtio::Queue;
using mote::virtio::QueueLayout;
using mote::virtio::net::kMaxPacketBytes;
using mote::virtio::net::Mergeable;
using mote::virtio::net::Receiver;
using mote::virtio::net::Transmitter;

constexpr uint64_t kMemoryBytes = 64 * 1024;
constexpr int kSteps = 40;

struct Ring {
  uint8_t size_log2;
  uint8_t flags;  ///< 1: EVENT_IDX, 2: indirect chains, 4: mergeable buffers.
  uint16_t descriptors;
  uint16_t avail;
  uint16_t used;
};

mote::base::Result<Queue> make_queue(const GuestMemory& memory, const Ring& ring) {
  const QueueLayout layout{static_cast<uint16_t>(1U << (ring.size_log2 % 9)),
                           Gpa{uint64_t{ring.descriptors} * 16}, Gpa{uint64_t{ring.avail} * 2},
                           Gpa{uint64_t{ring.used} * 4}};
  return Queue::create(memory, layout,
                       {.event_idx = (ring.flags & 1) != 0, .indirect = (ring.flags & 2) != 0});
}

uint64_t check_parts(std::span<const std::byte> all, std::span<const iovec> parts) {
  uint64_t bytes = 0;
  for (const iovec& part : parts) {
    const auto* const start = static_cast<const std::byte*>(part.iov_base);
    if (start < all.data() || start + part.iov_len > all.data() + all.size()) std::abort();
    bytes += part.iov_len;
  }
  return bytes;
}

/// What a read of the TAP does with a packet of `bytes`.
void fill(std::span<const iovec> parts, uint64_t bytes) {
  for (const iovec& part : parts) {
    const uint64_t step = part.iov_len < bytes ? part.iov_len : bytes;
    std::memset(part.iov_base, 0x11, step);
    bytes -= step;
  }
}

void receive(Receiver& receiver, std::span<const std::byte> all, uint16_t wished_bytes) {
  if (receiver.gather() != Receiver::Gather::kReady) return;
  const auto parts = receiver.buffers();
  const uint64_t room = check_parts(all, parts.first(parts.size() - 1));
  const uint16_t used_before = receiver.queue().next_used();
  fill(parts, wished_bytes);
  const bool fits = wished_bytes >= 12 && wished_bytes <= room;
  if (receiver.deliver(wished_bytes) != fits) std::abort();
  const auto used = static_cast<uint16_t>(receiver.queue().next_used() - used_before);
  if ((used > 0) != fits || used > receiver.queue().size()) std::abort();
}

void transmit(Transmitter& transmitter, std::span<const std::byte> all) {
  for (int budget = Transmitter::kSlots; budget > 0; --budget) {
    const auto [outcome, slot] = transmitter.take();
    if (outcome == Transmitter::Take::kMalformed) continue;
    if (outcome != Transmitter::Take::kPacket) break;
    const auto packet = transmitter.packet(slot);
    const uint64_t bytes = check_parts(all, packet);
    if (bytes > kMaxPacketBytes || bytes != transmitter.frame_bytes(slot) + 12) std::abort();
    (void)mote::virtio::net::source_mac(packet);
    (void)mote::virtio::net::parse_pairs_set(packet);
    if (budget % 7 == 0) {
      transmitter.put_back();
      continue;
    }
    transmitter.begin(slot, 0);
    if (budget % 3 != 0) transmitter.finish(slot);
  }
  for (uint16_t slot = 0; slot < Transmitter::kSlots; ++slot) {
    if (transmitter.in_flight(slot)) transmitter.finish(slot);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static GuestMemory memory =
      GuestMemory::create(kMemoryBytes, mote::memory::HugePages::kNone).value();
  struct Head {
    Ring receive;
    Ring transmit;
    uint16_t packet_bytes;
  };
  Head head{};
  if (size < sizeof(head)) return 0;
  std::memcpy(&head, data, sizeof(head));
  const auto rest = std::as_bytes(std::span(data, size)).subspan(sizeof(head));
  const auto all = memory.slice(Gpa{0}, kMemoryBytes);
  std::memset(all.data(), 0, all.size());
  std::memcpy(all.data(), rest.data(), std::min(rest.size(), all.size()));
  auto receive_queue = make_queue(memory, head.receive);
  auto transmit_queue = make_queue(memory, head.transmit);
  if (!receive_queue || !transmit_queue) return 0;
  Receiver receiver(std::move(*receive_queue),
                    (head.receive.flags & 4) != 0 ? Mergeable::kYes : Mergeable::kNo);
  Transmitter transmitter(std::move(*transmit_queue));
  uint16_t bytes = head.packet_bytes;
  for (int step = 0; step < kSteps; ++step) {
    receive(receiver, all, bytes);
    transmit(transmitter, all);
    bytes = static_cast<uint16_t>(bytes * 5 + 12);
  }
  return 0;
}
