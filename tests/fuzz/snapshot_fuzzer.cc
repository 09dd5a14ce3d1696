// A state file whose checksums are right, whatever else it says: it becomes a Snapshot or an error,
// and what was understood is written as it was read.

#include <cstdint>
#include <cstdlib>
#include <span>

#include "monitor/snapshot/snapshot.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mote::monitor::snapshot;
  const auto bytes = std::as_bytes(std::span(data, size));
  (void)decode_snapshot(bytes);
  // The input as sections: an id, a flag and a length each, then the payload.
  Container container;
  for (auto rest = bytes; rest.size() >= 4;) {
    const auto length = std::min<size_t>(
        static_cast<size_t>(rest[2]) << 8 | static_cast<size_t>(rest[3]), rest.size() - 4);
    const auto payload = rest.subspan(4, length);
    container.sections.push_back({static_cast<uint32_t>(rest[0]),
                                  1,
                                  (rest[1] & std::byte{1}) != std::byte{0},
                                  {payload.begin(), payload.end()}});
    rest = rest.subspan(4 + length);
  }
  const auto snapshot = decode_snapshot(encode_container(container));
  if (!snapshot && snapshot.error().message().empty()) std::abort();
  if (snapshot && !decode_snapshot(encode_snapshot(*snapshot))) std::abort();
  return 0;
}
