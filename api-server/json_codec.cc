#include "api-server/json_codec.h"

#include <boost/json.hpp>

#include "api-server/json_words.h"
#include "api-server/object_reader.h"
#include "devices/virtio/net/frame.h"

namespace mote::api_server {
namespace json = boost::json;
namespace {

constexpr size_t kMaxDepth = 16;
constexpr std::array kRateLimiterFields = {"bandwidth"sv, "ops"sv};
constexpr std::array kTokenBucketFields = {"size"sv, "one_time_burst"sv, "refill_time"sv};

/// The finished value, or the reader's first error.
template <typename T>
base::Result<T> finish(const ObjectReader& reader, T value) {
  if (!reader.ok()) return std::unexpected(reader.status().error());
  return value;
}

base::Result<virtio::TokenBucketConfig> decode_token_bucket(const json::value& value,
                                                            const std::string& where) {
  ObjectReader reader(value, kTokenBucketFields, where);
  virtio::TokenBucketConfig bucket;
  bucket.size = reader.require("size", reader.number("size"));
  bucket.one_time_burst = reader.number("one_time_burst");
  bucket.refill_time_ms = reader.require("refill_time", reader.number("refill_time"));
  return finish(reader, bucket);
}

std::optional<virtio::TokenBucketConfig> read_bucket(ObjectReader& parent, std::string_view field,
                                                     const std::string& where,
                                                     base::Result<>& status) {
  const json::value* const value = parent.child(field);
  if (value == nullptr || !status) return std::nullopt;
  auto bucket = decode_token_bucket(*value, where + "." + std::string(field));
  if (bucket) return *bucket;
  status = std::unexpected(bucket.error());
  return std::nullopt;
}

/// A limiter of `parent`, or nothing; what is wrong in it goes into `status`.
std::optional<virtio::RateLimiterConfig> read_limiter(ObjectReader& parent, std::string_view field,
                                                      base::Result<>& status) {
  const json::value* const value = parent.child(field);
  if (value == nullptr || !status) return std::nullopt;
  const std::string where(field);
  ObjectReader reader(*value, kRateLimiterFields, where);
  virtio::RateLimiterConfig limiter;
  status = reader.status();
  limiter.bandwidth = read_bucket(reader, "bandwidth", where, status);
  limiter.ops = read_bucket(reader, "ops", where, status);
  return limiter;
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

base::Result<json::value> parse_json(std::string_view text) {
  json::parse_options options;
  options.max_depth = kMaxDepth;
  json::error_code error;
  json::value value = json::parse(json::string_view(text.data(), text.size()), error, {}, options);
  if (error)
    return base::fail(base::ErrorCode::kInvalidArgument,
                      "the body is not valid JSON: " + error.message());
  return value;
}

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
  return finish(reader, config);
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
  return finish(reader, patch);
}

base::Result<monitor::BootSource> decode_boot_source(const json::value& body) {
  ObjectReader reader(body, kBootSourceFields, "");
  monitor::BootSource source;
  source.kernel_image_path = reader.required_text("kernel_image_path");
  source.initrd_path = reader.text("initrd_path");
  source.boot_args = reader.text("boot_args");
  return finish(reader, std::move(source));
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
  base::Result<> nested;
  drive.rate_limiter = read_limiter(reader, "rate_limiter", nested);
  MOTE_TRY_VOID(nested);
  return finish(reader, std::move(drive));
}

base::Result<virtio::blk::DrivePatch> decode_drive_patch(const json::value& body) {
  ObjectReader reader(body, kDrivePatchFields, "");
  virtio::blk::DrivePatch patch;
  patch.drive_id = reader.required_text("drive_id");
  patch.path_on_host = reader.text("path_on_host");
  base::Result<> nested;
  patch.rate_limiter = read_limiter(reader, "rate_limiter", nested);
  MOTE_TRY_VOID(nested);
  return finish(reader, std::move(patch));
}

base::Result<virtio::net::NetworkInterfaceConfig> decode_network_interface(
    const json::value& body) {
  ObjectReader reader(body, kNetworkFields, "");
  virtio::net::NetworkInterfaceConfig config;
  config.iface_id = reader.required_text("iface_id");
  config.host_dev_name = reader.required_text("host_dev_name");
  config.guest_mac = read_mac(reader, "guest_mac");
  config.mtu = reader.number_as<uint16_t>("mtu", 68, 65535);
  base::Result<> nested;
  config.rx_rate_limiter = read_limiter(reader, "rx_rate_limiter", nested);
  config.tx_rate_limiter = read_limiter(reader, "tx_rate_limiter", nested);
  MOTE_TRY_VOID(nested);
  return finish(reader, std::move(config));
}

base::Result<virtio::net::NetworkInterfacePatch> decode_network_interface_patch(
    const json::value& body) {
  ObjectReader reader(body, kNetworkPatchFields, "");
  virtio::net::NetworkInterfacePatch patch;
  patch.iface_id = reader.required_text("iface_id");
  base::Result<> nested;
  patch.rx_rate_limiter = read_limiter(reader, "rx_rate_limiter", nested);
  patch.tx_rate_limiter = read_limiter(reader, "tx_rate_limiter", nested);
  MOTE_TRY_VOID(nested);
  return finish(reader, std::move(patch));
}

base::Result<monitor::LoggerConfig> decode_logger(const json::value& body) {
  ObjectReader reader(body, kLoggerFields, "");
  monitor::LoggerConfig config;
  config.log_path = reader.text("log_path");
  if (const auto level = reader.text("level")) {
    const auto parsed = base::log::parse_level(*level);
    if (!parsed) return std::unexpected(parsed.error());
    config.level = *parsed;
  }
  config.show_level = reader.flag("show_level");
  config.show_log_origin = reader.flag("show_log_origin");
  config.module = reader.text("module");
  return finish(reader, std::move(config));
}

base::Result<monitor::MetricsConfig> decode_metrics(const json::value& body) {
  ObjectReader reader(body, kMetricsFields, "");
  monitor::MetricsConfig config{reader.required_text("metrics_path")};
  return finish(reader, std::move(config));
}

base::Result<monitor::SerialConfig> decode_serial(const json::value& body) {
  ObjectReader reader(body, kSerialFields, "");
  monitor::SerialConfig config;
  config.serial_out_path = reader.text("serial_out_path");
  if (const json::value* const limiter = reader.child("rate_limiter")) {
    MOTE_TRY(config.rate_limiter, decode_token_bucket(*limiter, "rate_limiter"));
  }
  return finish(reader, std::move(config));
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
