// Controller::collect_metrics: which counter stands under which name of the metrics line.

#include <array>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "monitor/controller.h"

namespace mote::monitor {
namespace {

struct RequestName {
  std::string_view section;
  std::string_view name;
};

// In the order of the Action variant.
constexpr std::array<RequestName, std::variant_size_v<Action>> kRequestNames = {{
    {"get_api_requests", "instance_info"},
    {"get_api_requests", "vmm_version"},
    {"get_api_requests", "vm_config"},
    {"get_api_requests", "machine_cfg"},
    {"put_api_requests", "machine_cfg"},
    {"patch_api_requests", "machine_cfg"},
    {"put_api_requests", "cpu_cfg"},
    {"put_api_requests", "boot_source"},
    {"put_api_requests", "drive"},
    {"patch_api_requests", "drive"},
    {"put_api_requests", "network"},
    {"patch_api_requests", "network"},
    {"put_api_requests", "logger"},
    {"put_api_requests", "metrics"},
    {"put_api_requests", "serial"},
    {"put_api_requests", "instance_start"},
    {"put_api_requests", "flush_metrics"},
    {"put_api_requests", "send_ctrl_alt_del"},
    {"patch_api_requests", "pause_vm"},
    {"patch_api_requests", "resume_vm"},
    {"put_api_requests", "snapshot_create"},
    {"put_api_requests", "snapshot_load"},
    {"get_api_requests", "mmds"},
    {"put_api_requests", "mmds"},
    {"patch_api_requests", "mmds"},
    {"put_api_requests", "mmds_config"},
    {"put_api_requests", "working_set"},
}};

void add_boot(const BootPhases& phases, MetricsLine& line) {
  const auto since_start = [&](uint64_t when_us) {
    return when_us > phases.process_start_us ? when_us - phases.process_start_us : 0;
  };
  line.store("api_server", "process_startup_time_us", since_start(phases.api_ready_us));
  const uint64_t cpu_us =
      phases.api_ready_cpu_us - phases.process_start_cpu_us + phases.parent_cpu_us;
  line.store("api_server", "process_startup_time_cpu_us", phases.api_ready_us == 0 ? 0 : cpu_us);
  // Microseconds since process start; 0: not reached yet.
  line.store("boot", "api_ready_us", since_start(phases.api_ready_us));
  line.store("boot", "instance_start_us", since_start(phases.instance_start_us));
  line.store("boot", "vcpu_run_us", since_start(phases.vcpu_run_us));
  line.store("boot", "guest_init_us", since_start(phases.guest_init_us));
}

void add_block(std::string_view section, const virtio::blk::Metrics& m, MetricsLine& line) {
  line.count(section, "activate_fails", m.activate_fails);
  line.count(section, "cfg_fails", m.cfg_fails);
  line.count(section, "no_avail_buffer", m.no_avail_buffer);
  line.count(section, "event_fails", m.event_fails);
  line.count(section, "execute_fails", m.execute_fails);
  line.count(section, "invalid_reqs_count", m.invalid_reqs_count);
  line.count(section, "flush_count", m.flush_count);
  line.count(section, "queue_event_count", m.queue_event_count);
  line.count(section, "rate_limiter_event_count", m.rate_limiter_event_count);
  line.count(section, "update_count", m.update_count);
  line.count(section, "update_fails", m.update_fails);
  line.count(section, "read_bytes", m.read_bytes);
  line.count(section, "write_bytes", m.write_bytes);
  line.count(section, "read_count", m.read_count);
  line.count(section, "write_count", m.write_count);
  line.aggregate(section, "read_agg", m.read_agg.min_us, m.read_agg.max_us, m.read_agg.sum_us);
  line.aggregate(section, "write_agg", m.write_agg.min_us, m.write_agg.max_us, m.write_agg.sum_us);
  line.count(section, "rate_limiter_throttled_events", m.rate_limiter_throttled_events);
  line.count(section, "io_engine_throttled_events", m.io_engine_throttled_events);
  line.count(section, "remaining_reqs_count", m.remaining_reqs_count);
}

void add_net(std::string_view section, const virtio::net::Metrics& m, MetricsLine& line) {
  line.count(section, "activate_fails", m.activate_fails);
  line.count(section, "cfg_fails", m.cfg_fails);
  line.count(section, "mac_address_updates", m.mac_address_updates);
  line.count(section, "no_rx_avail_buffer", m.no_rx_avail_buffer);
  line.count(section, "no_tx_avail_buffer", m.no_tx_avail_buffer);
  line.count(section, "event_fails", m.event_fails);
  line.count(section, "rx_queue_event_count", m.rx_queue_event_count);
  line.count(section, "rx_event_rate_limiter_count", m.rx_event_rate_limiter_count);
  line.count(section, "rx_partial_writes", m.rx_partial_writes);
  line.count(section, "rx_rate_limiter_throttled", m.rx_rate_limiter_throttled);
  line.count(section, "rx_tap_event_count", m.rx_tap_event_count);
  line.count(section, "rx_bytes_count", m.rx_bytes_count);
  line.count(section, "rx_packets_count", m.rx_packets_count);
  line.count(section, "rx_fails", m.rx_fails);
  line.count(section, "rx_count", m.rx_count);
  line.count(section, "tap_read_fails", m.tap_read_fails);
  line.count(section, "tap_write_fails", m.tap_write_fails);
  line.aggregate(section, "tap_write_agg", m.tap_write_agg.min_us, m.tap_write_agg.max_us,
                 m.tap_write_agg.sum_us);
  line.count(section, "tx_bytes_count", m.tx_bytes_count);
  line.count(section, "tx_malformed_frames", m.tx_malformed_frames);
  line.count(section, "tx_fails", m.tx_fails);
  line.count(section, "tx_count", m.tx_count);
  line.count(section, "tx_packets_count", m.tx_packets_count);
  line.count(section, "tx_partial_reads", m.tx_partial_reads);
  line.count(section, "tx_queue_event_count", m.tx_queue_event_count);
  line.count(section, "tx_rate_limiter_event_count", m.tx_rate_limiter_event_count);
  line.count(section, "tx_rate_limiter_throttled", m.tx_rate_limiter_throttled);
  line.count(section, "tx_spoofed_mac_count", m.tx_spoofed_mac_count);
  line.count(section, "tx_remaining_reqs_count", m.tx_remaining_reqs_count);
}

void add_mmds(const mmds::Metrics& m, MetricsLine& line) {
  line.count("mmds", "rx_accepted", m.rx_accepted);
  line.count("mmds", "rx_accepted_err", m.rx_accepted_err);
  line.count("mmds", "rx_accepted_unusual", m.rx_accepted_unusual);
  line.count("mmds", "rx_invalid_token", m.rx_invalid_token);
  line.count("mmds", "rx_no_token", m.rx_no_token);
  line.count("mmds", "rx_bad_eth", m.rx_bad_eth);
  line.count("mmds", "rx_count", m.rx_count);
  line.count("mmds", "tx_bytes", m.tx_bytes);
  line.count("mmds", "tx_count", m.tx_count);
  line.count("mmds", "tx_errors", m.tx_errors);
  line.count("mmds", "tx_frames", m.tx_frames);
  line.count("mmds", "connections_created", m.connections_created);
  line.count("mmds", "connections_destroyed", m.connections_destroyed);
}

void add_uart(const legacy::SerialMetrics& m, MetricsLine& line) {
  line.count("uart", "error_count", m.error_count);
  line.count("uart", "flush_count", m.flush_count);
  line.count("uart", "missed_read_count", m.missed_read_count);
  line.count("uart", "missed_write_count", m.missed_write_count);
  line.count("uart", "read_count", m.read_count);
  line.count("uart", "write_count", m.write_count);
  line.count("uart", "rate_limiter_dropped_bytes", m.rate_limiter_dropped_bytes);
}

}  // namespace

void Controller::collect_metrics(MetricsLine& line) const {
  add_boot(options_.phases, line);
  for (const Drive& drive : drives_) {
    add_block("block_" + drive.config.drive_id, drive.device->metrics(), line);
  }
  for (const NetworkInterface& nic : network_interfaces_) {
    add_net("net_" + nic.config.iface_id, nic.device->metrics(), line);
  }
  add_mmds(mmds_.metrics(), line);
  for (size_t i = 0; i < requests_.size(); ++i) {
    const RequestName& name = kRequestNames[i];
    line.count(name.section, std::string(name.name) + "_count", requests_[i].total);
    line.count(name.section, std::string(name.name) + "_fails", requests_[i].failed);
  }
  line.store("latencies_us", "pause_vm", pause_us_);
  line.store("latencies_us", "resume_vm", resume_us_);
  line.count("logger", "missed_log_count", base::log::lost_lines());
  line.count("logger", "missed_metrics_count", metrics_.missed_lines());
  line.count("logger", "log_fails", base::log::lost_lines());
  if (vm_ == nullptr) return;
  add_uart(vm_->serial().metrics(), line);
  uint64_t io_in = 0;
  uint64_t io_out = 0;
  uint64_t mmio_read = 0;
  uint64_t mmio_write = 0;
  uint64_t failures = 0;
  for (const auto& vcpu : vm_->vcpus()) {
    const VcpuMetrics& m = vcpu->metrics();
    io_in += m.exit_io_in.load(std::memory_order_relaxed);
    io_out += m.exit_io_out.load(std::memory_order_relaxed);
    mmio_read += m.exit_mmio_read.load(std::memory_order_relaxed);
    mmio_write += m.exit_mmio_write.load(std::memory_order_relaxed);
    failures += m.failures.load(std::memory_order_relaxed);
  }
  line.count("vcpu", "exit_io_in", io_in);
  line.count("vcpu", "exit_io_out", io_out);
  line.count("vcpu", "exit_mmio_read", mmio_read);
  line.count("vcpu", "exit_mmio_write", mmio_write);
  line.count("vcpu", "failures", failures);
}

}  // namespace mote::monitor
