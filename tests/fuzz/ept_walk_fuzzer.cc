// Any history of EPT changes: the tables say what the model says, and each is freed once.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "kvm-lite/tests/ept_model.h"

using mote::kvm_lite::EptModel;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  EptModel ept;
  // Four bytes a step: what, a page, a number.
  for (; size >= 4; data += 4, size -= 4) {
    const unsigned page = (data[1] + 256u * data[2]) % EptModel::kPages;
    const unsigned number = data[3];
    const bool flag = (data[0] & 4) != 0;
    bool done = false;
    switch (data[0] % 4) {
      case 0:
        done = ept.change(page, number * 4, KVML_EPT_ZAP);
        break;
      case 1:
        done = ept.change(page, number * 4, KVML_EPT_WRITE_PROTECT);
        break;
      case 2:
        done = ept.map(page, uint64_t{number} << 21 | (page % 512u) << 12, true, flag);
        break;
      default:
        done = ept.map(page, uint64_t{number} << 21 | (page % 512u) << 12, false, flag);
    }
    if (!done) std::abort();
  }
  if (!ept.holds()) std::abort();
  return 0;
}
