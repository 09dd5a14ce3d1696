// Ends the machine in the way `how=` names: reset (keyboard controller), acpi_off, acpi_reset,
// triple_fault, nowhere.

#include "machine.h"

static void triple_fault(void) {
  static const struct {
    uint16_t limit;
    uint64_t base;
  } __attribute__((packed)) nothing = {0, 0};
  __asm__ volatile("lidt %0; ud2" : : "m"(nothing));
}

// What KVM can neither run nor emulate: for one that emulates level 0, an instruction it does not
// know; for one on hardware, code on a device page.
static void run_nowhere(void) {
  static uint8_t value[16] __attribute__((aligned(16)));
  __asm__ volatile("lock cmpxchg16b %0" : "+m"(value) : : "rax", "rdx", "cc");
  ((void (*)(void))0xd0000000)();
}

int main(void) {
  set_up_interrupts();
  const char* const how = text_argument("how");
  print("ending by %s\n", how);
  if (equal_text(how, "acpi_off")) out8(PORT_ACPI_SLEEP, 5 << 2 | 1 << 5);
  if (equal_text(how, "acpi_reset")) out8(PORT_ACPI_RESET, 1);
  if (equal_text(how, "triple_fault")) call_kernel(triple_fault);
  if (equal_text(how, "nowhere")) call_kernel(run_nowhere);
  if (equal_text(how, "reset")) reset_machine();
  // The ends above may take a moment to arrive at this processor.
  for (;;) relax();
}
