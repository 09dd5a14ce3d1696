#pragma once
// The machine a tiny guest finds: ports, registers, interrupts, and the ways to end. The numbers
// are the guest's own knowledge of the platform, written down a second time on purpose: a test that
// took them from the monitor's headers could not notice a change.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  PORT_SERIAL = 0x3f8,
  PORT_KEYBOARD = 0x64,
  PORT_ACPI_SLEEP = 0x600,
  PORT_ACPI_RESET = 0x604,
  PORT_BOOT_TIMER = 0x610,
};

#define MMIO_BOOT_TIMER 0xc0000000ull
#define MMIO_VIRTIO 0xc0001000ull
#define MMIO_VIRTIO_STRIDE 0x1000ull
#define MMIO_IOAPIC 0xfec00000ull
#define MMIO_LOCAL_APIC 0xfee00000ull

static inline void out8(uint16_t port, uint8_t value) {
  __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}
static inline void out16(uint16_t port, uint16_t value) {
  __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}
static inline void out32(uint16_t port, uint32_t value) {
  __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}
static inline uint8_t in8(uint16_t port) {
  uint8_t value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static inline uint16_t in16(uint16_t port) {
  uint16_t value;
  __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static inline uint32_t in32(uint16_t port) {
  uint32_t value;
  __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

// Single MOVs to and from a register, as the monitor's decoder expects of a driver.
static inline uint32_t load32(uint64_t address) {
  uint32_t value;
  __asm__ volatile("movl (%1), %0" : "=r"(value) : "r"(address) : "memory");
  return value;
}
static inline void store32(uint64_t address, uint32_t value) {
  __asm__ volatile("movl %0, (%1)" : : "r"(value), "r"(address) : "memory");
}
static inline uint8_t load8(uint64_t address) {
  uint8_t value;
  __asm__ volatile("movb (%1), %0" : "=q"(value) : "r"(address) : "memory");
  return value;
}
static inline void store8(uint64_t address, uint8_t value) {
  __asm__ volatile("movb %0, (%1)" : : "q"(value), "r"(address) : "memory");
}
static inline uint64_t load64(uint64_t address) {
  uint64_t value;
  __asm__ volatile("movq (%1), %0" : "=r"(value) : "r"(address) : "memory");
  return value;
}
static inline void store64(uint64_t address, uint64_t value) {
  __asm__ volatile("movq %0, (%1)" : : "r"(value), "r"(address) : "memory");
}

static inline uint64_t time_stamp(void) {
  uint32_t low;
  uint32_t high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  return (uint64_t)high << 32 | low;
}
static inline void relax(void) {
  __asm__ volatile("pause");
}

/// Runs a function at privilege level 0.
void call_kernel(void (*function)(void));

/// Fills the IDT: exceptions end the guest with a line, pin interrupts are counted.
void set_up_interrupts(void);
/// Routes an IOAPIC pin, edge, to this processor and switches the local APIC on.
void enable_pin(uint32_t pin);
void mask_pin(uint32_t pin);
/// Interrupts of the pin so far.
uint32_t pin_interrupts(uint32_t pin);
/// Sleeps until the pin's count is no longer `seen`; gives the count.
uint32_t wait_for_pin(uint32_t pin, uint32_t seen);

/// One past the last RAM byte below the MMIO gap, from the PVH memory map.
uint64_t ram_end(void);

/// The value of `name=value` on the command line; empty when absent. Points into a static buffer.
const char* text_argument(const char* name);
/// The same as a number, decimal or 0x-hexadecimal.
uint64_t number_argument(const char* name, uint64_t when_absent);
bool equal_text(const char* a, const char* b);

/// Serial output. A format knows %s, %c, %d (uint64_t) and %x (uint64_t).
void print(const char* format, ...);

/// Ends the machine through the keyboard controller; does not return.
__attribute__((noreturn)) void reset_machine(void);
/// Says "FAILED: ..." and ends the machine.
#define require(condition, ...)          \
  do {                                   \
    if (!(condition)) {                  \
      print("FAILED: %s: ", #condition); \
      print("" __VA_ARGS__);             \
      print("\n");                       \
      reset_machine();                   \
    }                                    \
  } while (0)
