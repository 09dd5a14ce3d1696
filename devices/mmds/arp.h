#pragma once
// ARP (RFC 826) for the metadata address: a frame of the guest in, our answer out. Pure.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace mote::mmds {

using Mac = std::array<uint8_t, 6>;
using Ipv4 = std::array<uint8_t, 4>;

/// Ethernet header and ARP message for IPv4, without padding.
inline constexpr size_t kArpFrameBytes = 42;
using ArpFrame = std::array<std::byte, kArpFrameBytes>;

/// The reply to `frame` (an Ethernet frame without vnet header; bytes the guest can no longer
/// change), from `own_mac`, where it is a request for `own_address`; nothing for all other frames.
/// Bytes after the message are Ethernet padding and are ignored.
[[nodiscard]] std::optional<ArpFrame> answer_arp(std::span<const std::byte> frame,
                                                 const Mac& own_mac, const Ipv4& own_address);

}  // namespace mote::mmds
