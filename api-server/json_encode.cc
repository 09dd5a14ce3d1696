// Replies as JSON text.

#include <boost/json.hpp>

#include "api-server/json_codec.h"
#include "api-server/json_words.h"
#include "devices/virtio/net/frame.h"

namespace mote::api_server {
namespace json = boost::json;
namespace {

json::string text(std::string_view value) {
  return json::string(value.data(), value.size());
}

json::value or_null(const std::optional<std::string>& value) {
  return value ? json::value(text(*value)) : json::value(nullptr);
}
template <typename T>
json::value or_null(const std::optional<T>& value) {
  return value ? json::value(*value) : json::value(nullptr);
}

// Like the reference, a configuration lists what is not set as null: clients read fields without
// asking whether they are there.

json::object encode(const virtio::TokenBucketConfig& bucket) {
  return {{"size", bucket.size},
          {"one_time_burst", or_null(bucket.one_time_burst)},
          {"refill_time", bucket.refill_time_ms}};
}

json::value encode(const std::optional<virtio::TokenBucketConfig>& bucket) {
  return bucket ? json::value(encode(*bucket)) : json::value(nullptr);
}

json::value encode(const std::optional<virtio::RateLimiterConfig>& limiter) {
  if (!limiter) return nullptr;
  return json::object{{"bandwidth", encode(limiter->bandwidth)}, {"ops", encode(limiter->ops)}};
}

json::object encode(const monitor::MachineConfig& machine) {
  json::object object{{"vcpu_count", machine.vcpu_count},
                      {"mem_size_mib", machine.mem_size_mib},
                      {"smt", machine.smt},
                      {"track_dirty_pages", machine.track_dirty_pages},
                      {"huge_pages", text(word_of(kHugePagesWords, machine.huge_pages))}};
  // The one field that the reference leaves out when it is not set.
  if (machine.cpu_template != monitor::CpuTemplate::kNone) {
    object["cpu_template"] = text(word_of(kCpuTemplateWords, machine.cpu_template));
  }
  return object;
}

json::object encode(const monitor::BootSource& source) {
  return {{"kernel_image_path", text(source.kernel_image_path)},
          {"initrd_path", or_null(source.initrd_path)},
          {"boot_args", or_null(source.boot_args)}};
}

json::object encode(const virtio::blk::DriveConfig& drive) {
  return {{"drive_id", text(drive.drive_id)},
          {"is_root_device", drive.is_root_device},
          {"path_on_host", or_null(drive.path_on_host)},
          {"partuuid", or_null(drive.partuuid)},
          {"is_read_only", drive.is_read_only},
          {"cache_type", text(word_of(kCacheTypeWords, drive.cache_type))},
          {"io_engine", text(word_of(kIoEngineWords, drive.io_engine))},
          {"rate_limiter", encode(drive.rate_limiter)},
          {"socket", nullptr}};
}

json::object encode(const virtio::net::NetworkInterfaceConfig& config) {
  json::value mac = nullptr;
  if (config.guest_mac) mac = text(virtio::net::format_mac(*config.guest_mac));
  return {{"iface_id", text(config.iface_id)},
          {"host_dev_name", text(config.host_dev_name)},
          {"guest_mac", std::move(mac)},
          {"mtu", or_null(config.mtu)},
          {"rx_rate_limiter", encode(config.rx_rate_limiter)},
          {"tx_rate_limiter", encode(config.tx_rate_limiter)}};
}

json::object encode(const monitor::LoggerConfig& logger) {
  json::value level = nullptr;
  if (logger.level) level = text(base::log::level_name(*logger.level));
  return {{"log_path", or_null(logger.log_path)},
          {"level", std::move(level)},
          {"show_level", or_null(logger.show_level)},
          {"show_log_origin", or_null(logger.show_log_origin)},
          {"module", or_null(logger.module)}};
}

json::object encode(const monitor::MetricsConfig& metrics) {
  return {{"metrics_path", text(metrics.metrics_path)}};
}

json::object encode(const monitor::SerialConfig& serial) {
  return {{"serial_out_path", or_null(serial.serial_out_path)},
          {"rate_limiter", encode(serial.rate_limiter)}};
}

json::value encode(const monitor::CpuConfig& cpu) {
  return encode_cpu_config(cpu);
}

json::object encode(const mmds::Config& config) {
  return encode_mmds_config(config);
}

template <typename T>
json::array encode_all(const std::vector<T>& items) {
  json::array array;
  for (const T& item : items) array.emplace_back(encode(item));
  return array;
}

template <typename T>
json::value section(const std::optional<T>& config) {
  return config ? json::value(encode(*config)) : json::value(nullptr);
}

/// The sections of a configuration file: what this gives, --config-file takes.
json::object encode(const monitor::VmConfig& config) {
  // Before PUT /boot-source the reference shows one with an empty path.
  return {{"boot-source", encode(config.boot_source.value_or(monitor::BootSource{}))},
          {"machine-config", encode(config.machine)},
          {"cpu-config", section(config.cpu)},
          {"drives", encode_all(config.drives)},
          {"network-interfaces", encode_all(config.network_interfaces)},
          {"logger", section(config.logger)},
          {"metrics", section(config.metrics)},
          {"serial", section(config.serial)},
          {"mmds-config", section(config.mmds)},
          // What Mote does not have, as the reference shows what was not asked for.
          {"balloon", nullptr},
          {"vsock", nullptr},
          {"entropy", nullptr},
          {"pmem", json::array()},
          {"memory-hotplug", nullptr}};
}

json::object encode(const monitor::InstanceInfo& info) {
  return {{"app_name", text(info.app_name)},
          {"id", text(info.id)},
          {"state", text(word_of(kVmStateWords, info.state))},
          {"vmm_version", text(info.vmm_version)}};
}

json::object encode(const monitor::VersionInfo& version) {
  return {{"firecracker_version", text(version.firecracker_version)},
          {"mote_version", text(version.mote_version)}};
}

}  // namespace

std::string encode_reply(const monitor::ReplyBody& reply) {
  return std::visit(
      [](const auto& body) -> std::string {
        if constexpr (std::is_same_v<std::decay_t<decltype(body)>, monitor::NoContent>) {
          return {};
        } else if constexpr (std::is_same_v<std::decay_t<decltype(body)>, monitor::Metadata>) {
          return body.json;
        } else {
          return json::serialize(encode(body));
        }
      },
      reply);
}

std::string encode_fault(std::string_view message) {
  return json::serialize(json::object{{"fault_message", text(message)}});
}

}  // namespace mote::api_server
