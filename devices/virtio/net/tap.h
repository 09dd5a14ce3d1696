#pragma once
// A TAP interface (Linux Documentation/networking/tuntap.rst) with vnet headers, one descriptor a
// queue pair.

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace mote::virtio::net {

class Tap final {
 public:
  /// Attaches to `name`, or creates it where that is permitted. An existing single-queue TAP gives
  /// one descriptor whatever was wished for. Errors begin with host_dev_name.
  static base::Result<Tap> open(const std::string& name, uint16_t wished_queues);

  [[nodiscard]] size_t queue_count() const { return fds_.size(); }
  [[nodiscard]] int fd(size_t queue) const { return fds_[queue].get(); }

  /// TUNSETOFFLOAD: which unfinished packets the guest accepts (VIRTIO_NET_F_GUEST_* bits).
  base::Result<> set_offloads(uint64_t guest_features) const;

  /// Lets only the first `count` queues receive; the others stay attached for later.
  base::Result<> set_active_queues(size_t count);

 private:
  Tap(std::string name, std::vector<base::UniqueFd> fds)
      : name_(std::move(name)), fds_(std::move(fds)), active_(fds_.size()) {}

  std::string name_;
  std::vector<base::UniqueFd> fds_;
  size_t active_;
};

}  // namespace mote::virtio::net
