#include "api-server/routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <optional>

#include "api-server/json_codec.h"
#include "api-server/printable.h"

namespace mote::api_server {
namespace {

using monitor::Action;
/// Makes the Action of a row. `id` is the path's, `body` null for GET.
using Decode = base::Result<Action> (*)(std::string_view id, const boost::json::value& body);

struct Route {
  RouteInfo info;
  Decode decode;
};

template <typename T>
base::Result<Action> plain(std::string_view, const boost::json::value&) {
  return T{};
}

template <typename T, auto decode_body>
base::Result<Action> body_only(std::string_view, const boost::json::value& body) {
  MOTE_TRY(auto value, decode_body(body));
  return T{std::move(value)};
}

/// The id in the path and the one in the body are two words for one thing.
base::Result<> check_id(std::string_view path_id, const std::string& body_id,
                        std::string_view field) {
  const bool valid = !body_id.empty() && std::ranges::all_of(body_id, [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  });
  if (!valid) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      fmt::format("{}: \"{}\" is not made of letters, digits and underscores",
                                  field, printable(body_id)));
  }
  if (path_id == body_id) return {};
  return base::fail(base::ErrorCode::kInvalidArgument,
                    fmt::format("{}: \"{}\" in the body differs from \"{}\" in the path", field,
                                printable(body_id), printable(path_id)));
}

base::Result<Action> put_drive(std::string_view id, const boost::json::value& body) {
  MOTE_TRY(auto config, decode_drive(body));
  MOTE_TRY_VOID(check_id(id, config.drive_id, "drive_id"));
  return monitor::PutDrive{std::move(config)};
}

base::Result<Action> patch_drive(std::string_view id, const boost::json::value& body) {
  MOTE_TRY(auto patch, decode_drive_patch(body));
  MOTE_TRY_VOID(check_id(id, patch.drive_id, "drive_id"));
  return monitor::PatchDrive{std::move(patch)};
}

base::Result<Action> put_network(std::string_view id, const boost::json::value& body) {
  MOTE_TRY(auto config, decode_network_interface(body));
  MOTE_TRY_VOID(check_id(id, config.iface_id, "iface_id"));
  return monitor::PutNetworkInterface{std::move(config)};
}

base::Result<Action> patch_network(std::string_view id, const boost::json::value& body) {
  MOTE_TRY(auto patch, decode_network_interface_patch(body));
  MOTE_TRY_VOID(check_id(id, patch.iface_id, "iface_id"));
  return monitor::PatchNetworkInterface{std::move(patch)};
}

base::Result<Action> put_action(std::string_view, const boost::json::value& body) {
  return decode_instance_action(body);
}
base::Result<Action> patch_vm(std::string_view, const boost::json::value& body) {
  return decode_vm_state(body);
}

constexpr std::array kRoutes = {
    Route{{"GET", "/", {}}, plain<monitor::GetInstanceInfo>},
    Route{{"GET", "/version", {}}, plain<monitor::GetVersion>},
    Route{{"GET", "/vm/config", {}}, plain<monitor::GetVmConfig>},
    Route{{"GET", "/machine-config", {}}, plain<monitor::GetMachineConfig>},
    Route{{"PUT", "/machine-config", kMachineConfigFields},
          body_only<monitor::PutMachineConfig, decode_machine_config>},
    Route{{"PATCH", "/machine-config", kMachineConfigFields},
          body_only<monitor::PatchMachineConfig, decode_machine_config_patch>},
    Route{{"PUT", "/cpu-config", kCpuConfigFields},
          body_only<monitor::PutCpuConfig, decode_cpu_config>},
    Route{{"PUT", "/boot-source", kBootSourceFields},
          body_only<monitor::PutBootSource, decode_boot_source>},
    Route{{"PUT", "/drives/{id}", kDriveFields}, put_drive},
    Route{{"PATCH", "/drives/{id}", kDrivePatchFields}, patch_drive},
    Route{{"PUT", "/network-interfaces/{id}", kNetworkFields}, put_network},
    Route{{"PATCH", "/network-interfaces/{id}", kNetworkPatchFields}, patch_network},
    Route{{"PUT", "/logger", kLoggerFields}, body_only<monitor::PutLogger, decode_logger>},
    Route{{"PUT", "/metrics", kMetricsFields}, body_only<monitor::PutMetrics, decode_metrics>},
    Route{{"PUT", "/serial", kSerialFields}, body_only<monitor::PutSerial, decode_serial>},
    Route{{"PUT", "/actions", kActionFields}, put_action},
    Route{{"PATCH", "/vm", kVmFields}, patch_vm},
    Route{{"GET", "/mmds", {}}, plain<monitor::GetMmds>},
    Route{{"PUT", "/mmds", {}, true}, body_only<monitor::PutMmds, decode_metadata>},
    Route{{"PATCH", "/mmds", {}, true}, body_only<monitor::PatchMmds, decode_metadata>},
    Route{{"PUT", "/mmds/config", kMmdsConfigFields},
          body_only<monitor::PutMmdsConfig, decode_mmds_config>},
    Route{{"PUT", "/snapshot/create", kSnapshotCreateFields},
          body_only<monitor::CreateSnapshot, decode_snapshot_create>},
    Route{{"PUT", "/snapshot/load", kSnapshotLoadFields},
          body_only<monitor::LoadSnapshot, decode_snapshot_load>},
    Route{{"PUT", "/snapshot/working-set", kWorkingSetFields},
          body_only<monitor::RecordWorkingSet, decode_working_set>},
};

constexpr auto kRouteInfos = [] {
  std::array<RouteInfo, kRoutes.size()> infos{};
  for (size_t i = 0; i < infos.size(); ++i) infos[i] = kRoutes[i].info;
  return infos;
}();

/// The id a path has in a pattern's place, "" for patterns without one; nothing when the path is
/// another.
std::optional<std::string_view> match(std::string_view pattern, std::string_view path) {
  const size_t brace = pattern.find("{id}");
  if (brace == std::string_view::npos)
    return pattern == path ? std::optional<std::string_view>("") : std::nullopt;
  if (!path.starts_with(pattern.substr(0, brace))) return std::nullopt;
  const std::string_view id = path.substr(brace);
  if (id.empty() || id.find('/') != std::string_view::npos) return std::nullopt;
  return id;
}

/// The path of "/vm?x" or of "http://host/vm" (RFC 9112 §3.2). Like the reference, it does not care
/// for further slashes in front or at the end.
std::string_view path_of(std::string_view target) {
  constexpr std::string_view kScheme = "http://";
  if (target.starts_with(kScheme)) {
    const size_t slash = target.find('/', kScheme.size());
    target = slash == std::string_view::npos ? "/" : target.substr(slash);
  }
  std::string_view path = target.substr(0, target.find('?'));
  while (path.starts_with("//")) path.remove_prefix(1);
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  return path;
}

std::string_view first_segment(std::string_view path) {
  path.remove_prefix(path.starts_with('/') ? 1 : 0);
  return path.substr(0, path.find('/'));
}

/// "/drives" for "/drives/{id}".
bool lacks_its_id(std::string_view path) {
  return std::ranges::any_of(kRoutes, [&](const Route& route) {
    const size_t id = route.info.path.find("/{id}");
    return id != std::string_view::npos && path == route.info.path.substr(0, id);
  });
}

RequestRefusal refuse_path(std::string_view method, std::string_view path, bool path_is_known) {
  if (const std::string_view reason = absent_by_design(first_segment(path)); !reason.empty()) {
    return {400, std::string(reason)};
  }
  if (lacks_its_id(path)) {
    return {400,
            fmt::format("The id is missing in the path: {} {}/{{id}}.", printable(method), path)};
  }
  return {path_is_known ? 400U : 404U, fmt::format("Invalid request method and/or path: {} {}.",
                                                   printable(method), printable(path))};
}

std::variant<Action, RequestRefusal> decode_request(const Route& route, std::string_view id,
                                                    std::string_view body) {
  const RouteInfo& info = route.info;
  if (info.takes_body() == body.empty()) {
    return RequestRefusal{400, fmt::format("{} {} {} a body.", info.method, info.path,
                                           body.empty() ? "needs" : "takes no")};
  }
  boost::json::value document;
  if (!body.empty()) {
    auto parsed = parse_json(body);
    if (!parsed) return RequestRefusal{400, parsed.error().message()};
    document = std::move(*parsed);
  }
  auto action = route.decode(id, document);
  if (!action) return RequestRefusal{400, action.error().message()};
  return std::move(*action);
}

}  // namespace

std::span<const RouteInfo> route_table() {
  return kRouteInfos;
}

std::string_view absent_by_design(std::string_view first_segment) {
  static constexpr std::array kDevices = {"vsock"sv,   "balloon"sv, "pmem"sv,
                                          "entropy"sv, "hotplug"sv, "memory-hotplug"sv};
  if (std::ranges::find(kDevices, first_segment) != kDevices.end()) {
    return "This device is not offered: Mote offers only virtio-net and virtio-blk.";
  }
  return {};
}

std::variant<Action, RequestRefusal> route_request(std::string_view method, std::string_view target,
                                                   std::string_view body) {
  const std::string_view path = path_of(target);
  bool path_is_known = false;
  for (const Route& route : kRoutes) {
    const auto id = match(route.info.path, path);
    if (!id) continue;
    if (route.info.method == method) return decode_request(route, *id, body);
    path_is_known = true;
  }
  return refuse_path(method, path, path_is_known);
}

}  // namespace mote::api_server
