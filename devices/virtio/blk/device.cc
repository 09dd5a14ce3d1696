#include "devices/virtio/blk/device.h"

#include <fcntl.h>
#include <linux/falloc.h>
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

constexpr size_t kZeroBytes = 64 * 1024;
alignas(4096) constexpr std::array<std::byte, kZeroBytes> kZeros{};

bool is_transfer(RequestKind kind) {
  return kind == RequestKind::kRead || kind == RequestKind::kWrite;
}

/// Takes `count` bytes off the front.
void advance(std::vector<iovec>& buffers, uint64_t count) {
  size_t used = 0;
  while (count > 0) {
    iovec& first = buffers[used];
    const size_t step = std::min<uint64_t>(first.iov_len, count);
    first.iov_base = static_cast<std::byte*>(first.iov_base) + step;
    first.iov_len -= step;
    count -= step;
    if (first.iov_len == 0) ++used;
  }
  buffers.erase(buffers.begin(), buffers.begin() + static_cast<ptrdiff_t>(used));
}

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
  slots_.resize(std::min<size_t>(slot_count, kQueueSize));
  for (uint16_t i = 0; i < slots_.size(); ++i) {
    slots_[i].chain.readable.reserve(kQueueSize);
    slots_[i].chain.writable.reserve(kQueueSize);
    free_slots_.push_back(static_cast<uint16_t>(slots_.size() - 1U - i));
  }
  active_ = true;
  for (uint16_t i = 0; i < queues_.size(); ++i) arm_kick(i);
  return {};
}

void Device::reset(std::move_only_function<void()> done) {
  active_ = false;
  throttle_timer_.disarm();
  reset_done_ = std::move(done);
  for (uint16_t i = 0; i < queues_.size(); ++i) {
    if (queues_[i].reading_kick) loop_.cancel(registration_.source(), kKickTag | i);
  }
  finish_reset_if_idle();
}

void Device::finish_reset_if_idle() {
  if (active_ || !reset_done_ || in_flight_ > 0 || kick_reads_ > 0) return;
  queues_.clear();
  slots_.clear();
  free_slots_.clear();
  notifier_ = nullptr;
  starved_ = false;
  auto done = std::move(reset_done_);
  reset_done_ = nullptr;
  done();
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
  if ((tag & kKickTag) == 0) return complete(static_cast<uint16_t>(tag), result);
  const auto queue_index = static_cast<uint16_t>(tag & ~kKickTag);
  queues_[queue_index].reading_kick = false;
  --kick_reads_;
  if (!active_) return finish_reset_if_idle();
  if (result < 0 && result != -EINTR && result != -EAGAIN) ++metrics_.event_fails;
  ++metrics_.queue_event_count;
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
  if (free_slots_.empty()) {
    starved_ = true;
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
  slot.queue_index = queue_index;
  return start(slot_index);
}

bool Device::start(uint16_t slot_index) {
  Slot& slot = slots_[slot_index];
  auto parsed = parse_request(slot.chain, limits(), &slot.status);
  if (const auto* const malformed = std::get_if<Malformed>(&parsed)) {
    ++metrics_.invalid_reqs_count;
    broken(malformed->reason);
    return false;
  }
  if (const auto* const request = std::get_if<Request>(&parsed)) {
    const uint64_t now_ns = base::monotonic_ns();
    const uint64_t bytes = is_transfer(request->kind) ? request->size_bytes : 0;
    if (!rate_limiter_.consume(bytes, now_ns)) {
      ++metrics_.rate_limiter_throttled_events;
      queues_[slot.queue_index].queue.undo_pop();
      throttle_timer_.arm(rate_limiter_.wait_ns(bytes, now_ns));
      return false;
    }
    slot.request = *request;
    slot.started_us = now_ns / 1000;
  }
  free_slots_.pop_back();
  ++in_flight_;
  slot.moved_bytes = 0;
  if (const auto* const refusal = std::get_if<Refusal>(&parsed)) {
    ++metrics_.invalid_reqs_count;
    slot.request = {RequestKind::kFlush};  // Nothing was moved.
    give_back(slot_index, refusal->status);
    return true;
  }
  slot.file = file_;
  submit(slot_index);
  return true;
}

void Device::submit(uint16_t slot_index) {
  Slot& slot = slots_[slot_index];
  const Request& request = slot.request;
  const bool empty = request.size_bytes == 0 && request.kind != RequestKind::kFlush;
  if (empty) return give_back(slot_index, VIRTIO_BLK_S_OK);
  if (request.kind == RequestKind::kGetId) {
    write_id(slot);
    return give_back(slot_index, VIRTIO_BLK_S_OK);
  }
  io_uring_sqe* const sqe = loop_.prepare(registration_.source(), slot_index);
  const int fd = slot.file->fd();
  switch (request.kind) {
    case RequestKind::kRead:
      slot.buffers = &slot.chain.writable;
      return submit_transfer(slot, sqe);
    case RequestKind::kWrite:
      slot.buffers = &slot.chain.readable;
      return submit_transfer(slot, sqe);
    case RequestKind::kFlush:
      return io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
    case RequestKind::kDiscard:
      return io_uring_prep_fallocate(sqe, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                     static_cast<off_t>(request.offset_bytes),
                                     static_cast<off_t>(request.size_bytes));
    case RequestKind::kWriteZeroes:
      return io_uring_prep_fallocate(
          sqe, fd,
          (request.may_unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE,
          static_cast<off_t>(request.offset_bytes), static_cast<off_t>(request.size_bytes));
    case RequestKind::kGetId:
      return;
  }
}

void Device::submit_transfer(Slot& slot, io_uring_sqe* sqe) {
  const uint64_t offset = slot.request.offset_bytes + slot.moved_bytes;
  const auto count = static_cast<unsigned>(slot.buffers->size());
  if (slot.request.kind == RequestKind::kRead) {
    io_uring_prep_readv(sqe, slot.file->fd(), slot.buffers->data(), count, offset);
  } else {
    io_uring_prep_writev(sqe, slot.file->fd(), slot.buffers->data(), count, offset);
  }
}

void Device::complete(uint16_t slot_index, int32_t result) {
  Slot& slot = slots_[slot_index];
  uint8_t status = VIRTIO_BLK_S_OK;
  bool finished = true;
  if (result == -EINTR || result == -EAGAIN) return submit(slot_index);
  switch (slot.request.kind) {
    case RequestKind::kRead:
    case RequestKind::kWrite:
      status = finish_transfer(slot_index, result, finished);
      break;
    case RequestKind::kFlush:
      ++metrics_.flush_count;
      status = result < 0 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
      break;
    case RequestKind::kDiscard:
      // A discard is a hint: a file system that cannot punch holes has not failed it.
      status = result < 0 && result != -EOPNOTSUPP ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
      break;
    case RequestKind::kWriteZeroes:
      if (result == -EOPNOTSUPP) {
        prepare_zero_write(slot);
        return submit(slot_index);
      }
      status = result < 0 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
      break;
    case RequestKind::kGetId:
      break;
  }
  if (!finished) return submit(slot_index);
  if (status != VIRTIO_BLK_S_OK) {
    ++metrics_.execute_fails;
    LOG_GUEST(log_, "drive {}: request at byte {} failed: {}", config_.drive_id,
              slot.request.offset_bytes,
              result < 0 ? std::strerror(-result) : "the file is shorter than it was");
  }
  give_back(slot_index, status);
}

uint8_t Device::finish_transfer(uint16_t slot_index, int32_t result, bool& finished) {
  Slot& slot = slots_[slot_index];
  if (result <= 0) return VIRTIO_BLK_S_IOERR;  // 0: the file was truncated beneath us.
  slot.moved_bytes += static_cast<uint64_t>(result);
  const bool is_read = slot.request.kind == RequestKind::kRead;
  (is_read ? metrics_.read_bytes : metrics_.write_bytes) += static_cast<uint64_t>(result);
  if (slot.moved_bytes < slot.request.size_bytes) {
    advance(*slot.buffers, static_cast<uint64_t>(result));
    finished = false;
    return VIRTIO_BLK_S_OK;
  }
  ++(is_read ? metrics_.read_count : metrics_.write_count);
  (is_read ? metrics_.read_agg : metrics_.write_agg).add(base::monotonic_us() - slot.started_us);
  return VIRTIO_BLK_S_OK;
}

/// Turns WRITE_ZEROES into a plain write, for file systems without the fallocate modes.
void Device::prepare_zero_write(Slot& slot) {
  slot.request.kind = RequestKind::kWrite;
  slot.chain.readable.clear();
  // iovec knows no const; the kernel only reads from it.
  auto* const zeros = const_cast<std::byte*>(kZeros.data());
  for (uint64_t left = slot.request.size_bytes; left > 0;) {
    const uint64_t step = std::min<uint64_t>(left, kZeroBytes);
    slot.chain.readable.push_back({zeros, step});
    left -= step;
  }
}

void Device::write_id(Slot& slot) {
  std::array<char, kIdBytes> id{};
  std::copy_n(config_.drive_id.begin(), std::min<size_t>(config_.drive_id.size(), id.size()),
              id.begin());
  size_t at = 0;
  for (const iovec& part : slot.chain.writable) {
    const size_t count = std::min(part.iov_len, id.size() - at);
    std::memcpy(part.iov_base, id.data() + at, count);
    at += count;
  }
  slot.moved_bytes = kIdBytes;
}

void Device::give_back(uint16_t slot_index, uint8_t status) {
  Slot& slot = slots_[slot_index];
  *slot.status = std::byte{status};
  const bool device_wrote =
      slot.request.kind == RequestKind::kRead || slot.request.kind == RequestKind::kGetId;
  const auto written = static_cast<uint32_t>((device_wrote ? slot.moved_bytes : 0) + 1);
  queues_[slot.queue_index].queue.push_used(slot.chain.head, written);
  slot.file.reset();
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
  turn_end_asked_ = false;
  bool notify = false;
  for (ServedQueue& served : queues_) notify |= served.queue.should_notify();
  if (notify && notifier_ != nullptr) notifier_->notify_queues();
  if (std::exchange(starved_, false)) serve_all();
  finish_reset_if_idle();
}

void Device::broken(const char* reason) {
  LOG_GUEST(log_, "drive {}: the driver {}: the device needs a reset", config_.drive_id, reason);
  ++metrics_.event_fails;
  active_ = false;
  notifier_->set_needs_reset();
}

}  // namespace mote::virtio::blk
