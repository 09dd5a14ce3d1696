// Says hello and repeats the command line's `say=` word; ends by keyboard reset.

#include "machine.h"

int main(void) {
  print("hello from a tiny guest\n");
  const char* const word = text_argument("say");
  if (*word != 0) print("%s\n", word);
  reset_machine();
}
