#include "devices/virtio/blk/request.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "base/checked_math.h"

namespace mote::virtio::blk {
namespace {

using Parsed = std::variant<Request, Refusal, Malformed>;

/// Copies the first bytes out of a list of buffers, wherever its pieces lie, and takes them off the
/// list.
bool take_front(std::vector<iovec>& buffers, uint64_t& total, std::span<std::byte> out) {
  if (total < out.size()) return false;
  total -= out.size();
  size_t used = 0;
  while (!out.empty()) {
    iovec& first = buffers[used];
    const size_t count = std::min(first.iov_len, out.size());
    std::memcpy(out.data(), first.iov_base, count);
    out = out.subspan(count);
    first.iov_base = static_cast<std::byte*>(first.iov_base) + count;
    first.iov_len -= count;
    if (first.iov_len == 0) ++used;
  }
  buffers.erase(buffers.begin(), buffers.begin() + static_cast<ptrdiff_t>(used));
  return true;
}

template <typename T>
bool take_value(Chain& chain, T& value) {
  const bool taken = take_front(chain.readable, chain.readable_bytes,
                                std::as_writable_bytes(std::span(&value, 1)));
  // The copy must not be turned back into loads of guest memory.
  asm volatile("" : "+m"(value) : : "memory");
  return taken;
}

/// The last writable byte (§5.2.6).
std::byte* take_status(Chain& chain) {
  if (chain.writable.empty()) return nullptr;
  iovec& last = chain.writable.back();
  --last.iov_len;
  --chain.writable_bytes;
  std::byte* const status = static_cast<std::byte*>(last.iov_base) + last.iov_len;
  if (last.iov_len == 0) chain.writable.pop_back();
  return status;
}

Parsed transfer(RequestKind kind, uint64_t sector, uint64_t size_bytes, const DiskLimits& limits) {
  const uint64_t sectors = size_bytes / kSectorBytes;
  if (size_bytes % kSectorBytes != 0 || !base::range_fits(sector, sectors, limits.sectors)) {
    return Refusal{VIRTIO_BLK_S_IOERR};
  }
  return Request{kind, sector * kSectorBytes, size_bytes};
}

Parsed range(RequestKind kind, Chain& chain, const DiskLimits& limits) {
  virtio_blk_discard_write_zeroes segment{};
  // One segment a request is what the configuration space offers.
  if (chain.readable_bytes != sizeof(segment) || !take_value(chain, segment))
    return Refusal{VIRTIO_BLK_S_UNSUPP};
  const bool zeroes = kind == RequestKind::kWriteZeroes;
  const uint32_t known_flags = zeroes ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
  if ((segment.flags & ~known_flags) != 0) return Refusal{VIRTIO_BLK_S_UNSUPP};
  if (zeroes && segment.num_sectors > kMaxWriteZeroesSectors) return Refusal{VIRTIO_BLK_S_IOERR};
  Parsed parsed = transfer(kind, segment.sector, segment.num_sectors * kSectorBytes, limits);
  if (auto* const request = std::get_if<Request>(&parsed)) request->may_unmap = segment.flags != 0;
  return parsed;
}

}  // namespace

Parsed parse_request(Chain& chain, const DiskLimits& limits, std::byte** status) {
  virtio_blk_req_header header{};
  if (!take_value(chain, header)) return Malformed{"made a request without a whole header"};
  *status = take_status(chain);
  if (*status == nullptr) return Malformed{"made a request without room for its status"};
  const bool changes = header.type != VIRTIO_BLK_T_IN && header.type != VIRTIO_BLK_T_GET_ID &&
                       header.type != VIRTIO_BLK_T_FLUSH;
  if (changes && limits.read_only) return Refusal{VIRTIO_BLK_S_IOERR};
  switch (header.type) {
    case VIRTIO_BLK_T_IN:
      return transfer(RequestKind::kRead, header.sector, chain.writable_bytes, limits);
    case VIRTIO_BLK_T_OUT:
      return transfer(RequestKind::kWrite, header.sector, chain.readable_bytes, limits);
    case VIRTIO_BLK_T_FLUSH:
      if (!limits.flush) return Refusal{VIRTIO_BLK_S_UNSUPP};
      return Request{RequestKind::kFlush};
    case VIRTIO_BLK_T_GET_ID:
      if (chain.writable_bytes < kIdBytes) return Refusal{VIRTIO_BLK_S_IOERR};
      return Request{RequestKind::kGetId, 0, kIdBytes};
    case VIRTIO_BLK_T_DISCARD:
      if (!limits.discard) return Refusal{VIRTIO_BLK_S_UNSUPP};
      return range(RequestKind::kDiscard, chain, limits);
    case VIRTIO_BLK_T_WRITE_ZEROES:
      if (!limits.write_zeroes) return Refusal{VIRTIO_BLK_S_UNSUPP};
      return range(RequestKind::kWriteZeroes, chain, limits);
    default:
      return Refusal{VIRTIO_BLK_S_UNSUPP};
  }
}

}  // namespace mote::virtio::blk
