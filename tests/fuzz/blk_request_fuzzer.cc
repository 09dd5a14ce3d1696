// Random chains of random buffers: parse_request() must stay within them and within the disk.

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "devices/virtio/blk/request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mote::virtio::blk;
  if (size < 4) return 0;
  // Bytes 0 and 1: how many readable and writable buffers; then a length byte for each; the rest is
  // their content.
  const size_t readable_count = data[0] % 8;
  const size_t writable_count = data[1] % 8;
  DiskLimits limits{.sectors = data[2] * 16U,
                    .read_only = (data[3] & 1) != 0,
                    .flush = (data[3] & 2) != 0,
                    .discard = (data[3] & 4) != 0,
                    .write_zeroes = (data[3] & 8) != 0};
  size_t at = 4;
  std::vector<std::vector<std::byte>> storage;
  mote::virtio::Chain chain;
  const auto add = [&](std::vector<iovec>& parts, uint64_t& total) {
    const size_t length = at < size ? 1U + data[at++] % 64U * 16U : 1U;
    std::vector<std::byte> bytes(length);
    const size_t copied = std::min(length, size - std::min(size, at));
    std::memcpy(bytes.data(), data + std::min(size, at), copied);
    at += copied;
    storage.push_back(std::move(bytes));
    parts.push_back({storage.back().data(), length});
    total += length;
  };
  for (size_t i = 0; i < readable_count; ++i) add(chain.readable, chain.readable_bytes);
  for (size_t i = 0; i < writable_count; ++i) add(chain.writable, chain.writable_bytes);
  std::byte* status = nullptr;
  const auto parsed = parse_request(chain, limits, &status);
  if (std::holds_alternative<Malformed>(parsed)) return 0;
  *status = std::byte{1};
  if (const auto* const request = std::get_if<Request>(&parsed)) {
    if (request->kind != RequestKind::kGetId &&
        (request->offset_bytes > limits.sectors * 512 ||
         request->size_bytes > limits.sectors * 512 - request->offset_bytes)) {
      std::abort();
    }
  }
  return 0;
}
