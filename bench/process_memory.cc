#include "bench/process_memory.h"

#include <cstdio>
#include <fstream>
#include <string>

namespace mote::bench {
namespace {

/// The number of a "Name:   123 kB" line.
uint64_t kib_of(const std::string& line) {
  return std::stoull(line.substr(line.find(':') + 1));
}

}  // namespace

ProcessMemory process_memory(pid_t pid, uint64_t guest_mib) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/smaps");
  ProcessMemory memory;
  bool is_guest_ram = false;
  for (std::string line; std::getline(file, line);) {
    uint64_t start = 0;
    uint64_t end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &start, &end) == 2) {
      is_guest_ram = end - start > guest_mib * 1024 * 1024 / 2;
    } else if (!is_guest_ram && line.starts_with("Pss:")) {
      memory.pss_kib += kib_of(line);
    } else if (!is_guest_ram && line.starts_with("Private_Dirty:")) {
      memory.private_dirty_kib += kib_of(line);
    }
  }
  return memory;
}

uint64_t host_available_kib() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("MemAvailable:")) return kib_of(line);
  }
  return 0;
}

}  // namespace mote::bench
