// Says hello, `repeat=` times, and the command line's `say=` word; ends by keyboard reset.

#include "machine.h"

int main(void) {
  for (uint64_t i = number_argument("repeat", 1); i > 0; --i) print("hello from a tiny guest\n");
  const char* const word = text_argument("say");
  if (*word != 0) print("%s\n", word);
  reset_machine();
}
