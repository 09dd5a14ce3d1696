#include "devices/virtio/blk/device.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "devices/virtio/spec.h"

namespace mote::virtio::blk {
namespace {

constexpr uint32_t kKickTag = 0x80000000;                   // Or-ed with the queue index.
constexpr uint32_t kSegmentLimit = Device::kQueueSize - 2;  // Header and status take one each.
constexpr uint32_t kBatch = Device::kQueueSize;

}  // namespace

base::Result<std::unique_ptr<Device>> Device::create(const DriveConfig& config, io::EventLoop& loop,
                                                     uint16_t queue_count) {
  if (!config.path_on_host) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      "path_on_host: a drive needs a file or block device");
  }
  const auto access = config.is_read_only ? DiskAccess::kReadOnly : DiskAccess::kReadWrite;
  MOTE_TRY(auto file, DiskFile::open(*config.path_on_host, access));
  return std::unique_ptr<Device>(new Device(config, loop, std::move(file), queue_count));
}

Device::Device(const DriveConfig& config, io::EventLoop& loop, std::shared_ptr<const DiskFile> file,
               uint16_t queue_count)
    : config_(config),
      loop_(loop),
      file_(std::move(file)),
      queue_count_(queue_count),
      rate_limiter_(config.rate_limiter.value_or(RateLimiterConfig{}), base::monotonic_ns()),
      registration_(loop, *this),
      throttle_timer_(loop, [this] {
        ++metrics_.rate_limiter_event_count;
        serve_all();
      }) {}

Device::~Device() {
  loop_.forget(*this);
}

std::vector<std::byte> Device::config_space() const {
  virtio_blk_config config{};
  config.capacity = file_->sectors();
  config.seg_max = kSegmentLimit;
  config.blk_size = kSectorBytes;
  config.num_queues = queue_count_;
  config.max_discard_sectors = std::numeric_limits<uint32_t>::max() / kSectorBytes;
  config.max_discard_seg = 1;
  config.discard_sector_alignment = 4096 / kSectorBytes;
  config.max_write_zeroes_sectors = kMaxWriteZeroesSectors;
  config.max_write_zeroes_seg = 1;
  config.write_zeroes_may_unmap = 1;
  const auto bytes = std::as_bytes(std::span(&config, 1));
  return {bytes.begin(), bytes.end()};
}

Description Device::describe() const {
  uint64_t features = VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC |
                      VIRTIO_BLK_F_SEG_MAX | VIRTIO_BLK_F_BLK_SIZE;
  features |=
      config_.is_read_only ? VIRTIO_BLK_F_RO : VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES;
  if (config_.cache_type == CacheType::kWriteback) features |= VIRTIO_BLK_F_FLUSH;
  if (queue_count_ > 1) features |= VIRTIO_BLK_F_MQ;
  return {VIRTIO_ID_BLOCK, features, std::vector<uint16_t>(queue_count_, kQueueSize),
          config_space()};
}

DiskLimits Device::limits() const {
  return {.sectors = file_->sectors(),
          .read_only = config_.is_read_only,
          .flush = (features_ & VIRTIO_BLK_F_FLUSH) != 0,
          .discard = (features_ & VIRTIO_BLK_F_DISCARD) != 0,
          .write_zeroes = (features_ & VIRTIO_BLK_F_WRITE_ZEROES) != 0};
}

Durability Device::durability() const {
  // Asked to keep data safe, for a driver that will not flush.
  const bool offered = config_.cache_type == CacheType::kWriteback;
  return offered && (features_ & VIRTIO_BLK_F_FLUSH) == 0 ? Durability::kWriteThrough
                                                          : Durability::kWriteBack;
}

base::Result<> Device::activate(Activation activation) {
  CHECK(!active_ && queues_.empty(), "activated twice without a reset");
  if (activation.queues.empty()) {
    ++metrics_.activate_fails;
    return base::fail(base::ErrorCode::kInvalidArgument, "virtio-blk: no queue is ready");
  }
  features_ = activation.features;
  notifier_ = activation.notifier;
  size_t slot_count = 0;
  for (ActiveQueue& queue : activation.queues) {
    slot_count += queue.queue.size();
    queues_.push_back({std::move(queue.queue), queue.kick_fd});
  }
  slots_.reserve(std::min<size_t>(slot_count, kQueueSize));
  free_slots_.reserve(slots_.capacity());
  active_ = true;
  for (uint16_t i = 0; i < queues_.size(); ++i) arm_kick(i);
  if (std::exchange(config_changed_, false)) notifier_->update_config(config_space());
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
  throttle_timer_.disarm();
  stop_done_ = std::move(done);
  for (uint16_t i = 0; i < queues_.size(); ++i) {
    if (queues_[i].reading_kick) loop_.cancel(registration_.source(), kKickTag | i);
  }
  finish_stop_if_idle();
}

void Device::finish_stop_if_idle() {
  if (active_ || !stop_done_ || in_flight_ > 0 || kick_reads_ > 0) return;
  if (suspended_ == Suspended::kNo) {
    queues_.clear();
    slots_ = {};
    free_slots_ = {};
    notifier_ = nullptr;
    starved_ = false;
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
  for (uint16_t i = 0; i < queues_.size(); ++i) {
    arm_kick(i);
    ::eventfd_write(queues_[i].kick_fd, 1);  // What came meanwhile, or was waiting for its turn.
  }
}

DeviceState Device::save() const {
  DeviceState state;
  for (const ServedQueue& served : queues_) {
    state.positions.push_back({served.queue.next_avail(), served.queue.next_used()});
  }
  return state;
}

base::Result<> Device::update_path(const std::string& path) {
  const auto access = config_.is_read_only ? DiskAccess::kReadOnly : DiskAccess::kReadWrite;
  auto file = DiskFile::open(path, access);
  if (!file) {
    ++metrics_.update_fails;
    return std::unexpected(std::move(file).error());
  }
  file_ = std::move(*file);
  ++metrics_.update_count;
  config_changed_ = notifier_ == nullptr;
  if (notifier_ != nullptr) notifier_->update_config(config_space());
  return {};
}

void Device::update_rate_limiter(const RateLimiterConfig& config) {
  rate_limiter_.update(config, base::monotonic_ns());
  throttle_timer_.disarm();
  serve_all();
}

void Device::arm_kick(uint16_t queue_index) {
  ServedQueue& served = queues_[queue_index];
  io_uring_sqe* const sqe = loop_.prepare(registration_.source(), kKickTag | queue_index);
  io_uring_prep_read(sqe, served.kick_fd, &served.kick_count, sizeof(served.kick_count), 0);
  served.reading_kick = true;
  ++kick_reads_;
}

void Device::on_completion(uint32_t tag, int32_t result, uint32_t) {
  if ((tag & kKickTag) != 0) return on_kick(static_cast<uint16_t>(tag & ~kKickTag), result);
  on_result(static_cast<uint16_t>(tag), result);
}

void Device::on_kick(uint16_t queue_index, int32_t result) {
  ServedQueue& served = queues_[queue_index];
  served.reading_kick = false;
  --kick_reads_;
  if (!active_) return finish_stop_if_idle();
  if (result < 0 && result != -EINTR && result != -EAGAIN) ++metrics_.event_fails;
  ++metrics_.queue_event_count;
  if (served.queue.empty()) ++metrics_.no_avail_buffer;
  arm_kick(queue_index);
  serve(queue_index);
}

void Device::serve_all() {
  for (uint16_t i = 0; active_ && i < queues_.size(); ++i) serve(i);
}

void Device::serve(uint16_t queue_index) {
  if (!active_ || throttle_timer_.armed()) return;
  ServedQueue& served = queues_[queue_index];
  served.queue.disable_kicks();
  for (uint32_t budget = kBatch; budget > 0; --budget) {
    if (serve_one(queue_index)) continue;
    // The queue is empty or has to wait. What came while kicks were off is seen by looking again.
    const bool waits = !active_ || throttle_timer_.armed() || starved_;
    if (waits || !served.queue.enable_kicks()) return;
  }
  // A full batch: let the others have their turn, then come back.
  ::eventfd_write(served.kick_fd, 1);
}

bool Device::serve_one(uint16_t queue_index) {
  if (!find_free_slot()) {
    starved_ = true;  // A completion comes, and on_turn_end() goes on from here.
    ++metrics_.io_engine_throttled_events;
    return false;
  }
  const uint16_t slot_index = free_slots_.back();
  Slot& slot = slots_[slot_index];
  Queue& queue = queues_[queue_index].queue;
  switch (queue.pop(slot.chain)) {
    case Queue::Pop::kEmpty:
      return false;
    case Queue::Pop::kBroken:
      broken(queue.broken_reason());
      return false;
    case Queue::Pop::kChain:
      break;
  }
  metrics_.remaining_reqs_count += std::min(queue.pending(), queue.size());
  slot.queue_index = queue_index;
  return start(slot_index);
}

bool Device::find_free_slot() {
  if (!free_slots_.empty()) return true;
  if (slots_.size() == slots_.capacity()) return false;
  free_slots_.push_back(static_cast<uint16_t>(slots_.size()));
  slots_.emplace_back();
  return true;
}

/// Carries out the chain in the slot that is free next.
bool Device::start(uint16_t slot_index) {
  Slot& slot = slots_[slot_index];
  const auto parsed = parse_request(slot.chain, limits(), &slot.status);
  if (const auto* const malformed = std::get_if<Malformed>(&parsed)) {
    ++metrics_.invalid_reqs_count;
    broken(malformed->reason);
    return false;
  }
  const auto* const request = std::get_if<Request>(&parsed);
  const uint64_t now_ns = base::monotonic_ns();
  if (request != nullptr && is_throttled(*request, slot.queue_index, now_ns)) return false;
  slot.started_us = now_ns / 1000;
  free_slots_.pop_back();
  ++in_flight_;
  if (request == nullptr) {
    ++metrics_.invalid_reqs_count;
    give_back(slot_index, std::get<Refusal>(parsed).status, 0);
  } else if (request->kind == RequestKind::kGetId) {
    write_id(slot.chain);
    give_back(slot_index, VIRTIO_BLK_S_OK, kIdBytes);
  } else if (request->size_bytes == 0 && request->kind != RequestKind::kFlush) {
    give_back(slot_index, VIRTIO_BLK_S_OK, 0);
  } else {
    slot.operation = Operation(*request, slot.chain, file_, durability());
    submit(slot_index);
  }
  return true;
}

/// Takes the request's tokens, or puts its chain back until they are there.
bool Device::is_throttled(const Request& request, uint16_t queue_index, uint64_t now_ns) {
  // Zeros count as what they replace: not every file system makes them without writing.
  const bool moves_data =
      request.kind != RequestKind::kDiscard && request.kind != RequestKind::kGetId;
  const uint64_t bytes = moves_data ? request.size_bytes : 0;
  if (rate_limiter_.consume(bytes, now_ns)) return false;
  ++metrics_.rate_limiter_throttled_events;
  queues_[queue_index].queue.undo_pop();
  throttle_timer_.arm(rate_limiter_.wait_ns(bytes, now_ns));
  return true;
}

void Device::submit(uint16_t slot_index) {
  slots_[slot_index].operation.prepare(loop_.prepare(registration_.source(), slot_index));
}

void Device::on_result(uint16_t slot_index, int32_t result) {
  Slot& slot = slots_[slot_index];
  const Operation::Step step = slot.operation.advance(result);
  if (step == Operation::Step::kAgain) return submit(slot_index);
  const bool is_read = slot.operation.kind() == RequestKind::kRead;
  const uint64_t data_bytes = is_read ? slot.operation.moved_bytes() : 0;
  if (step == Operation::Step::kDone) {
    count(slot);
  } else {
    ++metrics_.execute_fails;
    LOG_GUEST(log_, "drive {}: the request at byte {} failed: {}", config_.drive_id,
              slot.operation.offset_bytes(),
              result < 0 ? std::strerror(-result) : "the file is shorter than it was");
  }
  slot.operation = {};  // Lets go of a file that was replaced.
  give_back(slot_index, step == Operation::Step::kDone ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR,
            data_bytes);
}

void Device::count(const Slot& slot) {
  const uint64_t moved_bytes = slot.operation.moved_bytes();
  switch (slot.operation.kind()) {
    case RequestKind::kRead:
      metrics_.read_bytes += moved_bytes;
      ++metrics_.read_count;
      return metrics_.read_agg.add(base::monotonic_us() - slot.started_us);
    case RequestKind::kWrite:
      metrics_.write_bytes += moved_bytes;
      ++metrics_.write_count;
      return metrics_.write_agg.add(base::monotonic_us() - slot.started_us);
    case RequestKind::kFlush:
      ++metrics_.flush_count;
      return;
    case RequestKind::kDiscard:
    case RequestKind::kWriteZeroes:
    case RequestKind::kGetId:
      return;
  }
}

/// The drive id, which is stable and the same wherever the VM runs; its first 20 bytes, NUL-padded.
void Device::write_id(const Chain& chain) const {
  std::array<char, kIdBytes> id{};
  std::copy_n(config_.drive_id.begin(), std::min<size_t>(config_.drive_id.size(), id.size()),
              id.begin());
  size_t at = 0;
  for (const iovec& part : chain.writable) {
    const size_t size = std::min(part.iov_len, id.size() - at);
    std::memcpy(part.iov_base, id.data() + at, size);
    at += size;
  }
}

void Device::give_back(uint16_t slot_index, uint8_t status, uint64_t data_bytes) {
  const Slot& slot = slots_[slot_index];
  *slot.status = std::byte{status};
  queues_[slot.queue_index].queue.push_used(slot.chain.head, static_cast<uint32_t>(data_bytes + 1));
  free_slots_.push_back(slot_index);
  --in_flight_;
  mark_used();
}

void Device::mark_used() {
  if (turn_end_asked_) return;
  turn_end_asked_ = true;
  loop_.defer(*this);
}

void Device::on_turn_end() {
  // First: what is used right away belongs to this turn, for the loop may sleep after it.
  if (std::exchange(starved_, false)) serve_all();
  turn_end_asked_ = false;
  bool notify = false;
  for (ServedQueue& served : queues_) notify |= served.queue.should_notify();
  if (notify && notifier_ != nullptr) notifier_->notify_queues();
  finish_stop_if_idle();
}

void Device::broken(const char* reason) {
  LOG_GUEST(log_, "drive {}: the driver {}: the device needs a reset", config_.drive_id, reason);
  ++metrics_.event_fails;
  active_ = false;
  notifier_->set_needs_reset();
}

}  // namespace mote::virtio::blk
