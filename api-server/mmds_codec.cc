// /mmds and /mmds/config.

#include <arpa/inet.h>

#include <boost/json.hpp>
#include <cstring>

#include "api-server/json_codec.h"
#include "api-server/json_words.h"
#include "api-server/object_reader.h"

namespace mote::api_server {
namespace json = boost::json;
namespace {

void read_address(ObjectReader& reader, mmds::Config& config) {
  const auto text = reader.text("ipv4_address");
  if (!text) return;
  if (::inet_pton(AF_INET, text->c_str(), config.ipv4_address.data()) != 1) {
    reader.fail("ipv4_address", "\"" + *text + "\" is not an IPv4 address");
  } else if (!mmds::is_link_local(config.ipv4_address)) {
    reader.fail("ipv4_address", "The MMDS IPv4 address is not link local.");
  }
}

}  // namespace

base::Result<mmds::Config> decode_mmds_config(const json::value& body) {
  ObjectReader reader(body, kMmdsConfigFields, "");
  mmds::Config config;
  config.version = reader.word("version", kMmdsVersionWords).value_or(config.version);
  const json::array* const ids = reader.list("network_interfaces");
  if (ids == nullptr) reader.fail("network_interfaces", "is required");
  for (size_t i = 0; ids != nullptr && i < ids->size(); ++i) {
    const json::string* const id = (*ids)[i].if_string();
    if (id == nullptr) {
      reader.fail("network_interfaces", "must be an array of strings");
      break;
    }
    config.network_interfaces.emplace_back(id->data(), id->size());
  }
  read_address(reader, config);
  config.imds_compat = reader.flag("imds_compat").value_or(false);
  return reader.finish(std::move(config));
}

base::Result<json::object> decode_metadata(const json::value& body) {
  if (const json::object* const object = body.if_object()) return *object;
  return base::fail(base::ErrorCode::kInvalidArgument, "the metadata: must be a JSON object");
}

json::object encode_mmds_config(const mmds::Config& config) {
  std::array<char, INET_ADDRSTRLEN> address{};
  ::inet_ntop(AF_INET, config.ipv4_address.data(), address.data(), address.size());
  json::array ids;
  for (const std::string& id : config.network_interfaces) ids.emplace_back(id);
  const std::string_view version = word_of(kMmdsVersionWords, config.version);
  return {{"version", json::string(version.data(), version.size())},
          {"network_interfaces", std::move(ids)},
          {"ipv4_address", address.data()},
          {"imds_compat", config.imds_compat}};
}

}  // namespace mote::api_server
