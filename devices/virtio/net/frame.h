#pragma once
// MAC addresses as text. Pure.

#include <string>
#include <string_view>

#include "base/result.h"
#include "devices/virtio/net/config.h"

namespace mote::virtio::net {

/// Six pairs of hexadecimal digits with colons between them.
base::Result<MacAddress> parse_mac(std::string_view text);
/// The same in lower case.
[[nodiscard]] std::string format_mac(const MacAddress& mac);

}  // namespace mote::virtio::net
