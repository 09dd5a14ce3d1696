#include "tests/integration/network_namespace.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <vector>

namespace mote::integration {
namespace {

constexpr uint16_t kEchoPort = 7;
constexpr uint16_t kQuitPort = 9;
constexpr int kTries = 50;

std::string reason(const std::string& what) {
  return what + ": " + std::strerror(errno);
}

sockaddr_in ipv4(uint32_t address, uint16_t port) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_port = htons(port);
  result.sin_addr.s_addr = htonl(address);
  return result;
}

ifreq request_for(const std::string& name) {
  ifreq request{};
  std::memcpy(request.ifr_name, name.data(), std::min<size_t>(name.size(), IFNAMSIZ - 1));
  return request;
}

base::UniqueFd open_socket(int type, int protocol) {
  base::UniqueFd fd(::socket(AF_INET, type | SOCK_CLOEXEC, protocol));
  const timeval deadline{0, 200'000};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof(deadline));
  return fd;
}

bool send_to_guest(int fd, std::span<const std::byte> bytes, uint16_t port) {
  const sockaddr_in guest = ipv4(kGuestAddress, port);
  return ::sendto(fd, bytes.data(), bytes.size(), 0, reinterpret_cast<const sockaddr*>(&guest),
                  sizeof(guest)) == static_cast<ssize_t>(bytes.size());
}

uint16_t internet_checksum(std::span<const std::byte> bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const auto byte = static_cast<uint32_t>(bytes[i]);
    sum += i % 2 == 0 ? byte << 8 : byte;
  }
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return htons(static_cast<uint16_t>(~sum));
}

bool set_up_link(const std::string& name) {
  const base::UniqueFd control = open_socket(SOCK_DGRAM, 0);
  ifreq request = request_for(name);
  const sockaddr_in address = ipv4(kHostAddress, 0);
  std::memcpy(&request.ifr_addr, &address, sizeof(address));
  if (::ioctl(control.get(), SIOCSIFADDR, &request) != 0) return false;
  const sockaddr_in mask = ipv4(0xffffff00, 0);
  std::memcpy(&request.ifr_netmask, &mask, sizeof(mask));
  if (::ioctl(control.get(), SIOCSIFNETMASK, &request) != 0) return false;
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  return ::ioctl(control.get(), SIOCSIFFLAGS, &request) == 0;
}

/// Attaches to (and thereby makes) the TAP; -1 on failure.
base::UniqueFd attach(const std::string& name) {
  base::UniqueFd tun(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  ifreq request = request_for(name);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (tun.valid() && ::ioctl(tun.get(), TUNSETIFF, &request) != 0) tun.reset();
  return tun;
}

}  // namespace

std::optional<std::string> enter_network_namespace() {
  static const std::optional<std::string> outcome =
      ::unshare(CLONE_NEWNET) == 0 ? std::nullopt : std::optional(reason("unshare(CLONE_NEWNET)"));
  return outcome;
}

std::optional<std::string> create_tap(const std::string& name) {
  const base::UniqueFd tun = attach(name);
  if (!tun.valid()) return reason("TAP by /dev/net/tun");
  if (::ioctl(tun.get(), TUNSETPERSIST, 1UL) != 0) return reason("TUNSETPERSIST");
  if (!set_up_link(name)) return reason("address of " + name);
  return std::nullopt;
}

void remove_tap(const std::string& name) {
  struct {
    nlmsghdr header;
    ifinfomsg link;
  } request{};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = RTM_DELLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request.link.ifi_index = static_cast<int>(::if_nametoindex(name.c_str()));
  if (request.link.ifi_index == 0) return;
  const base::UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  ::send(fd.get(), &request, sizeof(request), 0);
  std::array<char, 1024> answer{};
  ::recv(fd.get(), answer.data(), answer.size(), 0);
}

bool echo_by_udp(const std::string& payload) {
  const base::UniqueFd fd = open_socket(SOCK_DGRAM, 0);
  std::vector<char> answer(payload.size() + 1);
  for (int i = 0; i < kTries; ++i) {
    send_to_guest(fd.get(), std::as_bytes(std::span(payload)), kEchoPort);
    const ssize_t got = ::recv(fd.get(), answer.data(), answer.size(), 0);
    if (got >= 0) return std::string(answer.data(), static_cast<size_t>(got)) == payload;
  }
  return false;
}

bool ping(size_t payload_bytes) {
  const base::UniqueFd fd = open_socket(SOCK_RAW, IPPROTO_ICMP);
  std::vector<std::byte> packet(sizeof(icmphdr) + payload_bytes, std::byte{0x5a});
  icmphdr header{};
  header.type = ICMP_ECHO;
  header.un.echo.id = htons(0x1234);
  header.un.echo.sequence = htons(static_cast<uint16_t>(payload_bytes));
  std::memcpy(packet.data(), &header, sizeof(header));
  header.checksum = internet_checksum(packet);
  std::memcpy(packet.data(), &header, sizeof(header));
  std::array<std::byte, 4096> answer{};
  for (int i = 0; i < kTries; ++i) {
    send_to_guest(fd.get(), packet, 0);
    while (true) {
      const ssize_t got = ::recv(fd.get(), answer.data(), answer.size(), 0);
      if (got < 0) break;
      if (static_cast<size_t>(got) != sizeof(iphdr) + packet.size()) continue;
      icmphdr reply{};
      std::memcpy(&reply, answer.data() + sizeof(iphdr), sizeof(reply));
      if (reply.type != ICMP_ECHOREPLY || reply.un.echo.id != header.un.echo.id) continue;
      // The kernel hands raw sockets what it has not checked.
      return internet_checksum(std::span(answer).subspan(sizeof(iphdr), packet.size())) == 0 &&
             std::memcmp(answer.data() + sizeof(iphdr) + sizeof(icmphdr),
                         packet.data() + sizeof(icmphdr), payload_bytes) == 0;
    }
  }
  return false;
}

void ask_to_quit() {
  const base::UniqueFd fd = open_socket(SOCK_DGRAM, 0);
  send_to_guest(fd.get(), std::as_bytes(std::span("quit", 4)), kQuitPort);
}

}  // namespace mote::integration
