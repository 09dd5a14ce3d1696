#pragma once
// Counters of the metadata service, named as in Firecracker's `mmds` metrics. Loop thread.

#include <cstdint>

namespace mote::mmds {

struct Metrics {
  uint64_t rx_accepted = 0;          ///< Frames taken from guests.
  uint64_t rx_accepted_err = 0;      ///< Of these: neither ARP nor TCP that makes sense.
  uint64_t rx_accepted_unusual = 0;  ///< Of these: TCP that no connection and no listener is for.
  uint64_t rx_invalid_token = 0;
  uint64_t rx_no_token = 0;
  uint64_t rx_bad_eth = 0;
  uint64_t rx_count = 0;  ///< Requests.
  uint64_t tx_bytes = 0;
  uint64_t tx_count = 0;  ///< Responses.
  uint64_t tx_errors = 0;
  uint64_t tx_frames = 0;
  uint64_t connections_created = 0;
  uint64_t connections_destroyed = 0;
};

}  // namespace mote::mmds
