// Frames and times as a hostile guest might choose them, on one metadata address with content. Each
// input is a list of frames: two bytes of length with flags, then the frame. Whatever comes, the
// endpoint keeps its bounds and ends, and its own frames parse.

#include <boost/json/object.hpp>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "devices/mmds/endpoint.h"

namespace {

using namespace mote::mmds;

/// For each frame a guest sends, what we have to say is a response and its repetitions.
constexpr size_t kMaxAnswers = 1000;

/// Fixes what a mutation cannot hit by chance: the addresses and the port, so that inputs reach
/// TCP.
void aim(std::vector<std::byte>& frame, uint8_t port_choice) {
  if (frame.size() < kHeaderBytes) return;
  frame[12] = std::byte{8};
  frame[13] = std::byte{0};
  frame[36] = std::byte{0};
  frame[37] = std::byte{80};
  frame[34] = std::byte{0};
  frame[35] = std::byte{port_choice};
  for (size_t i = 0; i < kDefaultAddress.size(); ++i) frame[30 + i] = std::byte{kDefaultAddress[i]};
}

void drain(Endpoint& endpoint, uint64_t now_ns) {
  std::vector<std::byte> frame(kMaxFrameBytes);
  for (size_t i = 0;; ++i) {
    const size_t bytes = endpoint.next_frame(frame, now_ns);
    if (bytes == 0) return;
    if (bytes > kMaxFrameBytes || i > kMaxAnswers) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Service* const service = [] {
    auto* const made = new Service(1 << 16);  // For the life of the process.
    made->configure({.network_interfaces = {"eth0"}});
    (void)made->store().replace({{"a", std::string(3000, 'x')}});
    return made;
  }();
  Endpoint endpoint(*service);
  std::span<const uint8_t> rest(data, size);
  uint64_t now_ns = 1'000'000'000;
  while (rest.size() >= 3) {
    const size_t length = std::min<size_t>(rest[0] | (rest[1] & 7U) << 8, rest.size() - 3);
    const uint8_t flags = rest[1] >> 3;
    std::vector<std::byte> frame(length);
    for (size_t i = 0; i < length; ++i) frame[i] = std::byte{rest[3 + i]};
    if ((flags & 1) != 0) aim(frame, rest[2]);
    if ((flags & 2) != 0) {
      now_ns += uint64_t{rest[2]} * 100'000'000;
      endpoint.on_deadline(now_ns);
    }
    rest = rest.subspan(3 + length);
    if (endpoint.takes(frame)) {
      endpoint.receive(frame, (flags & 4) != 0 ? Checksum::kComplete : Checksum::kPartial, now_ns);
    }
    if ((flags & 8) == 0) drain(endpoint, now_ns);
    if (endpoint.connection_count() > Endpoint::kMaxConnections) std::abort();
  }
  return 0;
}
