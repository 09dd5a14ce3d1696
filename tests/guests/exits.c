// Touches what nobody claims: reads must give all ones, writes must vanish, and the wide and odd
// accesses to what is claimed must be harmless. Then does it `count=` times at random, from
// `seed=`.

#include "machine.h"

static uint64_t next_random(uint64_t* state) {
  *state = *state * 6364136223846793005ull + 1442695040888963407ull;
  return *state >> 24;
}

static void check_unclaimed(void) {
  require(in8(0x80) == 0xff);
  require(in16(0xcf8) == 0xffff);
  require(in32(0xcfc) == 0xffffffff);
  out8(0x80, 1);
  out32(0xcf8, 0x80000000);
  require(load32(0xd0000000) == 0xffffffff);
  require(load64(0xe0000000) == ~0ull);
  require(load8(0xfffff000) == 0xff);
  store64(0xd0000000, 1);
  store8(ram_end(), 1);
  require(load8(ram_end()) == 0xff);
  require(load32(0x3ffffffc) == 0xffffffff);
}

static void check_strings(void) {
  static const char text[] = "a string of bytes by one instruction\n";
  const char* from = text;
  uint64_t count = sizeof(text) - 1;
  __asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(PORT_SERIAL) : "memory");
  static uint8_t read[16];
  uint8_t* to = read;
  count = sizeof(read);
  __asm__ volatile("rep insb" : "+D"(to), "+c"(count) : "d"((uint16_t)0x80) : "memory");
  for (unsigned i = 0; i < sizeof(read); ++i) require(read[i] == 0xff);
}

/// Any port but those that end the machine, any register page of the gap.
static void random_access(uint64_t* state) {
  const uint64_t choice = next_random(state);
  const uint32_t value = (uint32_t)next_random(state);
  uint16_t port = (uint16_t)next_random(state);
  const bool ends = (port >= 0x60 && port <= 0x64) || (port >= 0x600 && port <= 0x604);
  const bool serial = port >= 0x3f5 && port <= 0x3ff;  // Would garble what the test reads.
  if (ends || serial) port = 0x70;
  // Whole pages from 0xc0000000 on and the IOAPIC; eight-byte accesses may straddle their ends.
  const uint64_t pages[] = {0xc0000000, 0xc0001000, 0xc0002000,
                            0xc0014000, 0xd0000000, MMIO_IOAPIC};
  const uint64_t address = pages[next_random(state) % 6] + next_random(state) % 4096;
  switch (choice % 10) {
    case 0:
      out8(port, (uint8_t)value);
      break;
    case 1:
      out16(port, (uint16_t)value);
      break;
    case 2:
      out32(port, value);
      break;
    case 3:
      (void)in8(port);
      break;
    case 4:
      (void)in32(port);
      break;
    case 5:
      store8(address, (uint8_t)value);
      break;
    case 6:
      store32(address, value);
      break;
    case 7:
      store64(address, (uint64_t)value << 32 | value);
      break;
    case 8:
      (void)load32(address);
      break;
    default:
      (void)load64(address);
      break;
  }
}

int main(void) {
  set_up_interrupts();
  check_unclaimed();
  check_strings();
  uint64_t state = number_argument("seed", 1);
  const uint64_t count = number_argument("count", 0);
  for (uint64_t i = 0; i < count; ++i) random_access(&state);
  print("exits done\n");
  reset_machine();
}
