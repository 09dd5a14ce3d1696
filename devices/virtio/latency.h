#pragma once
// A latency triple as it stands in metrics. Loop thread.

#include <algorithm>
#include <cstdint>

namespace mote::virtio {

/// Latencies since process start.
struct LatencyAggregate {
  uint64_t min_us = 0;
  uint64_t max_us = 0;
  uint64_t sum_us = 0;

  void add(uint64_t us) {
    min_us = sum_us == 0 && max_us == 0 ? us : std::min(min_us, us);
    max_us = std::max(max_us, us);
    sum_us += us;
  }
};

}  // namespace mote::virtio
