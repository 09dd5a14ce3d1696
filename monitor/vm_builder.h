#pragma once
// Builds a Vm from its configuration, step by step. Memory is registered before the interrupt
// controller: the other way round costs milliseconds of RCU grace periods.

#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "devices/virtio/device.h"
#include "monitor/boot/acpi.h"
#include "monitor/boot/kernel_image.h"
#include "monitor/cpuid.h"
#include "monitor/host_probe.h"
#include "monitor/vm.h"
#include "monitor/vm_config.h"

namespace mote::monitor {

/// Where the serial port's output goes when the client named no serial_out_path: descriptor 1.
struct BuildInputs {
  const VmConfig& config;
  HostProbe& host;                          ///< Its kvm() is there.
  std::optional<std::string> kernel_cache;  ///< Directory for decompressed kernels.
  bool boot_timer = false;
  std::vector<virtio::Device*> devices;  ///< In slot order; outlive the Vm.
  std::unique_ptr<legacy::SerialOutput> serial_output;
};

class VmBuilder final {
 public:
  /// Everything but starting the vCPUs. On error nothing of it remains.
  static base::Result<std::unique_ptr<Vm>> build(BuildInputs inputs, io::EventLoop& loop,
                                                 VmEvents& events);
  /// The same from a snapshot: `memory` holds what the guest had, `state` the rest.
  static base::Result<std::unique_ptr<Vm>> restore(BuildInputs inputs, memory::GuestMemory memory,
                                                   const snapshot::MachineState& state,
                                                   io::EventLoop& loop, VmEvents& events);

 private:
  VmBuilder(BuildInputs inputs, Vm& vm) : inputs_(std::move(inputs)), vm_(vm) {}

  base::Result<> check_device_count() const;
  base::Result<> create_machine(io::EventLoop& loop);
  base::Result<> restore_state(const snapshot::MachineState& state, io::EventLoop& loop);
  base::Result<boot::Entry> load_boot_images();
  base::Result<> register_memory();
  base::Result<> add_legacy_devices();
  base::Result<> add_virtio_devices(io::EventLoop& loop);
  base::Result<> create_vcpus(const boot::Entry& entry, io::EventLoop& loop);
  [[nodiscard]] CpuTopology topology() const;
  /// Waits for the host's table, which is why the vCPUs are created before it is asked for.
  base::Result<std::vector<kvm_cpuid_entry2>> guest_cpuid();
  [[nodiscard]] std::vector<boot::VirtioMmioSlot> virtio_slots() const;

  BuildInputs inputs_;
  Vm& vm_;
};

}  // namespace mote::monitor
