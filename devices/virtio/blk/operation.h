#pragma once
// One request on its way through the kernel: which io_uring operation comes next, and what its
// result means. Short transfers go on where they stopped, interrupted ones are tried again, and a
// file that lacks a mode of fallocate(2) gets plain zeros written instead. Loop thread.

#include <liburing.h>

#include <cstdint>
#include <memory>
#include <span>

#include "devices/virtio/blk/disk_file.h"
#include "devices/virtio/blk/request.h"

namespace mote::virtio::blk {

/// When a change may be reported as done (Virtio 1.2 §5.2.6.2).
enum class Durability : uint8_t {
  kWriteBack,     ///< At once; it is stable after the next flush.
  kWriteThrough,  ///< When it is stable: the driver will never flush.
};

class Operation final {
 public:
  enum class Step : uint8_t {
    kAgain,   ///< prepare() and submit once more.
    kDone,    ///< The request was carried out.
    kFailed,  ///< It was not.
  };

  Operation() = default;
  /// `chain` holds the data of a transfer as parse_request() left it; neither it nor what it names
  /// may move before the operation has ended. kGetId needs no kernel and is not for here.
  Operation(const Request& request, Chain& chain, std::shared_ptr<const DiskFile> file,
            Durability durability);

  /// Fills in the next SQE.
  void prepare(io_uring_sqe* sqe) const;
  /// Takes in the completion of the last one.
  [[nodiscard]] Step advance(int32_t result);

  [[nodiscard]] RequestKind kind() const { return request_.kind; }
  [[nodiscard]] uint64_t offset_bytes() const { return request_.offset_bytes; }
  /// What a transfer has moved so far; the whole size for kWriteZeroes once zeros were written.
  [[nodiscard]] uint64_t moved_bytes() const { return moved_bytes_; }

 private:
  enum class Stage : uint8_t { kRequest, kZeroWrites, kSync };

  void prepare_request(io_uring_sqe* sqe) const;
  void prepare_transfer(io_uring_sqe* sqe) const;
  void prepare_zero_writes(io_uring_sqe* sqe) const;
  [[nodiscard]] Step advance_request(int32_t result);
  [[nodiscard]] Step advance_transfer(int32_t result);
  [[nodiscard]] Step changed();

  Request request_{RequestKind::kFlush};
  Stage stage_ = Stage::kRequest;
  Durability durability_ = Durability::kWriteBack;
  std::span<iovec> buffers_;  // What is left to move.
  uint64_t moved_bytes_ = 0;
  std::shared_ptr<const DiskFile> file_;
};

}  // namespace mote::virtio::blk
