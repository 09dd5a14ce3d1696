#include "devices/virtio/net/receiver.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace mote::virtio::net {
namespace {

/// readv takes no more parts than this (UIO_MAXIOV).
constexpr size_t kMaxParts = 1024;

}  // namespace

Receiver::Receiver(Queue queue, Mergeable mergeable)
    : queue_(std::move(queue)), mergeable_(mergeable), ring_(queue_.size()) {}

Receiver::Gather Receiver::gather() {
  buffers_.clear();
  room_bytes_ = 0;
  size_t included = 0;
  const auto wants_more = [&] {
    return mergeable_ == Mergeable::kYes ? room_bytes_ < kMaxPacketBytes : included == 0;
  };
  while (wants_more()) {
    if (included == count_) {
      const Queue::Pop popped = take_chain();
      if (popped == Queue::Pop::kBroken) return Gather::kBroken;
      if (popped == Queue::Pop::kEmpty) break;
    }
    const Chain& chain = held(included);
    if (buffers_.size() + chain.writable.size() >= kMaxParts) break;
    buffers_.insert(buffers_.end(), chain.writable.begin(), chain.writable.end());
    room_bytes_ += chain.writable_bytes;
    ++included;
  }
  if (included == 0) return Gather::kNoBuffers;
  buffers_.push_back({&overflow_, sizeof(overflow_)});
  return Gather::kReady;
}

Queue::Pop Receiver::take_chain() {
  // A driver that makes a chain available again before it was used could go on for ever.
  if (count_ == ring_.size()) return Queue::Pop::kEmpty;
  Chain& chain = held(count_);
  const Queue::Pop popped = queue_.pop(chain);
  if (popped == Queue::Pop::kBroken) broken_reason_ = queue_.broken_reason();
  if (popped != Queue::Pop::kChain) return popped;
  // §5.1.6.3.1: a receive buffer holds at least the header, and nothing of it is the driver's.
  if (!chain.readable.empty() || chain.writable_bytes < sizeof(virtio_net_hdr_v1)) {
    broken_reason_ = "offers a receive buffer that is readable or too short for a header";
    return Queue::Pop::kBroken;
  }
  ++count_;
  return popped;
}

bool Receiver::deliver(uint64_t bytes) {
  if (bytes < sizeof(virtio_net_hdr_v1) || bytes > room_bytes_) return false;
  uint16_t used = 0;
  for (uint64_t covered = 0; covered < bytes; ++used) covered += held(used).writable_bytes;
  store_num_buffers(used);
  uint64_t left = bytes;
  for (uint16_t i = 0; i < used; ++i) {
    const uint64_t part = std::min(left, held(i).writable_bytes);
    left -= part;
    queue_.mark_written(held(i));
    queue_.stage_used(held(i).head, static_cast<uint32_t>(part));
  }
  first_ = (first_ + used) % ring_.size();
  count_ -= used;
  queue_.publish_used();
  return true;
}

void Receiver::store_num_buffers(uint16_t count) {
  // The two bytes may straddle the parts of an odd driver's buffer.
  const auto bytes = std::as_bytes(std::span(&count, 1));
  uint64_t skip = offsetof(virtio_net_hdr_v1, num_buffers);
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
