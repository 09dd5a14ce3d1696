// Bytes as a client might send them, in pieces: the parser must come to an end and keep its bounds.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "api-server/http.h"
#include "api-server/routes.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mote::api_server;
  if (size < 2) return 0;
  const size_t piece = 1U + data[0];
  constexpr size_t kBodyLimit = 4096;
  HttpParser parser(kBodyLimit);
  std::string input;
  for (size_t at = 1; at < size; at += piece) {
    input.append(reinterpret_cast<const char*>(data + at), std::min(piece, size - at));
    for (ParseState state = parser.advance(input); state != ParseState::kNeedMore;
         state = parser.advance(input)) {
      if (state == ParseState::kBad) return 0;
      if (state != ParseState::kComplete) continue;
      const HttpRequest request = parser.take();
      if (request.body.size() > kBodyLimit) std::abort();
      static_cast<void>(route_request(request.method, request.target, request.body));
    }
  }
  return 0;
}
