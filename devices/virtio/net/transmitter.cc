#include "devices/virtio/net/transmitter.h"

#include <utility>

namespace mote::virtio::net {

Transmitter::Transmitter(Queue queue) : queue_(std::move(queue)), slots_(kSlots) {
  free_slots_.reserve(kSlots);
  for (uint16_t slot = kSlots; slot > 0; --slot)
    free_slots_.push_back(static_cast<uint16_t>(slot - 1));
}

Transmitter::Taken Transmitter::take() {
  if (free_slots_.empty()) return {Take::kNoSlot, 0};
  const uint16_t slot = free_slots_.back();
  Chain& chain = slots_[slot].chain;
  switch (queue_.pop(chain)) {
    case Queue::Pop::kEmpty:
      return {Take::kEmpty, 0};
    case Queue::Pop::kBroken:
      return {Take::kBroken, 0};
    case Queue::Pop::kChain:
      break;
  }
  if (chain.readable_bytes <= sizeof(virtio_net_hdr_v1) || chain.readable_bytes > kMaxPacketBytes) {
    queue_.push_used(chain.head, 0);
    return {Take::kMalformed, 0};
  }
  return {Take::kPacket, slot};
}

void Transmitter::begin(uint16_t slot, uint64_t now_us) {
  free_slots_.pop_back();
  slots_[slot].begun_us = now_us;
  slots_[slot].in_flight = true;
}

void Transmitter::finish(uint16_t slot) {
  slots_[slot].in_flight = false;
  free_slots_.push_back(slot);
  queue_.push_used(slots_[slot].chain.head, 0);
}

}  // namespace mote::virtio::net
