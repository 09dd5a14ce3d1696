#pragma once
// When each step of a cold start was reached: CLOCK_MONOTONIC microseconds, 0 while it is still
// ahead.

#include <cstdint>

namespace mote::monitor {

struct BootPhases {
  uint64_t process_start_us = 0;      ///< --start-time-us, or the first line of main.
  uint64_t process_start_cpu_us = 0;  ///< CPU time at that moment.
  uint64_t parent_cpu_us = 0;         ///< CPU time the launcher used.
  uint64_t api_ready_us = 0;
  uint64_t api_ready_cpu_us = 0;
  uint64_t instance_start_us = 0;  ///< InstanceStart arrived.
  uint64_t instance_start_cpu_us = 0;
  uint64_t vcpu_run_us = 0;    ///< The vCPUs were let go.
  uint64_t guest_init_us = 0;  ///< The guest's store of 123 into the boot timer.
};

}  // namespace mote::monitor
