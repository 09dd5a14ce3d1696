// A route and a body: decoding must never throw, and what is accepted must encode again.

#include <cstdint>
#include <string_view>

#include "api-server/config_file.h"
#include "api-server/json_codec.h"
#include "api-server/routes.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mote;
  if (size < 1) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data + 1), size - 1);
  const auto routes = api_server::route_table();
  const auto& route = routes[data[0] % routes.size()];
  std::string path(route.path);
  if (const size_t at = path.find("{id}"); at != std::string::npos) path.replace(at, 4, "a");
  auto routed = api_server::route_request(route.method, path, body);
  if (const auto* const action = std::get_if<monitor::Action>(&routed)) {
    monitor::VmConfig config;
    if (const auto* const put = std::get_if<monitor::PutCpuConfig>(action))
      config.cpu = put->config;
    if (const auto* const put = std::get_if<monitor::PutDrive>(action))
      config.drives.push_back(put->config);
    if (const auto* const put = std::get_if<monitor::PutNetworkInterface>(action)) {
      config.network_interfaces.push_back(put->config);
    }
    static_cast<void>(api_server::encode_reply(config));
  }
  static_cast<void>(api_server::decode_config_file(body));
  return 0;
}
