// Wakes all other processors by INIT and SIPI and counts those that come, `cpus=` in all.

#include "virtio.h"

extern const uint8_t processor_entry[];
extern const uint8_t processor_entry_end[];

enum { TRAMPOLINE = 0x10000, COUNTER = TRAMPOLINE + 0xffe };

static void send_to_others(uint32_t command) {
  store32(MMIO_LOCAL_APIC + 0x310, 0);
  store32(MMIO_LOCAL_APIC + 0x300, 3u << 18 | command);  // All but this one.
}

int main(void) {
  set_up_interrupts();
  volatile uint8_t* const trampoline = (volatile uint8_t*)TRAMPOLINE;
  for (size_t i = 0; i < (size_t)(processor_entry_end - processor_entry); ++i) {
    trampoline[i] = processor_entry[i];
  }
  volatile uint16_t* const counter = (volatile uint16_t*)COUNTER;
  *counter = 0;
  store32(MMIO_LOCAL_APIC + 0xf0, 0x1ff);
  send_to_others(0x4500);  // INIT
  sleep_ms(10);
  send_to_others(0x4600 | TRAMPOLINE >> 12);  // Start-up, twice as the manuals want it.
  sleep_ms(1);
  send_to_others(0x4600 | TRAMPOLINE >> 12);
  const uint64_t cpus = number_argument("cpus", 1);
  for (unsigned i = 0; i < 2000 && *counter + 1u < cpus; ++i) sleep_ms(5);
  print("%d processors\n", (uint64_t)(*counter + 1));
  reset_machine();
}
