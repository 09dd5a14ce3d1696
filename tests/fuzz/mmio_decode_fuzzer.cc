// MMIO decode on any bytes: it stays within them, and what it accepts is what kvm_run can carry.
// The first byte chooses the code size.
#include <cstdint>
#include <cstdlib>
#include <vector>

extern "C" {
#include "kvm-lite/mmio_decode.h"
}

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

bool is_size(uint8_t size) {
  return size == 1 || size == 2 || size == 4 || size == 8;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto code = static_cast<kvml_code_size>(KVML_CODE_16 << (data[0] % 3));
  // A copy of exactly these bytes: AddressSanitizer sees a read past them.
  const std::vector<uint8_t> bytes(data + 1, data + size);
  kvml_mmio mmio{};
  if (kvml_mmio_decode(bytes.data(), static_cast<uint32_t>(bytes.size()), code, &mmio) != 0) {
    return 0;
  }
  require(is_size(mmio.size) && is_size(mmio.reg_size) && mmio.reg < 16);
  require(mmio.length > 0 && mmio.length <= KVML_INSTRUCTION_MAX && mmio.length <= bytes.size());
  require(!mmio.high_byte || mmio.reg < 4);
  require(!mmio.immediate || mmio.write);
  require(code == KVML_CODE_64 || (mmio.reg < 8 && mmio.size < 8));
  // The same instruction without what follows it decodes to the same.
  kvml_mmio again{};
  require(kvml_mmio_decode(bytes.data(), mmio.length, code, &again) == 0);
  require(again.length == mmio.length && again.value == mmio.value);
  const uint64_t merged = kvml_mmio_merge(&mmio, 0x1122334455667788, ~0ULL);
  require(mmio.reg_size < 8 || mmio.size == 8 || mmio.sign_extend ||
          (merged >> (8 * mmio.size)) == 0);
  return 0;
}
