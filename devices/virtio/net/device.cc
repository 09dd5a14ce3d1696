#include "devices/virtio/net/device.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/clock.h"
#include "devices/virtio/net/frame.h"
#include "devices/virtio/net/metadata.h"
#include "devices/virtio/spec.h"

namespace mote::virtio::net {
namespace {

constexpr uint64_t kOffloadFeatures =
    VIRTIO_NET_F_CSUM | VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4 |
    VIRTIO_NET_F_GUEST_TSO6 | VIRTIO_NET_F_GUEST_ECN | VIRTIO_NET_F_GUEST_UFO |
    VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_HOST_TSO6 | VIRTIO_NET_F_HOST_ECN | VIRTIO_NET_F_HOST_UFO;
constexpr uint32_t kControlBatch = 16;

// A tag is an operation, 12 bits of queue or pair index, and 16 bits of slot.
constexpr uint32_t kOperationShift = 28;
constexpr uint32_t kIndexShift = 16;
constexpr uint32_t kIndexMask = 0xfff;

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
                       if (!backed_off_) ++metrics_.rx_event_rate_limiter_count;
                       receive_all();
                     }),
      transmit_timer_(loop, [this] {
        ++metrics_.tx_rate_limiter_event_count;
        transmit_all();
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
  // §5.1.5: one pair until the driver asks for more.
  const uint16_t pairs = std::clamp<uint16_t>(
      activation.active_pairs, 1, std::max<uint16_t>(1, static_cast<uint16_t>(pairs_.size())));
  if (outcome) outcome = set_active_pairs(pairs);
  if (!outcome) {
    ++metrics_.activate_fails;
    drop_queues();
    return outcome;
  }
  active_ = true;
  for (uint16_t i = 0; i < kicks_.size(); ++i) arm_kick(i);
  return {};
}

base::Result<> Device::take_queues(Activation& activation) {
  const uint64_t features = activation.features;
  const auto mergeable =
      (features & VIRTIO_NET_F_MRG_RXBUF) != 0 ? Mergeable::kYes : Mergeable::kNo;
  const size_t pair_limit = (features & VIRTIO_NET_F_MQ) != 0 ? tap_.queue_count() : 1;
  auto& queues = activation.queues;
  if (queues.size() < 2) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      "virtio-net: the first queue pair is not ready");
  }
  pairs_.reserve(pair_limit);
  for (size_t i = 0; i < pair_limit && 2 * i + 1 < queues.size(); ++i) {
    pairs_.push_back({.receiver = Receiver(std::move(queues[2 * i].queue), mergeable),
                      .transmitter = Transmitter(std::move(queues[2 * i + 1].queue)),
                      .owed_bytes = std::nullopt});
  }
  // §5.1.2: the control queue stands behind all pairs that the negotiated features allow.
  const size_t control_index = 2 * pair_limit;
  if ((features & VIRTIO_NET_F_CTRL_VQ) != 0 && control_index < queues.size()) {
    control_queue_.emplace(std::move(queues[control_index].queue));
  }
  for (const ActiveQueue& queue : queues) kicks_.push_back({queue.kick_fd});
  return {};
}

void Device::drop_queues() {
  pairs_.clear();
  control_queue_.reset();
  kicks_.clear();
  reset_metadata();
  notifier_ = nullptr;
  active_pairs_ = 0;
  backed_off_ = false;
}

base::Result<> Device::set_active_pairs(uint16_t count) {
  if (multi_queue()) MOTE_TRY_VOID(tap_.set_active_queues(count));
  for (uint16_t i = count; i < active_pairs_; ++i) {
    if (pairs_[i].polling) cancel(Operation::kPoll, i, 0);
  }
  active_pairs_ = count;
  receive_all();
  return {};
}

void Device::reset(std::move_only_function<void()> done) {
  suspended_ = Suspended::kNo;
  stop(std::move(done));
}

void Device::suspend(std::move_only_function<void()> done) {
  suspended_ = active_ ? Suspended::kActive : Suspended::kInactive;
  stop(std::move(done));
}

void Device::stop(std::move_only_function<void()> done) {
  active_ = false;
  receive_timer_.disarm();
  transmit_timer_.disarm();
  stop_metadata();
  stop_done_ = std::move(done);
  for (uint16_t i = 0; i < kicks_.size(); ++i) {
    if (kicks_[i].reading) cancel(Operation::kKick, i, 0);
  }
  for (uint16_t i = 0; i < pairs_.size(); ++i) {
    if (pairs_[i].polling) cancel(Operation::kPoll, i, 0);
  }
  finish_stop_if_idle();
}

void Device::finish_stop_if_idle() {
  if (active_ || !stop_done_ || in_flight_ > 0) return;
  if (suspended_ == Suspended::kNo) {
    drop_queues();
  } else if (turn_end_asked_) {
    return;  // The driver's interrupt comes first; on_turn_end() goes on from here.
  }
  auto done = std::move(stop_done_);
  stop_done_ = nullptr;
  done();
}

void Device::resume() {
  if (std::exchange(suspended_, Suspended::kNo) != Suspended::kActive) return;
  active_ = true;
  for (uint16_t i = 0; i < kicks_.size(); ++i) {
    arm_kick(i);
    ::eventfd_write(kicks_[i].fd, 1);  // What came meanwhile, or was waiting for its turn.
  }
  receive_all();
  resume_metadata();
}

DeviceState Device::save() const {
  DeviceState state;
  state.active_pairs = active_pairs_;
  state.positions.resize(kicks_.size());
  for (size_t i = 0; i < pairs_.size(); ++i) {
    const Queue& receive = pairs_[i].receiver.queue();
    // Chains that wait for a packet are taken again.
    state.positions[2 * i] = {
        static_cast<uint16_t>(receive.next_avail() - pairs_[i].receiver.held_count()),
        receive.next_used()};
    const Queue& transmit = pairs_[i].transmitter.queue();
    state.positions[2 * i + 1] = {transmit.next_avail(), transmit.next_used()};
  }
  if (control_queue_ && !state.positions.empty()) {
    state.positions.back() = {control_queue_->next_avail(), control_queue_->next_used()};
  }
  return state;
}

void Device::update_rate_limiters(const NetworkInterfacePatch& patch) {
  const uint64_t now_ns = base::monotonic_ns();
  if (patch.rx_rate_limiter) {
    receive_limiter_.update(*patch.rx_rate_limiter, now_ns);
    receive_timer_.disarm();
    receive_all();
  }
  if (patch.tx_rate_limiter) {
    transmit_limiter_.update(*patch.tx_rate_limiter, now_ns);
    transmit_timer_.disarm();
    transmit_all();
  }
}

io_uring_sqe* Device::prepare(Operation operation, uint16_t queue, uint16_t slot) {
  ++in_flight_;
  return loop_.prepare(registration_.source(), static_cast<uint32_t>(operation) << kOperationShift |
                                                   uint32_t{queue} << kIndexShift | slot);
}

void Device::cancel(Operation operation, uint16_t queue, uint16_t slot) {
  loop_.cancel(registration_.source(), static_cast<uint32_t>(operation) << kOperationShift |
                                           uint32_t{queue} << kIndexShift | slot);
}

void Device::on_completion(uint32_t tag, int32_t result, uint32_t) {
  const auto index = static_cast<uint16_t>(tag >> kIndexShift & kIndexMask);
  --in_flight_;
  switch (static_cast<Operation>(tag >> kOperationShift)) {
    case Operation::kKick:
      on_kick(index, result);
      break;
    case Operation::kPoll:
      on_poll(index, result);
      break;
    case Operation::kTransmit:
      on_transmitted(index, static_cast<uint16_t>(tag), result);
      break;
  }
  finish_stop_if_idle();
}

void Device::arm_kick(uint16_t queue_index) {
  Kick& kick = kicks_[queue_index];
  io_uring_sqe* const sqe = prepare(Operation::kKick, queue_index, 0);
  io_uring_prep_read(sqe, kick.fd, &kick.count, sizeof(kick.count), 0);
  kick.reading = true;
}

void Device::on_kick(uint16_t queue_index, int32_t result) {
  kicks_[queue_index].reading = false;
  if (!active_) return;
  if (result < 0 && result != -EINTR && result != -EAGAIN) ++metrics_.event_fails;
  arm_kick(queue_index);
  const auto pair_index = static_cast<uint16_t>(queue_index / 2);
  if (pair_index >= pairs_.size()) return serve_control();
  if (queue_index % 2 == 0) {
    ++metrics_.rx_queue_event_count;
    receive(pair_index);
    if (metadata_ && pair_index == 0) send_metadata();
  } else {
    ++metrics_.tx_queue_event_count;
    transmit(pair_index);
  }
}

void Device::serve_control() {
  if (!control_queue_) return;
  Chain chain;
  for (uint32_t budget = kControlBatch; budget > 0; --budget) {
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
  // A full batch: let the others have their turn, then come back.
  ::eventfd_write(kicks_.back().fd, 1);
}

uint8_t Device::control(const Chain& chain) {
  const auto count = parse_pairs_set(chain.readable);
  if (!count || *count == 0 || *count > pairs_.size()) return VIRTIO_NET_ERR;
  const auto outcome = set_active_pairs(*count);
  if (outcome) return VIRTIO_NET_OK;
  ++metrics_.cfg_fails;
  LOG_GUEST(log_, "interface {}: {}", config_.iface_id, outcome.error().message());
  return VIRTIO_NET_ERR;
}

void Device::mark_used() {
  if (turn_end_asked_) return;
  turn_end_asked_ = true;
  turn_us_ = base::monotonic_us();
  loop_.defer(*this);
}

void Device::on_turn_end() {
  // First the packets that waited for the slots which this turn freed: they may use more chains.
  for (uint16_t i = 0; active_ && i < pairs_.size(); ++i) {
    if (std::exchange(pairs_[i].starved, false)) transmit(i);
  }
  finish_metadata_turn();
  turn_end_asked_ = false;
  if (notifier_ == nullptr) return;
  bool notify = control_queue_ && control_queue_->should_notify();
  for (Pair& pair : pairs_) {
    notify |= pair.receiver.queue().should_notify();
    notify |= pair.transmitter.queue().should_notify();
  }
  if (notify) notifier_->notify_queues();
  finish_stop_if_idle();
}

void Device::broken(const char* queue, const char* reason) {
  LOG_GUEST(log_, "interface {}: on its {} the driver {}: the device needs a reset",
            config_.iface_id, queue, reason);
  ++metrics_.event_fails;
  active_ = false;
  notifier_->set_needs_reset();
}

}  // namespace mote::virtio::net
