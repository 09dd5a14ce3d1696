#pragma once
// The API's MmdsConfig object: which interfaces reach the metadata, and how.

#include <cstdint>
#include <string>
#include <vector>

#include "devices/mmds/arp.h"

namespace mote::mmds {

enum class Version : uint8_t {
  kV1,  ///< Whoever asks is answered.
  kV2,  ///< Only who shows a session token.
};

inline constexpr Ipv4 kDefaultAddress = {169, 254, 169, 254};
/// Ours on every interface; locally administered, and the reference's.
inline constexpr Mac kOwnMac = {0x06, 0x01, 0x23, 0x45, 0x67, 0x01};

struct Config {
  Version version = Version::kV1;
  std::vector<std::string> network_interfaces{};  ///< Ids, at least one.
  Ipv4 ipv4_address = kDefaultAddress;            ///< Link-local.
  bool imds_compat = false;                       ///< Answers are plain text, whatever Accept says.
  bool operator==(const Config&) const = default;
};

/// RFC 3927 section 2.1: 169.254/16 without its first and its last 256 addresses.
[[nodiscard]] constexpr bool is_link_local(const Ipv4& address) {
  return address[0] == 169 && address[1] == 254 && address[2] != 0 && address[2] != 255;
}

}  // namespace mote::mmds
