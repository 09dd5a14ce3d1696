// A configuration file: what is accepted must, shown as GET /vm/config shows it, be accepted again
// and mean the same.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "api-server/config_file.h"
#include "api-server/json_codec.h"
#include "api-server/testing/whole_config.h"

namespace {

using namespace mote;

base::Result<std::string> no_file(const std::string& path) {
  return base::fail(base::ErrorCode::kNotFound, path);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto actions = api_server::decode_config_file(text, no_file);
  if (!actions) {
    if (actions.error().message().empty()) std::abort();
    return 0;
  }
  const std::string shown = api_server::encode_reply(api_server::testing::whole_config(*actions));
  const auto again = api_server::decode_config_file(shown, no_file);
  if (!again || api_server::encode_reply(api_server::testing::whole_config(*again)) != shown) {
    std::abort();
  }
  return 0;
}
