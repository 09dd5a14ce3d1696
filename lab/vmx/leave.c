// Ends Bochs: "Shutdown" written to its port 0x8900 turns the emulated machine off.
#include <sys/io.h>
#include <termios.h>
#include <unistd.h>

int main(void) {
  if (iopl(3) != 0) return 1;
  tcdrain(STDOUT_FILENO);
  usleep(20000);
  for (const char* at = "Shutdown"; *at != '\0'; ++at) outb((unsigned char)*at, 0x8900);
  sleep(1);
  return 1;
}
