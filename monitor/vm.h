#pragma once
// A built virtual machine: memory, interrupt controller, buses, register files and vCPUs. Built by
// VmBuilder; the virtio devices themselves belong to the Controller and outlive it. Methods belong
// to the loop thread; handle_exit() runs on the vCPU threads.

#include <linux/filter.h>

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "devices/bus.h"
#include "devices/legacy/acpi_power.h"
#include "devices/legacy/boot_timer.h"
#include "devices/legacy/i8042.h"
#include "devices/legacy/ioapic.h"
#include "devices/legacy/serial.h"
#include "devices/virtio/mmio_transport.h"
#include "memory/guest_memory.h"
#include "monitor/interrupt_router.h"
#include "monitor/kvm.h"
#include "monitor/snapshot/snapshot.h"
#include "monitor/vcpu.h"

namespace mote::monitor {

/// What a VM tells its owner. Called on the loop thread.
class VmEvents {
 public:
  virtual ~VmEvents() = default;
  /// The guest asked to be shut down or reset.
  virtual void on_guest_shutdown() = 0;
  /// A vCPU cannot go on.
  virtual void on_fatal_error(const std::string& reason) = 0;
  /// The guest stored 123 into the boot timer at this time.
  virtual void on_boot_timer(uint64_t monotonic_us, uint64_t cpu_us) = 0;
};

class Vm final : public ExitHandler {
 public:
  ~Vm() override = default;

  /// Starts every vCPU thread behind the seccomp filter `filter`, which outlives the Vm; empty:
  /// none.
  base::Result<> start(Vcpu::Begin begin, std::span<const sock_filter> filter);
  /// Stops all vCPUs at an instruction boundary, then calls `done`.
  void pause(std::move_only_function<void()> done);
  void resume();
  /// While paused: brings every device to rest, then calls `done`; and lets them go on.
  void suspend_devices(std::move_only_function<void()> done);
  void resume_devices();
  /// Paused, devices at rest.
  base::Result<snapshot::MachineState> save(const snapshot::HostState& host);
  [[nodiscard]] const memory::GuestMemory& memory() const { return memory_; }
  /// Gives the guest an identity that no other VM has, and tells it when it had another before
  /// (VMGenID): its random numbers must not be those of its siblings.
  enum class Identity : uint8_t { kFirst, kChanged };
  base::Result<> renew_identity(Identity identity);
  /// Pages that the guest or a device wrote since the last call (memory slots with dirty logging).
  base::Result<std::vector<memory::GuestMemory::Range>> take_dirty_ranges();

  /// Ends all vCPUs, drains every device, then calls `done`. The loop must keep running until then.
  void shut_down(std::move_only_function<void()> done);

  void send_ctrl_alt_del() { i8042_->trigger_ctrl_alt_del(); }
  [[nodiscard]] legacy::Serial& serial() { return *serial_; }
  [[nodiscard]] const legacy::Serial& serial() const { return *serial_; }
  [[nodiscard]] const std::vector<std::unique_ptr<Vcpu>>& vcpus() const { return vcpus_; }

  // ExitHandler
  AfterExit handle_exit(uint32_t vcpu_index, const VmExit& exit, VcpuMetrics& metrics) override;

 private:
  friend class VmBuilder;
  Vm(io::EventLoop& loop, VmEvents& events, memory::GuestMemory memory, VmFd fd)
      : loop_(loop), events_(events), memory_(std::move(memory)), fd_(std::move(fd)) {}

  AfterExit handle_port(const PortExit& exit, VcpuMetrics& metrics);
  AfterExit handle_mmio(const MmioExit& exit, VcpuMetrics& metrics);
  /// Any thread: no vCPU runs guest code much longer, and the owner hears of it.
  void guest_asked_for_shutdown();
  void fatal(uint32_t vcpu_index, const FatalExit& exit);

  io::EventLoop& loop_;
  VmEvents& events_;
  std::atomic<bool> stopping_{false};

  // In order of dependency: vCPUs go first, memory and descriptors last.
  memory::GuestMemory memory_;
  VmFd fd_;
  std::unique_ptr<InterruptRouter> router_;
  std::unique_ptr<legacy::IoApic> ioapic_;
  std::unique_ptr<legacy::Serial> serial_;
  std::unique_ptr<legacy::I8042> i8042_;
  std::unique_ptr<legacy::BootTimer> boot_timer_;
  std::unique_ptr<legacy::AcpiPower> acpi_power_;
  base::UniqueFd generation_changed_;  ///< Eventfd of kGenerationGsi.
  std::vector<std::unique_ptr<virtio::MmioTransport>> transports_;
  devices::Bus ports_;
  devices::Bus mmio_;
  std::vector<std::unique_ptr<Vcpu>> vcpus_;
};

}  // namespace mote::monitor
