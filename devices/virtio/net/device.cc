#include "devices/virtio/net/device.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "base/clock.h"
#include "devices/virtio/spec.h"

namespace mote::virtio::net {
namespace {

constexpr uint64_t kOffloadFeatures =
    VIRTIO_NET_F_CSUM | VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4 |
    VIRTIO_NET_F_GUEST_TSO6 | VIRTIO_NET_F_GUEST_ECN | VIRTIO_NET_F_GUEST_UFO |
    VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_HOST_TSO6 | VIRTIO_NET_F_HOST_ECN | VIRTIO_NET_F_HOST_UFO;
constexpr uint64_t kLargeReceiveFeatures =
    VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6 | VIRTIO_NET_F_GUEST_UFO;
constexpr uint16_t kDefaultMtu = 1500;
constexpr uint64_t kFrameOverheadBytes =
    14 + 4 + sizeof(virtio_net_hdr_v1);  // Ethernet, VLAN tag, header.
constexpr uint16_t kTransmitSlots = 64;
constexpr uint32_t kBatch = Device::kQueueSize;
constexpr uint64_t kBackOffNs = 100'000'000;

uint16_t receive_index(uint16_t pair) {
  return static_cast<uint16_t>(2 * pair);
}
uint16_t transmit_index(uint16_t pair) {
  return static_cast<uint16_t>(2 * pair + 1);
}

}  // namespace

base::Result<std::unique_ptr<Device>> Device::create(const NetworkInterfaceConfig& config,
                                                     io::EventLoop& loop, uint16_t queue_pairs) {
  MOTE_TRY(auto tap, Tap::open(config.host_dev_name, queue_pairs));
  return std::unique_ptr<Device>(new Device(config, loop, std::move(tap)));
}

Device::Device(const NetworkInterfaceConfig& config, io::EventLoop& loop, Tap tap)
    : config_(config),
      loop_(loop),
      tap_(std::move(tap)),
      receive_limiter_(config.rx_rate_limiter.value_or(RateLimiterConfig{}), base::monotonic_ns()),
      transmit_limiter_(config.tx_rate_limiter.value_or(RateLimiterConfig{}), base::monotonic_ns()),
      registration_(loop, *this),
      receive_timer_(loop,
                     [this] {
                       ++metrics_.rx_event_rate_limiter_count;
                       retry_receive();
                     }),
      transmit_timer_(loop, [this] {
        ++metrics_.tx_rate_limiter_event_count;
        for (uint16_t i = 0; active_ && i < pairs_.size(); ++i) transmit(i);
      }) {}

Device::~Device() {
  loop_.forget(*this);
}

Description Device::describe() const {
  virtio_net_config space{};
  uint64_t features =
      VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC | VIRTIO_NET_F_MRG_RXBUF;
  features |= kOffloadFeatures;
  if (config_.guest_mac) {
    features |= VIRTIO_NET_F_MAC;
    std::ranges::copy(config_.guest_mac->octets, space.mac);
  }
  if (config_.mtu) {
    features |= VIRTIO_NET_F_MTU;
    space.mtu = *config_.mtu;
  }
  size_t queues = 2 * tap_.queue_count();
  if (multi_queue()) {
    features |= VIRTIO_NET_F_MQ | VIRTIO_NET_F_CTRL_VQ;
    space.max_virtqueue_pairs = static_cast<uint16_t>(tap_.queue_count());
    ++queues;
  }
  const auto bytes = std::as_bytes(std::span(&space, 1));
  return {VIRTIO_ID_NET,
          features,
          std::vector<uint16_t>(queues, kQueueSize),
          {bytes.begin(), bytes.end()}};
}

base::Result<> Device::activate(Activation activation) {
  CHECK(!active_ && pairs_.empty(), "activated twice without a reset");
  notifier_ = activation.notifier;
  auto outcome = tap_.set_offloads(activation.features);
  if (outcome) outcome = take_queues(activation);
  if (outcome) outcome = set_active_pairs(1);  // §5.1.5: one pair until the driver asks for more.
  if (!outcome) {
    ++metrics_.activate_fails;
    return outcome;
  }
  active_ = true;
  for (uint16_t i = 0; i < kicks_.size(); ++i) arm_kick(i);
  return {};
}

base::Result<> Device::take_queues(Activation& activation) {
  const uint64_t features = activation.features;
  const bool large = (features & kLargeReceiveFeatures) != 0;
  const uint64_t mtu = std::max(kDefaultMtu, config_.mtu.value_or(kDefaultMtu));
  const uint64_t packet_limit = large ? kMaxPacketBytes : mtu + kFrameOverheadBytes;
  const auto mergeable =
      (features & VIRTIO_NET_F_MRG_RXBUF) != 0 ? Mergeable::kYes : Mergeable::kNo;
  const bool multiple = (features & VIRTIO_NET_F_MQ) != 0;
  const size_t pair_limit = multiple ? tap_.queue_count() : 1;
  auto& queues = activation.queues;
  if (queues.size() < 2) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      "virtio-net: the first queue pair is not ready");
  }
  for (size_t i = 0; i < pair_limit && 2 * i + 1 < queues.size(); ++i) {
    Transmitter transmitter{std::move(queues[2 * i + 1].queue), {}, {}, false};
    transmitter.slots.resize(kTransmitSlots);
    for (uint16_t slot = 0; slot < kTransmitSlots; ++slot) {
      transmitter.slots[slot].chain.readable.reserve(kQueueSize);
      transmitter.free_slots.push_back(slot);
    }
    pairs_.push_back({Receiver(std::move(queues[2 * i].queue), mergeable, packet_limit),
                      std::move(transmitter)});
  }
  // §5.1.2: the control queue stands behind all pairs that the negotiated features allow.
  const size_t control_index = 2 * pair_limit;
  if ((features & VIRTIO_NET_F_CTRL_VQ) != 0 && control_index < queues.size()) {
    control_queue_.emplace(std::move(queues[control_index].queue));
  }
  for (const ActiveQueue& queue : queues) kicks_.push_back({queue.kick_fd});
  return {};
}

base::Result<> Device::set_active_pairs(uint16_t count) {
  if (multi_queue()) MOTE_TRY_VOID(tap_.set_active_queues(count));
  for (uint16_t i = count; i < active_pairs_; ++i) {
    if (pairs_[i].receiving)
      loop_.cancel(registration_.source(), make_tag(Operation::kReceive, i, 0));
  }
  active_pairs_ = count;
  for (uint16_t i = 0; active_ && i < count; ++i) receive(i);
  return {};
}

void Device::reset(std::move_only_function<void()> done) {
  active_ = false;
  receive_timer_.disarm();
  transmit_timer_.disarm();
  reset_done_ = std::move(done);
  for (uint16_t i = 0; i < kicks_.size(); ++i) {
    if (kicks_[i].reading) loop_.cancel(registration_.source(), make_tag(Operation::kKick, i, 0));
  }
  for (uint16_t i = 0; i < pairs_.size(); ++i) {
    if (pairs_[i].receiving)
      loop_.cancel(registration_.source(), make_tag(Operation::kReceive, i, 0));
  }
  finish_reset_if_idle();
}

void Device::finish_reset_if_idle() {
  if (active_ || !reset_done_ || in_flight_ > 0) return;
  pairs_.clear();
  control_queue_.reset();
  kicks_.clear();
  notifier_ = nullptr;
  active_pairs_ = 0;
  in_debt_ = false;
  auto done = std::move(reset_done_);
  reset_done_ = nullptr;
  done();
}

void Device::update_rate_limiters(const NetworkInterfacePatch& patch) {
  const uint64_t now_ns = base::monotonic_ns();
  if (patch.rx_rate_limiter) {
    receive_limiter_.update(*patch.rx_rate_limiter, now_ns);
    receive_timer_.disarm();
    retry_receive();
  }
  if (patch.tx_rate_limiter) {
    transmit_limiter_.update(*patch.tx_rate_limiter, now_ns);
    transmit_timer_.disarm();
    for (uint16_t i = 0; active_ && i < pairs_.size(); ++i) transmit(i);
  }
}

uint32_t Device::make_tag(Operation operation, uint16_t queue, uint16_t slot) {
  return static_cast<uint32_t>(operation) << 28 | uint32_t{queue} << 16 | slot;
}

void Device::on_completion(uint32_t tag, int32_t result, uint32_t) {
  const auto operation = static_cast<Operation>(tag >> 28);
  const auto index = static_cast<uint16_t>(tag >> 16 & 0xfff);
  --in_flight_;
  switch (operation) {
    case Operation::kKick:
      on_kick(index, result);
      break;
    case Operation::kReceive:
      on_received(index, result);
      break;
    case Operation::kTransmit:
      on_transmitted(index, static_cast<uint16_t>(tag), result);
      break;
  }
  finish_reset_if_idle();
}

void Device::arm_kick(uint16_t queue_index) {
  Kick& kick = kicks_[queue_index];
  io_uring_sqe* const sqe =
      loop_.prepare(registration_.source(), make_tag(Operation::kKick, queue_index, 0));
  io_uring_prep_read(sqe, kick.fd, &kick.count, sizeof(kick.count), 0);
  kick.reading = true;
  ++in_flight_;
}

void Device::on_kick(uint16_t queue_index, int32_t result) {
  kicks_[queue_index].reading = false;
  if (!active_) return;
  if (result < 0 && result != -EINTR && result != -EAGAIN) ++metrics_.event_fails;
  arm_kick(queue_index);
  const auto pair_index = static_cast<uint16_t>(queue_index / 2);
  if (pair_index >= pairs_.size()) return serve_control();
  if (queue_index == receive_index(pair_index)) {
    ++metrics_.rx_queue_event_count;
    receive(pair_index);
  } else {
    ++metrics_.tx_queue_event_count;
    transmit(pair_index);
  }
}

bool Device::receive_is_throttled() {
  if (receive_timer_.armed()) return true;
  if (!in_debt_) return false;
  const uint64_t now_ns = base::monotonic_ns();
  if (receive_limiter_.consume(receive_debt_bytes_, now_ns)) {
    in_debt_ = false;
    return false;
  }
  ++metrics_.rx_rate_limiter_throttled;
  receive_timer_.arm(receive_limiter_.wait_ns(receive_debt_bytes_, now_ns));
  return true;
}

void Device::receive(uint16_t pair_index) {
  if (!active_ || pair_index >= active_pairs_ || pairs_[pair_index].receiving ||
      receive_is_throttled())
    return;
  Pair& pair = pairs_[pair_index];
  Queue& queue = pair.receiver.queue();
  queue.disable_kicks();
  Receiver::Gather gathered = pair.receiver.gather();
  if (gathered == Receiver::Gather::kNoBuffers && queue.enable_kicks())
    gathered = pair.receiver.gather();
  if (gathered == Receiver::Gather::kBroken) return broken("receive queue", queue.broken_reason());
  if (gathered == Receiver::Gather::kNoBuffers) {
    ++metrics_.no_rx_avail_buffer;
    return;  // Packets wait in the TAP until the driver kicks.
  }
  const auto buffers = pair.receiver.buffers();
  io_uring_sqe* const sqe =
      loop_.prepare(registration_.source(), make_tag(Operation::kReceive, pair_index, 0));
  io_uring_prep_readv(sqe, tap_.fd(pair_index), buffers.data(),
                      static_cast<unsigned>(buffers.size()), 0);
  pair.receiving = true;
  ++in_flight_;
}

void Device::on_received(uint16_t pair_index, int32_t result) {
  Pair& pair = pairs_[pair_index];
  pair.receiving = false;
  if (!active_) return;
  ++metrics_.rx_tap_event_count;
  if (result == -ECANCELED || result == -EINTR || result == -EAGAIN) return receive(pair_index);
  if (result < 0) {
    ++metrics_.tap_read_fails;
    LOG_GUEST(log_, "interface {}: reading from {} failed: {}", config_.iface_id,
              config_.host_dev_name, std::strerror(-result));
    if (!receive_timer_.armed())
      receive_timer_.arm(kBackOffNs);  // A TAP that is down must not make us spin.
    return;
  }
  const auto bytes = static_cast<uint64_t>(result);
  if (!pair.receiver.deliver(bytes)) {
    ++metrics_.rx_fails;
    ++metrics_.rx_partial_writes;
    return receive(pair_index);
  }
  const uint64_t frame_bytes = bytes - sizeof(virtio_net_hdr_v1);
  metrics_.rx_bytes_count += frame_bytes;
  ++metrics_.rx_packets_count;
  ++metrics_.rx_count;
  receive_debt_bytes_ = frame_bytes;
  in_debt_ = true;
  mark_used();
  receive(pair_index);
}

void Device::retry_receive() {
  for (uint16_t i = 0; active_ && i < active_pairs_; ++i) receive(i);
}

void Device::transmit(uint16_t pair_index) {
  if (!active_ || transmit_timer_.armed()) return;
  Transmitter& transmitter = pairs_[pair_index].transmitter;
  transmitter.queue.disable_kicks();
  for (uint32_t budget = kBatch; budget > 0; --budget) {
    if (transmit_one(pair_index)) continue;
    const bool waits = !active_ || transmit_timer_.armed() || transmitter.starved;
    if (waits || !transmitter.queue.enable_kicks()) return;
  }
  // A full batch: let the others have their turn, then come back.
  ::eventfd_write(kicks_[transmit_index(pair_index)].fd, 1);
}

bool Device::transmit_one(uint16_t pair_index) {
  Transmitter& transmitter = pairs_[pair_index].transmitter;
  if (transmitter.free_slots.empty()) {
    transmitter.starved = true;
    return false;
  }
  const uint16_t slot_index = transmitter.free_slots.back();
  TransmitSlot& slot = transmitter.slots[slot_index];
  switch (transmitter.queue.pop(slot.chain)) {
    case Queue::Pop::kEmpty:
      return false;
    case Queue::Pop::kBroken:
      broken("transmit queue", transmitter.queue.broken_reason());
      return false;
    case Queue::Pop::kChain:
      break;
  }
  const uint64_t bytes = slot.chain.readable_bytes;
  if (bytes <= sizeof(virtio_net_hdr_v1) || bytes > kMaxPacketBytes) {
    ++metrics_.tx_malformed_frames;
    transmitter.queue.push_used(slot.chain.head, 0);
    mark_used();
    return true;
  }
  const uint64_t now_ns = base::monotonic_ns();
  const uint64_t frame_bytes = bytes - sizeof(virtio_net_hdr_v1);
  if (!transmit_limiter_.consume(frame_bytes, now_ns)) {
    ++metrics_.tx_rate_limiter_throttled;
    transmitter.queue.undo_pop();
    transmit_timer_.arm(transmit_limiter_.wait_ns(frame_bytes, now_ns));
    return false;
  }
  transmitter.free_slots.pop_back();
  slot.started_us = now_ns / 1000;
  io_uring_sqe* const sqe =
      loop_.prepare(registration_.source(), make_tag(Operation::kTransmit, pair_index, slot_index));
  // A driver that set up more pairs than it switched on still has its packets sent, by the first
  // queue.
  const uint16_t tap_queue = pair_index < active_pairs_ ? pair_index : uint16_t{0};
  io_uring_prep_writev(sqe, tap_.fd(tap_queue), slot.chain.readable.data(),
                       static_cast<unsigned>(slot.chain.readable.size()), 0);
  ++in_flight_;
  return true;
}

void Device::on_transmitted(uint16_t pair_index, uint16_t slot_index, int32_t result) {
  Transmitter& transmitter = pairs_[pair_index].transmitter;
  TransmitSlot& slot = transmitter.slots[slot_index];
  if (result < 0) {
    ++metrics_.tap_write_fails;
    ++metrics_.tx_fails;
    LOG_GUEST(log_, "interface {}: writing to {} failed: {}", config_.iface_id,
              config_.host_dev_name, std::strerror(-result));
  } else {
    ++metrics_.tx_packets_count;
    ++metrics_.tx_count;
    metrics_.tx_bytes_count += slot.chain.readable_bytes - sizeof(virtio_net_hdr_v1);
    metrics_.tap_write_agg.add(base::monotonic_us() - slot.started_us);
  }
  transmitter.queue.push_used(slot.chain.head, 0);
  transmitter.free_slots.push_back(slot_index);
  mark_used();
}

void Device::serve_control() {
  if (!control_queue_) return;
  Chain chain;
  for (uint32_t budget = kBatch; budget > 0; --budget) {
    switch (control_queue_->pop(chain)) {
      case Queue::Pop::kEmpty:
        if (!control_queue_->enable_kicks()) return;
        continue;
      case Queue::Pop::kBroken:
        return broken("control queue", control_queue_->broken_reason());
      case Queue::Pop::kChain:
        break;
    }
    if (chain.writable_bytes == 0) return broken("control queue", "leaves no room for an answer");
    const uint8_t answer = control(chain);
    std::memcpy(chain.writable.front().iov_base, &answer, sizeof(answer));
    control_queue_->push_used(chain.head, sizeof(answer));
    mark_used();
  }
}

uint8_t Device::control(const Chain& chain) {
  // Class, command and a 16-bit number, wherever the driver put them.
  std::array<uint8_t, 4> command{};
  if (chain.readable_bytes != command.size()) return VIRTIO_NET_ERR;
  size_t at = 0;
  for (const iovec& part : chain.readable) {
    std::memcpy(command.data() + at, part.iov_base, part.iov_len);
    at += part.iov_len;
  }
  asm volatile("" : "+m"(command) : : "memory");
  if (command[0] != VIRTIO_NET_CTRL_MQ || command[1] != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET)
    return VIRTIO_NET_ERR;
  const auto pairs = static_cast<uint16_t>(command[2] | command[3] << 8);
  if (pairs == 0 || pairs > pairs_.size()) return VIRTIO_NET_ERR;
  const auto outcome = set_active_pairs(pairs);
  if (!outcome) LOG_GUEST(log_, "interface {}: {}", config_.iface_id, outcome.error().message());
  return outcome ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
}

void Device::mark_used() {
  if (turn_end_asked_) return;
  turn_end_asked_ = true;
  loop_.defer(*this);
}

void Device::on_turn_end() {
  turn_end_asked_ = false;
  if (notifier_ == nullptr) return;
  bool notify = control_queue_ && control_queue_->should_notify();
  for (Pair& pair : pairs_) {
    notify |= pair.receiver.queue().should_notify();
    notify |= pair.transmitter.queue.should_notify();
  }
  if (notify) notifier_->notify_queues();
  for (uint16_t i = 0; i < pairs_.size(); ++i) {
    if (std::exchange(pairs_[i].transmitter.starved, false)) transmit(i);
  }
}

void Device::broken(const char* queue, const char* reason) {
  LOG_GUEST(log_, "interface {}: on its {} the driver {}: the device needs a reset",
            config_.iface_id, queue, reason != nullptr ? reason : "offers a buffer without room");
  ++metrics_.event_fails;
  active_ = false;
  notifier_->set_needs_reset();
}

}  // namespace mote::virtio::net
