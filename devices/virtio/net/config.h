#pragma once
// The API's NetworkInterface object: the one configuration struct of a network device.

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "devices/virtio/rate_limiter.h"

namespace mote::virtio::net {

struct MacAddress {
  std::array<uint8_t, 6> octets{};
  bool operator==(const MacAddress&) const = default;
};

struct NetworkInterfaceConfig {
  std::string iface_id;
  std::string host_dev_name;            ///< An existing or creatable TAP, 1 to 15 bytes.
  std::optional<MacAddress> guest_mac;  ///< Absent: VIRTIO_NET_F_MAC is not offered.
  std::optional<uint16_t> mtu;          ///< 68..65535, offered as VIRTIO_NET_F_MTU.
  std::optional<RateLimiterConfig> rx_rate_limiter;
  std::optional<RateLimiterConfig> tx_rate_limiter;
  bool operator==(const NetworkInterfaceConfig&) const = default;
};

/// PATCH /network-interfaces/{id}: only what is given changes.
struct NetworkInterfacePatch {
  std::string iface_id;
  std::optional<RateLimiterConfig> rx_rate_limiter;
  std::optional<RateLimiterConfig> tx_rate_limiter;
};

}  // namespace mote::virtio::net
