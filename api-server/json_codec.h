#pragma once
// JSON in and out: each object of the API becomes its configuration struct, strictly, and replies
// become text. Library exceptions stop here.

#include <array>
#include <boost/json/fwd.hpp>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "monitor/action.h"

namespace mote::api_server {

/// Parses a document of bounded depth; kInvalidArgument with the parser's reason.
base::Result<boost::json::value> parse_json(std::string_view text);

// The names of each object's fields: what decode accepts and what docs/openapi.yaml must list.
using namespace std::string_view_literals;
inline constexpr std::array kMachineConfigFields = {"vcpu_count"sv, "mem_size_mib"sv,
                                                    "smt"sv,        "track_dirty_pages"sv,
                                                    "huge_pages"sv, "cpu_template"sv};
inline constexpr std::array kBootSourceFields = {"kernel_image_path"sv, "initrd_path"sv,
                                                 "boot_args"sv};
inline constexpr std::array kDriveFields = {"drive_id"sv,  "is_root_device"sv, "path_on_host"sv,
                                            "partuuid"sv,  "is_read_only"sv,   "cache_type"sv,
                                            "io_engine"sv, "rate_limiter"sv,   "socket"sv};
inline constexpr std::array kDrivePatchFields = {"drive_id"sv, "path_on_host"sv, "rate_limiter"sv};
inline constexpr std::array kNetworkFields = {"iface_id"sv,        "host_dev_name"sv,
                                              "guest_mac"sv,       "mtu"sv,
                                              "rx_rate_limiter"sv, "tx_rate_limiter"sv};
inline constexpr std::array kNetworkPatchFields = {"iface_id"sv, "rx_rate_limiter"sv,
                                                   "tx_rate_limiter"sv};
inline constexpr std::array kCpuConfigFields = {"kvm_capabilities"sv, "cpuid_modifiers"sv,
                                                "msr_modifiers"sv};
inline constexpr std::array kLoggerFields = {"log_path"sv, "level"sv, "show_level"sv,
                                             "show_log_origin"sv, "module"sv};
inline constexpr std::array kMetricsFields = {"metrics_path"sv};
inline constexpr std::array kSerialFields = {"serial_out_path"sv, "rate_limiter"sv};
inline constexpr std::array kActionFields = {"action_type"sv};
inline constexpr std::array kVmFields = {"state"sv};
inline constexpr std::array kSnapshotCreateFields = {"snapshot_path"sv, "mem_file_path"sv,
                                                     "snapshot_type"sv};
inline constexpr std::array kSnapshotLoadFields = {
    "snapshot_path"sv,     "mem_backend"sv,     "mem_file_path"sv, "resume_vm"sv,
    "track_dirty_pages"sv, "clock_realtime"sv,  "huge_pages"sv,    "network_overrides"sv,
    "drive_overrides"sv,   "working_set_path"sv};
inline constexpr std::array kWorkingSetFields = {"working_set_path"sv};

inline constexpr std::array kMmdsConfigFields = {"version"sv, "network_interfaces"sv,
                                                 "ipv4_address"sv, "imds_compat"sv};

base::Result<monitor::MachineConfig> decode_machine_config(const boost::json::value& body);
base::Result<monitor::MachineConfigPatch> decode_machine_config_patch(
    const boost::json::value& body);
base::Result<monitor::BootSource> decode_boot_source(const boost::json::value& body);
base::Result<virtio::blk::DriveConfig> decode_drive(const boost::json::value& body);
base::Result<virtio::blk::DrivePatch> decode_drive_patch(const boost::json::value& body);
base::Result<virtio::net::NetworkInterfaceConfig> decode_network_interface(
    const boost::json::value& body);
base::Result<virtio::net::NetworkInterfacePatch> decode_network_interface_patch(
    const boost::json::value& body);
base::Result<monitor::LoggerConfig> decode_logger(const boost::json::value& body);
base::Result<monitor::MetricsConfig> decode_metrics(const boost::json::value& body);
base::Result<monitor::SerialConfig> decode_serial(const boost::json::value& body);
base::Result<monitor::Action> decode_instance_action(const boost::json::value& body);
base::Result<monitor::Action> decode_vm_state(const boost::json::value& body);
/// In snapshot_codec.cc.
base::Result<monitor::SnapshotCreateConfig> decode_snapshot_create(const boost::json::value& body);
base::Result<monitor::SnapshotLoadConfig> decode_snapshot_load(const boost::json::value& body);
base::Result<monitor::WorkingSetConfig> decode_working_set(const boost::json::value& body);
/// In mmds_codec.cc.
base::Result<mmds::Config> decode_mmds_config(const boost::json::value& body);
base::Result<boost::json::object> decode_metadata(const boost::json::value& body);
boost::json::object encode_mmds_config(const mmds::Config& config);
/// In cpu_config_codec.cc.
base::Result<monitor::CpuConfig> decode_cpu_config(const boost::json::value& body);
boost::json::value encode_cpu_config(const monitor::CpuConfig& config);

/// The body of a reply; empty for NoContent.
[[nodiscard]] std::string encode_reply(const monitor::ReplyBody& reply);
/// {"fault_message": ...}
[[nodiscard]] std::string encode_fault(std::string_view message);

}  // namespace mote::api_server
