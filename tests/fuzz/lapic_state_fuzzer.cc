// The LAPIC state machine under any sequence of what guests, devices and user space can do. After
// each step its invariants have to hold. Each step is 14 bytes: operation, a small argument, a
// 32-bit place and a 64-bit value.
#include <cstdlib>
#include <cstring>
#include <initializer_list>

extern "C" {
#include "kvm-lite/lapic_state.h"
}

uint64_t kvml_test_now_ns;

namespace {

struct [[gnu::packed]] Step {
  uint8_t operation;
  uint8_t argument;
  uint32_t place;
  uint64_t value;
};

void require(bool condition) {
  if (!condition) std::abort();
}

void check_invariants(kvml_apic& apic) {
  for (const uint32_t table : {KVML_APIC_IRR, KVML_APIC_ISR, KVML_APIC_TMR}) {
    require((apic.regs[table] & 0xffff) == 0);
  }
  require(apic.tsc_deadline == 0 || apic.deadline_ns == 0);
  require(apic.ended == 0 || apic.ended >= 16);
  require((apic.base & KVML_APIC_BASE_ENABLE) != 0 || (apic.base & KVML_APIC_BASE_X2APIC) == 0);
  const int vector = kvml_apic_pending(&apic);
  require(vector >= -1 && vector < 256);
  require(vector < 0 ||
          (vector & 0xf0) >
              static_cast<int>(kvml_apic_page_read(&apic, KVML_APIC_PPR * 16, 4) & 0xf0));
}

void restore(kvml_apic& apic, const Step& step) {
  uint32_t page[4 * KVML_APIC_REGISTERS] = {};
  uint32_t again[4 * KVML_APIC_REGISTERS] = {};
  kvml_apic_save(&apic, page);
  page[4 * (step.place & 0x3f)] = static_cast<uint32_t>(step.value);
  if (kvml_apic_restore(&apic, page) != 0) return;
  kvml_apic_save(&apic, page);
  require(kvml_apic_restore(&apic, page) == 0);
  kvml_apic_save(&apic, again);
  require(std::memcmp(page, again, sizeof(page)) == 0);
}

void accept(kvml_apic& apic, const Step& step) {
  kvml_apic_message message{};
  message.destination = static_cast<uint32_t>(step.value >> 32);
  message.shorthand = (step.place >> 3) & 3;
  message.logical = (step.place >> 5) & 1;
  message.wide = (step.place >> 8) & 1;
  if (kvml_apic_matches(&apic, &message, nullptr))
    kvml_apic_accept(&apic, step.argument, ((step.place >> 6) & 1) != 0);
}

void run(kvml_apic& apic, const Step& step) {
  constexpr uint8_t kPhysicalBits = 39;
  uint64_t ignored = 0;
  switch (step.operation % 13) {
    case 0:
      kvml_apic_page_write(&apic, step.place & 0xff0, 4, step.value);
      break;
    case 1:
      kvml_apic_page_write(&apic, step.place & 0xfff, 1U << (step.argument & 3), step.value);
      break;
    case 2:
      kvml_apic_page_read(&apic, step.place & 0xfff, 1U << (step.argument & 3));
      break;
    case 3:
      kvml_apic_msr_write(&apic, 0x800 + (step.place & 0xff), step.value);
      break;
    case 4:
      kvml_apic_msr_read(&apic, step.place, &ignored);
      break;
    case 5:
      kvml_apic_write_base(&apic, step.value, kPhysicalBits);
      break;
    case 6:
      kvml_apic_restore_base(&apic, KVML_APIC_DEFAULT_BASE | (step.value & 0xf00), kPhysicalBits);
      break;
    case 7:
      kvml_apic_write_tsc_deadline(&apic, step.value);
      break;
    case 8:
      kvml_apic_set_cr8(&apic, static_cast<uint8_t>(step.value));
      break;
    case 9:
      accept(apic, step);
      break;
    case 10:
      kvml_test_now_ns += step.value >> (step.argument & 63);
      kvml_test_now_ns &= ~(1ULL << 63);
      kvml_apic_expire(&apic, step.place);
      break;
    case 11:
      restore(apic, step);
      break;
    default:
      const int vector = kvml_apic_pending(&apic);
      require(kvml_apic_take(&apic) == vector);
  }
}

}  // namespace

extern "C" void kvml_apic_timer_changed(kvml_apic*) {}

extern "C" void kvml_apic_send(kvml_apic* apic, const kvml_apic_message* message) {
  require(message->delivery > KVML_APIC_LOWEST_PRIORITY || message->vector >= 16);
  if (message->shorthand == KVML_APIC_SELF || kvml_apic_matches(apic, message, apic))
    kvml_apic_accept(apic, message->vector, message->level_triggered);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  kvml_apic apic{};
  kvml_apic_power_up(&apic, 3);
  kvml_test_now_ns = 1;
  for (; size >= sizeof(Step); data += sizeof(Step), size -= sizeof(Step)) {
    Step step;
    std::memcpy(&step, data, sizeof(step));
    run(apic, step);
    check_invariants(apic);
  }
  return 0;
}
