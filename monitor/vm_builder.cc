#include "monitor/vm_builder.h"

#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/log.h"
#include "devices/virtio/spec.h"
#include "memory/layout.h"
#include "monitor/boot/acpi.h"
#include "monitor/boot/entry_state.h"
#include "monitor/boot/initrd.h"
#include "monitor/boot/linux_boot.h"
#include "monitor/boot/pvh.h"
#include "monitor/command_line.h"
#include "monitor/cpuid.h"
#include "monitor/msrs.h"

namespace mote::monitor {
namespace layout = memory::layout;
namespace {

base::Result<> check_capabilities(const Kvm& kvm, const std::optional<CpuConfig>& cpu) {
  if (!cpu) return {};
  for (const KvmCapability& capability : cpu->kvm_capabilities) {
    if (capability.removed || kvm.check_extension(capability.number) != 0) continue;
    return base::fail(
        base::ErrorCode::kUnsupported,
        "kvm_capabilities: this host lacks capability " + std::to_string(capability.number));
  }
  return {};
}

base::Result<base::UniqueFd> create_eventfd() {
  base::UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd.valid()) return base::fail_errno(errno, "eventfd");
  return fd;
}

}  // namespace

base::Result<std::unique_ptr<Vm>> VmBuilder::build(BuildInputs inputs, io::EventLoop& loop,
                                                   VmEvents& events) {
  const MachineConfig& machine = inputs.config.machine;
  const Kvm& kvm = *inputs.host.kvm();
  MOTE_TRY_VOID(check_capabilities(kvm, inputs.config.cpu));
  MOTE_TRY(auto memory,
           memory::GuestMemory::create(machine.mem_size_mib * layout::kMib,
                                       memory::effective_huge_pages(machine.huge_pages)));
  if (machine.track_dirty_pages) memory.track_writes();
  MOTE_TRY(auto fd, kvm.create_vm());
  std::unique_ptr<Vm> vm(new Vm(loop, events, std::move(memory), std::move(fd)));
  VmBuilder builder(std::move(inputs), *vm);
  MOTE_TRY_VOID(builder.check_device_count());
  MOTE_TRY(const auto entry, builder.load_boot_images());
  MOTE_TRY_VOID(builder.create_machine(loop));
  MOTE_TRY_VOID(builder.create_vcpus(entry, loop));
  MOTE_TRY_VOID(vm->renew_identity(Vm::Identity::kFirst));
  return vm;
}

base::Result<std::unique_ptr<Vm>> VmBuilder::restore(BuildInputs inputs, memory::GuestMemory memory,
                                                     const snapshot::MachineState& state,
                                                     io::EventLoop& loop, VmEvents& events) {
  if (inputs.config.machine.track_dirty_pages) memory.track_writes();
  MOTE_TRY(auto fd, inputs.host.kvm()->create_vm());
  std::unique_ptr<Vm> vm(new Vm(loop, events, std::move(memory), std::move(fd)));
  VmBuilder builder(std::move(inputs), *vm);
  MOTE_TRY_VOID(builder.check_device_count());
  MOTE_TRY_VOID(builder.create_machine(loop));
  MOTE_TRY_VOID(builder.restore_state(state, loop));
  return vm;
}

base::Result<> VmBuilder::check_device_count() const {
  if (inputs_.devices.size() <= layout::kMaxVirtioDevices) return {};
  return base::fail(base::ErrorCode::kInvalidArgument,
                    "drives and network-interfaces: at most " +
                        std::to_string(layout::kMaxVirtioDevices) + " devices fit into one VM");
}

base::Result<> VmBuilder::create_machine(io::EventLoop& loop) {
  // Memory first: after the interrupt controller the same call waits for a grace period.
  MOTE_TRY_VOID(register_memory());
  MOTE_TRY_VOID(vm_.fd_.set_real_mode_areas(layout::kKvmIdentityMap, layout::kKvmTss));
  MOTE_TRY_VOID(vm_.fd_.enable_split_irqchip(layout::kIoApicPins));
  MOTE_TRY_VOID(add_legacy_devices());
  return add_virtio_devices(loop);
}

base::Result<> VmBuilder::restore_state(const snapshot::MachineState& state, io::EventLoop& loop) {
  if (state.vcpus.size() != inputs_.config.machine.vcpu_count ||
      state.transports.size() != vm_.transports_.size()) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      "the snapshot's state does not fit its configuration");
  }
  MOTE_TRY_VOID(vm_.fd_.set_clock(state.clock));
  for (uint32_t index = 0; index < state.vcpus.size(); ++index) {
    MOTE_TRY(auto vcpu, vm_.fd_.create_vcpu(index));
    auto restored = snapshot::restore_vcpu(vcpu, state.vcpus[index]);
    if (!restored) {
      return base::with_context(std::move(restored).error(), "vCPU " + std::to_string(index));
    }
    vm_.vcpus_.push_back(std::make_unique<Vcpu>(index, std::move(vcpu), vm_, loop));
  }
  vm_.ioapic_->restore(state.ioapic);
  vm_.serial_->restore(state.serial);
  vm_.i8042_->restore(state.i8042);
  for (size_t i = 0; i < state.transports.size(); ++i) {
    auto restored = vm_.transports_[i]->restore(state.transports[i]);
    if (!restored) {
      return base::with_context(std::move(restored).error(), "device " + std::to_string(i));
    }
  }
  for (const auto& transport : vm_.transports_) transport->raise_pending();
  return vm_.renew_identity(Vm::Identity::kChanged);
}

std::vector<boot::VirtioMmioSlot> VmBuilder::virtio_slots() const {
  std::vector<boot::VirtioMmioSlot> slots;
  for (uint32_t i = 0; i < inputs_.devices.size(); ++i) {
    slots.push_back({layout::kVirtioMmioStart.offset(i * layout::kVirtioMmioSize),
                     layout::kVirtioMmioSize, layout::kVirtioFirstGsi + i});
  }
  return slots;
}

base::Result<boot::Entry> VmBuilder::load_boot_images() {
  const BootSource& source = *inputs_.config.boot_source;
  MOTE_TRY(const auto kernel_fd,
           boot::open_boot_file(source.kernel_image_path, "kernel_image_path"));
  MOTE_TRY(const auto kernel, boot::load_kernel(vm_.memory_, kernel_fd.get(),
                                                source.kernel_image_path, {inputs_.kernel_cache}));
  std::optional<boot::Initrd> initrd;
  if (source.initrd_path) {
    MOTE_TRY(const auto initrd_fd, boot::open_boot_file(*source.initrd_path, "initrd_path"));
    MOTE_TRY(initrd,
             boot::load_initrd(vm_.memory_, initrd_fd.get(), *source.initrd_path, kernel.end));
  }
  const auto slots = virtio_slots();
  MOTE_TRY(const auto command_line, make_command_line(inputs_.config, slots));
  MOTE_TRY(const auto rsdp,
           boot::write_acpi_tables(vm_.memory_, inputs_.config.machine.vcpu_count, slots));
  if (kernel.entry.protocol == boot::BootProtocol::kPvh) {
    MOTE_TRY_VOID(boot::write_pvh_start_info(vm_.memory_, initrd, command_line, rsdp));
  } else {
    MOTE_TRY_VOID(boot::write_linux_boot(vm_.memory_, kernel, initrd, command_line, rsdp));
  }
  MOTE_TRY_VOID(boot::write_page_tables_and_gdt(vm_.memory_));
  return kernel.entry;
}

base::Result<> VmBuilder::register_memory() {
  uint32_t slot = 0;
  const uint32_t flags = inputs_.config.machine.track_dirty_pages ? KVM_MEM_LOG_DIRTY_PAGES : 0;
  for (const auto& region : vm_.memory_.regions()) {
    auto outcome = vm_.fd_.set_memory_region(slot++, region.start, region.mapping.span(), flags);
    if (!outcome) return base::with_context(std::move(outcome).error(), "mem_size_mib");
  }
  return {};
}

base::Result<> VmBuilder::add_legacy_devices() {
  Vm& vm = vm_;
  vm.router_ = std::make_unique<InterruptRouter>(vm.fd_);
  vm.ioapic_ = std::make_unique<legacy::IoApic>(*vm.router_);
  MOTE_TRY_VOID(vm.mmio_.insert(layout::kIoApic.value, layout::kPageSize, *vm.ioapic_));

  MOTE_TRY(auto serial_interrupt, create_eventfd());
  MOTE_TRY_VOID(vm.fd_.bind_interrupt(serial_interrupt.get(), layout::kSerialGsi));
  std::optional<virtio::TokenBucketConfig> limit;
  if (inputs_.config.serial) limit = inputs_.config.serial->rate_limiter;
  vm.serial_ = std::make_unique<legacy::Serial>(std::move(inputs_.serial_output),
                                                std::move(serial_interrupt), limit);
  MOTE_TRY_VOID(vm.ports_.insert(layout::kSerialPort, 8, *vm.serial_));

  MOTE_TRY(auto keyboard_interrupt, create_eventfd());
  MOTE_TRY_VOID(vm.fd_.bind_interrupt(keyboard_interrupt.get(), layout::kKeyboardGsi));
  vm.i8042_ = std::make_unique<legacy::I8042>(std::move(keyboard_interrupt),
                                              [&vm] { vm.guest_asked_for_shutdown(); });
  MOTE_TRY_VOID(vm.ports_.insert(layout::kI8042Port, 5, *vm.i8042_));

  MOTE_TRY(vm.generation_changed_, create_eventfd());
  MOTE_TRY_VOID(vm.fd_.bind_interrupt(vm.generation_changed_.get(), layout::kGenerationGsi));

  vm.acpi_power_ = std::make_unique<legacy::AcpiPower>([&vm] { vm.guest_asked_for_shutdown(); });
  MOTE_TRY_VOID(vm.ports_.insert(layout::kAcpiSleepPort, 5, *vm.acpi_power_));

  if (inputs_.boot_timer) {
    vm.boot_timer_ = std::make_unique<legacy::BootTimer>([&vm] {
      vm.loop_.post([&vm, now = base::monotonic_us(), cpu = base::process_cpu_us()] {
        vm.events_.on_boot_timer(now, cpu);
      });
    });
    MOTE_TRY_VOID(vm.ports_.insert(layout::kBootTimerPort, 1, *vm.boot_timer_));
    MOTE_TRY_VOID(vm.mmio_.insert(layout::kBootTimer.value, layout::kPageSize, *vm.boot_timer_));
  }
  return {};
}

base::Result<> VmBuilder::add_virtio_devices(io::EventLoop& loop) {
  const auto slots = virtio_slots();
  for (size_t i = 0; i < slots.size(); ++i) {
    MOTE_TRY(auto interrupt, create_eventfd());
    MOTE_TRY_VOID(vm_.fd_.bind_interrupt(interrupt.get(), slots[i].gsi));
    MOTE_TRY(auto transport, virtio::MmioTransport::create(vm_.memory_, loop, *inputs_.devices[i],
                                                           std::move(interrupt)));
    for (uint32_t queue = 0; queue < transport->queue_count(); ++queue) {
      MOTE_TRY_VOID(vm_.fd_.bind_mmio_write(
          transport->kick_fd(queue), slots[i].address.offset(virtio::VIRTIO_MMIO_QUEUE_NOTIFY),
          queue));
    }
    MOTE_TRY_VOID(vm_.mmio_.insert(slots[i].address.value, slots[i].size_bytes, *transport));
    vm_.transports_.push_back(std::move(transport));
  }
  return {};
}

base::Result<> VmBuilder::create_vcpus(const boot::Entry& entry, io::EventLoop& loop) {
  const MachineConfig& machine = inputs_.config.machine;
  std::vector<VcpuFd> vcpus;
  for (uint32_t index = 0; index < machine.vcpu_count; ++index) {
    MOTE_TRY(auto vcpu, vm_.fd_.create_vcpu(index));
    vcpus.push_back(std::move(vcpu));
  }
  MOTE_TRY(auto cpuid, guest_cpuid());
  for (uint32_t index = 0; index < machine.vcpu_count; ++index) {
    VcpuFd& vcpu = vcpus[index];
    set_apic_id(cpuid, index, topology());
    MOTE_TRY_VOID(vcpu.set_cpuid(cpuid));
    MOTE_TRY_VOID(set_boot_msrs(vcpu, inputs_.config.cpu));
    if (index == 0) {  // The others wait for the guest's INIT and SIPI.
      MOTE_TRY(auto regs, vcpu.regs());
      MOTE_TRY(auto sregs, vcpu.sregs());
      boot::set_entry_registers(entry, regs, sregs);
      MOTE_TRY_VOID(vcpu.set_sregs(sregs));
      MOTE_TRY_VOID(vcpu.set_regs(regs));
    }
    vm_.vcpus_.push_back(std::make_unique<Vcpu>(index, std::move(vcpu), vm_, loop));
  }
  return {};
}

CpuTopology VmBuilder::topology() const {
  const MachineConfig& machine = inputs_.config.machine;
  return {machine.vcpu_count, machine.smt && machine.vcpu_count > 1 ? 2U : 1U};
}

base::Result<std::vector<kvm_cpuid_entry2>> VmBuilder::guest_cpuid() {
  const auto deadline = inputs_.host.kvm()->check_extension(KVM_CAP_TSC_DEADLINE_TIMER) != 0
                            ? TscDeadline::kPresent
                            : TscDeadline::kAbsent;
  const auto& supported = inputs_.host.supported_cpuid();
  if (!supported) return std::unexpected(supported.error());
  return make_cpuid(*supported, topology(), deadline, inputs_.config.cpu);
}

}  // namespace mote::monitor
