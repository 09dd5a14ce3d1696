#include "devices/virtio/net/receiver.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace mote::virtio::net {
namespace {

/// readv takes no more parts than this (UIO_MAXIOV).
constexpr size_t kMaxParts = 1024;

}  // namespace

Receiver::Receiver(Queue queue, Mergeable mergeable, uint64_t packet_limit_bytes)
    : queue_(std::move(queue)), mergeable_(mergeable), packet_limit_bytes_(packet_limit_bytes) {
  buffers_.reserve(kMaxParts);
}

Receiver::Held Receiver::take_spare() {
  if (spare_.empty()) return {};
  Held held = std::move(spare_.back());
  spare_.pop_back();
  return held;
}

Receiver::Gather Receiver::gather() {
  uint64_t room = 0;
  for (const Held& held : held_) room += held.bytes;
  const auto wants_more = [&] {
    return mergeable_ == Mergeable::kYes ? room < packet_limit_bytes_ : held_.empty();
  };
  while (wants_more()) {
    Held held = take_spare();
    const Queue::Pop popped = queue_.pop(held.chain);
    if (popped == Queue::Pop::kBroken) return Gather::kBroken;
    if (popped == Queue::Pop::kEmpty) {
      spare_.push_back(std::move(held));
      break;
    }
    // §5.1.6.3.1: a receive buffer holds at least the header, and nothing of it is the driver's.
    if (!held.chain.readable.empty() || held.chain.writable_bytes < sizeof(virtio_net_hdr_v1))
      return Gather::kBroken;
    held.bytes = held.chain.writable_bytes;
    room += held.bytes;
    held_.push_back(std::move(held));
  }
  buffers_.clear();
  room_bytes_ = 0;
  for (const Held& held : held_) {
    if (buffers_.size() + held.chain.writable.size() > kMaxParts) break;
    buffers_.insert(buffers_.end(), held.chain.writable.begin(), held.chain.writable.end());
    room_bytes_ += held.bytes;
  }
  return buffers_.empty() ? Gather::kNoBuffers : Gather::kReady;
}

bool Receiver::deliver(uint64_t bytes) {
  // A packet that fills the room to the last byte was longer: a TAP cuts off what does not fit.
  if (bytes < sizeof(virtio_net_hdr_v1) || (bytes >= room_bytes_ && bytes < packet_limit_bytes_))
    return false;
  uint16_t count = 0;
  uint64_t covered = 0;
  while (covered < bytes) covered += held_[count++].bytes;
  store_num_buffers(count);
  uint64_t left = bytes;
  for (uint16_t i = 0; i < count; ++i) {
    Held held = std::move(held_.front());
    held_.pop_front();
    const uint64_t part = std::min(left, held.bytes);
    left -= part;
    queue_.stage_used(held.chain.head, static_cast<uint32_t>(part));
    spare_.push_back(std::move(held));
  }
  queue_.publish_used();
  return true;
}

void Receiver::store_num_buffers(uint16_t count) {
  // The two bytes may straddle buffers of a hostile driver.
  const auto bytes = std::as_bytes(std::span(&count, 1));
  uint64_t skip = kNumBuffersOffset;
  size_t written = 0;
  for (const iovec& part : buffers_) {
    if (skip >= part.iov_len) {
      skip -= part.iov_len;
      continue;
    }
    const size_t step = std::min<size_t>(part.iov_len - skip, bytes.size() - written);
    std::memcpy(static_cast<std::byte*>(part.iov_base) + skip, bytes.data() + written, step);
    written += step;
    skip = 0;
    if (written == bytes.size()) return;
  }
}

}  // namespace mote::virtio::net
