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

template <typename T>
void add(json::object& object, std::string_view name, const std::optional<T>& value) {
  if (!value) return;
  if constexpr (std::is_same_v<T, std::string>) {
    object[name] = text(*value);
  } else {
    object[name] = *value;
  }
}

json::object encode(const virtio::TokenBucketConfig& bucket) {
  json::object object{{"size", bucket.size}, {"refill_time", bucket.refill_time_ms}};
  add(object, "one_time_burst", bucket.one_time_burst);
  return object;
}

void add_limiter(json::object& parent, std::string_view name,
                 const std::optional<virtio::RateLimiterConfig>& limiter) {
  if (!limiter) return;
  json::object object;
  if (limiter->bandwidth) object["bandwidth"] = encode(*limiter->bandwidth);
  if (limiter->ops) object["ops"] = encode(*limiter->ops);
  parent[name] = std::move(object);
}

json::object encode(const monitor::MachineConfig& machine) {
  return {{"vcpu_count", machine.vcpu_count},
          {"mem_size_mib", machine.mem_size_mib},
          {"smt", machine.smt},
          {"track_dirty_pages", machine.track_dirty_pages},
          {"huge_pages", text(word_of(kHugePagesWords, machine.huge_pages))},
          {"cpu_template", text(word_of(kCpuTemplateWords, machine.cpu_template))}};
}

json::object encode(const monitor::BootSource& source) {
  json::object object{{"kernel_image_path", text(source.kernel_image_path)}};
  add(object, "initrd_path", source.initrd_path);
  add(object, "boot_args", source.boot_args);
  return object;
}

json::object encode(const virtio::blk::DriveConfig& drive) {
  json::object object{{"drive_id", text(drive.drive_id)},
                      {"is_root_device", drive.is_root_device},
                      {"is_read_only", drive.is_read_only},
                      {"cache_type", text(word_of(kCacheTypeWords, drive.cache_type))},
                      {"io_engine", text(word_of(kIoEngineWords, drive.io_engine))}};
  add(object, "path_on_host", drive.path_on_host);
  add(object, "partuuid", drive.partuuid);
  add_limiter(object, "rate_limiter", drive.rate_limiter);
  return object;
}

json::object encode(const virtio::net::NetworkInterfaceConfig& config) {
  json::object object{{"iface_id", text(config.iface_id)},
                      {"host_dev_name", text(config.host_dev_name)}};
  if (config.guest_mac) object["guest_mac"] = text(virtio::net::format_mac(*config.guest_mac));
  add(object, "mtu", config.mtu);
  add_limiter(object, "rx_rate_limiter", config.rx_rate_limiter);
  add_limiter(object, "tx_rate_limiter", config.tx_rate_limiter);
  return object;
}

json::object encode(const monitor::LoggerConfig& logger) {
  json::object object;
  add(object, "log_path", logger.log_path);
  if (logger.level) object["level"] = text(base::log::level_name(*logger.level));
  add(object, "show_level", logger.show_level);
  add(object, "show_log_origin", logger.show_log_origin);
  add(object, "module", logger.module);
  return object;
}

json::object encode(const monitor::SerialConfig& serial) {
  json::object object;
  add(object, "serial_out_path", serial.serial_out_path);
  if (serial.rate_limiter) object["rate_limiter"] = encode(*serial.rate_limiter);
  return object;
}

template <typename T>
json::array encode_all(const std::vector<T>& items) {
  json::array array;
  for (const T& item : items) array.emplace_back(encode(item));
  return array;
}

json::object encode(const monitor::VmConfig& config) {
  json::object object{{"machine-config", encode(config.machine)},
                      {"drives", encode_all(config.drives)},
                      {"network-interfaces", encode_all(config.network_interfaces)}};
  if (config.boot_source) object["boot-source"] = encode(*config.boot_source);
  if (config.cpu) object["cpu-config"] = encode_cpu_config(*config.cpu);
  if (config.logger) object["logger"] = encode(*config.logger);
  if (config.metrics)
    object["metrics"] = json::object{{"metrics_path", text(config.metrics->metrics_path)}};
  if (config.serial) object["serial"] = encode(*config.serial);
  return object;
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
