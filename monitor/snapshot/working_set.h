#pragma once
// The pages that a clone touched in its first request, so that the next one has them at once: a
// small file beside a snapshot, made from one clone and given to others. A hint: it changes when
// pages are mapped, never what is in them. Any thread.

#include <string>
#include <vector>

#include "base/result.h"
#include "memory/guest_memory.h"
#include "monitor/snapshot/snapshot.h"

namespace mote::monitor::snapshot {

struct WorkingSet {
  SnapshotId id{};  ///< Of the snapshot it was recorded from.
  std::vector<memory::GuestMemory::Range> written;
  std::vector<memory::GuestMemory::Range> read;  ///< And not written.
};

/// What the process has touched of `memory`, which is mapped privately from the memory file of
/// snapshot `id`. The guest may run. kUnsupported: the host does not tell.
base::Result<WorkingSet> record_working_set(const memory::GuestMemory& memory,
                                            const SnapshotId& id);

/// Written aside, synced and renamed.
base::Result<> write_working_set(const WorkingSet& set, const std::string& path);
/// Checked: it belongs to `snapshot`, and its ranges are whole pages inside guest memory.
base::Result<WorkingSet> read_working_set(const std::string& path, const Snapshot& snapshot);

[[nodiscard]] std::vector<std::byte> encode_working_set(const WorkingSet& set);
base::Result<WorkingSet> decode_working_set(std::span<const std::byte> file,
                                            const Snapshot& snapshot);

/// Maps the pages by few large calls: own copies of those that were written, the file's pages for
/// those that were read. What the host refuses is left for later faults; gives the bytes mapped.
uint64_t prefetch(const memory::GuestMemory& memory, const WorkingSet& set);

}  // namespace mote::monitor::snapshot
