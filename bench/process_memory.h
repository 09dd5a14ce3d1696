#pragma once
// What a monitor's process holds beyond its guest's RAM, from /proc.

#include <sys/types.h>

#include <cstdint>

namespace mote::bench {

struct ProcessMemory {
  uint64_t pss_kib = 0;
  uint64_t private_dirty_kib = 0;
};

/// Guest RAM is any mapping larger than half of `guest_mib`; its pages are left out. Zeroes when
/// the process is gone.
ProcessMemory process_memory(pid_t pid, uint64_t guest_mib);

/// MemAvailable of this host.
uint64_t host_available_kib();

}  // namespace mote::bench
