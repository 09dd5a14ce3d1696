#include "devices/virtio/net/frame.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "devices/virtio/net/spec.h"

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

size_t copy_front(std::span<const iovec> parts, std::span<std::byte> bytes) {
  size_t copied = 0;
  for (const iovec& part : parts) {
    if (copied == bytes.size()) break;
    const size_t step = std::min(part.iov_len, bytes.size() - copied);
    std::memcpy(bytes.data() + copied, part.iov_base, step);
    copied += step;
  }
  // Without this the compiler may turn later uses of the copy back into loads of guest memory.
  asm volatile("" : : "r"(bytes.data()) : "memory");
  return copied;
}

std::optional<MacAddress> source_mac(std::span<const iovec> packet) {
  // Destination, source, type; then the rest.
  constexpr size_t kSourceOffset = sizeof(virtio_net_hdr_v1) + 6;
  std::array<std::byte, kSourceOffset + 6> head{};
  if (copy_front(packet, head) < head.size()) return std::nullopt;
  MacAddress mac;
  std::memcpy(mac.octets.data(), head.data() + kSourceOffset, mac.octets.size());
  return mac;
}

std::optional<uint16_t> parse_pairs_set(std::span<const iovec> command) {
  // Class, command and a little-endian 16-bit number, and not a byte more.
  std::array<std::byte, 5> bytes{};
  if (copy_front(command, bytes) != bytes.size() - 1) return std::nullopt;
  const auto at = [&](size_t i) { return std::to_integer<uint8_t>(bytes[i]); };
  if (at(0) != VIRTIO_NET_CTRL_MQ || at(1) != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET) return std::nullopt;
  return static_cast<uint16_t>(at(2) | at(3) << 8);
}

}  // namespace mote::virtio::net
