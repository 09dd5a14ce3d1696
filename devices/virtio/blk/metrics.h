#pragma once
// Counters of a block device, named as in Firecracker's `block` metrics. Loop thread.

#include <cstdint>

#include "devices/virtio/latency.h"

namespace mote::virtio::blk {

struct Metrics {
  uint64_t activate_fails = 0;
  uint64_t cfg_fails = 0;
  uint64_t no_avail_buffer = 0;
  uint64_t event_fails = 0;
  uint64_t execute_fails = 0;
  uint64_t invalid_reqs_count = 0;
  uint64_t flush_count = 0;
  uint64_t queue_event_count = 0;
  uint64_t rate_limiter_event_count = 0;
  uint64_t update_count = 0;
  uint64_t update_fails = 0;
  uint64_t read_bytes = 0;
  uint64_t write_bytes = 0;
  uint64_t read_count = 0;
  uint64_t write_count = 0;
  LatencyAggregate read_agg;
  LatencyAggregate write_agg;
  uint64_t rate_limiter_throttled_events = 0;
  uint64_t io_engine_throttled_events = 0;
  uint64_t remaining_reqs_count = 0;
};

}  // namespace mote::virtio::blk
