// IDT, IOAPIC and local APIC of a tiny guest (Intel SDM vol. 3A chapters 6 and 11).

#include "machine.h"

struct gate {
  uint16_t offset_low;
  uint16_t selector;
  uint8_t stack_table;
  uint8_t type;
  uint16_t offset_middle;
  uint32_t offset_high;
  uint32_t reserved;
};

extern struct gate idt[256];
extern volatile uint32_t interrupt_counts[24];
extern void (*const exception_stubs[32])(void);
extern void (*const interrupt_stubs[24])(void);

enum {
  FIRST_PIN_VECTOR = 0x40,
  SPURIOUS_VECTOR = 0xff,
  CODE_SELECTOR = 0x08,
  INTERRUPT_GATE = 0x8e,
};

static void set_gate(unsigned vector, void (*handler)(void)) {
  const uint64_t address = (uint64_t)handler;
  idt[vector] = (struct gate){(uint16_t)address,
                              CODE_SELECTOR,
                              0,
                              INTERRUPT_GATE,
                              (uint16_t)(address >> 16),
                              (uint32_t)(address >> 32),
                              0};
}

void set_up_interrupts(void) {
  for (unsigned vector = 0; vector < 32; ++vector) set_gate(vector, exception_stubs[vector]);
  for (unsigned pin = 0; pin < 24; ++pin) set_gate(FIRST_PIN_VECTOR + pin, interrupt_stubs[pin]);
  set_gate(SPURIOUS_VECTOR, interrupt_stubs[0]);
}

__attribute__((noreturn)) void report_exception(uint64_t vector, uint64_t error, uint64_t address) {
  print("FAILED: exception %d, error %x at %x\n", vector, error, address);
  reset_machine();
}

static void write_ioapic(uint32_t index, uint32_t value) {
  store32(MMIO_IOAPIC, index);
  store32(MMIO_IOAPIC + 0x10, value);
}

void enable_pin(uint32_t pin) {
  store32(MMIO_LOCAL_APIC + 0xf0, 0x100 | SPURIOUS_VECTOR);
  const uint32_t id = load32(MMIO_LOCAL_APIC + 0x20) >> 24;
  write_ioapic(0x10 + 2 * pin + 1, id << 24);
  write_ioapic(0x10 + 2 * pin, FIRST_PIN_VECTOR + pin);
}

void mask_pin(uint32_t pin) {
  write_ioapic(0x10 + 2 * pin, 0x10000 | (FIRST_PIN_VECTOR + pin));
}

uint32_t pin_interrupts(uint32_t pin) {
  return interrupt_counts[pin];
}

static uint32_t waited_pin;
static uint32_t waited_count;

// Interrupts are off when this runs, so that none can slip in between the look and the sleep; `sti`
// takes effect behind the `hlt`.
static void halt_unless_interrupted(void) {
  if (interrupt_counts[waited_pin] == waited_count) __asm__ volatile("sti; hlt; cli");
}

uint32_t wait_for_pin(uint32_t pin, uint32_t seen) {
  waited_pin = pin;
  waited_count = seen;
  while (interrupt_counts[pin] == seen) call_kernel(halt_unless_interrupted);
  return interrupt_counts[pin];
}
