#include "api-server/config_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>

#include "api-server/json_codec.h"
#include "api-server/routes.h"

namespace mote::api_server {
namespace json = boost::json;
namespace {

using Actions = std::vector<monitor::Action>;
constexpr const char* kCpuSection = "cpu-config";

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
    Section{kCpuSection, add_one<monitor::PutCpuConfig, decode_cpu_config>},
    Section{"boot-source", add_one<monitor::PutBootSource, decode_boot_source>},
    Section{"drives", add_list<monitor::PutDrive, decode_drive>},
    Section{"network-interfaces", add_list<monitor::PutNetworkInterface, decode_network_interface>},
    Section{"mmds-config", add_one<monitor::PutMmdsConfig, decode_mmds_config>},
    Section{"serial", add_one<monitor::PutSerial, decode_serial>},
};

/// Something that Mote does not have may stand there as null or empty: not asked for.
bool asks_for_nothing(const json::value& value) {
  return value.is_null() || (value.is_array() && value.get_array().empty());
}

base::Result<> check_section(std::string_view name, const json::value& value) {
  const auto same_name = [&](const Section& section) { return section.name == name; };
  if (std::ranges::any_of(kSections, same_name)) return {};
  const std::string_view reason = absent_by_design(name);
  if (!reason.empty() && asks_for_nothing(value)) return {};
  return base::fail(
      base::ErrorCode::kInvalidArgument,
      fmt::format("{}: {}", name, reason.empty() ? "is not a known section" : reason));
}

/// The section's value, or the content of the file it names.
base::Result<json::value> load_cpu_config(const json::value& value, FileReader read_file) {
  const json::string* const path = value.if_string();
  if (path == nullptr) return value;
  MOTE_TRY(const std::string text, read_file({path->data(), path->size()}));
  return parse_json(text);
}

base::Result<Actions> decode_sections(json::object& root, FileReader read_file) {
  for (const auto& member : root) {
    MOTE_TRY_VOID(check_section({member.key().data(), member.key().size()}, member.value()));
  }
  if (json::value* const cpu = root.if_contains(kCpuSection)) {
    auto loaded = load_cpu_config(*cpu, read_file);
    if (!loaded) return base::with_context(loaded.error(), kCpuSection);
    *cpu = std::move(*loaded);
  }
  Actions actions;
  for (const Section& section : kSections) {
    const json::value* const value =
        root.if_contains(json::string_view(section.name.data(), section.name.size()));
    if (value == nullptr || value->is_null()) continue;
    MOTE_TRY_VOID(section.add(*value, section.name, actions));
  }
  return actions;
}

}  // namespace

base::Result<json::object> decode_metadata_file(std::string_view text) {
  MOTE_TRY(const json::value document, parse_json(text));
  return decode_metadata(document);
}

base::Result<Actions> decode_config_file(std::string_view text, FileReader read_file) {
  auto document = parse_json(text);
  if (!document) return base::with_context(document.error(), "--config-file");
  json::object* const root = document->if_object();
  if (root == nullptr) {
    return base::fail(base::ErrorCode::kInvalidArgument, "--config-file: must be a JSON object");
  }
  return decode_sections(*root, read_file);
}

}  // namespace mote::api_server
