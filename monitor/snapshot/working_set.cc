#include "monitor/snapshot/working_set.h"

#include <sys/mman.h>

#include <algorithm>

#include "base/log.h"
#include "memory/layout.h"
#include "memory/page_scan.h"
#include "monitor/snapshot/aside_file.h"
#include "monitor/snapshot/bytes.h"
#include "monitor/snapshot/files.h"

namespace mote::monitor::snapshot {
namespace {

using memory::GuestMemory;
using memory::layout::kPageSize;
using Ranges = std::vector<GuestMemory::Range>;

constexpr uint32_t kSection = 16;
constexpr uint16_t kVersion = 1;
/// Pages of the file are shared: some too many cost less than a call for each gap.
constexpr uint64_t kReadGapBytes = 16 * kPageSize;

/// Joins ranges, in order, that lie no further apart than this.
Ranges close_gaps(const Ranges& ranges, uint64_t gap_bytes) {
  Ranges closed;
  for (const auto& range : ranges) {
    if (!closed.empty() &&
        range.offset - (closed.back().offset + closed.back().size_bytes) <= gap_bytes) {
      closed.back().size_bytes = range.offset + range.size_bytes - closed.back().offset;
    } else {
      closed.push_back(range);
    }
  }
  return closed;
}

bool fits(const Ranges& ranges, uint64_t memory_bytes) {
  return std::ranges::all_of(ranges, [&](const GuestMemory::Range& range) {
    return (range.offset | range.size_bytes) % kPageSize == 0 && range.offset <= memory_bytes &&
           range.size_bytes <= memory_bytes - range.offset;
  });
}

/// The part of `range` that lies in one region of memory, from its start on.
std::span<std::byte> front_of(const GuestMemory& memory, GuestMemory::Range range) {
  uint64_t start = 0;
  for (const auto& region : memory.regions()) {
    const uint64_t end = start + region.size_bytes();
    if (range.offset < end) {
      range.size_bytes = std::min(range.size_bytes, end - range.offset);
      return memory.bytes_of(range);
    }
    start = end;
  }
  return {};
}

uint64_t populate(const GuestMemory& memory, const Ranges& ranges, int advice) {
  uint64_t mapped = 0;
  for (GuestMemory::Range rest : ranges) {
    while (rest.size_bytes > 0) {
      const auto part = front_of(memory, rest);
      if (part.empty()) break;
      if (::madvise(part.data(), part.size(), advice) != 0) {
        LOG_WARNING("working set: the host maps no pages in advance: {}", std::strerror(errno));
        return mapped;
      }
      mapped += part.size();
      rest.offset += part.size();
      rest.size_bytes -= part.size();
    }
  }
  return mapped;
}

}  // namespace

base::Result<WorkingSet> record_working_set(const GuestMemory& memory, const SnapshotId& id) {
  auto touched = memory::touched_ranges(memory);
  if (!touched) {
    return base::fail(base::ErrorCode::kUnsupported, "the host does not show /proc/self/pagemap");
  }
  return WorkingSet{id, std::move(touched->written), close_gaps(touched->read, kReadGapBytes)};
}

std::vector<std::byte> encode_working_set(const WorkingSet& set) {
  ByteWriter out;
  out.put(set.id);
  out.put_list(set.written);
  out.put_list(set.read);
  Container container;
  container.sections.push_back({kSection, kVersion, false, out.take()});
  return encode_container(container);
}

base::Result<WorkingSet> decode_working_set(std::span<const std::byte> file,
                                            const Snapshot& snapshot) {
  MOTE_TRY(const auto container, decode_container(file));
  if (container.sections.size() != 1 || container.sections[0].id != kSection ||
      container.sections[0].version != kVersion) {
    return base::fail(base::ErrorCode::kInvalidArgument, "is no working set that this build knows");
  }
  ByteReader in(container.sections[0].payload);
  WorkingSet set;
  set.id = in.get<SnapshotId>();
  set.written = in.get_list<GuestMemory::Range>();
  set.read = in.get_list<GuestMemory::Range>();
  const uint64_t bytes = snapshot.machine.mem_size_mib * memory::layout::kMib;
  if (in.complete() && set.id != snapshot.id) {
    return base::fail(base::ErrorCode::kInvalidArgument, "belongs to another snapshot");
  }
  if (!in.complete() || !fits(set.written, bytes) || !fits(set.read, bytes)) {
    return base::fail(base::ErrorCode::kInvalidArgument, "does not fit the snapshot's memory");
  }
  return set;
}

base::Result<> write_working_set(const WorkingSet& set, const std::string& path) {
  MOTE_TRY(auto file, AsideFile::create(path));
  MOTE_TRY_VOID(file.write(encode_working_set(set), 0));
  MOTE_TRY_VOID(file.sync());
  return file.commit();
}

base::Result<WorkingSet> read_working_set(const std::string& path, const Snapshot& snapshot) {
  MOTE_TRY(const auto file, read_whole_file(path));
  auto set = decode_working_set(file, snapshot);
  if (!set) return base::with_context(std::move(set).error(), path);
  return set;
}

uint64_t prefetch(const GuestMemory& memory, const WorkingSet& set) {
  return populate(memory, set.written, MADV_POPULATE_WRITE) +
         populate(memory, set.read, MADV_POPULATE_READ);
}

}  // namespace mote::monitor::snapshot
