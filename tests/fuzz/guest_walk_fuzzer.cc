// A walk through any page tables: bounded, inside what it was given, and right about its own
// result. Bytes: flags, access, CR3 (2), the address (8), then memory from address 0.
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

extern "C" {
#include "kvm-lite/guest_walk.h"
}

namespace {

struct Memory {
  std::span<const uint8_t> bytes;
  unsigned reads = 0;
};

int read(void* context, uint64_t gpa, void* data, uint32_t size) {
  auto& memory = *static_cast<Memory*>(context);
  if (size != 4 && size != 8) std::abort();
  if (gpa % size != 0 || ++memory.reads > 4) std::abort();
  if (gpa > memory.bytes.size() || memory.bytes.size() - gpa < size) return -EFAULT;
  std::memcpy(data, memory.bytes.data() + gpa, size);
  return 0;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 12) return 0;
  Memory memory{std::span(data + 12, size - 12)};
  kvml_paging paging{};
  paging.enabled = (data[0] & 1) != 0;
  paging.write_protect = (data[0] & 2) != 0;
  paging.long_mode = (data[0] & 4) != 0;
  paging.pae = (data[0] & 8) != 0;
  paging.large = (data[0] & 16) != 0;
  paging.cr3 = data[2] + 256u * data[3];
  paging.read = read;
  paging.context = &memory;
  const uint32_t access = data[1] & (KVML_ACCESS_WRITE | KVML_ACCESS_USER | KVML_ACCESS_FETCH);
  uint64_t linear = 0;
  std::memcpy(&linear, data + 4, sizeof linear);
  uint64_t gpa = 0;
  uint32_t error = 0;
  const int outcome = kvml_guest_walk(&paging, linear, access, &gpa, &error);
  if (outcome == 0) {
    if (gpa % 4096 != linear % 4096 || gpa >> 52 != 0) {
      // Without paging a linear address is a physical one, of whatever size.
      if (paging.enabled || gpa != (paging.long_mode ? linear : static_cast<uint32_t>(linear)))
        std::abort();
    }
  } else if (outcome != -EFAULT || (error & ~KVML_FAULT_PRESENT) != access || !paging.enabled) {
    std::abort();
  }
  return 0;
}
