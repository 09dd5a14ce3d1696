#pragma once
// A TAP interface (Linux Documentation/networking/tuntap.rst) with vnet headers, one descriptor a
// queue pair. Loop thread.
//
// Descriptors are non-blocking: io_uring then serves them inline and in order on every kernel. It
// would hand a blocking one to worker threads before Linux 6.4, which reorders packets.

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace mote::virtio::net {

class Tap final {
 public:
  /// Attaches to `name`, or creates it where that is permitted: with several queues where more than
  /// one is wished for, else with one. An existing single-queue TAP gives one descriptor whatever
  /// was wished for, a multi-queue one as many as it allows. Errors begin with host_dev_name.
  static base::Result<Tap> open(const std::string& name, uint16_t wished_queues);

  [[nodiscard]] size_t queue_count() const { return fds_.size(); }
  [[nodiscard]] int fd(size_t queue) const { return fds_[queue].get(); }

  /// TUNSETOFFLOAD: which unfinished packets the guest accepts (VIRTIO_NET_F_GUEST_* bits).
  base::Result<> set_offloads(uint64_t guest_features) const;

  /// Lets only the first `count` queues (1 to queue_count()) receive and send; the others stay open
  /// for later.
  base::Result<> set_active_queues(size_t count);

 private:
  Tap(std::string name, std::vector<base::UniqueFd> fds)
      : name_(std::move(name)), fds_(std::move(fds)), active_(fds_.size()) {}

  std::string name_;
  std::vector<base::UniqueFd> fds_;
  size_t active_;
};

/// The TUN_F_* bits for negotiated features. What depends on a feature that is absent is left out
/// (§5.1.3.1), as the kernel would refuse it.
[[nodiscard]] unsigned tap_offloads(uint64_t guest_features);

}  // namespace mote::virtio::net
