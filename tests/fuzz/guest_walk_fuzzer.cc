// A walk through any page tables: bounded, inside what it was given, and right about its own
// result. Bytes: flags, access and more flags, CR3 or PAE's top entry (2), the address (8), then
// memory from address 0.
#include <asm/processor-flags.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

extern "C" {
#include "kvm-lite/guest_walk.h"
}

struct kvml_vm {
  std::span<const uint8_t> bytes;
  unsigned reads = 0;
  uint64_t last = 0;
};

extern "C" int kvml_read_guest(kvml_vm* vm, uint64_t gpa, void* data, uint32_t size) {
  if (size != 4 && size != 8) std::abort();
  if (gpa % size != 0 || ++vm->reads > 4) std::abort();
  vm->last = gpa;
  if (gpa > vm->bytes.size() || vm->bytes.size() - gpa < size) return -EFAULT;
  std::memcpy(data, vm->bytes.data() + gpa, size);
  return 0;
}

// Only what was just read and is present, and only its bits "accessed" and "dirty".
extern "C" int kvml_replace_guest(kvml_vm* vm, uint64_t gpa, uint64_t old, uint64_t value,
                                  uint32_t size) {
  if (gpa != vm->last || (old & 1) == 0 || old == value) std::abort();
  if (std::memcmp(vm->bytes.data() + gpa, &old, size) != 0) std::abort();
  if ((value & ~uint64_t{0x60}) != (old & ~uint64_t{0x60}) || (old & ~value) != 0) std::abort();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 12) return 0;
  kvml_vm memory{std::span(data + 12, size - 12)};
  kvml_paging paging{};
  const auto flag = [&](unsigned byte, unsigned bit, uint64_t value) {
    return (data[byte] >> bit & 1) != 0 ? value : 0;
  };
  paging.cr0 = flag(0, 0, X86_CR0_PG) | flag(0, 1, X86_CR0_WP);
  paging.efer = flag(0, 2, KVML_EFER_LMA) | flag(0, 5, KVML_EFER_NXE);
  paging.cr4 = flag(0, 3, X86_CR4_PAE) | flag(0, 4, X86_CR4_PSE) | flag(0, 6, X86_CR4_SMEP) |
               flag(0, 7, X86_CR4_SMAP);
  paging.rflags = flag(1, 0, X86_EFLAGS_AC);
  paging.cr4 |= flag(1, 1, X86_CR4_PKE);
  paging.pkru = data[2] * 0x01010101u;
  paging.physical_bits = static_cast<uint8_t>(36 + flag(1, 3, 10) + flag(1, 5, 6));
  paging.cr3 = data[2] + 256u * data[3];
  paging.pdpte = paging.cr3;
  paging.vm = &memory;
  const uint32_t access = data[1] & (KVML_ACCESS_WRITE | KVML_ACCESS_USER | KVML_ACCESS_FETCH);
  uint64_t linear = 0;
  std::memcpy(&linear, data + 4, sizeof linear);
  uint64_t gpa = 0;
  uint32_t error = 0;
  const int outcome = kvml_guest_walk(&paging, linear, access, &gpa, &error);
  const bool enabled = (paging.cr0 & X86_CR0_PG) != 0;
  const bool long_mode = (paging.efer & KVML_EFER_LMA) != 0;
  if (!long_mode) linear = static_cast<uint32_t>(linear);
  const bool canonical = !long_mode || linear + (1ULL << 47) < 1ULL << 48;
  if ((outcome == -EINVAL) == canonical) std::abort();
  if (!canonical) {
    if (memory.reads != 0) std::abort();
  } else if (outcome == 0) {
    if (enabled ? gpa % 4096 != linear % 4096 || gpa >> paging.physical_bits != 0 : gpa != linear)
      std::abort();
  } else if (outcome == -EFAULT && enabled) {
    // The access itself, perhaps without the word that it was a fetch, and what went wrong.
    const uint32_t reasons = error & (KVML_FAULT_PRESENT | KVML_FAULT_RESERVED | KVML_FAULT_KEY);
    if (((error ^ reasons) | (access & KVML_ACCESS_FETCH)) != access) std::abort();
    if (reasons != 0 && (reasons & KVML_FAULT_PRESENT) == 0) std::abort();
  } else {
    std::abort();
  }
  return 0;
}
