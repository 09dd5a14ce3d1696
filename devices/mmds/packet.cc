#include "devices/mmds/packet.h"

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>

#include <array>
#include <cstring>

#include "base/check.h"

namespace mote::mmds {
namespace {

// The target's protocol address in an ARP message, the destination's in an IPv4 header.
constexpr size_t kArpTarget = kEthernetBytes + 24;
constexpr size_t kIpDestination = kEthernetBytes + offsetof(iphdr, daddr);
constexpr size_t kMinIpBytes = sizeof(iphdr);
constexpr size_t kMinTcpBytes = sizeof(tcphdr);
constexpr uint8_t kTimeToLive = 64;

template <typename Header>
Header header_at(std::span<const std::byte> bytes, size_t offset) {
  Header header;
  std::memcpy(&header, bytes.data() + offset, sizeof(header));
  return header;
}

/// RFC 1071: the ones' complement sum, carried on from `sum`.
uint64_t add_up(std::span<const std::byte> bytes, uint64_t sum) {
  size_t i = 0;
  for (; i + 1 < bytes.size(); i += 2) {
    sum += std::to_integer<uint64_t>(bytes[i]) << 8 | std::to_integer<uint64_t>(bytes[i + 1]);
  }
  if (i < bytes.size()) sum += std::to_integer<uint64_t>(bytes[i]) << 8;
  return sum;
}

uint16_t fold(uint64_t sum) {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

/// Of the addresses, the protocol and the length, and then the segment (RFC 9293 section 3.1).
uint16_t tcp_checksum(const iphdr& ip, std::span<const std::byte> segment) {
  const std::array<uint32_t, 2> addresses = {ip.saddr, ip.daddr};
  const uint64_t sum =
      add_up(std::as_bytes(std::span(addresses)), uint64_t{IPPROTO_TCP} + segment.size());
  return fold(add_up(segment, sum));
}

uint16_t ether_type(std::span<const std::byte> frame) {
  return ntohs(header_at<ether_header>(frame, 0).ether_type);
}

/// The MSS option among `options`, 0 without; nothing when the list is broken.
std::optional<uint16_t> read_mss(std::span<const std::byte> options) {
  uint16_t mss = 0;
  while (!options.empty()) {
    const auto kind = std::to_integer<uint8_t>(options[0]);
    if (kind == TCPOPT_EOL) break;
    if (kind == TCPOPT_NOP) {
      options = options.subspan(1);
      continue;
    }
    if (options.size() < 2) return std::nullopt;
    const auto length = std::to_integer<size_t>(options[1]);
    if (length < 2 || length > options.size()) return std::nullopt;
    if (kind == TCPOPT_MAXSEG && length == TCPOLEN_MAXSEG) {
      mss = ntohs(header_at<uint16_t>(options, 2));
    }
    options = options.subspan(length);
  }
  return mss;
}

/// The IPv4 packet's header and what it carries; nothing where it does not make sense or is not
/// for us.
struct IpPacket {
  iphdr header;
  std::span<const std::byte> payload;
};
std::optional<IpPacket> parse_ip(std::span<const std::byte> bytes, const Ipv4& own_address) {
  if (bytes.size() < kMinIpBytes) return std::nullopt;
  const auto ip = header_at<iphdr>(bytes, 0);
  const size_t header_bytes = size_t{ip.ihl} * 4;
  const size_t total = ntohs(ip.tot_len);
  if (ip.version != IPVERSION || header_bytes < kMinIpBytes || total < header_bytes ||
      total > bytes.size()) {
    return std::nullopt;
  }
  if (std::memcmp(&ip.daddr, own_address.data(), own_address.size()) != 0) return std::nullopt;
  if ((ntohs(ip.frag_off) & (IP_MF | IP_OFFMASK)) != 0) return std::nullopt;
  if (fold(add_up(bytes.first(header_bytes), 0)) != 0) return std::nullopt;
  return IpPacket{ip, bytes.first(total).subspan(header_bytes)};
}

}  // namespace

bool is_for(std::span<const std::byte> frame, const Ipv4& own_address) {
  if (frame.size() < kEthernetBytes + kMinIpBytes) return false;
  const uint16_t type = ether_type(frame);
  const size_t offset = type == ETHERTYPE_IP ? kIpDestination : kArpTarget;
  if (type != ETHERTYPE_IP && type != ETHERTYPE_ARP) return false;
  return offset + own_address.size() <= frame.size() &&
         std::memcmp(&frame[offset], own_address.data(), own_address.size()) == 0;
}

std::optional<Received> parse_tcp(std::span<const std::byte> frame, Checksum checksum,
                                  const Ipv4& own_address) {
  if (frame.size() < kEthernetBytes || ether_type(frame) != ETHERTYPE_IP) return std::nullopt;
  const auto packet = parse_ip(frame.subspan(kEthernetBytes), own_address);
  if (!packet || packet->header.protocol != IPPROTO_TCP || packet->payload.size() < kMinTcpBytes) {
    return std::nullopt;
  }
  const auto tcp = header_at<tcphdr>(packet->payload, 0);
  const size_t header_bytes = size_t{tcp.doff} * 4;
  if (header_bytes < kMinTcpBytes || header_bytes > packet->payload.size()) return std::nullopt;
  if (checksum == Checksum::kComplete && tcp_checksum(packet->header, packet->payload) != 0) {
    return std::nullopt;
  }
  const auto mss = read_mss(packet->payload.first(header_bytes).subspan(kMinTcpBytes));
  if (!mss) return std::nullopt;

  Received received;
  const auto ethernet = header_at<ether_header>(frame, 0);
  std::memcpy(received.from.mac.data(), ethernet.ether_shost, received.from.mac.size());
  std::memcpy(received.from.address.data(), &packet->header.saddr, received.from.address.size());
  received.from.port = ntohs(tcp.th_sport);
  received.own_port = ntohs(tcp.th_dport);
  received.segment = {.sequence = ntohl(tcp.th_seq),
                      .acknowledgment = ntohl(tcp.th_ack),
                      .window = ntohs(tcp.th_win),
                      .flags = tcp.th_flags,
                      .mss = *mss,
                      .payload = packet->payload.subspan(header_bytes)};
  return received;
}

size_t build_tcp(std::span<std::byte> frame, const Peer& to, const Mac& own_mac,
                 const Ipv4& own_address, uint16_t own_port, const Segment& segment) {
  const size_t options = segment.mss != 0 ? kMssOptionBytes : 0;
  const size_t tcp_bytes = kMinTcpBytes + options + segment.payload.size();
  const size_t total = kMinIpBytes + tcp_bytes;
  CHECK(kEthernetBytes + total <= frame.size(), "a segment larger than its frame");

  ether_header ethernet{};
  std::memcpy(ethernet.ether_dhost, to.mac.data(), to.mac.size());
  std::memcpy(ethernet.ether_shost, own_mac.data(), own_mac.size());
  ethernet.ether_type = htons(ETHERTYPE_IP);
  std::memcpy(frame.data(), &ethernet, sizeof(ethernet));

  iphdr ip{};
  ip.version = IPVERSION;
  ip.ihl = kMinIpBytes / 4;
  ip.tot_len = htons(static_cast<uint16_t>(total));
  ip.frag_off = htons(IP_DF);
  ip.ttl = kTimeToLive;
  ip.protocol = IPPROTO_TCP;
  std::memcpy(&ip.saddr, own_address.data(), own_address.size());
  std::memcpy(&ip.daddr, to.address.data(), to.address.size());
  ip.check = htons(fold(add_up(std::as_bytes(std::span(&ip, 1)), 0)));
  std::memcpy(&frame[kEthernetBytes], &ip, sizeof(ip));

  tcphdr tcp{};
  tcp.th_sport = htons(own_port);
  tcp.th_dport = htons(to.port);
  tcp.th_seq = htonl(segment.sequence);
  tcp.th_ack = htonl(segment.acknowledgment);
  tcp.th_flags = segment.flags;
  tcp.th_win = htons(segment.window);
  tcp.th_off = static_cast<uint8_t>((kMinTcpBytes + options) / 4) & 0xf;
  const auto body = frame.subspan(kEthernetBytes + kMinIpBytes, tcp_bytes);
  std::memcpy(body.data(), &tcp, sizeof(tcp));
  if (segment.mss != 0) {
    const std::array<uint8_t, kMssOptionBytes> option = {TCPOPT_MAXSEG, TCPOLEN_MAXSEG,
                                                         static_cast<uint8_t>(segment.mss >> 8),
                                                         static_cast<uint8_t>(segment.mss)};
    std::memcpy(&body[kMinTcpBytes], option.data(), option.size());
  }
  if (!segment.payload.empty()) {
    std::memcpy(&body[kMinTcpBytes + options], segment.payload.data(), segment.payload.size());
  }
  const uint16_t sum = htons(tcp_checksum(ip, body));
  std::memcpy(&body[offsetof(tcphdr, th_sum)], &sum, sizeof(sum));
  return kEthernetBytes + total;
}

}  // namespace mote::mmds
