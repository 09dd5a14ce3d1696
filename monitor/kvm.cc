#include "monitor/kvm.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <memory>

#include "monitor/kvm_table.h"

namespace mote::monitor {
namespace {

/// ioctl(2) restarted on EINTR; the negated errno on failure.
template <typename T>
int ioctl_retry(int fd, unsigned long request, T argument) {
  int outcome = 0;
  do {
    outcome = ::ioctl(fd, request, argument);
  } while (outcome < 0 && errno == EINTR);
  return outcome < 0 ? -errno : outcome;
}

template <typename T>
base::Result<> ioctl_checked(int fd, unsigned long request, T argument, const char* what) {
  const int outcome = ioctl_retry(fd, request, argument);
  if (outcome < 0) return base::fail_errno(-outcome, what);
  return {};
}

struct RequiredCapability {
  uint32_t number;
  const char* name;
};
constexpr std::array kRequiredCapabilities = {
    RequiredCapability{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
    RequiredCapability{KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP"},
    RequiredCapability{KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
    RequiredCapability{KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
    RequiredCapability{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
    RequiredCapability{KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
};

}  // namespace

kvm_run& VcpuFd::run_page() const {
  return *reinterpret_cast<kvm_run*>(run_.data());
}

int VcpuFd::run() const {
  // Not restarted on EINTR: that is how a vCPU is asked to come out.
  return ::ioctl(fd_.get(), KVM_RUN, 0) < 0 ? -errno : 0;
}

void VcpuFd::set_immediate_exit(uint8_t value) const {
  std::atomic_ref<uint8_t>(run_page().immediate_exit).store(value, std::memory_order_release);
}

base::Result<> VcpuFd::set_cpuid(const std::vector<kvm_cpuid_entry2>& entries) const {
  KvmTable<kvm_cpuid_entry2> table{std::span(entries)};
  return ioctl_checked(fd_.get(), kSetCpuid2, table.raw(), "KVM_SET_CPUID2");
}

base::Result<std::vector<kvm_cpuid_entry2>> VcpuFd::cpuid() const {
  constexpr size_t kMaxEntries = 256;  // The kernel's own limit.
  KvmTable<kvm_cpuid_entry2> table(kMaxEntries);
  MOTE_TRY_VOID(ioctl_checked(fd_.get(), kGetCpuid2, table.raw(), "KVM_GET_CPUID2"));
  return table.entries();
}

base::Result<kvm_regs> VcpuFd::regs() const {
  kvm_regs regs{};
  MOTE_TRY_VOID(ioctl_checked(fd_.get(), KVM_GET_REGS, &regs, "KVM_GET_REGS"));
  return regs;
}

base::Result<> VcpuFd::set_regs(const kvm_regs& regs) const {
  return ioctl_checked(fd_.get(), KVM_SET_REGS, &regs, "KVM_SET_REGS");
}

base::Result<kvm_sregs> VcpuFd::sregs() const {
  kvm_sregs sregs{};
  MOTE_TRY_VOID(ioctl_checked(fd_.get(), KVM_GET_SREGS, &sregs, "KVM_GET_SREGS"));
  return sregs;
}

base::Result<> VcpuFd::set_sregs(const kvm_sregs& sregs) const {
  return ioctl_checked(fd_.get(), KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
}

base::Result<std::vector<uint32_t>> VcpuFd::set_msrs(
    const std::vector<kvm_msr_entry>& entries) const {
  std::vector<uint32_t> refused;
  size_t next = 0;
  while (next < entries.size()) {
    KvmTable<kvm_msr_entry> table{std::span(entries).subspan(next)};
    const int set = ioctl_retry(fd_.get(), kSetMsrs, table.raw());
    if (set < 0) return base::fail_errno(-set, "KVM_SET_MSRS");
    next += static_cast<size_t>(set);
    // KVM stops at the first MSR it will not take: note it and go on behind it.
    if (next < entries.size()) refused.push_back(entries[next++].index);
  }
  return refused;
}

base::Result<> VcpuFd::get_msrs(std::vector<kvm_msr_entry>& entries) const {
  KvmTable<kvm_msr_entry> table{std::span<const kvm_msr_entry>(entries)};
  const int got = ioctl_retry(fd_.get(), kGetMsrs, table.raw());
  if (got < 0) return base::fail_errno(-got, "KVM_GET_MSRS");
  if (static_cast<size_t>(got) < entries.size()) {
    return base::fail(base::ErrorCode::kUnsupported,
                      fmt::format("MSR {:#x} cannot be read on this host",
                                  entries[static_cast<size_t>(got)].index));
  }
  entries = table.entries();
  return {};
}

base::Result<std::vector<kvm_msr_entry>> VcpuFd::readable_msrs(
    std::span<const uint32_t> indices) const {
  std::vector<kvm_msr_entry> readable;
  while (!indices.empty()) {
    std::vector<kvm_msr_entry> wanted;
    for (const uint32_t index : indices)
      wanted.push_back({.index = index, .reserved = 0, .data = 0});
    KvmTable<kvm_msr_entry> table{std::span<const kvm_msr_entry>(wanted)};
    const int got = ioctl_retry(fd_.get(), kGetMsrs, table.raw());
    if (got < 0) return base::fail_errno(-got, "KVM_GET_MSRS");
    const auto entries = table.entries();
    readable.insert(readable.end(), entries.begin(), entries.begin() + got);
    // KVM stops at the first it cannot read: go on behind it.
    indices = indices.subspan(std::min<size_t>(indices.size(), static_cast<size_t>(got) + 1));
  }
  return readable;
}

base::Result<> VcpuFd::transfer(unsigned long request, void* value, const char* what) const {
  return ioctl_checked(fd_.get(), request, value, what);
}

base::Result<std::vector<std::byte>> VcpuFd::xsave(size_t size_bytes) const {
  std::vector<std::byte> area(std::max(size_bytes, kXsaveBytes));
  const bool fits_old = size_bytes <= kXsaveBytes;
  MOTE_TRY_VOID(ioctl_checked(fd_.get(), fits_old ? kGetXsave : kGetXsave2, area.data(),
                              "the vCPU's XSAVE area"));
  return area;
}

base::Result<> VcpuFd::set_xsave(std::vector<std::byte> area) const {
  return ioctl_checked(fd_.get(), kSetXsave, area.data(), "the vCPU's XSAVE area");
}

uint32_t VcpuFd::tsc_khz() const {
  return static_cast<uint32_t>(std::max(0, ioctl_retry(fd_.get(), KVM_GET_TSC_KHZ, 0UL)));
}

void VcpuFd::tell_paused() const {
  ioctl_retry(fd_.get(), KVM_KVMCLOCK_CTRL, 0UL);
}

base::Result<> VmFd::set_memory_region(uint32_t slot, memory::Gpa start, std::span<std::byte> host,
                                       uint32_t flags) const {
  kvm_userspace_memory_region region{};
  region.slot = slot;
  region.flags = flags;
  region.guest_phys_addr = start.value;
  region.memory_size = host.size();
  region.userspace_addr = reinterpret_cast<uint64_t>(host.data());
  return ioctl_checked(fd_.get(), KVM_SET_USER_MEMORY_REGION, &region,
                       "KVM_SET_USER_MEMORY_REGION");
}

base::Result<> VmFd::enable_split_irqchip(uint32_t pins) const {
  kvm_enable_cap capability{};
  capability.cap = KVM_CAP_SPLIT_IRQCHIP;
  capability.args[0] = pins;
  return ioctl_checked(fd_.get(), KVM_ENABLE_CAP, &capability, "KVM_CAP_SPLIT_IRQCHIP");
}

base::Result<> VmFd::set_real_mode_areas(memory::Gpa identity_map, memory::Gpa tss) const {
  uint64_t address = identity_map.value;
  const int mapped = ioctl_retry(fd_.get(), KVM_SET_IDENTITY_MAP_ADDR, &address);
  if (mapped < 0 && mapped != -ENOTTY) {
    return base::fail_errno(-mapped, "KVM_SET_IDENTITY_MAP_ADDR");
  }
  const int set = ioctl_retry(fd_.get(), KVM_SET_TSS_ADDR, tss.value);
  if (set < 0 && set != -ENOTTY) return base::fail_errno(-set, "KVM_SET_TSS_ADDR");
  return {};
}

base::Result<VcpuFd> VmFd::create_vcpu(uint32_t index) const {
  const int fd = ioctl_retry(fd_.get(), KVM_CREATE_VCPU, static_cast<unsigned long>(index));
  if (fd < 0) return base::fail_errno(-fd, "KVM_CREATE_VCPU " + std::to_string(index));
  base::UniqueFd owned(fd);
  MOTE_TRY(auto run, base::MappedRegion::map(run_size_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED,
                                             fd, 0, "struct kvm_run"));
  return VcpuFd(std::move(owned), std::move(run));
}

base::Result<> VmFd::bind_interrupt(int event_fd, uint32_t gsi) const {
  kvm_irqfd irqfd{};
  irqfd.fd = static_cast<uint32_t>(event_fd);
  irqfd.gsi = gsi;
  return ioctl_checked(fd_.get(), KVM_IRQFD, &irqfd, "KVM_IRQFD");
}

base::Result<> VmFd::bind_mmio_write(int event_fd, memory::Gpa address, uint32_t datamatch) const {
  kvm_ioeventfd ioeventfd{};
  ioeventfd.datamatch = datamatch;
  ioeventfd.addr = address.value;
  ioeventfd.len = sizeof(uint32_t);
  ioeventfd.fd = event_fd;
  ioeventfd.flags = KVM_IOEVENTFD_FLAG_DATAMATCH;
  return ioctl_checked(fd_.get(), KVM_IOEVENTFD, &ioeventfd, "KVM_IOEVENTFD");
}

base::Result<> VmFd::set_gsi_routing(const std::vector<kvm_irq_routing_entry>& entries) const {
  KvmTable<kvm_irq_routing_entry> table{std::span(entries)};
  return ioctl_checked(fd_.get(), kSetGsiRouting, table.raw(), "KVM_SET_GSI_ROUTING");
}

base::Result<kvm_clock_data> VmFd::clock() const {
  kvm_clock_data clock{};
  MOTE_TRY_VOID(ioctl_checked(fd_.get(), KVM_GET_CLOCK, &clock, "KVM_GET_CLOCK"));
  return clock;
}

base::Result<std::vector<uint64_t>> VmFd::dirty_log(uint32_t slot, uint64_t size_bytes) const {
  constexpr uint64_t kBytesAWord = uint64_t{64} * 4096;
  std::vector<uint64_t> bitmap((size_bytes + kBytesAWord - 1) / kBytesAWord);
  kvm_dirty_log log{};
  log.slot = slot;
  log.dirty_bitmap = bitmap.data();
  MOTE_TRY_VOID(ioctl_checked(fd_.get(), KVM_GET_DIRTY_LOG, &log, "KVM_GET_DIRTY_LOG"));
  return bitmap;
}

base::Result<> VmFd::set_clock(const kvm_clock_data& clock) const {
  return ioctl_checked(fd_.get(), KVM_SET_CLOCK, &clock, "KVM_SET_CLOCK");
}

int VmFd::check_extension(uint32_t capability) const {
  return std::max(
      0, ioctl_retry(fd_.get(), KVM_CHECK_EXTENSION, static_cast<unsigned long>(capability)));
}

base::Result<Kvm> Kvm::open(const std::string& device_path) {
  base::UniqueFd fd(::open(device_path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.valid()) {
    return base::fail_errno(errno,
                            "cannot open " + device_path +
                                " (is the module loaded, and may this user read and write it?)");
  }
  const int version = ioctl_retry(fd.get(), KVM_GET_API_VERSION, 0UL);
  if (version < 0) return base::fail_errno(-version, device_path + " is no KVM device");
  if (version != KVM_API_VERSION) {
    return base::fail(base::ErrorCode::kUnsupported,
                      device_path + " has KVM API version " + std::to_string(version) + ", not 12");
  }
  Kvm kvm(std::move(fd));
  for (const auto& capability : kRequiredCapabilities) {
    if (kvm.check_extension(capability.number) == 0) {
      return base::fail(base::ErrorCode::kUnsupported,
                        device_path + " lacks " + capability.name + ", which Mote needs");
    }
  }
  return kvm;
}

base::Result<VmFd> Kvm::create_vm() const {
  const int size = ioctl_retry(fd_.get(), KVM_GET_VCPU_MMAP_SIZE, 0UL);
  if (size < 0) return base::fail_errno(-size, "KVM_GET_VCPU_MMAP_SIZE");
  if (static_cast<size_t>(size) < sizeof(kvm_run)) {
    return base::fail(base::ErrorCode::kUnsupported, "KVM_GET_VCPU_MMAP_SIZE is too small");
  }
  const int fd = ioctl_retry(fd_.get(), KVM_CREATE_VM, 0UL);
  if (fd < 0) return base::fail_errno(-fd, "KVM_CREATE_VM");
  return VmFd(base::UniqueFd(fd), static_cast<size_t>(size));
}

base::Result<std::vector<kvm_cpuid_entry2>> Kvm::supported_cpuid() const {
  constexpr size_t kMaxEntries = 256;  // The kernel's own limit.
  KvmTable<kvm_cpuid_entry2> table(kMaxEntries);
  MOTE_TRY_VOID(
      ioctl_checked(fd_.get(), kGetSupportedCpuid, table.raw(), "KVM_GET_SUPPORTED_CPUID"));
  return table.entries();
}

base::Result<std::vector<uint32_t>> Kvm::msr_indices() const {
  constexpr uint32_t kMaxEntries = 1024;
  std::vector<uint32_t> list(1 + kMaxEntries);
  list[0] = kMaxEntries;
  MOTE_TRY_VOID(ioctl_checked(fd_.get(), kGetMsrIndexList, list.data(), "KVM_GET_MSR_INDEX_LIST"));
  const auto count = static_cast<ptrdiff_t>(std::min(list[0], kMaxEntries));
  return std::vector<uint32_t>(list.begin() + 1, list.begin() + 1 + count);
}

int Kvm::check_extension(uint32_t capability) const {
  return std::max(
      0, ioctl_retry(fd_.get(), KVM_CHECK_EXTENSION, static_cast<unsigned long>(capability)));
}

}  // namespace mote::monitor
