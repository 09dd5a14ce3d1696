#pragma once
// The two files of a snapshot. The memory file is guest memory as it is, region after region, with
// holes where it is zero, and one page behind it that says which snapshot it belongs to. Both are
// written aside, synced and renamed: the state file to NAME.next, then the memory file into place,
// then NAME.next. Whenever that is cut short, the old pair or the new one can be opened, and
// nothing that is half of each. Any thread.

#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "memory/guest_memory.h"
#include "monitor/snapshot/snapshot.h"

namespace mote::monitor::snapshot {

struct Paths {
  std::string state;   ///< API field snapshot_path.
  std::string memory;  ///< API field mem_file_path.
};

/// Writes both files. `pages` may hold anything but zeros; for kDiff they are exactly what the file
/// will hold. Memory must rest. Errors name the field at fault.
base::Result<> write_snapshot(const memory::GuestMemory& memory, const Snapshot& snapshot,
                              std::span<const memory::GuestMemory::Range> pages,
                              const Paths& paths);

/// A state file or a working set, as it is; nothing larger than one can be.
base::Result<std::vector<std::byte>> read_whole_file(const std::string& path);
/// Reads and checks a state file.
base::Result<Snapshot> read_snapshot(const std::string& path);

struct OpenedSnapshot {
  Snapshot snapshot;
  base::UniqueFd memory;
};
/// A state file and the memory file that belongs to it; where a crash left the two apart, the state
/// file that waits to be renamed. Errors name the field at fault.
base::Result<OpenedSnapshot> open_snapshot(const Paths& paths,
                                           SnapshotType type = SnapshotType::kFull);

/// Opens a memory file that belongs to `snapshot`, with all of memory (kFull, also what
/// merge_diff() made) or a diff's pages: size, id and checksum of its last page.
base::Result<base::UniqueFd> open_memory_file(const std::string& path, const Snapshot& snapshot,
                                              SnapshotType type = SnapshotType::kFull);

/// Brings the pages of a diff's memory file onto the file it was made after, which then belongs to
/// the diff's state file. A crash in the middle leaves a file that no state file claims.
base::Result<> merge_diff(const std::string& base_memory, const Paths& diff);

}  // namespace mote::monitor::snapshot
