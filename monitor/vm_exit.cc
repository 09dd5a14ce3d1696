#include "monitor/vm_exit.h"

#include <algorithm>

#include "base/checked_math.h"

namespace mote::monitor {
namespace {

VmExit decode_port(kvm_run& run, size_t run_page_bytes) {
  const uint64_t bytes = uint64_t{run.io.size} * run.io.count;
  const bool size_ok = run.io.size == 1 || run.io.size == 2 || run.io.size == 4;
  if (!size_ok || !base::range_fits(run.io.data_offset, bytes, run_page_bytes)) {
    return FatalExit{run.exit_reason, run.io.size, run.io.data_offset};
  }
  auto* const page = reinterpret_cast<std::byte*>(&run);
  return PortExit{run.io.direction == KVM_EXIT_IO_OUT ? Direction::kWrite : Direction::kRead,
                  run.io.port, run.io.size, std::span(page + run.io.data_offset, bytes)};
}

VmExit decode_mmio(kvm_run& run) {
  const size_t length = std::min<size_t>(run.mmio.len, sizeof(run.mmio.data));
  return MmioExit{run.mmio.is_write != 0 ? Direction::kWrite : Direction::kRead, run.mmio.phys_addr,
                  std::as_writable_bytes(std::span(run.mmio.data, length))};
}

}  // namespace

VmExit decode_exit(kvm_run& run, size_t run_page_bytes) {
  switch (run.exit_reason) {
    case KVM_EXIT_IO:
      return decode_port(run, run_page_bytes);
    case KVM_EXIT_MMIO:
      return decode_mmio(run);
    case KVM_EXIT_IOAPIC_EOI:
      return IoApicEoiExit{run.eoi.vector};
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
      return InterruptedExit{};
    case KVM_EXIT_HLT:
      return HaltExit{};
    case KVM_EXIT_SHUTDOWN:
      return ShutdownExit{};
    case KVM_EXIT_SYSTEM_EVENT:
      return SystemEventExit{run.system_event.type};
    case KVM_EXIT_FAIL_ENTRY:
      return FatalExit{run.exit_reason, run.fail_entry.hardware_entry_failure_reason,
                       run.fail_entry.cpu};
    case KVM_EXIT_INTERNAL_ERROR:
      return FatalExit{run.exit_reason, run.internal.suberror,
                       run.internal.ndata > 0 ? run.internal.data[0] : 0};
    default:
      return FatalExit{run.exit_reason, run.hw.hardware_exit_reason, 0};
  }
}

}  // namespace mote::monitor
