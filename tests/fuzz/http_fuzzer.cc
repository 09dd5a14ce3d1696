// Bytes as a client might send them. The parser must come to an end and keep its bounds
// however the bytes are cut into pieces.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "api-server/http.h"

namespace {

using namespace mote::api_server;

constexpr size_t kBodyLimit = 4096;

void parse_in_pieces(std::string_view text, size_t piece_bytes) {
  HttpParser parser(kBodyLimit);
  std::string input;
  while (!text.empty()) {
    const std::string_view piece = text.substr(0, piece_bytes);
    text.remove_prefix(piece.size());
    input += piece;
    for (;;) {
      const ParseState state = parser.advance(input);
      if (state == ParseState::kNeedMore) break;
      if (state == ParseState::kNeedContinue) continue;
      if (state == ParseState::kBad) {
        if (parser.error().empty()) std::abort();
        return;
      }
      if (parser.take().body.size() > kBodyLimit) std::abort();
    }
    // What is neither used nor refused is a head that has not ended.
    if (input.size() > HttpParser::kHeaderLimitBytes + piece_bytes) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  parse_in_pieces(text, text.size());
  parse_in_pieces(text, 1U + data[0]);
  return 0;
}
