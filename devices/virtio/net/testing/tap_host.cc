#include "devices/virtio/net/testing/tap_host.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstring>

namespace mote::virtio::net::testing {
namespace {

/// What AF_PACKET puts before a frame: the first ten bytes of ours.
constexpr size_t kShortHeaderBytes = offsetof(virtio_net_hdr_v1, num_buffers);

ifreq request_for(const std::string& name) {
  ifreq request{};
  std::memcpy(request.ifr_name, name.data(), std::min(name.size(), size_t{IFNAMSIZ - 1}));
  return request;
}

base::Result<> interface_ioctl(unsigned long number, ifreq& request, const char* what) {
  const base::UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.valid() || ::ioctl(socket.get(), number, &request) != 0)
    return base::fail_errno(errno, std::string(what) + " " + request.ifr_name);
  return {};
}

}  // namespace

base::Result<> enter_network_namespace() {
  if (::unshare(CLONE_NEWNET) != 0) return base::fail_errno(errno, "a fresh network namespace");
  const base::UniqueFd setting(
      ::open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY | O_CLOEXEC));
  // A host without IPv6 has no such file, and is quiet anyway.
  if (setting.valid() && ::write(setting.get(), "1", 1) != 1)
    return base::fail_errno(errno, "switching off IPv6 in the namespace");
  return {};
}

base::Result<> create_persistent_tap(const std::string& name, Queues queues) {
  const base::UniqueFd fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  if (!fd.valid()) return base::fail_errno(errno, "/dev/net/tun");
  ifreq request = request_for(name);
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR |
                                         (queues == Queues::kMultiple ? IFF_MULTI_QUEUE : 0));
  if (::ioctl(fd.get(), TUNSETIFF, &request) != 0 || ::ioctl(fd.get(), TUNSETPERSIST, 1) != 0 ||
      ::ioctl(fd.get(), TUNSETOWNER, ::geteuid()) != 0)
    return base::fail_errno(errno, "creating " + name);
  return {};
}

base::Result<> set_up(const std::string& name, bool up) {
  ifreq request = request_for(name);
  MOTE_TRY_VOID(interface_ioctl(SIOCGIFFLAGS, request, "flags of"));
  request.ifr_flags =
      static_cast<short>(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
  return interface_ioctl(SIOCSIFFLAGS, request, "switching");
}

base::Result<> set_mtu(const std::string& name, int mtu) {
  ifreq request = request_for(name);
  request.ifr_mtu = mtu;
  return interface_ioctl(SIOCSIFMTU, request, "MTU of");
}

base::Result<> delete_interface(const std::string& name) {
  struct {
    nlmsghdr header;
    ifinfomsg body;
  } message{};
  message.header = {sizeof(message), RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0};
  message.body.ifi_index = static_cast<int>(::if_nametoindex(name.c_str()));
  const base::UniqueFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!socket.valid() || ::send(socket.get(), &message, sizeof(message), 0) < 0)
    return base::fail_errno(errno, "deleting " + name);
  struct {
    nlmsghdr header;
    nlmsgerr error;
    std::array<char, 512> rest;
  } answer{};
  if (::recv(socket.get(), &answer, sizeof(answer), 0) < 0 || answer.error.error != 0)
    return base::fail_errno(-answer.error.error, "deleting " + name);
  return {};
}

base::Result<PacketSocket> PacketSocket::open(const std::string& interface, uint16_t ether_type) {
  base::UniqueFd fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return base::fail_errno(errno, "a packet socket");
  const int on = 1;
  const int buffer_bytes = 64 * 1024 * 1024;
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_ifindex = static_cast<int>(::if_nametoindex(interface.c_str()));
  address.sll_protocol = htons(ether_type);
  if (::setsockopt(fd.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) != 0 ||
      ::setsockopt(fd.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) != 0 ||
      ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &buffer_bytes, sizeof(buffer_bytes)) !=
          0 ||
      ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return base::fail_errno(errno, "a packet socket on " + interface);
  }
  return PacketSocket(std::move(fd));
}

base::Result<> PacketSocket::send(std::span<const std::byte> frame,
                                  const virtio_net_hdr_v1& header) const {
  virtio_net_hdr_v1 copy = header;
  std::vector<std::byte> bytes(frame.begin(), frame.end());
  const std::array<iovec, 2> parts{{{&copy, kShortHeaderBytes}, {bytes.data(), bytes.size()}}};
  if (::writev(fd_.get(), parts.data(), static_cast<int>(parts.size())) < 0)
    return base::fail_errno(errno, "sending a packet");
  return {};
}

std::optional<PacketSocket::Packet> PacketSocket::receive() const {
  Packet packet;
  packet.frame.resize(kMaxPacketBytes);
  const std::array<iovec, 2> parts{
      {{&packet.header, kShortHeaderBytes}, {packet.frame.data(), packet.frame.size()}}};
  ssize_t bytes = 0;
  do {
    bytes = ::readv(fd_.get(), parts.data(), static_cast<int>(parts.size()));
    // Packets whose offloads no header can describe are gone with an error; the next may be fine.
  } while (bytes < 0 && errno == EINVAL);
  if (bytes < static_cast<ssize_t>(kShortHeaderBytes)) return std::nullopt;
  packet.frame.resize(static_cast<size_t>(bytes) - kShortHeaderBytes);
  return packet;
}

}  // namespace mote::virtio::net::testing
