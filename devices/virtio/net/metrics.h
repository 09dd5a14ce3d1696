#pragma once
// Counters of a network device, named as in Firecracker's `net` metrics. Loop thread.

#include <cstdint>

#include "devices/virtio/latency.h"

namespace mote::virtio::net {

struct Metrics {
  uint64_t activate_fails = 0;
  uint64_t cfg_fails = 0;
  uint64_t mac_address_updates = 0;
  uint64_t no_rx_avail_buffer = 0;
  uint64_t no_tx_avail_buffer = 0;
  uint64_t event_fails = 0;
  uint64_t rx_queue_event_count = 0;
  uint64_t rx_event_rate_limiter_count = 0;
  uint64_t rx_partial_writes = 0;
  uint64_t rx_rate_limiter_throttled = 0;
  uint64_t rx_tap_event_count = 0;
  uint64_t rx_bytes_count = 0;
  uint64_t rx_packets_count = 0;
  uint64_t rx_fails = 0;
  uint64_t rx_count = 0;
  uint64_t tap_read_fails = 0;
  uint64_t tap_write_fails = 0;
  LatencyAggregate tap_write_agg;
  uint64_t tx_bytes_count = 0;
  uint64_t tx_malformed_frames = 0;
  uint64_t tx_fails = 0;
  uint64_t tx_count = 0;
  uint64_t tx_packets_count = 0;
  uint64_t tx_partial_reads = 0;
  uint64_t tx_queue_event_count = 0;
  uint64_t tx_rate_limiter_event_count = 0;
  uint64_t tx_rate_limiter_throttled = 0;
  uint64_t tx_spoofed_mac_count = 0;
  uint64_t tx_remaining_reqs_count = 0;
};

}  // namespace mote::virtio::net
