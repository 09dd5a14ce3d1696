#pragma once
// A block request as a value: parsed once from a chain, checked against the disk, then only carried
// out. Reads the guest's header exactly once; no other state.

#include <cstdint>
#include <variant>

#include "devices/virtio/blk/spec.h"
#include "devices/virtio/queue.h"

namespace mote::virtio::blk {

enum class RequestKind : uint8_t { kRead, kWrite, kFlush, kGetId, kDiscard, kWriteZeroes };

struct Request {
  RequestKind kind;
  uint64_t offset_bytes = 0;  ///< On the disk.
  uint64_t size_bytes = 0;    ///< Data to move, or the range to discard or zero.
  bool may_unmap = false;     ///< kWriteZeroes.
};

/// The request cannot be carried out, but its status byte can say so.
struct Refusal {
  uint8_t status;
};
/// There is no header or no status byte: the driver is out of its mind (NEEDS_RESET).
struct Malformed {
  const char* reason;
};

/// What the disk allows.
struct DiskLimits {
  uint64_t sectors = 0;
  bool read_only = false;
  bool flush = false;         ///< FLUSH was negotiated.
  bool discard = false;       ///< DISCARD was negotiated.
  bool write_zeroes = false;  ///< WRITE_ZEROES was negotiated.
};

/// Largest range of one WRITE_ZEROES request.
inline constexpr uint32_t kMaxWriteZeroesSectors = 32768;

/// Parses and strips `chain`: afterwards its `readable` is the data of a write, its `writable` the
/// room for the data of a read or an id. `*status` is the guest's status byte unless the result is
/// Malformed.
[[nodiscard]] std::variant<Request, Refusal, Malformed> parse_request(Chain& chain,
                                                                      const DiskLimits& limits,
                                                                      std::byte** status);

}  // namespace mote::virtio::blk
