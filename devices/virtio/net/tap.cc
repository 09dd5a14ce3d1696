#include "devices/virtio/net/tap.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

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
      return what + " may not be opened or created by this user";
    case EINVAL:
      return what + " is not a TAP interface Mote can use";
    default:
      return what;
  }
}

base::Result<base::UniqueFd> open_device(const std::string& name) {
  base::UniqueFd fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
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

base::Result<> set_header_size(int fd, const std::string& name) {
  const int size = sizeof(virtio_net_hdr_v1);
  if (::ioctl(fd, TUNSETVNETHDRSZ, &size) == 0) return {};
  return base::fail_errno(errno, "host_dev_name: " + name + ": TUNSETVNETHDRSZ");
}

}  // namespace

base::Result<Tap> Tap::open(const std::string& name, uint16_t wished_queues) {
  if (name.empty() || name.size() >= IFNAMSIZ || name.find('/') != std::string::npos) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      "host_dev_name: \"" + name + "\" is not an interface name of 1 to 15 bytes");
  }
  // The flag must agree with how the interface was made, and only trying tells. A new one is made
  // with a single queue, as the reference does, unless more are wished for.
  const bool exists = ::if_nametoindex(name.c_str()) != 0;
  MOTE_TRY(auto first, open_device(name));
  short flags = !exists && wished_queues > 1 ? static_cast<short>(IFF_MULTI_QUEUE) : short{0};
  int outcome = attach(first.get(), name, flags);
  if (outcome == EINVAL && exists) {
    flags = static_cast<short>(IFF_MULTI_QUEUE);
    outcome = attach(first.get(), name, flags);
  }
  if (outcome != 0) return base::fail_errno(outcome, explain(name, outcome));
  std::vector<base::UniqueFd> fds;
  fds.push_back(std::move(first));
  while (flags != 0 && fds.size() < wished_queues) {
    MOTE_TRY(auto next, open_device(name));
    if (const int error = attach(next.get(), name, flags); error != 0) {
      return base::fail_errno(error, explain(name, error));
    }
    fds.push_back(std::move(next));
  }
  for (const base::UniqueFd& fd : fds) MOTE_TRY_VOID(set_header_size(fd.get(), name));
  return Tap(name, std::move(fds));
}

base::Result<> Tap::set_offloads(uint64_t guest_features) const {
  unsigned offloads = 0;
  if ((guest_features & VIRTIO_NET_F_GUEST_CSUM) != 0) offloads |= TUN_F_CSUM;
  if ((guest_features & VIRTIO_NET_F_GUEST_TSO4) != 0) offloads |= TUN_F_TSO4;
  if ((guest_features & VIRTIO_NET_F_GUEST_TSO6) != 0) offloads |= TUN_F_TSO6;
  if ((guest_features & VIRTIO_NET_F_GUEST_ECN) != 0) offloads |= TUN_F_TSO_ECN;
  if ((guest_features & VIRTIO_NET_F_GUEST_UFO) != 0) offloads |= TUN_F_UFO;
  for (const base::UniqueFd& fd : fds_) {
    if (::ioctl(fd.get(), TUNSETOFFLOAD, static_cast<unsigned long>(offloads)) != 0) {
      return base::fail_errno(errno, "host_dev_name: " + name_ + ": TUNSETOFFLOAD");
    }
  }
  return {};
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
