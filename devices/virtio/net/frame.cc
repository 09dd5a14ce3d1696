#include "devices/virtio/net/frame.h"

#include <fmt/format.h>

#include <charconv>

namespace mote::virtio::net {

base::Result<MacAddress> parse_mac(std::string_view text) {
  constexpr size_t kTextBytes = 17;
  MacAddress mac;
  bool valid = text.size() == kTextBytes;
  for (size_t i = 0; valid && i < mac.octets.size(); ++i) {
    const char* const pair = text.data() + 3 * i;
    const auto [end, error] = std::from_chars(pair, pair + 2, mac.octets[i], 16);
    valid = error == std::errc{} && end == pair + 2 && (i == 5 || *end == ':');
  }
  if (valid) return mac;
  return base::fail(base::ErrorCode::kInvalidArgument,
                    fmt::format("\"{}\" is not a MAC address like 06:00:ac:10:00:02", text));
}

std::string format_mac(const MacAddress& mac) {
  const auto& o = mac.octets;
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", o[0], o[1], o[2], o[3], o[4],
                     o[5]);
}

}  // namespace mote::virtio::net
