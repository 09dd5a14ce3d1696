// Waits for four bytes from the keyboard controller, by its interrupt, and prints them.

#include "machine.h"

enum { KEYBOARD_PIN = 1, CODES = 4 };

int main(void) {
  set_up_interrupts();
  enable_pin(KEYBOARD_PIN);
  print("waiting\n");
  uint8_t codes[CODES];
  for (uint32_t i = 0; i < CODES; ++i) {
    wait_for_pin(KEYBOARD_PIN, i);
    require((in8(PORT_KEYBOARD) & 1) != 0, "an interrupt without a byte");
    codes[i] = in8(PORT_KEYBOARD - 4);
  }
  require((in8(PORT_KEYBOARD) & 1) == 0, "a fifth byte");
  print("codes %x %x %x %x\n", (uint64_t)codes[0], (uint64_t)codes[1], (uint64_t)codes[2],
        (uint64_t)codes[3]);
  reset_machine();
}
