// Memory slots: what is refused, and what a guest meets after a change.

#include <errno.h>
#include <sys/mman.h>

#include <cstring>

#include "tests/kvm_abi/machine.h"

KVM_ABI_GUEST(long_store)
KVM_ABI_GUEST(long_load)
KVM_ABI_GUEST(long_store_call)
KVM_ABI_GUEST(store_and_return)

namespace kvm_abi {
namespace {

constexpr std::uint64_t kSecond = 0x400000;
constexpr std::size_t kSecondBytes = 0x10000;

class Pages final {
 public:
  explicit Pages(std::size_t bytes = kSecondBytes)
      : bytes_(bytes),
        at_(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (at_ == MAP_FAILED) throw std::runtime_error("no memory for a slot");
  }
  ~Pages() { munmap(at_, bytes_); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  std::uint32_t* words() { return static_cast<std::uint32_t*>(at_); }

 private:
  std::size_t bytes_;
  void* at_;
};

kvm_regs store(std::uint64_t address, std::uint64_t value) {
  kvm_regs regs{};
  regs.rdi = address;
  regs.rax = value;
  return regs;
}

int try_slot(Machine& machine, std::uint32_t slot, std::uint64_t gpa, std::uint64_t bytes,
             void* host) {
  kvm_userspace_memory_region region{slot, 0, gpa, bytes, reinterpret_cast<std::uintptr_t>(host)};
  return machine.vm().try_ioctl(KVM_SET_USER_MEMORY_REGION, &region);
}

void refused(const Descriptor& system) {
  Pages pages;
  Machine machine(system);
  auto* const host = pages.words();
  expect(try_slot(machine, 1, 0x100000, kSecondBytes, host) == -EEXIST, "slots may overlap");
  expect(try_slot(machine, 1, kSecond + 1, 0x1000, host) == -EINVAL,
         "an unaligned address is accepted");
  expect(try_slot(machine, 1, kSecond, 0x1001, host) == -EINVAL, "an unaligned size is accepted");
  expect(try_slot(machine, 1, ~0xfffull, 0x2000, host) == -EINVAL,
         "an address that wraps is accepted");
  expect(try_slot(machine, 0xffff, kSecond, 0x1000, host) == -EINVAL, "slot 65535 is accepted");
  expect(try_slot(machine, 9, kSecond, 0, host) < 0, "a slot that is not there can be deleted");
}

void added_deleted(const Descriptor& system) {
  Pages pages;
  Machine machine(system);
  machine.set_slot(1, kSecond, kSecondBytes, pages.words());
  machine.load_long(long_store(), store(kSecond + 8, 0xabcd));
  machine.vcpu().expect_end("a store to the new slot");
  expect_equal(pages.words()[2], 0xabcd, "memory of the new slot");
  machine.set_slot(1, kSecond, 0, pages.words());
  machine.load_long(long_store(), store(kSecond + 8, 0x1234));
  machine.vcpu().expect_exit(KVM_EXIT_MMIO, "a store to the deleted slot");
  expect_equal(machine.vcpu().run_page().mmio.phys_addr, kSecond + 8, "the address");
  expect_equal(pages.words()[2], 0xabcd, "memory of the deleted slot");
}

void moved(const Descriptor& system) {
  Pages pages;
  Machine machine(system);
  machine.set_slot(1, kSecond, kSecondBytes, pages.words());
  pages.words()[0] = 0x77;
  machine.load_long(long_load(), store(kSecond, 0));
  machine.vcpu().expect_end("a load from the slot");
  machine.set_slot(1, kSecond + 0x100000, kSecondBytes, pages.words());
  machine.load_long(long_load(), store(kSecond, 0));
  machine.vcpu().expect_exit(KVM_EXIT_MMIO, "a load from where the slot was");
}

void read_only(const Descriptor& system) {
  need_capability(system, KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM");
  Pages pages;
  Machine machine(system);
  machine.set_slot(1, kSecond, kSecondBytes, pages.words(), KVM_MEM_READONLY);
  pages.words()[0] = 0x55;
  machine.load_long(long_load(), store(kSecond, 0));
  machine.vcpu().expect_end("a load from read-only memory");
  expect_equal(machine.vcpu().regs().rax & 0xffffffff, 0x55, "the value");
  machine.load_long(long_store(), store(kSecond, 0x66));
  machine.vcpu().expect_exit(KVM_EXIT_MMIO, "a store to read-only memory");
  expect_equal(pages.words()[0], 0x55, "read-only memory");
}

void dirty_log(const Descriptor& system) {
  Pages pages;
  Machine machine(system);
  machine.set_slot(1, kSecond, kSecondBytes, pages.words(), KVM_MEM_LOG_DIRTY_PAGES);
  std::uint64_t bitmap = ~0ull;
  kvm_dirty_log log{};
  log.slot = 1;
  log.dirty_bitmap = &bitmap;
  const auto take = [&] {
    bitmap = 0;
    KVM_ABI_IOCTL(machine.vm(), KVM_GET_DIRTY_LOG, &log);
    return bitmap;
  };
  expect_equal(take(), 0, "the log before any store");
  for (int round = 0; round < 2; ++round) {
    machine.load_long(long_store(), store(kSecond + 0x3000, 1));
    machine.vcpu().expect_end("a store that is logged");
    expect_equal(take(), 8, "the log after a store to page 3");
    expect_equal(take(), 0, "the log after it was taken");
  }
  log.slot = 0;
  expect(machine.vm().try_ioctl(KVM_GET_DIRTY_LOG, &log) < 0, "a slot without log has one");
}

// The guest follows the process's mapping: discarded pages come back as zeroes.
void discarded_pages(const Descriptor& system) {
  Pages pages;
  Machine machine(system);
  machine.set_slot(1, kSecond, kSecondBytes, pages.words());
  pages.words()[0] = 0x99;
  machine.load_long(long_load(), store(kSecond, 0));
  machine.vcpu().expect_end("a load");
  expect(madvise(pages.words(), kSecondBytes, MADV_DONTNEED) == 0, "madvise");
  machine.load_long(long_load(), store(kSecond, 0));
  machine.vcpu().expect_end("a load after MADV_DONTNEED");
  expect_equal(machine.vcpu().regs().rax & 0xffffffff, 0, "a discarded page");
}

// Code and data in one 2 MiB page of the process. Some processors must not execute from such pages,
// so that a hypervisor has to split it in between.
void large_page(const Descriptor& system) {
  constexpr std::size_t kLarge = 2u << 20;
  Pages pages(2 * kLarge);
  const auto first = reinterpret_cast<std::uintptr_t>(pages.words());
  auto* const page = reinterpret_cast<char*>(pages.words()) + (kLarge - first % kLarge) % kLarge;
  madvise(page, kLarge, MADV_HUGEPAGE);
  const Guest code = store_and_return();
  std::memcpy(page + 0x5000, code.data(), code.size());
  Machine machine(system);
  machine.set_slot(1, kSecond, kLarge, page);
  const auto word = [page](std::size_t offset) {
    std::uint32_t value = 0;
    std::memcpy(&value, page + offset, sizeof(value));
    return value;
  };
  for (std::uint32_t round = 1; round < 4; ++round) {
    kvm_regs regs = store(kSecond, round);
    regs.rsi = kSecond + 0x5000;
    machine.load_long(long_store_call(), regs);
    machine.vcpu().expect_end("code in a large page");
    expect_equal(word(0), round, "the store before the code");
    expect_equal(word(0x3000), round, "the store of the code");
    expect_equal(word(0x100000), round, "the store behind the code");
  }
}

constexpr Case kCases[] = {
    {"slot-refused", refused},  {"slot-added-deleted", added_deleted},
    {"slot-moved", moved},      {"slot-read-only", read_only},
    {"dirty-log", dirty_log},   {"discarded-pages", discarded_pages},
    {"large-page", large_page},
};

}  // namespace

std::span<const Case> memory_cases() {
  return kCases;
}

}  // namespace kvm_abi
