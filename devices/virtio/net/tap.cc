#include "devices/virtio/net/tap.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstring>

#include "devices/virtio/net/spec.h"

namespace mote::virtio::net {
namespace {

std::string explain(const std::string& name, int os_errno) {
  const std::string what = "host_dev_name: " + name;
  switch (os_errno) {
    case EBUSY:
      return what + " is in use by another process";
    case EPERM:
      return what + " belongs to another user, or may not be created by this one";
    case EINVAL:
      return what + " is not a TAP interface";
    default:
      return what;
  }
}

/// Interface names the kernel takes literally: it would fill in the number of "tap%d" itself.
bool is_interface_name(const std::string& name) {
  return !name.empty() && name.size() < IFNAMSIZ && name != "." && name != ".." &&
         std::ranges::none_of(name, [](unsigned char c) {
           return c <= ' ' || c == 0x7f || c == '/' || c == ':' || c == '%';
         });
}

base::Result<base::UniqueFd> open_device(const std::string& name) {
  base::UniqueFd fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid())
    return base::fail_errno(errno, "host_dev_name: " + name + ": cannot open /dev/net/tun");
  return fd;
}

/// Attaches a fresh descriptor; gives the errno, 0 for success.
int attach(int fd, const std::string& name, short extra_flags) {
  ifreq request{};
  std::memcpy(request.ifr_name, name.data(), name.size());
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | extra_flags);
  return ::ioctl(fd, TUNSETIFF, &request) == 0 ? 0 : errno;
}

}  // namespace

base::Result<Tap> Tap::open(const std::string& name, uint16_t wished_queues) {
  if (!is_interface_name(name)) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      "host_dev_name: \"" + name + "\" is not an interface name of 1 to 15 bytes");
  }
  // The flag must agree with how the interface was made, and only trying tells.
  const bool exists = ::if_nametoindex(name.c_str()) != 0;
  MOTE_TRY(auto first, open_device(name));
  short flags = !exists && wished_queues > 1 ? short{IFF_MULTI_QUEUE} : short{0};
  int outcome = attach(first.get(), name, flags);
  if (outcome == EINVAL && exists) {
    flags = IFF_MULTI_QUEUE;
    outcome = attach(first.get(), name, flags);
  }
  if (outcome != 0) return base::fail_errno(outcome, explain(name, outcome));
  std::vector<base::UniqueFd> fds;
  fds.push_back(std::move(first));
  while (flags != 0 && fds.size() < wished_queues) {
    MOTE_TRY(auto next, open_device(name));
    const int error = attach(next.get(), name, flags);
    if (error == E2BIG) break;  // As many as the interface allows.
    if (error != 0) return base::fail_errno(error, explain(name, error));
    fds.push_back(std::move(next));
  }
  // All queues share it.
  const int header_bytes = sizeof(virtio_net_hdr_v1);
  if (::ioctl(fds.front().get(), TUNSETVNETHDRSZ, &header_bytes) != 0)
    return base::fail_errno(errno, "host_dev_name: " + name + ": TUNSETVNETHDRSZ");
  return Tap(name, std::move(fds));
}

unsigned tap_offloads(uint64_t guest_features) {
  const auto has = [&](uint64_t bit) { return (guest_features & bit) != 0; };
  if (!has(VIRTIO_NET_F_GUEST_CSUM)) return 0;
  unsigned offloads = TUN_F_CSUM;
  if (has(VIRTIO_NET_F_GUEST_TSO4)) offloads |= TUN_F_TSO4;
  if (has(VIRTIO_NET_F_GUEST_TSO6)) offloads |= TUN_F_TSO6;
  if (has(VIRTIO_NET_F_GUEST_UFO)) offloads |= TUN_F_UFO;
  const bool segments = (offloads & (TUN_F_TSO4 | TUN_F_TSO6)) != 0;
  if (segments && has(VIRTIO_NET_F_GUEST_ECN)) offloads |= TUN_F_TSO_ECN;
  return offloads;
}

base::Result<> Tap::set_offloads(uint64_t guest_features) const {
  // All queues share them, and the first is never detached.
  const unsigned long offloads = tap_offloads(guest_features);
  if (::ioctl(fd(0), TUNSETOFFLOAD, offloads) == 0) return {};
  return base::fail_errno(errno, "host_dev_name: " + name_ + ": TUNSETOFFLOAD");
}

base::Result<> Tap::set_active_queues(size_t count) {
  // Queues are switched in order, so that those in use are always the first ones.
  while (active_ != count) {
    const bool attach_next = active_ < count;
    const size_t queue = attach_next ? active_ : active_ - 1;
    ifreq request{};
    request.ifr_flags = attach_next ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE;
    if (::ioctl(fds_[queue].get(), TUNSETQUEUE, &request) != 0) {
      return base::fail_errno(errno, "host_dev_name: " + name_ + ": TUNSETQUEUE");
    }
    active_ = attach_next ? active_ + 1 : active_ - 1;
  }
  return {};
}

}  // namespace mote::virtio::net
