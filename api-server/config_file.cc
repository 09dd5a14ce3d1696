#include "api-server/config_file.h"

#include <fmt/format.h>

#include <array>
#include <boost/json.hpp>

#include "api-server/json_codec.h"
#include "api-server/routes.h"

namespace mote::api_server {
namespace json = boost::json;
namespace {

using Actions = std::vector<monitor::Action>;

template <typename T, auto decode>
base::Result<> add_one(const json::value& value, std::string_view section, Actions& actions) {
  auto decoded = decode(value);
  if (!decoded) return base::with_context(decoded.error(), section);
  actions.emplace_back(T{std::move(*decoded)});
  return {};
}

template <typename T, auto decode>
base::Result<> add_list(const json::value& value, std::string_view section, Actions& actions) {
  const json::array* const items = value.if_array();
  if (items == nullptr) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      fmt::format("{}: must be an array", section));
  }
  for (size_t i = 0; i < items->size(); ++i) {
    MOTE_TRY_VOID((add_one<T, decode>((*items)[i], fmt::format("{}[{}]", section, i), actions)));
  }
  return {};
}

struct Section {
  std::string_view name;
  base::Result<> (*add)(const json::value& value, std::string_view section, Actions& actions);
};

// In the order of application: logs first, so that what follows is told of; machine before devices.
constexpr std::array kSections = {
    Section{"logger", add_one<monitor::PutLogger, decode_logger>},
    Section{"metrics", add_one<monitor::PutMetrics, decode_metrics>},
    Section{"machine-config", add_one<monitor::PutMachineConfig, decode_machine_config>},
    Section{"cpu-config", add_one<monitor::PutCpuConfig, decode_cpu_config>},
    Section{"boot-source", add_one<monitor::PutBootSource, decode_boot_source>},
    Section{"drives", add_list<monitor::PutDrive, decode_drive>},
    Section{"network-interfaces", add_list<monitor::PutNetworkInterface, decode_network_interface>},
    Section{"serial", add_one<monitor::PutSerial, decode_serial>},
};

base::Result<> check_section(std::string_view name, const json::value& value) {
  for (const Section& section : kSections) {
    if (section.name == name) return {};
  }
  const std::string_view reason = absent_by_design(name);
  if (!reason.empty() && value.is_null()) return {};  // Written out, but not asked for.
  return base::fail(
      base::ErrorCode::kInvalidArgument,
      fmt::format("{}: {}", name, reason.empty() ? "is not a known section" : reason));
}

}  // namespace

base::Result<std::vector<monitor::Action>> decode_config_file(std::string_view text) {
  auto document = parse_json(text);
  if (!document) return base::with_context(document.error(), "--config-file");
  const json::object* const root = document->if_object();
  if (root == nullptr)
    return base::fail(base::ErrorCode::kInvalidArgument, "--config-file: must be a JSON object");
  for (const auto& member : *root) {
    MOTE_TRY_VOID(check_section({member.key().data(), member.key().size()}, member.value()));
  }
  Actions actions;
  for (const Section& section : kSections) {
    const json::value* const value =
        root->if_contains(json::string_view(section.name.data(), section.name.size()));
    if (value == nullptr || value->is_null()) continue;
    MOTE_TRY_VOID(section.add(*value, section.name, actions));
  }
  return actions;
}

}  // namespace mote::api_server
