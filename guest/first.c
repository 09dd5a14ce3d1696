/* /init of the guest's initrd: the first instructions of user space. Tells the monitor that the
 * guest has booted (a store of 123 to the boot timer's port), says so on the console with what the
 * TSC has counted since the VM was made, and goes on as the shell script init.sh. A monitor without
 * that port ignores the store. */
#include <stdio.h>
#include <string.h>
#include <sys/io.h>
#include <unistd.h>
#include <x86intrin.h>

enum { BOOT_TIMER_PORT = 0x610, BOOT_TIMER_MAGIC = 123 };

int main(void) {
  const unsigned long long ticks = __rdtsc();
  char hello[64];
  if (ioperm(BOOT_TIMER_PORT, 1, 1) == 0) outb(BOOT_TIMER_MAGIC, BOOT_TIMER_PORT);
  snprintf(hello, sizeof(hello), "guest: init runs, TSC %llu\n", ticks);
  if (write(STDOUT_FILENO, hello, strlen(hello)) < 0) return 1;
  execl("/bin/busybox", "sh", "/init.sh", (char*)NULL);
  perror("guest: /bin/busybox");
  return 1;
}
