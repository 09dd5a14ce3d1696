#pragma once
// What a client can ask of the monitor, free of HTTP and JSON (but for the guest's metadata, which
// is JSON): api-server makes Actions, Controller applies them, and a Reply goes back.

#include <boost/json/object.hpp>
#include <functional>
#include <string>
#include <variant>

#include "base/result.h"
#include "monitor/vm_config.h"

namespace mote::monitor {

struct GetInstanceInfo {};
struct GetVersion {};
struct GetVmConfig {};
struct GetMachineConfig {};
struct PutMachineConfig {
  MachineConfig config;
};
struct PatchMachineConfig {
  MachineConfigPatch patch;
};
struct PutCpuConfig {
  CpuConfig config;
};
struct PutBootSource {
  BootSource config;
};
struct PutDrive {
  virtio::blk::DriveConfig config;
};
struct PatchDrive {
  virtio::blk::DrivePatch patch;
};
struct PutNetworkInterface {
  virtio::net::NetworkInterfaceConfig config;
};
struct PatchNetworkInterface {
  virtio::net::NetworkInterfacePatch patch;
};
struct PutLogger {
  LoggerConfig config;
};
struct PutMetrics {
  MetricsConfig config;
};
struct PutSerial {
  SerialConfig config;
};
struct InstanceStart {};
struct FlushMetrics {};
struct SendCtrlAltDel {};
struct CreateSnapshot {
  SnapshotCreateConfig config;
};
struct LoadSnapshot {
  SnapshotLoadConfig config;
};
struct PauseVm {};
struct ResumeVm {};
struct GetMmds {};
struct PutMmds {
  boost::json::object content;
};
struct PatchMmds {
  boost::json::object patch;
};
struct RecordWorkingSet {
  WorkingSetConfig config;
};
struct PutMmdsConfig {
  mmds::Config config;
};

using Action =
    std::variant<GetInstanceInfo, GetVersion, GetVmConfig, GetMachineConfig, PutMachineConfig,
                 PatchMachineConfig, PutCpuConfig, PutBootSource, PutDrive, PatchDrive,
                 PutNetworkInterface, PatchNetworkInterface, PutLogger, PutMetrics, PutSerial,
                 InstanceStart, FlushMetrics, SendCtrlAltDel, PauseVm, ResumeVm, CreateSnapshot,
                 LoadSnapshot, GetMmds, PutMmds, PatchMmds, PutMmdsConfig, RecordWorkingSet>;

enum class VmState : uint8_t { kNotStarted, kRunning, kPaused };

struct InstanceInfo {
  std::string app_name;
  std::string id;
  VmState state = VmState::kNotStarted;
  std::string vmm_version;
};
struct VersionInfo {
  std::string firecracker_version;  ///< The API version Mote is compatible with.
  std::string mote_version;
};

/// The guest's metadata.
struct Metadata {
  std::string json;
};

struct NoContent {};
using ReplyBody =
    std::variant<NoContent, InstanceInfo, VersionInfo, MachineConfig, VmConfig, Metadata>;
using Reply = base::Result<ReplyBody>;
/// Called exactly once, on the loop thread, before or after apply() returns.
using ReplyCallback = std::move_only_function<void(Reply)>;

/// Where Actions go. Loop thread.
class ActionSink {
 public:
  virtual ~ActionSink() = default;
  virtual void apply(Action action, ReplyCallback reply) = 0;
};

}  // namespace mote::monitor
