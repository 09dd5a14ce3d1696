#pragma once
// The host's side of a TAP, for tests and benches: a network namespace of their own, interfaces in
// every state, and a packet socket that plays the rest of the network.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "devices/virtio/net/spec.h"

namespace mote::virtio::net::testing {

/// An EtherType for experiments (IEEE 802, local): nobody else sends it.
inline constexpr uint16_t kEtherType = 0x88b5;

/// Moves the calling thread, and those it starts, into a fresh network namespace without IPv6, so
/// that no packet comes unasked. Needs root.
base::Result<> enter_network_namespace();

enum class Queues : uint8_t { kSingle, kMultiple };

/// A TAP of this user alone, which stays until it is deleted or the namespace ends.
base::Result<> create_persistent_tap(const std::string& name, Queues queues);
base::Result<> set_up(const std::string& name, bool up);
base::Result<> set_mtu(const std::string& name, int mtu);
base::Result<> delete_interface(const std::string& name);

/// Sends to an interface and hears what comes from it, vnet header included.
class PacketSocket final {
 public:
  /// `ether_type` of 0 hears nothing.
  static base::Result<PacketSocket> open(const std::string& interface, uint16_t ether_type);

  struct Packet {
    virtio_net_hdr_v1 header{};  ///< num_buffers is not filled in.
    std::vector<std::byte> frame;
  };
  /// A frame as the network stack would send it; `header` names unfinished work (checksum, TSO).
  base::Result<> send(std::span<const std::byte> frame, const virtio_net_hdr_v1& header = {}) const;
  /// The next packet the interface received; does not wait.
  [[nodiscard]] std::optional<Packet> receive() const;

 private:
  explicit PacketSocket(base::UniqueFd fd) : fd_(std::move(fd)) {}
  base::UniqueFd fd_;
};

}  // namespace mote::virtio::net::testing
