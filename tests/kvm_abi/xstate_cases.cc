// The parts of the processor's state that not every processor has: protection keys, AVX-512, tiles.

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "tests/kvm_abi/machine.h"

KVM_ABI_GUEST(long_keys)
KVM_ABI_GUEST(long_tiles)
KVM_ABI_GUEST(long_xmm)
KVM_ABI_GUEST(long_zmm)

namespace kvm_abi {
namespace {

constexpr std::uint16_t kPort = 0x1234;
constexpr unsigned kSse = 1, kUpperRegisters = 7, kKeyRights = 9,
                   kTileData = 18;                                    // XSAVE components.
constexpr std::uint64_t kOsXsave = 1u << 18, kKeysEnable = 1u << 22;  // CR4
constexpr std::uint32_t kDisabled = 0x1c4, kDisabledError = 0x1c5;    // IA32_XFD, IA32_XFD_ERR

kvm_cpuid_entry2 leaf(const Descriptor& system, std::uint32_t function, std::uint32_t index) {
  CpuidTable table = device_cpuid(system);
  for (std::uint32_t i = 0; i < table->nent; ++i) {
    const kvm_cpuid_entry2& entry = table->entries[i];
    if (entry.function == function && entry.index == index) return entry;
  }
  return {};
}

void need_component(const Descriptor& system, unsigned component, const char* name) {
  if ((leaf(system, 0xd, 0).eax >> component & 1) == 0)
    throw Absent(std::string("this processor has no ") + name);
}

/// The XSAVE area of a vCPU: as KVM_GET_XSAVE2 gives it, or KVM_GET_XSAVE if that has room for it.
class Area final {
 public:
  explicit Area(Machine& machine)
      : machine_(machine),
        bytes_(std::max(sizeof(kvm_xsave), static_cast<std::size_t>(machine.vm().try_ioctl(
                                               KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2)))) {
    need_capability(machine.system(), KVM_CAP_XSAVE, "KVM_CAP_XSAVE");
    get();
  }
  void get() {
    if (bytes_.size() == sizeof(kvm_xsave))
      KVM_ABI_IOCTL(machine_.vcpu().fd(), KVM_GET_XSAVE, bytes_.data());
    else
      KVM_ABI_IOCTL(machine_.vcpu().fd(), KVM_GET_XSAVE2, bytes_.data());
  }
  void set() { KVM_ABI_IOCTL(machine_.vcpu().fd(), KVM_SET_XSAVE, bytes_.data()); }
  /// What stands at `offset` in the component, which is then marked as in use.
  std::uint64_t read(unsigned component, std::size_t offset) const {
    std::uint64_t value;
    std::memcpy(&value, bytes_.data() + place(component) + offset, sizeof(value));
    return value;
  }
  void write(unsigned component, std::size_t offset, std::uint64_t value) {
    std::memcpy(bytes_.data() + place(component) + offset, &value, sizeof(value));
    std::uint64_t in_use;
    std::memcpy(&in_use, bytes_.data() + 512, sizeof(in_use));
    in_use |= std::uint64_t{1} << component;
    std::memcpy(bytes_.data() + 512, &in_use, sizeof(in_use));
  }

 private:
  std::size_t place(unsigned component) const {
    return component == kSse ? 160 : leaf(machine_.system(), 0xd, component).ebx;
  }

  Machine& machine_;
  std::vector<std::byte> bytes_;
};

void load(Machine& machine, Guest guest, const kvm_regs& regs, std::uint64_t cr4) {
  machine.vcpu().set_cpuid(machine.system());
  machine.load_long(guest, regs);
  kvm_sregs sregs = machine.vcpu().sregs();
  sregs.cr4 |= cr4;
  machine.vcpu().set_sregs(sregs);
}

/// The rights that this very process has.
std::uint32_t own_rights() {
  std::uint32_t rights, zero;
  asm volatile("rdpkru" : "=a"(rights), "=d"(zero) : "c"(0));
  return rights;
}

/// The first 2 MiB, once more behind them as the guest's user's, of key 1. The supervisor runs.
void load_keys(Machine& machine, std::uint64_t rights, bool by_string) {
  constexpr std::uint64_t kUser = 4, kLargePage = 0x83, kKey1 = std::uint64_t{1} << 59;
  machine.store(kPageTables + 0x2008, kLargePage | kUser | kKey1);
  for (const std::uint64_t upper : {kPageTables, kPageTables + 0x1000})
    machine.memory()[upper] |= kUser;
  kvm_regs regs{};
  regs.rsi = (2u << 20) + kData;
  regs.r8 = by_string;
  regs.r9 = rights;
  load(machine, long_keys(), regs, kKeysEnable | kOsXsave);
}

// By XSAVE: what KVM_SET_FPU sets before the first run is lost where the host keeps its state by
// XSAVE.
void fpu_in_guest(const Descriptor& system) {
  constexpr std::size_t kXmm3 = 3 * 16;
  Machine machine(system);
  load(machine, long_xmm(), {}, 0);
  Area area(machine);
  area.write(kSse, kXmm3, 0x5a5a5a5a12345678);
  area.set();
  machine.vcpu().expect_end("the guest stores XMM3 and fills it with ones");
  expect_equal(machine.load_data(0), 0x5a5a5a5a12345678, "XMM3 in the guest");
  area.get();
  expect_equal(area.read(kSse, kXmm3), ~0ull, "what the guest put in XMM3");
  machine.vcpu().expect_end("the guest stores XMM3 again");
  expect_equal(machine.load_data(0x10), ~0ull, "XMM3 after an exit");
}

void xsave(const Descriptor& system) {
  Machine machine(system);
  machine.vcpu().set_cpuid(system);
  Area area(machine);
  area.write(kSse, 0, 0x12345678);
  area.set();
  Area again(machine);
  expect_equal(again.read(kSse, 0), 0x12345678, "XMM0");
}

void protection_keys(const Descriptor& system) {
  need_component(system, kKeyRights, "protection keys");
  expect((leaf(system, 7, 0).ecx & 8) != 0, "PKRU in XCR0, but no protection keys");
  constexpr std::uint32_t kNoAccess = 1u << 2, kNoWrite = 2u << 2;  // To key 1.
  for (const bool by_string : {false, true}) {
    Machine machine(system);
    load_keys(machine, kNoAccess, by_string);
    const std::uint32_t before = own_rights();
    expect_equal(machine.vcpu().expect_out(kPort, 4, "rdpkru"), kNoAccess, "PKRU");
    expect_equal(own_rights(), before, "PKRU of the process");
    machine.vcpu().expect_vector(14, "access that the key forbids");
    expect_equal(machine.vcpu().sregs().cr2, (2u << 20) + kData, "CR2");
  }
  Machine machine(system);
  load_keys(machine, kNoWrite, true);
  machine.vcpu().expect_out(kPort, 4, "rdpkru");
  machine.vcpu().expect_out(kPort, 1, "outs of what may be read");
  machine.vcpu().expect_end("a read that the key allows");
  Area area(machine);
  expect_equal(area.read(kKeyRights, 0), kNoWrite, "PKRU as saved");
  area.write(kKeyRights, 0, kNoAccess);
  area.set();
  area.get();
  expect_equal(area.read(kKeyRights, 0), kNoAccess, "PKRU as restored");
}

void avx512(const Descriptor& system) {
  need_component(system, kUpperRegisters, "AVX-512");
  constexpr std::size_t kLast = 15 * 64;  // Of ZMM16 to ZMM31.
  Machine machine(system);
  kvm_regs regs{};
  regs.rdi = kData;
  regs.r8 = leaf(system, 0xd, 0).eax;
  load(machine, long_zmm(), regs, kOsXsave);
  Area area(machine);
  area.write(kUpperRegisters, kLast + 56, 0x5a5a5a5a12345678);
  area.set();
  expect_equal(machine.vcpu().expect_out(kPort, 4, "cpuid"), leaf(system, 0xd, 0).ebx,
               "the size of all that is enabled");
  const std::uint32_t compacted = machine.vcpu().expect_out(kPort, 4, "cpuid");
  // 0 where XSAVES is not offered.
  if (const std::uint32_t wanted = leaf(system, 0xd, 1).ebx; wanted != 0)
    expect_equal(compacted, wanted, "its size in compacted form");
  machine.vcpu().expect_end("the guest stores ZMM31 and fills it with ones");
  expect_equal(machine.load_data(56), 0x5a5a5a5a12345678, "ZMM31 in the guest");
  area.get();
  expect_equal(area.read(kUpperRegisters, kLast + 56), ~0ull, "ZMM31 as saved");
}

// Before all other cases: when a process has had a vCPU, no permission is given any more.
void tiles(const Descriptor& system) {
  constexpr long kRequestForGuests = 0x1025;  // ARCH_REQ_XCOMP_GUEST_PERM
  std::uint64_t offered = 0;
  kvm_device_attr attribute{0, 0, KVM_X86_XCOMP_GUEST_SUPP,
                            reinterpret_cast<std::uintptr_t>(&offered)};
  need_capability(system, KVM_CAP_SYS_ATTRIBUTES, "KVM_CAP_SYS_ATTRIBUTES");
  KVM_ABI_IOCTL(system, KVM_HAS_DEVICE_ATTR, &attribute);
  KVM_ABI_IOCTL(system, KVM_GET_DEVICE_ATTR, &attribute);
  if ((offered >> kTileData & 1) == 0) throw Absent("this processor has no tiles");
  expect((leaf(system, 0xd, 0).eax >> kTileData & 1) == 0, "tiles without a permission");
  expect(syscall(SYS_arch_prctl, kRequestForGuests, kTileData) == 0, "no permission");
  need_component(system, kTileData, "tiles, even with a permission");
  Machine machine(system);
  kvm_xcrs unprepared{};
  unprepared.nr_xcrs = 1;
  unprepared.xcrs[0].value = leaf(system, 0xd, 0).eax;
  expect(machine.vcpu().fd().try_ioctl(KVM_SET_XCRS, &unprepared) == -EINVAL,
         "tiles before a CPUID that has them");
  // The configuration: palette 1, tile 0 of one row of 64 bytes.
  machine.memory()[kData] = 1;
  machine.memory()[kData + 16] = 64;
  machine.memory()[kData + 48] = 1;
  std::memset(machine.memory() + kData + 64, 0xa5, 64);
  kvm_regs regs{};
  regs.rsi = kData;
  regs.rdi = kData + 64;
  regs.rbx = 64;
  regs.r8 = leaf(system, 0xd, 0).eax;
  load(machine, long_tiles(), regs, kOsXsave);
  machine.vcpu().expect_out(kPort, 1, "a tile is loaded");
  Area area(machine);
  expect_equal(area.read(kTileData, 56), 0xa5a5a5a5a5a5a5a5, "tile 0 as saved");
  area.write(kTileData, 56, 0x77);
  area.set();
  machine.vcpu().expect_out(kPort, 1, "the tile is stored");
  expect_equal(machine.load_data(64 + 56), 0x77, "tile 0 as restored");
  machine.vcpu().expect_vector(7, "a tile after IA32_XFD forbade them");
  expect_equal(machine.vcpu().msr(kDisabled), 1u << kTileData, "IA32_XFD");
  expect_equal(machine.vcpu().msr(kDisabledError), 1u << kTileData, "IA32_XFD_ERR");
  // Nothing that user space restores makes the host itself load what IA32_XFD forbids.
  area.write(kTileData, 56, 0x77);
  area.set();
  kvm_regs again = machine.vcpu().regs();
  again.rip = kCode;
  machine.vcpu().set_regs(again);
  machine.vcpu().expect_vector(7, "tiles are still forbidden");
}

constexpr Case kCases[] = {
    {"tiles", tiles},   {"fpu-in-guest", fpu_in_guest},       {"xsave", xsave},
    {"avx512", avx512}, {"protection-keys", protection_keys},
};

}  // namespace

std::span<const Case> xstate_cases() {
  return kCases;
}

}  // namespace kvm_abi
