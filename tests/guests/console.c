// Prompts, and echoes each line typed at it in capitals, by the serial port's receive interrupt;
// ends at a line of "quit".

#include "machine.h"

enum { SERIAL_PIN = 4, INTERRUPT_ENABLE = PORT_SERIAL + 1, LINE_STATUS = PORT_SERIAL + 5 };

int main(void) {
  set_up_interrupts();
  enable_pin(SERIAL_PIN);
  out8(INTERRUPT_ENABLE, 1);  // Receive only; the prompt itself touches nothing but the data port.
  print("prompt> ");
  char line[64];
  size_t length = 0;
  for (uint32_t seen = 0;;) {
    seen = wait_for_pin(SERIAL_PIN, seen);
    while ((in8(LINE_STATUS) & 1) != 0) {
      const char typed = (char)in8(PORT_SERIAL);
      if (typed != '\n') {
        if (length + 1 < sizeof(line)) line[length++] = typed;
        continue;
      }
      line[length] = 0;
      if (equal_text(line, "quit")) reset_machine();
      for (size_t i = 0; i < length; ++i) {
        out8(PORT_SERIAL, (uint8_t)(line[i] >= 'a' && line[i] <= 'z' ? line[i] - 32 : line[i]));
      }
      length = 0;
      print("\nprompt> ");
    }
  }
}
