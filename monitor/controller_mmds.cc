// Controller: the guest's metadata, /mmds and /mmds/config.

#include <algorithm>
#include <boost/json/serialize.hpp>

#include "monitor/controller.h"

namespace mote::monitor {
namespace {

Reply as_reply(base::Result<> outcome, std::string_view field) {
  if (outcome) return NoContent{};
  return base::with_context(std::move(outcome).error(), field);
}

}  // namespace

Reply Controller::handle(const GetMmds&) {
  const auto* const content = mmds_.store().content();
  return Metadata{content == nullptr ? "{}" : boost::json::serialize(*content)};
}

Reply Controller::handle(const PutMmds& action) {
  return as_reply(mmds_.store().replace(action.content), "/mmds");
}

Reply Controller::handle(const PatchMmds& action) {
  return as_reply(mmds_.store().merge(action.patch), "/mmds");
}

Reply Controller::handle(const PutMmdsConfig& action) {
  MOTE_TRY_VOID(require_not_started());
  const mmds::Config& config = action.config;
  if (config.network_interfaces.empty()) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      "network_interfaces: The list of network interface IDs that allow "
                      "forwarding MMDS requests is empty.");
  }
  for (const std::string& id : config.network_interfaces) {
    const bool known = std::ranges::any_of(network_interfaces_, [&](const NetworkInterface& nic) {
      return nic.config.iface_id == id;
    });
    if (known) continue;
    return base::fail(base::ErrorCode::kInvalidArgument,
                      "network_interfaces: The list of network interface IDs provided contains at "
                      "least one ID that does not correspond to any existing network interface: " +
                          id);
  }
  mmds_config_ = config;
  return NoContent{};
}

void Controller::attach_mmds() {
  if (!mmds_config_) return;
  mmds_.configure(*mmds_config_);
  for (NetworkInterface& nic : network_interfaces_) {
    const auto& ids = mmds_config_->network_interfaces;
    if (std::ranges::find(ids, nic.config.iface_id) == ids.end()) continue;
    nic.device->serve_metadata(mmds_);
  }
}

}  // namespace mote::monitor
