#include "devices/mmds/arp.h"

#include <algorithm>
#include <cstring>

namespace mote::mmds {
namespace {

// Where the fields lie in the frame.
constexpr size_t kDestination = 0;
constexpr size_t kSource = 6;
constexpr size_t kFixed = 12;  ///< EtherType, then the ARP message.
constexpr size_t kSenderMac = 22;
constexpr size_t kSenderIp = 28;
constexpr size_t kTargetMac = 32;
constexpr size_t kTargetIp = 38;

/// EtherType ARP, hardware Ethernet, protocol IPv4, address lengths 6 and 4, operation request.
constexpr std::array<uint8_t, 10> kRequest = {0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1};
/// The low byte of the operation; 2 is a reply.
constexpr size_t kOperation = kFixed + kRequest.size() - 1;

}  // namespace

std::optional<ArpFrame> answer_arp(std::span<const std::byte> frame, const Mac& own_mac,
                                   const Ipv4& own_address) {
  if (frame.size() < kArpFrameBytes) return {};
  ArpFrame reply;
  std::copy_n(frame.begin(), kArpFrameBytes, reply.begin());
  if (std::memcmp(&reply[kFixed], kRequest.data(), kRequest.size()) != 0) return {};
  if (std::memcmp(&reply[kTargetIp], own_address.data(), own_address.size()) != 0) return {};

  // The asker's hardware and protocol address become the target's.
  std::memmove(&reply[kTargetMac], &reply[kSenderMac], own_mac.size() + own_address.size());
  std::memcpy(&reply[kSenderMac], own_mac.data(), own_mac.size());
  std::memcpy(&reply[kSenderIp], own_address.data(), own_address.size());
  std::memcpy(&reply[kDestination], &reply[kSource], own_mac.size());
  std::memcpy(&reply[kSource], own_mac.data(), own_mac.size());
  reply[kOperation] = std::byte{2};
  return reply;
}

}  // namespace mote::mmds
