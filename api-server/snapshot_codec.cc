// /snapshot/create and /snapshot/load.

#include <boost/json.hpp>

#include "api-server/json_codec.h"
#include "api-server/json_words.h"
#include "api-server/object_reader.h"

namespace mote::api_server {
namespace json = boost::json;
namespace {

using monitor::MemoryBackend;
using monitor::SnapshotLoadConfig;

constexpr std::array kBackendFields = {"backend_type"sv, "backend_path"sv};
constexpr std::array kNetworkOverrideFields = {"iface_id"sv, "host_dev_name"sv};
constexpr std::array kDriveOverrideFields = {"drive_id"sv, "path_on_host"sv};

struct Backend {
  MemoryBackend type = MemoryBackend::kFile;
  std::string path;
};

base::Result<Backend> decode_backend(const json::value& value) {
  static constexpr std::array kWords = {std::pair{"File"sv, MemoryBackend::kFile},
                                        std::pair{"Uffd"sv, MemoryBackend::kUffd}};
  ObjectReader reader(value, kBackendFields, "mem_backend");
  Backend backend;
  backend.type = reader.require("backend_type", reader.word("backend_type", kWords));
  backend.path = reader.required_text("backend_path");
  return reader.finish(std::move(backend));
}

base::Result<SnapshotLoadConfig::NetworkOverride> decode_network_override(
    const json::value& value) {
  ObjectReader reader(value, kNetworkOverrideFields, "network_overrides");
  SnapshotLoadConfig::NetworkOverride given;
  given.iface_id = reader.required_text("iface_id");
  given.host_dev_name = reader.required_text("host_dev_name");
  return reader.finish(std::move(given));
}

base::Result<SnapshotLoadConfig::DriveOverride> decode_drive_override(const json::value& value) {
  ObjectReader reader(value, kDriveOverrideFields, "drive_overrides");
  SnapshotLoadConfig::DriveOverride given;
  given.drive_id = reader.required_text("drive_id");
  given.path_on_host = reader.required_text("path_on_host");
  return reader.finish(std::move(given));
}

template <typename T>
void read_overrides(ObjectReader& reader, std::string_view field, std::vector<T>& target,
                    base::Result<T> (*decode)(const json::value&)) {
  const json::array* const list = reader.list(field);
  if (list == nullptr) return;
  for (const json::value& item : *list) {
    auto given = reader.adopt(decode(item));
    if (!given) return;
    target.push_back(std::move(*given));
  }
}

/// Where memory comes from: `mem_backend`, or its older form `mem_file_path`. They may not differ.
void read_memory(ObjectReader& reader, SnapshotLoadConfig& config) {
  const json::value* const backend = reader.child("mem_backend");
  const auto file = reader.text("mem_file_path");
  if (backend == nullptr && !file) {
    reader.fail("mem_backend", "is required");
  } else if (backend == nullptr) {
    config.memory_path = *file;
  } else if (auto given = reader.adopt(decode_backend(*backend))) {
    config.backend = given->type;
    config.memory_path = std::move(given->path);
    const bool same = config.backend == MemoryBackend::kFile && file == config.memory_path;
    if (file && !same) reader.fail("mem_file_path", "says something else than mem_backend");
  }
}

}  // namespace

base::Result<monitor::SnapshotCreateConfig> decode_snapshot_create(const json::value& body) {
  static constexpr std::array kWords = {std::pair{"Full"sv, false}, std::pair{"Diff"sv, true}};
  ObjectReader reader(body, kSnapshotCreateFields, "");
  monitor::SnapshotCreateConfig config;
  config.snapshot_path = reader.required_text("snapshot_path");
  config.mem_file_path = reader.required_text("mem_file_path");
  config.diff = reader.word("snapshot_type", kWords).value_or(false);
  if (reader.ok() && config.snapshot_path == config.mem_file_path) {
    reader.fail("mem_file_path", "names the same file as snapshot_path");
  }
  return reader.finish(std::move(config));
}

base::Result<monitor::WorkingSetConfig> decode_working_set(const json::value& body) {
  ObjectReader reader(body, kWorkingSetFields, "");
  return reader.finish(monitor::WorkingSetConfig{reader.required_text("working_set_path")});
}

base::Result<SnapshotLoadConfig> decode_snapshot_load(const json::value& body) {
  ObjectReader reader(body, kSnapshotLoadFields, "");
  SnapshotLoadConfig config;
  config.snapshot_path = reader.required_text("snapshot_path");
  read_memory(reader, config);
  config.resume_vm = reader.flag("resume_vm").value_or(false);
  config.track_dirty_pages = reader.flag("track_dirty_pages").value_or(false);
  config.clock_realtime = reader.flag("clock_realtime").value_or(false);
  config.huge_pages = reader.word("huge_pages", kHugePagesWords);
  config.working_set_path = reader.text("working_set_path");
  read_overrides(reader, "network_overrides", config.network_overrides, decode_network_override);
  read_overrides(reader, "drive_overrides", config.drive_overrides, decode_drive_override);
  return reader.finish(std::move(config));
}

}  // namespace mote::api_server
