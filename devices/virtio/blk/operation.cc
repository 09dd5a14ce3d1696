#include "devices/virtio/blk/operation.h"

#include <fcntl.h>
#include <linux/falloc.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>

namespace mote::virtio::blk {
namespace {

constexpr size_t kZeroBytes = 64 * 1024;
alignas(4096) constexpr std::array<std::byte, kZeroBytes> kZeros{};

/// The same zeros again and again, up to the largest WRITE_ZEROES.
constexpr size_t kZeroParts = kMaxWriteZeroesSectors * kSectorBytes / kZeroBytes;
const std::array<iovec, kZeroParts>& zero_parts() {
  static const auto parts = [] {
    std::array<iovec, kZeroParts> all{};
    // iovec knows no const; a write only reads from it.
    all.fill({const_cast<std::byte*>(kZeros.data()), kZeroBytes});
    return all;
  }();
  return parts;
}

/// Takes `count` bytes off the front.
std::span<iovec> drop_front(std::span<iovec> buffers, uint64_t count) {
  while (count > 0) {
    iovec& first = buffers.front();
    const size_t step = std::min<uint64_t>(first.iov_len, count);
    first.iov_base = static_cast<std::byte*>(first.iov_base) + step;
    first.iov_len -= step;
    count -= step;
    if (first.iov_len == 0) buffers = buffers.subspan(1);
  }
  return buffers;
}

/// The file or device cannot do this by fallocate: no such mode, or a range that is no multiple of
/// a block device's logical blocks.
bool is_beyond_fallocate(int32_t result) {
  return result == -EOPNOTSUPP || result == -EINVAL || result == -ENOSYS;
}

}  // namespace

Operation::Operation(const Request& request, Chain& chain, std::shared_ptr<const DiskFile> file,
                     Durability durability)
    : request_(request), durability_(durability), file_(std::move(file)) {
  if (request.kind == RequestKind::kRead) buffers_ = chain.writable;
  if (request.kind == RequestKind::kWrite) buffers_ = chain.readable;
}

void Operation::prepare(io_uring_sqe* sqe) const {
  switch (stage_) {
    case Stage::kRequest:
      return prepare_request(sqe);
    case Stage::kZeroWrites:
      return prepare_zero_writes(sqe);
    case Stage::kSync:
      return io_uring_prep_fsync(sqe, file_->fd(), IORING_FSYNC_DATASYNC);
  }
}

void Operation::prepare_request(io_uring_sqe* sqe) const {
  const auto fallocate = [&](int mode) {
    io_uring_prep_fallocate(sqe, file_->fd(), mode | FALLOC_FL_KEEP_SIZE,
                            static_cast<off_t>(request_.offset_bytes),
                            static_cast<off_t>(request_.size_bytes));
  };
  switch (request_.kind) {
    case RequestKind::kRead:
    case RequestKind::kWrite:
      return prepare_transfer(sqe);
    case RequestKind::kDiscard:
      return fallocate(FALLOC_FL_PUNCH_HOLE);
    case RequestKind::kWriteZeroes:
      return fallocate(request_.may_unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
    case RequestKind::kFlush:
    case RequestKind::kGetId:
      return io_uring_prep_fsync(sqe, file_->fd(), IORING_FSYNC_DATASYNC);
  }
}

void Operation::prepare_transfer(io_uring_sqe* sqe) const {
  const uint64_t offset = request_.offset_bytes + moved_bytes_;
  const bool is_read = request_.kind == RequestKind::kRead;
  if (buffers_.size() == 1) {  // Spares the kernel a copy of the list.
    const iovec& only = buffers_.front();
    const auto size = static_cast<unsigned>(only.iov_len);  // A descriptor's length has 32 bits.
    if (is_read) return io_uring_prep_read(sqe, file_->fd(), only.iov_base, size, offset);
    return io_uring_prep_write(sqe, file_->fd(), only.iov_base, size, offset);
  }
  const auto count = static_cast<unsigned>(buffers_.size());
  if (is_read) return io_uring_prep_readv(sqe, file_->fd(), buffers_.data(), count, offset);
  io_uring_prep_writev(sqe, file_->fd(), buffers_.data(), count, offset);
}

void Operation::prepare_zero_writes(io_uring_sqe* sqe) const {
  const uint64_t offset = request_.offset_bytes + moved_bytes_;
  const uint64_t left = request_.size_bytes - moved_bytes_;
  if (left < kZeroBytes) {
    return io_uring_prep_write(sqe, file_->fd(), kZeros.data(), static_cast<unsigned>(left),
                               offset);
  }
  const auto count = static_cast<unsigned>(std::min<uint64_t>(left / kZeroBytes, kZeroParts));
  io_uring_prep_writev(sqe, file_->fd(), zero_parts().data(), count, offset);
}

Operation::Step Operation::advance(int32_t result) {
  if (result == -EINTR || result == -EAGAIN) return Step::kAgain;
  switch (stage_) {
    case Stage::kRequest:
      return advance_request(result);
    case Stage::kZeroWrites:
      return advance_transfer(result);
    case Stage::kSync:
      return result < 0 ? Step::kFailed : Step::kDone;
  }
  return Step::kFailed;
}

Operation::Step Operation::advance_request(int32_t result) {
  switch (request_.kind) {
    case RequestKind::kRead:
    case RequestKind::kWrite:
      return advance_transfer(result);
    case RequestKind::kDiscard:
      // A discard is a hint: where the file cannot drop the range, keeping it is no failure.
      if (is_beyond_fallocate(result)) return Step::kDone;
      return result < 0 ? Step::kFailed : changed();
    case RequestKind::kWriteZeroes:
      if (is_beyond_fallocate(result)) {
        stage_ = Stage::kZeroWrites;
        return Step::kAgain;
      }
      return result < 0 ? Step::kFailed : changed();
    case RequestKind::kFlush:
    case RequestKind::kGetId:
      break;
  }
  return result < 0 ? Step::kFailed : Step::kDone;
}

Operation::Step Operation::advance_transfer(int32_t result) {
  // 0 is the end of the file: it was truncated beneath us.
  if (result <= 0) return Step::kFailed;
  const auto moved = static_cast<uint64_t>(result);
  moved_bytes_ += moved;
  if (moved_bytes_ < request_.size_bytes) {
    if (stage_ == Stage::kRequest) buffers_ = drop_front(buffers_, moved);
    return Step::kAgain;
  }
  return request_.kind == RequestKind::kRead ? Step::kDone : changed();
}

Operation::Step Operation::changed() {
  if (durability_ == Durability::kWriteBack) return Step::kDone;
  stage_ = Stage::kSync;
  return Step::kAgain;
}

}  // namespace mote::virtio::blk
