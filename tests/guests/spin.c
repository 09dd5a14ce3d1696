// Runs for ever; with `tick=N` prints a dot about every N milliseconds, with `sleep=1` sleeps
// instead of spinning.

#include "virtio.h"

int main(void) {
  set_up_interrupts();
  print("running\n");
  const uint64_t tick = number_argument("tick", 0);
  const bool sleep = number_argument("sleep", 0) != 0;
  for (;;) {
    if (sleep) wait_for_pin(0, 0);  // Nobody ever raises pin 0.
    if (tick == 0) {
      relax();
      continue;
    }
    sleep_ms(tick);
    print(".\n");
  }
}
