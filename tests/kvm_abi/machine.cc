#include "tests/kvm_abi/machine.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

KVM_ABI_GUEST(long_x2apic_wait)

namespace kvm_abi {
namespace {

constexpr std::uint64_t kGdt = 0x16000;
constexpr std::uint64_t kIdt = 0x17000;
constexpr std::uint64_t kStack = 0x1f000;
constexpr std::uint64_t kHandlers = 0x20000;
constexpr std::size_t kHandlerBytes = 32;

std::string describe(int error) {
  return std::strerror(-error);
}

std::uint8_t* map_memory() {
  void* mapped =
      mmap(nullptr, kMemoryBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::runtime_error("no memory for the guest");
  return static_cast<std::uint8_t*>(mapped);
}

bool has_error_code(unsigned vector) {
  return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21;
}

// Vector to port 0xf5; from 0x30 on an EOI by the x2APIC's MSR; back.
std::vector<std::uint8_t> handler(unsigned vector) {
  std::vector<std::uint8_t> code{0x50, 0x51, 0x52, 0xb0, static_cast<std::uint8_t>(vector),
                                 0xe6, 0xf5};
  const auto append = [&code](std::initializer_list<std::uint8_t> bytes) {
    code.insert(code.end(), bytes);
  };
  if (vector >= 0x30) append({0xb9, 0x0b, 0x08, 0, 0, 0x31, 0xc0, 0x31, 0xd2, 0x0f, 0x30});
  append({0x5a, 0x59, 0x58});
  if (has_error_code(vector)) append({0x48, 0x83, 0xc4, 0x08});
  append({0x48, 0xcf});
  return code;
}

kvm_segment segment(std::uint16_t selector, std::uint8_t type, bool code) {
  kvm_segment made{};
  made.limit = 0xffffffff;
  made.selector = selector;
  made.type = type;
  made.present = 1;
  made.s = 1;
  made.g = 1;
  made.l = code ? 1 : 0;
  made.db = code ? 0 : 1;
  return made;
}

}  // namespace

void expect(bool holds, const std::string& what) {
  if (!holds) throw NotOk(what);
}

void expect_equal(std::uint64_t actual, std::uint64_t wanted, const std::string& what) {
  if (actual != wanted) throw NotOk(what + ": " + hex(actual) + " instead of " + hex(wanted));
}

std::string hex(std::uint64_t value) {
  std::array<char, 19> text{};
  std::snprintf(text.data(), text.size(), "%#llx", static_cast<unsigned long long>(value));
  return text.data();
}

OneRoute message_route(std::uint32_t gsi, std::uint32_t data) {
  OneRoute routes;
  routes->nr = 1;
  routes->entries[0].gsi = gsi;
  routes->entries[0].type = KVM_IRQ_ROUTING_MSI;
  routes->entries[0].u.msi.address_lo = 0xfee00000;
  routes->entries[0].u.msi.data = data;
  return routes;
}

int need_capability(const Descriptor& descriptor, int capability, const char* name) {
  const int value =
      descriptor.try_ioctl(KVM_CHECK_EXTENSION, static_cast<unsigned long>(capability));
  if (value <= 0) throw Absent(std::string(name) + " is not offered");
  return value;
}

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}

int Descriptor::try_ioctl(unsigned long command, unsigned long argument) const {
  const int result = ::ioctl(fd_, command, argument);
  return result < 0 ? -errno : result;
}

int Descriptor::try_ioctl(unsigned long command, void* argument) const {
  return try_ioctl(command, reinterpret_cast<unsigned long>(argument));
}

int Descriptor::ioctl(unsigned long command, const char* name, unsigned long argument) const {
  const int result = try_ioctl(command, argument);
  if (result == -ENOTTY) throw Absent(std::string(name) + ": ENOTTY");
  if (result < 0) throw NotOk(std::string(name) + ": " + describe(result));
  return result;
}

int Descriptor::ioctl(unsigned long command, const char* name, void* argument) const {
  return ioctl(command, name, reinterpret_cast<unsigned long>(argument));
}

Vcpu::Vcpu(const Descriptor& system, int fd)
    : fd_(fd), run_bytes_(static_cast<std::size_t>(KVM_ABI_IOCTL(system, KVM_GET_VCPU_MMAP_SIZE))) {
  void* mapped = mmap(nullptr, run_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) throw NotOk("kvm_run cannot be mapped: " + describe(-errno));
  run_ = static_cast<kvm_run*>(mapped);
}

Vcpu::~Vcpu() {
  munmap(run_, run_bytes_);
}

int Vcpu::enter() {
  int result = fd_.try_ioctl(KVM_RUN);
  // A processor that waited for its start has got it: KVM asks to be called again.
  if (result == -EAGAIN) result = fd_.try_ioctl(KVM_RUN);
  if (result == 0 && run_->exit_reason == KVM_EXIT_INTERNAL_ERROR)
    throw Unable("KVM_EXIT_INTERNAL_ERROR " + std::to_string(run_->internal.suberror) + " at RIP " +
                 hex(regs().rip));
  return result;
}

void Vcpu::expect_exit(std::uint32_t reason, const std::string& what) {
  const int result = enter();
  if (result < 0) throw NotOk(what + ": KVM_RUN: " + describe(result));
  if (run_->exit_reason == reason) return;
  std::string detail;
  if (run_->exit_reason == KVM_EXIT_IO)
    detail = " (port " + hex(run_->io.port) + ", " +
             hex(reinterpret_cast<std::uint8_t*>(run_)[run_->io.data_offset]) + ")";
  throw NotOk(what + ": exit " + std::to_string(run_->exit_reason) + detail + " instead of " +
              std::to_string(reason));
}

std::uint32_t Vcpu::expect_out(std::uint16_t port, std::uint8_t size, const std::string& what) {
  expect_exit(KVM_EXIT_IO, what);
  expect_equal(run_->io.direction, KVM_EXIT_IO_OUT, what + ", direction");
  expect_equal(run_->io.port, port, what + ", port");
  expect_equal(run_->io.size, size, what + ", size");
  std::uint32_t value = 0;
  std::memcpy(&value, reinterpret_cast<std::uint8_t*>(run_) + run_->io.data_offset, size);
  return value;
}

void Vcpu::expect_end(const std::string& what) {
  expect_out(kEndPort, 1, what);
}

void Vcpu::expect_vector(std::uint8_t vector, const std::string& what) {
  expect_equal(expect_out(kVectorPort, 1, what), vector, what + ", vector");
}

kvm_regs Vcpu::regs() const {
  kvm_regs regs{};
  KVM_ABI_IOCTL(fd_, KVM_GET_REGS, &regs);
  return regs;
}

void Vcpu::set_regs(const kvm_regs& regs) {
  kvm_regs copy = regs;
  KVM_ABI_IOCTL(fd_, KVM_SET_REGS, &copy);
}

kvm_sregs Vcpu::sregs() const {
  kvm_sregs sregs{};
  KVM_ABI_IOCTL(fd_, KVM_GET_SREGS, &sregs);
  return sregs;
}

void Vcpu::set_sregs(const kvm_sregs& sregs) {
  kvm_sregs copy = sregs;
  KVM_ABI_IOCTL(fd_, KVM_SET_SREGS, &copy);
}

CpuidTable device_cpuid(const Descriptor& system) {
  CpuidTable table;
  table->nent = CpuidTable::kRoom;
  KVM_ABI_IOCTL(system, KVM_GET_SUPPORTED_CPUID, table.get());
  return table;
}

void Vcpu::set_cpuid(const Descriptor& system) {
  CpuidTable table = device_cpuid(system);
  for (std::uint32_t i = 0; i < table->nent; ++i)
    if (table->entries[i].function == 1)
      table->entries[i].ecx |= 1u << 24 | 1u << 21;  // TSC deadline, x2APIC.
  KVM_ABI_IOCTL(fd_, KVM_SET_CPUID2, table.get());
}

std::uint64_t Vcpu::msr(std::uint32_t index) const {
  OneMsr one;
  one->nmsrs = 1;
  one->entries[0].index = index;
  if (KVM_ABI_IOCTL(fd_, KVM_GET_MSRS, one.get()) != 1)
    throw NotOk("MSR " + hex(index) + " cannot be read");
  return one->entries[0].data;
}

void Vcpu::set_msr(std::uint32_t index, std::uint64_t value) {
  OneMsr one;
  one->nmsrs = 1;
  one->entries[0].index = index;
  one->entries[0].data = value;
  if (KVM_ABI_IOCTL(fd_, KVM_SET_MSRS, one.get()) != 1)
    throw NotOk("MSR " + hex(index) + " cannot be set to " + hex(value));
}

Machine::Machine(const Descriptor& system, Interrupts interrupts, unsigned processors)
    : system_(system), memory_(map_memory()) {
  vm_ = std::make_unique<Descriptor>(KVM_ABI_IOCTL(system, KVM_CREATE_VM));
  set_slot(0, 0, kMemoryBytes, memory_);
  if (interrupts == Interrupts::kSplit) {
    need_capability(system, KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP");
    kvm_enable_cap enable{};
    enable.cap = KVM_CAP_SPLIT_IRQCHIP;
    enable.args[0] = 24;
    KVM_ABI_IOCTL(*vm_, KVM_ENABLE_CAP, &enable);
  }
  for (unsigned id = 0; id < processors; ++id)
    vcpus_.push_back(std::make_unique<Vcpu>(system, KVM_ABI_IOCTL(*vm_, KVM_CREATE_VCPU, id)));
  write_tables();
}

Machine::~Machine() {
  vcpus_.clear();
  vm_.reset();
  munmap(memory_, kMemoryBytes);
}

void Machine::set_slot(std::uint32_t slot, std::uint64_t gpa, std::uint64_t bytes, const void* host,
                       std::uint32_t flags) {
  kvm_userspace_memory_region region{slot, flags, gpa, bytes,
                                     reinterpret_cast<std::uintptr_t>(host)};
  KVM_ABI_IOCTL(*vm_, KVM_SET_USER_MEMORY_REGION, &region);
}

void Machine::store(std::uint64_t at, std::uint64_t value) {
  std::memcpy(memory_ + at, &value, sizeof(value));
}

void Machine::write_tables() {
  store(kPageTables, kPageTables + 0x1003);
  for (std::uint64_t i = 0; i < 4; ++i)
    store(kPageTables + 0x1000 + i * 8, kPageTables + 0x2003 + i * 0x1000);
  for (std::uint64_t i = 0; i < 2048; ++i) store(kPageTables + 0x2000 + i * 8, i << 21 | 0x83);
  store(kGdt + 8, 0x00af9b000000ffff);   // 64-bit code.
  store(kGdt + 16, 0x00cf93000000ffff);  // Data.
  for (unsigned vector = 0; vector < 256; ++vector) {
    const std::uint64_t at = kHandlers + vector * kHandlerBytes;
    const auto code = handler(vector);
    std::memcpy(memory_ + at, code.data(), code.size());
    store(kIdt + vector * 16,
          (at >> 16 & 0xffff) << 48 | 0x8e00ull << 32 | 8u << 16 | (at & 0xffff));
    store(kIdt + vector * 16 + 8, 0);
  }
}

void Machine::load_real(Guest guest) {
  std::memcpy(memory_ + kCode, guest.data(), guest.size());
  kvm_sregs sregs = vcpu().sregs();
  for (kvm_segment* each : {&sregs.cs, &sregs.ds, &sregs.es, &sregs.ss}) {
    each->base = 0;
    each->selector = 0;
  }
  vcpu().set_sregs(sregs);
  kvm_regs regs{};
  regs.rip = kCode;
  regs.rsp = 0x8000;
  regs.rflags = 2;
  vcpu().set_regs(regs);
}

void Machine::load_long(Guest guest, const kvm_regs& registers, std::size_t index) {
  std::memcpy(memory_ + kCode, guest.data(), guest.size());
  kvm_sregs sregs = vcpu(index).sregs();
  sregs.cs = segment(8, 11, true);
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment(16, 3, false);
  sregs.gdt.base = kGdt;
  sregs.gdt.limit = 23;
  sregs.idt.base = kIdt;
  sregs.idt.limit = 256 * 16 - 1;
  sregs.cr0 = 0x80000033;  // PG, NE, ET, MP, PE.
  sregs.cr3 = kPageTables;
  sregs.cr4 = 0x620;  // PAE, OSFXSR, OSXMMEXCPT.
  sregs.efer = 0x500;
  vcpu(index).set_sregs(sregs);
  kvm_regs regs = registers;
  regs.rip = kCode;
  regs.rsp = kStack;
  regs.rflags = 2;
  vcpu(index).set_regs(regs);
}

std::uint64_t Machine::load_data(std::size_t offset) const {
  std::uint64_t value;
  std::memcpy(&value, memory_ + kData + offset, sizeof(value));
  return value;
}

void Machine::start_waiting() {
  vcpu().set_cpuid(system_);
  kvm_sregs sregs = vcpu().sregs();
  sregs.apic_base = 0xfee00d00;
  vcpu().set_sregs(sregs);
  load_long(long_x2apic_wait());
  vcpu().expect_end("the guest turns its x2APIC on");
}

}  // namespace kvm_abi
