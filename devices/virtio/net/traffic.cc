// The packets of a network device: both directions, their limiters, and what happens when the TAP
// fails.

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include <cstring>

#include "base/clock.h"
#include "devices/virtio/net/device.h"
#include "devices/virtio/net/frame.h"

namespace mote::virtio::net {
namespace {

/// Packets of one pair and direction in a row, before others have their turn and the driver its
/// interrupt.
constexpr uint32_t kBurst = 64;
constexpr uint64_t kBackOffNs = 100'000'000;

}  // namespace

void Device::receive_all() {
  for (uint16_t i = 0; active_ && i < active_pairs_; ++i) receive(i);
}

void Device::receive(uint16_t pair_index) {
  if (!active_ || pair_index >= active_pairs_ || pairs_[pair_index].polling) return;
  pairs_[pair_index].receiver.queue().disable_kicks();
  for (uint32_t budget = kBurst; budget > 0; --budget) {
    if (receive_timer_.armed() || !pay_for_received(pairs_[pair_index]) || !gather(pair_index) ||
        !receive_one(pair_index))
      return;
  }
  // More may wait. The poll finds out when the others had their turn.
  arm_poll(pair_index);
}

/// The limiter is asked for a packet once it is known how long it was, and the next one waits until
/// it grants it: so that no packet is taken from the TAP which may not be delivered.
bool Device::pay_for_received(Pair& pair) {
  if (!pair.owed_bytes) return true;
  const uint64_t now_ns = base::monotonic_ns();
  if (receive_limiter_.consume(*pair.owed_bytes, now_ns)) {
    pair.owed_bytes.reset();
    return true;
  }
  ++metrics_.rx_rate_limiter_throttled;
  receive_timer_.arm(receive_limiter_.wait_ns(*pair.owed_bytes, now_ns));
  return false;
}

bool Device::gather(uint16_t pair_index) {
  Receiver& receiver = pairs_[pair_index].receiver;
  Receiver::Gather gathered = receiver.gather();
  if (gathered == Receiver::Gather::kNoBuffers && receiver.queue().enable_kicks())
    gathered = receiver.gather();
  if (gathered == Receiver::Gather::kReady) return true;
  if (gathered == Receiver::Gather::kBroken) {
    broken("receive queue", receiver.broken_reason());
  } else {
    ++metrics_.no_rx_avail_buffer;  // Packets wait in the TAP until the driver kicks.
  }
  return false;
}

/// One packet from the TAP to the driver. False: no more for now.
bool Device::receive_one(uint16_t pair_index) {
  Pair& pair = pairs_[pair_index];
  const auto buffers = pair.receiver.buffers();
  const ssize_t outcome =
      ::readv(tap_.fd(pair_index), buffers.data(), static_cast<int>(buffers.size()));
  if (outcome < 0) {
    if (errno == EAGAIN || errno == EINTR) {
      arm_poll(pair_index);
    } else {
      back_off(errno);
    }
    return false;
  }
  backed_off_ = false;
  const auto bytes = static_cast<uint64_t>(outcome);
  if (!pair.receiver.deliver(bytes)) {
    // Longer than what the driver made available for it.
    ++metrics_.rx_fails;
    ++metrics_.rx_partial_writes;
    return true;
  }
  const uint64_t frame_bytes = bytes - sizeof(virtio_net_hdr_v1);
  metrics_.rx_bytes_count += frame_bytes;
  ++metrics_.rx_packets_count;
  ++metrics_.rx_count;
  pair.owed_bytes = frame_bytes;
  mark_used();
  return true;
}

void Device::arm_poll(uint16_t pair_index) {
  io_uring_prep_poll_add(prepare(Operation::kPoll, pair_index, 0), tap_.fd(pair_index), POLLIN);
  pairs_[pair_index].polling = true;
}

void Device::on_poll(uint16_t pair_index, int32_t result) {
  pairs_[pair_index].polling = false;
  if (!active_ || pair_index >= active_pairs_) return;
  ++metrics_.rx_tap_event_count;
  // Errors that reading would not report must not make us poll in circles.
  if (result < 0 && result != -ECANCELED && result != -EINTR) return back_off(-result);
  if (result > 0 && (result & POLLIN) == 0) return back_off(ENODEV);
  receive(pair_index);
}

/// The interface was deleted or taken away: looks again from time to time.
void Device::back_off(int os_errno) {
  ++metrics_.tap_read_fails;
  if (!backed_off_) {
    LOG_GUEST(log_, "interface {}: reading from {} failed: {}", config_.iface_id,
              config_.host_dev_name, std::strerror(os_errno));
  }
  backed_off_ = true;
  if (!receive_timer_.armed()) receive_timer_.arm(kBackOffNs);
}

void Device::transmit_all() {
  for (uint16_t i = 0; active_ && i < pairs_.size(); ++i) transmit(i);
}

void Device::transmit(uint16_t pair_index) {
  if (!active_ || transmit_timer_.armed()) return;
  Pair& pair = pairs_[pair_index];
  Queue& queue = pair.transmitter.queue();
  queue.disable_kicks();
  const uint64_t now_ns = base::monotonic_ns();
  for (uint32_t budget = kBurst; budget > 0; --budget) {
    if (transmit_one(pair_index, now_ns)) continue;
    if (!active_) return;
    if (transmit_timer_.armed() || pair.starved) {
      metrics_.tx_remaining_reqs_count += queue.pending();
      return;
    }
    if (budget == kBurst) ++metrics_.no_tx_avail_buffer;
    // Empty. What came while kicks were off is seen by looking again.
    if (!queue.enable_kicks()) return;
  }
  // A full burst: let the others have their turn, then come back.
  ::eventfd_write(kicks_[2U * pair_index + 1].fd, 1);
}

/// False: the queue is empty, or has to wait for a slot, the limiter or a reset.
bool Device::transmit_one(uint16_t pair_index, uint64_t now_ns) {
  Pair& pair = pairs_[pair_index];
  const auto [outcome, slot] = pair.transmitter.take();
  switch (outcome) {
    case Transmitter::Take::kPacket:
      break;
    case Transmitter::Take::kMalformed:
      ++metrics_.tx_malformed_frames;
      mark_used();
      return true;
    case Transmitter::Take::kEmpty:
      return false;
    case Transmitter::Take::kNoSlot:
      pair.starved = true;
      return false;
    case Transmitter::Take::kBroken:
      broken("transmit queue", pair.transmitter.queue().broken_reason());
      return false;
  }
  if (metadata_ && take_for_metadata(pair, slot)) return true;
  const uint64_t frame_bytes = pair.transmitter.frame_bytes(slot);
  if (!transmit_limiter_.consume(frame_bytes, now_ns)) {
    ++metrics_.tx_rate_limiter_throttled;
    pair.transmitter.put_back();
    transmit_timer_.arm(transmit_limiter_.wait_ns(frame_bytes, now_ns));
    return false;
  }
  if (config_.guest_mac) {
    const auto source = source_mac(pair.transmitter.packet(slot));
    if (source && *source != *config_.guest_mac) ++metrics_.tx_spoofed_mac_count;
  }
  pair.transmitter.begin(slot, now_ns / 1000);
  submit(pair_index, slot);
  return true;
}

void Device::submit(uint16_t pair_index, uint16_t slot) {
  const auto packet = pairs_[pair_index].transmitter.packet(slot);
  // A driver that set up more pairs than it switched on still has its packets sent, by the first
  // queue.
  const uint16_t tap_queue = pair_index < active_pairs_ ? pair_index : uint16_t{0};
  io_uring_prep_writev(prepare(Operation::kTransmit, pair_index, slot), tap_.fd(tap_queue),
                       packet.data(), static_cast<unsigned>(packet.size()), 0);
}

void Device::on_transmitted(uint16_t pair_index, uint16_t slot, int32_t result) {
  Transmitter& transmitter = pairs_[pair_index].transmitter;
  mark_used();
  if (result < 0) {
    // A vnet header the kernel refuses, or an interface that is down or gone. As with any NIC the
    // packet is lost and its buffer comes back.
    ++metrics_.tap_write_fails;
    ++metrics_.tx_fails;
    LOG_GUEST(log_, "interface {}: writing to {} failed: {}", config_.iface_id,
              config_.host_dev_name, std::strerror(-result));
  } else {
    ++metrics_.tx_packets_count;
    ++metrics_.tx_count;
    metrics_.tx_bytes_count += transmitter.frame_bytes(slot);
    metrics_.tap_write_agg.add(turn_us_ - transmitter.begun_us(slot));
  }
  transmitter.finish(slot);
}

}  // namespace mote::virtio::net
