#include "monitor/snapshot/tool.h"

#include <fmt/format.h>

#include <numeric>

#include "memory/layout.h"

namespace mote::monitor::snapshot {

base::Result<std::string> describe(const std::string& path) {
  MOTE_TRY(const auto snapshot, read_snapshot(path));
  std::string id;
  for (const uint8_t byte : snapshot.id) id += fmt::format("{:02x}", byte);
  std::string text = fmt::format("{}\nid {}\ntype {}\n{} vCPU(s), {} MiB\n",
                                 version_text(kMajorVersion, kMinorVersion), id,
                                 snapshot.type == SnapshotType::kDiff ? "Diff" : "Full",
                                 snapshot.machine.vcpu_count, snapshot.machine.mem_size_mib);
  if (snapshot.type == SnapshotType::kDiff) {
    const uint64_t bytes =
        std::accumulate(snapshot.ranges.begin(), snapshot.ranges.end(), uint64_t{0},
                        [](uint64_t sum, const auto& range) { return sum + range.size_bytes; });
    text += fmt::format("changed {} KiB in {} ranges\n", bytes / 1024, snapshot.ranges.size());
  }
  for (const auto& drive : snapshot.drives) {
    text += fmt::format("drive {} {}\n", drive.drive_id, drive.path_on_host.value_or(""));
  }
  for (const auto& nic : snapshot.network_interfaces) {
    text += fmt::format("interface {} {}\n", nic.iface_id, nic.host_dev_name);
  }
  return text;
}

}  // namespace mote::monitor::snapshot
