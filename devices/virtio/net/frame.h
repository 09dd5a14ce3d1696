#pragma once
// MAC addresses as text, and looks into packets that lie scattered over guest memory. Pure.

#include <sys/uio.h>

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "devices/virtio/net/config.h"

namespace mote::virtio::net {

/// Six pairs of hexadecimal digits with colons between them.
base::Result<MacAddress> parse_mac(std::string_view text);
/// The same in lower case.
[[nodiscard]] std::string format_mac(const MacAddress& mac);

/// Copies the first bytes of `parts`, each byte once; gives how many there were, at most
/// bytes.size(). The copy is what may be judged: the guest can change the original at any time.
[[nodiscard]] size_t copy_front(std::span<const iovec> parts, std::span<std::byte> bytes);

/// The sender in the Ethernet header behind the vnet header; nothing where the packet ends before.
[[nodiscard]] std::optional<MacAddress> source_mac(std::span<const iovec> packet);

/// The number of queue pairs asked for by a VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET command (§5.1.6.5.5);
/// nothing for any other command.
[[nodiscard]] std::optional<uint16_t> parse_pairs_set(std::span<const iovec> command);

}  // namespace mote::virtio::net
