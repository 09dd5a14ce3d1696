#pragma once
// What a network device has that answers for the metadata service; see Device::serve_metadata().
// Loop thread.

#include <array>
#include <cstddef>

#include "devices/mmds/endpoint.h"
#include "devices/virtio/net/spec.h"
#include "io/timer.h"

namespace mote::virtio::net {

struct Metadata {
  static constexpr size_t kHeader = sizeof(virtio_net_hdr_v1);

  Metadata(mmds::Service& its_service, io::EventLoop& loop,
           std::move_only_function<void()> on_timer)
      : service(its_service), endpoint(its_service), timer(loop, std::move(on_timer)) {}

  mmds::Service& service;
  mmds::Endpoint endpoint;
  io::Timer timer;   ///< Armed for the endpoint's deadline.
  bool due = false;  ///< There may be frames to send at the end of this turn.
  std::array<std::byte, kHeader + mmds::Endpoint::kMaxReceivedBytes> taken{};
  std::array<std::byte, kHeader + mmds::kMaxFrameBytes> frame{};
  size_t frame_bytes = 0;  ///< Of a frame that waits for the driver's buffers, header included.
};

}  // namespace mote::virtio::net
