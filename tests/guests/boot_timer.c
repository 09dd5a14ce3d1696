// Tells the boot timer, by `way=` mmio or port, then ends.

#include "machine.h"

int main(void) {
  if (equal_text(text_argument("way"), "port")) {
    out8(PORT_BOOT_TIMER, 123);
  } else {
    store32(MMIO_BOOT_TIMER, 123);
  }
  print("booted\n");
  reset_machine();
}
