#pragma once
// Thin owners of KVM's three kinds of descriptors (Linux Documentation/virt/kvm/api.rst). No
// policy: what is asked of them and in which order is vm_builder's business. Works on /dev/kvm and
// /dev/kvm-lite alike.

#include <linux/kvm.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/mapped_region.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "memory/gpa.h"

namespace mote::monitor {

/// One vCPU: its descriptor and the mapped struct kvm_run. After setup only the vCPU's thread uses
/// it, but for request_exit().
class VcpuFd final {
 public:
  VcpuFd(base::UniqueFd fd, base::MappedRegion run) : fd_(std::move(fd)), run_(std::move(run)) {}

  [[nodiscard]] int fd() const { return fd_.get(); }
  /// Shared with the kernel; what the kernel wrote is trusted, what it points to is bounds-checked.
  [[nodiscard]] kvm_run& run_page() const;
  [[nodiscard]] size_t run_size_bytes() const { return run_.size_bytes(); }
  /// KVM_RUN; the negated errno on failure.
  [[nodiscard]] int run() const;
  /// Makes the current or next KVM_RUN return -EINTR (with a signal to its thread). Any thread.
  void set_immediate_exit(uint8_t value) const;

  base::Result<> set_cpuid(const std::vector<kvm_cpuid_entry2>& entries) const;
  base::Result<kvm_regs> regs() const;
  base::Result<> set_regs(const kvm_regs& regs) const;
  base::Result<kvm_sregs> sregs() const;
  base::Result<> set_sregs(const kvm_sregs& sregs) const;
  /// Sets MSRs one by one after a bulk attempt fails; gives the indices the host refused.
  base::Result<std::vector<uint32_t>> set_msrs(const std::vector<kvm_msr_entry>& entries) const;
  /// Fills in `data` of each entry; kUnsupported names the first MSR that cannot be read.
  base::Result<> get_msrs(std::vector<kvm_msr_entry>& entries) const;

 private:
  base::UniqueFd fd_;
  base::MappedRegion run_;
};

/// One virtual machine.
class VmFd final {
 public:
  VmFd() = default;
  VmFd(base::UniqueFd fd, size_t run_size_bytes)
      : fd_(std::move(fd)), run_size_bytes_(run_size_bytes) {}

  [[nodiscard]] int fd() const { return fd_.get(); }
  base::Result<> set_memory_region(uint32_t slot, memory::Gpa start, std::span<std::byte> host,
                                   uint32_t flags) const;
  /// In-kernel LAPICs, IOAPIC in user space with `pins` pins.
  base::Result<> enable_split_irqchip(uint32_t pins) const;
  /// Addresses Intel hosts without unrestricted guest need; elsewhere the kernel ignores them.
  base::Result<> set_real_mode_areas(memory::Gpa identity_map, memory::Gpa tss) const;
  base::Result<VcpuFd> create_vcpu(uint32_t index) const;
  /// Binds an eventfd to an interrupt line (edge).
  base::Result<> bind_interrupt(int event_fd, uint32_t gsi) const;
  /// Signals `event_fd` on a 4-byte MMIO write of `datamatch` at `address`, without an exit to user
  /// space.
  base::Result<> bind_mmio_write(int event_fd, memory::Gpa address, uint32_t datamatch) const;
  base::Result<> set_gsi_routing(const std::vector<kvm_irq_routing_entry>& entries) const;
  [[nodiscard]] int check_extension(uint32_t capability) const;

 private:
  base::UniqueFd fd_;
  size_t run_size_bytes_ = 0;
};

/// The opened device.
class Kvm final {
 public:
  /// Opens the device and checks API version and required capabilities; the error says what is
  /// missing.
  static base::Result<Kvm> open(const std::string& device_path);

  base::Result<VmFd> create_vm() const;
  base::Result<std::vector<kvm_cpuid_entry2>> supported_cpuid() const;
  [[nodiscard]] int check_extension(uint32_t capability) const;

 private:
  explicit Kvm(base::UniqueFd fd) : fd_(std::move(fd)) {}
  base::UniqueFd fd_;
};

}  // namespace mote::monitor
