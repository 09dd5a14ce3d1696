#include "api-server/json_codec.h"

#include <boost/json.hpp>

#include "api-server/json_words.h"
#include "api-server/object_reader.h"
#include "devices/virtio/net/frame.h"

namespace mote::api_server {
namespace json = boost::json;
namespace {

constexpr std::array kRateLimiterFields = {"bandwidth"sv, "ops"sv};
constexpr std::array kTokenBucketFields = {"size"sv, "one_time_burst"sv, "refill_time"sv};

base::Result<virtio::TokenBucketConfig> decode_token_bucket(const json::value& value,
                                                            const std::string& where) {
  ObjectReader reader(value, kTokenBucketFields, where);
  virtio::TokenBucketConfig bucket;
  bucket.size = reader.require("size", reader.number("size"));
  bucket.one_time_burst = reader.number("one_time_burst");
  bucket.refill_time_ms = reader.require("refill_time", reader.number("refill_time"));
  return reader.finish(bucket);
}

std::optional<virtio::TokenBucketConfig> read_bucket(ObjectReader& parent, std::string_view field) {
  const json::value* const value = parent.child(field);
  if (value == nullptr) return std::nullopt;
  return parent.adopt(decode_token_bucket(*value, parent.path_of(field)));
}

base::Result<virtio::RateLimiterConfig> decode_limiter(const json::value& value,
                                                       std::string_view where) {
  ObjectReader reader(value, kRateLimiterFields, where);
  virtio::RateLimiterConfig limiter;
  limiter.bandwidth = read_bucket(reader, "bandwidth");
  limiter.ops = read_bucket(reader, "ops");
  return reader.finish(limiter);
}

std::optional<virtio::RateLimiterConfig> read_limiter(ObjectReader& parent,
                                                      std::string_view field) {
  const json::value* const value = parent.child(field);
  if (value == nullptr) return std::nullopt;
  return parent.adopt(decode_limiter(*value, parent.path_of(field)));
}

std::optional<virtio::net::MacAddress> read_mac(ObjectReader& reader, std::string_view field) {
  const auto text = reader.text(field);
  if (!text) return std::nullopt;
  const auto mac = virtio::net::parse_mac(*text);
  if (mac) return *mac;
  reader.fail(field, mac.error().message());
  return std::nullopt;
}

}  // namespace

base::Result<monitor::MachineConfig> decode_machine_config(const json::value& body) {
  ObjectReader reader(body, kMachineConfigFields, "");
  monitor::MachineConfig config;
  config.vcpu_count = reader.require("vcpu_count", reader.number_as<uint8_t>("vcpu_count", 1, 32));
  config.mem_size_mib = reader.required_number("mem_size_mib", 1, uint64_t{1} << 26);
  config.smt = reader.flag("smt").value_or(false);
  config.track_dirty_pages = reader.flag("track_dirty_pages").value_or(false);
  config.huge_pages = reader.word("huge_pages", kHugePagesWords).value_or(config.huge_pages);
  config.cpu_template =
      reader.word("cpu_template", kCpuTemplateWords).value_or(config.cpu_template);
  return reader.finish(config);
}

base::Result<monitor::MachineConfigPatch> decode_machine_config_patch(const json::value& body) {
  ObjectReader reader(body, kMachineConfigFields, "");
  monitor::MachineConfigPatch patch;
  patch.vcpu_count = reader.number_as<uint8_t>("vcpu_count", 1, 32);
  patch.mem_size_mib = reader.number("mem_size_mib", 1, uint64_t{1} << 26);
  patch.smt = reader.flag("smt");
  patch.track_dirty_pages = reader.flag("track_dirty_pages");
  patch.huge_pages = reader.word("huge_pages", kHugePagesWords);
  patch.cpu_template = reader.word("cpu_template", kCpuTemplateWords);
  const bool empty = !patch.vcpu_count && !patch.mem_size_mib && !patch.smt &&
                     !patch.track_dirty_pages && !patch.huge_pages && !patch.cpu_template;
  if (reader.ok() && empty) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      "the request body: names no field to change");
  }
  return reader.finish(patch);
}

base::Result<monitor::BootSource> decode_boot_source(const json::value& body) {
  ObjectReader reader(body, kBootSourceFields, "");
  monitor::BootSource source;
  source.kernel_image_path = reader.required_text("kernel_image_path");
  source.initrd_path = reader.text("initrd_path");
  source.boot_args = reader.text("boot_args");
  return reader.finish(std::move(source));
}

base::Result<virtio::blk::DriveConfig> decode_drive(const json::value& body) {
  ObjectReader reader(body, kDriveFields, "");
  virtio::blk::DriveConfig drive;
  drive.drive_id = reader.required_text("drive_id");
  drive.is_root_device = reader.required_flag("is_root_device");
  drive.path_on_host = reader.text("path_on_host");
  drive.partuuid = reader.text("partuuid");
  drive.is_read_only = reader.flag("is_read_only").value_or(false);
  drive.cache_type = reader.word("cache_type", kCacheTypeWords).value_or(drive.cache_type);
  drive.io_engine = reader.word("io_engine", kIoEngineWords).value_or(drive.io_engine);
  if (reader.child("socket") != nullptr) {
    reader.fail("socket", "vhost-user drives are not offered; name a file in path_on_host");
  }
  drive.rate_limiter = read_limiter(reader, "rate_limiter");
  return reader.finish(std::move(drive));
}

base::Result<virtio::blk::DrivePatch> decode_drive_patch(const json::value& body) {
  ObjectReader reader(body, kDrivePatchFields, "");
  virtio::blk::DrivePatch patch;
  patch.drive_id = reader.required_text("drive_id");
  patch.path_on_host = reader.text("path_on_host");
  patch.rate_limiter = read_limiter(reader, "rate_limiter");
  return reader.finish(std::move(patch));
}

base::Result<virtio::net::NetworkInterfaceConfig> decode_network_interface(
    const json::value& body) {
  ObjectReader reader(body, kNetworkFields, "");
  virtio::net::NetworkInterfaceConfig config;
  config.iface_id = reader.required_text("iface_id");
  config.host_dev_name = reader.required_text("host_dev_name");
  config.guest_mac = read_mac(reader, "guest_mac");
  config.mtu = reader.number_as<uint16_t>("mtu", 68, 65535);
  config.rx_rate_limiter = read_limiter(reader, "rx_rate_limiter");
  config.tx_rate_limiter = read_limiter(reader, "tx_rate_limiter");
  return reader.finish(std::move(config));
}

base::Result<virtio::net::NetworkInterfacePatch> decode_network_interface_patch(
    const json::value& body) {
  ObjectReader reader(body, kNetworkPatchFields, "");
  virtio::net::NetworkInterfacePatch patch;
  patch.iface_id = reader.required_text("iface_id");
  patch.rx_rate_limiter = read_limiter(reader, "rx_rate_limiter");
  patch.tx_rate_limiter = read_limiter(reader, "tx_rate_limiter");
  return reader.finish(std::move(patch));
}

base::Result<monitor::LoggerConfig> decode_logger(const json::value& body) {
  ObjectReader reader(body, kLoggerFields, "");
  monitor::LoggerConfig config;
  config.log_path = reader.text("log_path");
  // The reference takes these words in any case, so they are not an enumeration here.
  if (const auto level = reader.text("level")) {
    config.level = reader.adopt(base::log::parse_level(*level));
  }
  config.show_level = reader.flag("show_level");
  config.show_log_origin = reader.flag("show_log_origin");
  config.module = reader.text("module");
  return reader.finish(std::move(config));
}

base::Result<monitor::MetricsConfig> decode_metrics(const json::value& body) {
  ObjectReader reader(body, kMetricsFields, "");
  monitor::MetricsConfig config{reader.required_text("metrics_path")};
  return reader.finish(std::move(config));
}

base::Result<monitor::SerialConfig> decode_serial(const json::value& body) {
  ObjectReader reader(body, kSerialFields, "");
  monitor::SerialConfig config;
  config.serial_out_path = reader.text("serial_out_path");
  config.rate_limiter = read_bucket(reader, "rate_limiter");
  return reader.finish(std::move(config));
}

base::Result<monitor::Action> decode_instance_action(const json::value& body) {
  enum class Kind : uint8_t { kStart, kFlush, kCtrlAltDel };
  static constexpr std::array kWords = {std::pair{"InstanceStart"sv, Kind::kStart},
                                        std::pair{"FlushMetrics"sv, Kind::kFlush},
                                        std::pair{"SendCtrlAltDel"sv, Kind::kCtrlAltDel}};
  ObjectReader reader(body, kActionFields, "");
  const Kind kind = reader.require("action_type", reader.word("action_type", kWords));
  if (!reader.ok()) return std::unexpected(reader.status().error());
  switch (kind) {
    case Kind::kStart:
      return monitor::InstanceStart{};
    case Kind::kFlush:
      return monitor::FlushMetrics{};
    case Kind::kCtrlAltDel:
      break;
  }
  return monitor::SendCtrlAltDel{};
}

base::Result<monitor::Action> decode_vm_state(const json::value& body) {
  enum class Kind : uint8_t { kPaused, kResumed };
  static constexpr std::array kWords = {std::pair{"Paused"sv, Kind::kPaused},
                                        std::pair{"Resumed"sv, Kind::kResumed}};
  ObjectReader reader(body, kVmFields, "");
  const Kind kind = reader.require("state", reader.word("state", kWords));
  if (!reader.ok()) return std::unexpected(reader.status().error());
  if (kind == Kind::kPaused) return monitor::PauseVm{};
  return monitor::ResumeVm{};
}

}  // namespace mote::api_server
