// "METHOD TARGET\nBODY": whatever it is, it becomes an Action or a refusal that a client can read.

#include <boost/json.hpp>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "api-server/json_codec.h"
#include "api-server/routes.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mote::api_server;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t line_end = input.find('\n');
  const size_t space = input.find(' ');
  if (line_end == std::string_view::npos || space > line_end) return 0;
  const auto routed =
      route_request(input.substr(0, space), input.substr(space + 1, line_end - space - 1),
                    input.substr(line_end + 1));
  const auto* const refusal = std::get_if<RequestRefusal>(&routed);
  if (refusal == nullptr) return 0;
  const bool answers = refusal->status == 400 || refusal->status == 404;
  if (!answers || refusal->message.empty() || !parse_json(encode_fault(refusal->message))) {
    std::abort();
  }
  return 0;
}
