#pragma once
// Virtio 1.2 §5.1: wire structures and numbers of the network device, in the specification's
// spelling.

#include <cstddef>
#include <cstdint>

namespace mote::virtio::net {

inline constexpr uint64_t VIRTIO_NET_F_CSUM = uint64_t{1} << 0;
inline constexpr uint64_t VIRTIO_NET_F_GUEST_CSUM = uint64_t{1} << 1;
inline constexpr uint64_t VIRTIO_NET_F_MTU = uint64_t{1} << 3;
inline constexpr uint64_t VIRTIO_NET_F_MAC = uint64_t{1} << 5;
inline constexpr uint64_t VIRTIO_NET_F_GUEST_TSO4 = uint64_t{1} << 7;
inline constexpr uint64_t VIRTIO_NET_F_GUEST_TSO6 = uint64_t{1} << 8;
inline constexpr uint64_t VIRTIO_NET_F_GUEST_ECN = uint64_t{1} << 9;
inline constexpr uint64_t VIRTIO_NET_F_GUEST_UFO = uint64_t{1} << 10;
inline constexpr uint64_t VIRTIO_NET_F_HOST_TSO4 = uint64_t{1} << 11;
inline constexpr uint64_t VIRTIO_NET_F_HOST_TSO6 = uint64_t{1} << 12;
inline constexpr uint64_t VIRTIO_NET_F_HOST_ECN = uint64_t{1} << 13;
inline constexpr uint64_t VIRTIO_NET_F_HOST_UFO = uint64_t{1} << 14;
inline constexpr uint64_t VIRTIO_NET_F_MRG_RXBUF = uint64_t{1} << 15;
inline constexpr uint64_t VIRTIO_NET_F_CTRL_VQ = uint64_t{1} << 17;
inline constexpr uint64_t VIRTIO_NET_F_MQ = uint64_t{1} << 22;

/// §5.1.6: before every packet, in both directions.
struct virtio_net_hdr_v1 {
  uint8_t flags;
  uint8_t gso_type;
  uint16_t hdr_len;
  uint16_t gso_size;
  uint16_t csum_start;
  uint16_t csum_offset;
  uint16_t num_buffers;
};
static_assert(sizeof(virtio_net_hdr_v1) == 12);
static_assert(offsetof(virtio_net_hdr_v1, num_buffers) == 10);
inline constexpr uint8_t VIRTIO_NET_HDR_F_NEEDS_CSUM = 1;
inline constexpr uint8_t VIRTIO_NET_HDR_GSO_NONE = 0;
inline constexpr uint8_t VIRTIO_NET_HDR_GSO_TCPV4 = 1;

struct virtio_net_config {
  uint8_t mac[6];
  uint16_t status;
  uint16_t max_virtqueue_pairs;
  uint16_t mtu;
};
static_assert(sizeof(virtio_net_config) == 12);

// §5.1.6.5: the control queue.
inline constexpr uint8_t VIRTIO_NET_CTRL_MQ = 4;
inline constexpr uint8_t VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET = 0;
inline constexpr uint8_t VIRTIO_NET_OK = 0;
inline constexpr uint8_t VIRTIO_NET_ERR = 1;

inline constexpr uint64_t kEthernetHeaderBytes = 14;
inline constexpr uint64_t kVlanTagBytes = 4;
/// The longest packet a driver or a TAP hands over: 64 KiB of IP behind an Ethernet header with a
/// VLAN tag, and the vnet header.
inline constexpr uint64_t kMaxPacketBytes =
    65535 + kEthernetHeaderBytes + kVlanTagBytes + sizeof(virtio_net_hdr_v1);

}  // namespace mote::virtio::net
