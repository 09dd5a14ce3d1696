#include "api-server/testing/whole_config.h"

namespace mote::api_server::testing {
namespace {

struct Applier {
  monitor::VmConfig& config;

  void operator()(const monitor::PutMachineConfig& put) const { config.machine = put.config; }
  void operator()(const monitor::PutCpuConfig& put) const { config.cpu = put.config; }
  void operator()(const monitor::PutBootSource& put) const { config.boot_source = put.config; }
  void operator()(const monitor::PutDrive& put) const { config.drives.push_back(put.config); }
  void operator()(const monitor::PutNetworkInterface& put) const {
    config.network_interfaces.push_back(put.config);
  }
  void operator()(const monitor::PutMmdsConfig& put) const { config.mmds = put.config; }
  void operator()(const monitor::PutLogger& put) const { config.logger = put.config; }
  void operator()(const monitor::PutMetrics& put) const { config.metrics = put.config; }
  void operator()(const monitor::PutSerial& put) const { config.serial = put.config; }
  void operator()(const auto&) const {}  // Changes no configuration.
};

}  // namespace

monitor::VmConfig whole_config(std::span<const monitor::Action> actions) {
  monitor::VmConfig config;
  for (const monitor::Action& action : actions) std::visit(Applier{config}, action);
  return config;
}

}  // namespace mote::api_server::testing
