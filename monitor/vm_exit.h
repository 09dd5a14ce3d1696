#pragma once
// What made a vCPU leave the guest, decoded once from struct kvm_run (KVM api.rst §5). Pure.

#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>

namespace mote::monitor {

enum class Direction : uint8_t { kRead, kWrite };

/// `data` lies in struct kvm_run: written by the device for reads. Several elements for string I/O.
struct PortExit {
  Direction direction;
  uint16_t port;
  uint8_t element_size_bytes;  ///< 1, 2 or 4.
  std::span<std::byte> data;   ///< A whole number of elements.
};
struct MmioExit {
  Direction direction;
  uint64_t address;
  std::span<std::byte> data;  ///< 1 to 8 bytes.
};
/// The guest's end of interrupt for a level-triggered vector of the IOAPIC.
struct IoApicEoiExit {
  uint8_t vector;
};
struct InterruptedExit {};  ///< A signal or immediate_exit: look at what was asked.
struct HaltExit {};
struct ShutdownExit {};  ///< Triple fault, the traditional reset.
struct SystemEventExit {
  uint32_t type;  ///< KVM_SYSTEM_EVENT_*.
};
/// The vCPU cannot go on. `reason` and `detail` as KVM gave them.
struct FatalExit {
  uint32_t exit_reason;
  uint64_t reason;
  uint64_t detail;
};

using VmExit = std::variant<PortExit, MmioExit, IoApicEoiExit, InterruptedExit, HaltExit,
                            ShutdownExit, SystemEventExit, FatalExit>;

/// `run_page_bytes` bounds where port data may lie.
[[nodiscard]] VmExit decode_exit(kvm_run& run, size_t run_page_bytes);

}  // namespace mote::monitor
