// A state file or a working set whose checksums are right, whatever else it says: it becomes a
// value or an error, and what was understood is written as it was read.

#include <cstdint>
#include <cstdlib>
#include <span>

#include "memory/layout.h"
#include "monitor/snapshot/snapshot.h"
#include "monitor/snapshot/working_set.h"

namespace {

/// The ranges of a working set that is accepted lie inside memory.
void try_working_set(std::span<const std::byte> file) {
  using namespace mote::monitor::snapshot;
  Snapshot snapshot;
  snapshot.machine.mem_size_mib = 1;
  const auto set = decode_working_set(file, snapshot);
  if (!set && set.error().message().empty()) std::abort();
  if (!set) return;
  for (const auto* const ranges : {&set->written, &set->read}) {
    for (const auto& range : *ranges) {
      if (range.offset > mote::memory::layout::kMib ||
          range.size_bytes > mote::memory::layout::kMib - range.offset) {
        std::abort();
      }
    }
  }
}

}  // namespace

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
  const auto file = encode_container(container);
  try_working_set(file);
  const auto snapshot = decode_snapshot(file);
  if (!snapshot && snapshot.error().message().empty()) std::abort();
  if (snapshot && !decode_snapshot(encode_snapshot(*snapshot))) std::abort();
  return 0;
}
