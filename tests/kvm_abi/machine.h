#pragma once

// The machine that every case of kvm-abi runs on: a device that speaks KVM's ABI, a VM with 2 MiB
// of memory, vCPUs in real or 64-bit mode. One thread owns it all. A case that fails throws; what
// the device does not offer throws Absent, what it cannot run (an emulator's limits) throws Unable.

#include <linux/stddef.h>
// The kernel's macro wraps a flexible array together with an empty structure, which has a size in
// C++: offsets and ioctl numbers would differ from the kernel's.
#undef __DECLARE_FLEX_ARRAY
#define __DECLARE_FLEX_ARRAY(TYPE, NAME) TYPE NAME[]
#include <linux/kvm.h>
#include <signal.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace kvm_abi {

struct NotOk : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct Absent : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct Unable : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Throws NotOk with `what` unless `holds`.
void expect(bool holds, const std::string& what);
/// Throws NotOk with both values, in hex, unless they are equal.
void expect_equal(std::uint64_t actual, std::uint64_t wanted, const std::string& what);

constexpr std::uint64_t kCode = 0x1000;
constexpr std::uint64_t kProcessorCode = 0x2000;
constexpr std::uint64_t kData = 0x3000;
constexpr std::uint64_t kPageTables = 0x10000;  // PML4, PDPT, four page directories.
constexpr std::uint64_t kMmio = 0xd0000000;     // No memory slot is there.
constexpr std::size_t kMemoryBytes = 2u << 20;
constexpr std::uint16_t kEndPort = 0xf4;
constexpr std::uint16_t kVectorPort = 0xf5;

/// Code of guests.S.
using Guest = std::span<const char>;

/// One of KVM's variable-length structures with room for `kCount` entries, zeroed.
template <typename Head, typename Entry, std::size_t kCount>
class Table final {
 public:
  static constexpr std::uint32_t kRoom = kCount;
  Head* get() { return reinterpret_cast<Head*>(raw_.data()); }
  Head* operator->() { return get(); }

 private:
  static_assert(sizeof(Head) % alignof(Entry) == 0);
  alignas(8) std::array<std::byte, sizeof(Head) + kCount * sizeof(Entry)> raw_{};
};
using OneMsr = Table<kvm_msrs, kvm_msr_entry, 1>;
using OneRoute = Table<kvm_irq_routing, kvm_irq_routing_entry, 1>;

/// A table with one route: `gsi` sends this message.
OneRoute message_route(std::uint32_t gsi, std::uint32_t data);
/// "0x..."
std::string hex(std::uint64_t value);

using CpuidTable = Table<kvm_cpuid2, kvm_cpuid_entry2, 128>;
static_assert(sizeof(kvm_cpuid2) == 8 && sizeof(kvm_msrs) == 8 && sizeof(kvm_signal_mask) == 4);

class Descriptor final {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return fd_; }
  /// The ioctl's result; -errno when it failed.
  int try_ioctl(unsigned long command, unsigned long argument = 0) const;
  int try_ioctl(unsigned long command, void* argument) const;
  /// As above, but Absent on ENOTTY and NotOk on every other error.
  int ioctl(unsigned long command, const char* name, unsigned long argument = 0) const;
  int ioctl(unsigned long command, const char* name, void* argument) const;

 private:
  int fd_;
};

#define KVM_ABI_IOCTL(descriptor, command, ...) (descriptor).ioctl(command, #command, ##__VA_ARGS__)

enum class Interrupts { kNone, kSplit };

class Vcpu final {
 public:
  Vcpu(const Descriptor& system, int fd);
  ~Vcpu();
  Vcpu(const Vcpu&) = delete;
  Vcpu& operator=(const Vcpu&) = delete;

  const Descriptor& fd() const { return fd_; }
  kvm_run& run_page() { return *run_; }
  /// Runs until an exit; KVM_EXIT_INTERNAL_ERROR throws Unable. Returns 0 or -errno.
  int enter();
  /// enter(), which must give this exit reason.
  void expect_exit(std::uint32_t reason, const std::string& what);
  /// The next exit must be a write of `size` bytes to `port`; returns the value.
  std::uint32_t expect_out(std::uint16_t port, std::uint8_t size, const std::string& what);
  /// The guest must reach its end, or a handler of this vector.
  void expect_end(const std::string& what);
  void expect_vector(std::uint8_t vector, const std::string& what);

  kvm_regs regs() const;
  void set_regs(const kvm_regs& regs);
  kvm_sregs sregs() const;
  void set_sregs(const kvm_sregs& sregs);
  /// The device's whole CPUID table.
  void set_cpuid(const Descriptor& system);
  std::uint64_t msr(std::uint32_t index) const;
  void set_msr(std::uint32_t index, std::uint64_t value);

 private:
  Descriptor fd_;
  std::size_t run_bytes_;
  kvm_run* run_;
};

class Machine final {
 public:
  explicit Machine(const Descriptor& system, Interrupts interrupts = Interrupts::kNone,
                   unsigned processors = 1);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  const Descriptor& system() const { return system_; }
  const Descriptor& vm() const { return *vm_; }
  Vcpu& vcpu(std::size_t index = 0) { return *vcpus_[index]; }
  std::uint8_t* memory() { return memory_; }
  void set_slot(std::uint32_t slot, std::uint64_t gpa, std::uint64_t bytes, const void* host,
                std::uint32_t flags = 0);
  /// Copies the guest in and makes the vCPU ready to run it; registers but RIP, RSP are 0.
  void load_real(Guest guest);
  void load_long(Guest guest, const kvm_regs& registers = {}, std::size_t index = 0);
  std::uint64_t load_data(std::size_t offset) const;
  /// Puts the value into guest memory.
  void store(std::uint64_t at, std::uint64_t value);
  /// Loads the guest with an x2APIC and CPUID, and runs it to its first byte on port 0xf4.
  void start_waiting();

 private:
  void write_tables();

  const Descriptor& system_;
  std::uint8_t* memory_;
  std::unique_ptr<Descriptor> vm_;
  std::vector<std::unique_ptr<Vcpu>> vcpus_;
};

/// The device offers the capability, or Absent.
int need_capability(const Descriptor& descriptor, int capability, const char* name);

/// What KVM_GET_SUPPORTED_CPUID gives.
CpuidTable device_cpuid(const Descriptor& system);

struct Case {
  const char* name;
  void (*run)(const Descriptor& system);
};

std::span<const Case> system_cases();
std::span<const Case> state_cases();
std::span<const Case> memory_cases();
std::span<const Case> guest_cases();
std::span<const Case> processor_cases();
std::span<const Case> interrupt_cases();
std::span<const Case> eventfd_cases();
/// The first to run.
std::span<const Case> xstate_cases();

/// Prints "measure NAME TICKS" for each kind of exit; TICKS are the host's TSC, per exit.
void measure(const Descriptor& system);
/// Changes memory slots and the process's own mappings `changes` times under a running guest, and
/// checks that nothing the guest wrote is lost. NotOk if it is.
void stress_memory(const Descriptor& system, unsigned changes);
/// Prints "ioctl LEVEL NAME ERRNO" for each ioctl: ENOTTY if the device does not know it.
void list_ioctls(const Descriptor& system);

}  // namespace kvm_abi

// Makes guest NAME of guests.S known as the function NAME() of this file.
#define KVM_ABI_GUEST(name)                                   \
  extern "C" const char guest_##name[], guest_##name##_end[]; \
  static kvm_abi::Guest name() {                              \
    return kvm_abi::Guest(guest_##name, guest_##name##_end);  \
  }
