// Bytes as a client might send them. The parser must come to an end, keep its bounds, and see the
// same requests however the bytes are cut into pieces (only how soon it knows that the rest is bad
// may differ).

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "http/parser.h"

namespace {

using namespace mote::http;

constexpr size_t kBodyLimit = 4096;

std::vector<Request> parse_in_pieces(std::string_view text, size_t piece_bytes) {
  Parser parser(kBodyLimit);
  std::vector<Request> requests;
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
        return requests;
      }
      requests.push_back(parser.take());
      if (requests.back().body.size() > kBodyLimit) std::abort();
    }
    // What is neither used nor refused is a head that has not ended.
    if (input.size() > Parser::kHeaderLimitBytes + piece_bytes) std::abort();
  }
  return requests;
}

bool same(const Request& a, const Request& b) {
  return a.method == b.method && a.target == b.target && a.body == b.body &&
         a.keep_alive == b.keep_alive;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  const auto whole = parse_in_pieces(text, text.size());
  const auto pieces = parse_in_pieces(text, 1U + data[0]);
  if (!std::ranges::equal(whole, pieces, same)) std::abort();
  return 0;
}
