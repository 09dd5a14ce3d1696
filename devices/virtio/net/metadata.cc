// The metadata service on a network device: frames to its address leave the transmit path here, and
// its answers take the way of received packets. Neither counts against the interface's limiters,
// since the network never sees them.

#include "devices/virtio/net/metadata.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/clock.h"
#include "devices/virtio/net/device.h"
#include "devices/virtio/net/frame.h"

namespace mote::virtio::net {
namespace {

constexpr size_t kHeader = Metadata::kHeader;
/// Frames to the guest in a row, before others have their turn.
constexpr uint32_t kBurst = 64;

void copy_to(std::span<const iovec> parts, std::span<const std::byte> bytes) {
  for (const iovec& part : parts) {
    const size_t step = std::min(part.iov_len, bytes.size());
    if (step == 0) return;
    std::memcpy(part.iov_base, bytes.data(), step);
    bytes = bytes.subspan(step);
  }
}

}  // namespace

void Device::serve_metadata(mmds::Service& service) {
  metadata_ = std::make_unique<Metadata>(service, loop_, [this] {
    metadata_->endpoint.on_deadline(base::monotonic_ns());
    send_metadata();
  });
}

void Device::stop_metadata() {
  if (metadata_) metadata_->timer.disarm();
}

void Device::resume_metadata() {
  if (!metadata_) return;
  metadata_->endpoint.on_deadline(base::monotonic_ns());
  send_metadata();
}

void Device::reset_metadata() {
  if (metadata_) serve_metadata(metadata_->service);
}

/// True when the packet was the service's and its chain is the driver's again.
bool Device::take_for_metadata(Pair& pair, uint16_t slot) {
  Metadata& metadata = *metadata_;
  const auto packet = pair.transmitter.packet(slot);
  const std::span<std::byte> taken(metadata.taken);
  constexpr size_t kFront = kHeader + mmds::kArpFrameBytes;
  const size_t front_bytes = copy_front(packet, taken.first(kFront));
  if (!metadata.endpoint.takes(taken.first(front_bytes).subspan(kHeader))) return false;
  // Copied anew as a whole, and judged by this copy alone: what the guest changed in between only
  // makes it another frame.
  if (pair.transmitter.frame_bytes(slot) <= mmds::Endpoint::kMaxReceivedBytes) {
    const auto whole = taken.first(copy_front(packet, taken));
    virtio_net_hdr_v1 header;
    std::memcpy(&header, whole.data(), sizeof(header));
    const bool partial = (header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0;
    metadata.endpoint.receive(whole.subspan(kHeader),
                              partial ? mmds::Checksum::kPartial : mmds::Checksum::kComplete,
                              base::monotonic_ns());
  } else {
    ++metadata.service.metrics().rx_accepted_err;
  }
  pair.transmitter.discard(slot);
  metadata.due = true;
  mark_used();
  return true;
}

void Device::finish_metadata_turn() {
  if (metadata_ && std::exchange(metadata_->due, false)) send_metadata();
}

/// Hands the driver what the service has to send, as far as its buffers go. What is left goes on
/// with its next kick, or with the timer.
void Device::send_metadata() {
  Metadata& metadata = *metadata_;
  if (!active_ || pairs_.empty()) return;
  const uint64_t now_ns = base::monotonic_ns();
  uint32_t budget = kBurst;
  for (; budget > 0 && deliver_metadata(now_ns); --budget) {
  }
  if (!active_) return;  // gather() found a broken ring.
  const uint64_t deadline_ns = budget == 0 ? now_ns : metadata.endpoint.deadline_ns();
  if (deadline_ns == 0) {
    metadata.timer.disarm();
  } else {
    metadata.timer.arm(deadline_ns > now_ns ? deadline_ns - now_ns : 0);
  }
}

/// One frame. False: none is left, or the driver has no buffers for it.
bool Device::deliver_metadata(uint64_t now_ns) {
  Metadata& metadata = *metadata_;
  if (metadata.frame_bytes == 0) {
    const size_t bytes =
        metadata.endpoint.next_frame(std::span(metadata.frame).subspan(kHeader), now_ns);
    if (bytes == 0) return false;
    metadata.frame_bytes = kHeader + bytes;
  }
  if (!gather(0)) return false;
  Receiver& receiver = pairs_[0].receiver;
  const auto buffers = receiver.buffers();
  copy_to(buffers.first(buffers.size() - 1), std::span(metadata.frame).first(metadata.frame_bytes));
  if (!receiver.deliver(metadata.frame_bytes)) ++metadata.service.metrics().tx_errors;
  metadata.frame_bytes = 0;
  mark_used();
  return true;
}

}  // namespace mote::virtio::net
