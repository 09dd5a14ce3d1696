#pragma once
// IPv4 (RFC 791) and TCP (RFC 9293) in Ethernet frames: a guest's frame in, checked in every field,
// and our own segments out. Pure.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "devices/mmds/arp.h"

namespace mote::mmds {

/// Ethernet, IPv4 and TCP headers without options, and the one option a SYN of ours carries.
inline constexpr size_t kEthernetBytes = 14;
inline constexpr size_t kHeaderBytes = kEthernetBytes + 20 + 20;
inline constexpr size_t kMssOptionBytes = 4;
/// What a segment of ours carries at most: with its headers it fits an Ethernet of 1,500 bytes.
inline constexpr uint16_t kMaxSegmentBytes = 1460;
inline constexpr size_t kMaxFrameBytes = kHeaderBytes + kMaxSegmentBytes;

/// Who talks to whom: our side is always the metadata address.
struct Peer {
  Mac mac{};
  Ipv4 address{};
  uint16_t port = 0;
  bool operator==(const Peer&) const = default;
};

/// Flags of a TCP header, RFC 9293 section 3.1.
enum TcpFlag : uint8_t { kFin = 1, kSyn = 2, kRst = 4, kPsh = 8, kAck = 16 };

struct Segment {
  uint32_t sequence = 0;
  uint32_t acknowledgment = 0;
  uint16_t window = 0;
  uint8_t flags = 0;  ///< TcpFlag.
  /// The MSS option: bytes, 0 where it is absent. Other options of a guest are passed over.
  uint16_t mss = 0;
  std::span<const std::byte> payload{};

  [[nodiscard]] bool has(TcpFlag flag) const { return (flags & flag) != 0; }
  /// Sequence numbers it takes.
  [[nodiscard]] uint32_t length() const {
    return static_cast<uint32_t>(payload.size()) + (has(kSyn) ? 1 : 0) + (has(kFin) ? 1 : 0);
  }
};

/// Whether the sender finished the TCP checksum, or left it to the device (NEEDS_CSUM).
enum class Checksum : uint8_t { kComplete, kPartial };

struct Received {
  Peer from;
  uint16_t own_port = 0;
  Segment segment;  ///< Its payload lies in the frame.
};

/// True for the frames that are the service's to answer or to drop, never the network's: ARP that
/// asks for `own_address`, and IPv4 sent to it. `frame` may be cut off behind the first
/// kArpFrameBytes.
[[nodiscard]] bool is_for(std::span<const std::byte> frame, const Ipv4& own_address);

/// The TCP segment in an Ethernet frame to `own_address` (bytes that the guest can no longer
/// change). Nothing for other protocols, fragments, and whatever is cut off, contradicts itself or
/// carries a wrong checksum; bytes behind the IPv4 packet are padding.
[[nodiscard]] std::optional<Received> parse_tcp(std::span<const std::byte> frame, Checksum checksum,
                                                const Ipv4& own_address);

/// Writes a frame with both checksums into `frame` (at least kMaxFrameBytes; the payload at most
/// kMaxSegmentBytes, none with an MSS option) and gives its length.
size_t build_tcp(std::span<std::byte> frame, const Peer& to, const Mac& own_mac,
                 const Ipv4& own_address, uint16_t own_port, const Segment& segment);

}  // namespace mote::mmds
