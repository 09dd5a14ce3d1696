#pragma once
// Thin owners of KVM's three kinds of descriptors (Linux Documentation/virt/kvm/api.rst). No
// policy: what is asked of them and in which order is vm_builder's business. Works on /dev/kvm and
// /dev/kvm-lite alike.

#include <linux/kvm.h>

#include <cstdint>
#include <span>
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
  base::Result<std::vector<kvm_cpuid_entry2>> cpuid() const;
  base::Result<kvm_regs> regs() const;
  base::Result<> set_regs(const kvm_regs& regs) const;
  base::Result<kvm_sregs> sregs() const;
  base::Result<> set_sregs(const kvm_sregs& sregs) const;
  /// Sets MSRs one by one after a bulk attempt fails; gives the indices the host refused.
  base::Result<std::vector<uint32_t>> set_msrs(const std::vector<kvm_msr_entry>& entries) const;
  /// Fills in `data` of each entry; kUnsupported names the first MSR that cannot be read.
  base::Result<> get_msrs(std::vector<kvm_msr_entry>& entries) const;
  /// The MSRs of `indices` that this host can read.
  base::Result<std::vector<kvm_msr_entry>> readable_msrs(std::span<const uint32_t> indices) const;

  /// The fixed-size parts of a vCPU's state (api.rst: KVM_GET_MP_STATE and its like).
  template <typename T>
  base::Result<T> get() const {
    T value{};
    MOTE_TRY_VOID(transfer(StateRequest<T>::kGet, &value, StateRequest<T>::kName));
    return value;
  }
  template <typename T>
  base::Result<> set(const T& value) const {
    T copy = value;  // The kernel takes a pointer to what it may not keep.
    return transfer(StateRequest<T>::kSet, &copy, StateRequest<T>::kName);
  }
  /// KVM_GET_XSAVE2 into `size_bytes` (KVM_CAP_XSAVE2's answer; at least 4096), KVM_SET_XSAVE.
  base::Result<std::vector<std::byte>> xsave(size_t size_bytes) const;
  base::Result<> set_xsave(std::vector<std::byte> area) const;
  /// KVM_GET_TSC_KHZ; 0 where the host does not say.
  [[nodiscard]] uint32_t tsc_khz() const;
  /// Tells the guest that it stood still, so that its watchdogs do not bark. Best effort.
  void tell_paused() const;

 private:
  template <typename T>
  struct StateRequest;
  base::Result<> transfer(unsigned long request, void* value, const char* what) const;

  base::UniqueFd fd_;
  base::MappedRegion run_;
};

template <>
struct VcpuFd::StateRequest<kvm_mp_state> {
  static constexpr unsigned long kGet = KVM_GET_MP_STATE;
  static constexpr unsigned long kSet = KVM_SET_MP_STATE;
  static constexpr const char* kName = "the vCPU's run state";
};
template <>
struct VcpuFd::StateRequest<kvm_xcrs> {
  static constexpr unsigned long kGet = KVM_GET_XCRS;
  static constexpr unsigned long kSet = KVM_SET_XCRS;
  static constexpr const char* kName = "the vCPU's XCRs";
};
template <>
struct VcpuFd::StateRequest<kvm_debugregs> {
  static constexpr unsigned long kGet = KVM_GET_DEBUGREGS;
  static constexpr unsigned long kSet = KVM_SET_DEBUGREGS;
  static constexpr const char* kName = "the vCPU's debug registers";
};
template <>
struct VcpuFd::StateRequest<kvm_lapic_state> {
  static constexpr unsigned long kGet = KVM_GET_LAPIC;
  static constexpr unsigned long kSet = KVM_SET_LAPIC;
  static constexpr const char* kName = "the vCPU's local APIC";
};
template <>
struct VcpuFd::StateRequest<kvm_vcpu_events> {
  static constexpr unsigned long kGet = KVM_GET_VCPU_EVENTS;
  static constexpr unsigned long kSet = KVM_SET_VCPU_EVENTS;
  static constexpr const char* kName = "the vCPU's pending events";
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
  /// kvmclock, in nanoseconds of the guest's (KVM_GET_CLOCK).
  base::Result<kvm_clock_data> clock() const;
  base::Result<> set_clock(const kvm_clock_data& clock) const;
  /// One bit a page, cleared by the call (KVM_GET_DIRTY_LOG).
  base::Result<std::vector<uint64_t>> dirty_log(uint32_t slot, uint64_t size_bytes) const;

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
  /// The MSRs that hold a guest's state (KVM_GET_MSR_INDEX_LIST).
  base::Result<std::vector<uint32_t>> msr_indices() const;
  [[nodiscard]] int check_extension(uint32_t capability) const;

 private:
  explicit Kvm(base::UniqueFd fd) : fd_(std::move(fd)) {}
  base::UniqueFd fd_;
};

}  // namespace mote::monitor
