// kvm-real-mode DEVICE [COUNT]: real-mode code adds two numbers, prints the sum through port 0x3f8,
// writes COUNT times to port 0x10, reads port 0x11, and halts. Passes on /dev/kvm and /dev/kvm-lite
// alike; what differs from the ABI is named.
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define GUEST_START 0x1000
#define GUEST_BYTES 0x10000

static long must(long result, const char* what) {
  if (result < 0) {
    perror(what);
    exit(1);
  }
  return result;
}

static void fail(const char* what, unsigned long value) {
  printf("%s: 0x%lx\n", what, value);
  exit(1);
}

// mov $0x3f8,%dx; add %bl,%al; add $'0',%al; out %al,(%dx); mov $count,%ecx;
// 1: out %al,$0x10; addr32 loop 1b; in $0x11,%al; hlt
static const uint8_t kCode[] = {0xba, 0xf8, 0x03, 0x00, 0xd8, 0x04, '0',  0xee, 0x66, 0xb9, 0,
                                0,    0,    0,    0xe6, 0x10, 0x67, 0xe2, 0xfb, 0xe4, 0x11, 0xf4};
enum { kCountAt = 10 };

static struct kvm_run* create_vcpu(int device, uint8_t* memory, int* vcpu) {
  const int vm = (int)must(ioctl(device, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
  const struct kvm_userspace_memory_region region = {.guest_phys_addr = GUEST_START,
                                                     .memory_size = GUEST_BYTES,
                                                     .userspace_addr = (uintptr_t)memory};
  must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
  *vcpu = (int)must(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
  const size_t size =
      (size_t)must(ioctl(device, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
  struct kvm_run* run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *vcpu, 0);
  if (run == MAP_FAILED) must(-1, "mmap of the vCPU");
  return run;
}

static void set_registers(int vcpu) {
  struct kvm_sregs sregs;
  must(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
  if (sregs.cs.selector != 0xf000 || sregs.cs.base != 0xffff0000) {
    fail("CS base after reset", sregs.cs.base);
  }
  sregs.cs.base = 0;
  sregs.cs.selector = 0;
  must(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
  const struct kvm_regs regs = {.rip = GUEST_START, .rax = 2, .rbx = 3, .rflags = 2};
  must(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

int main(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: kvm-real-mode DEVICE [COUNT]\n");
    return 2;
  }
  const uint32_t count = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 100;
  const int device = (int)must(open(argv[1], O_RDWR | O_CLOEXEC), argv[1]);
  must(ioctl(device, KVM_GET_API_VERSION, 0) == KVM_API_VERSION ? 0 : -1, "KVM_GET_API_VERSION");
  uint8_t* memory =
      mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) must(-1, "mmap");
  memcpy(memory, kCode, sizeof kCode);
  memcpy(memory + kCountAt, &count, sizeof count);
  int vcpu;
  struct kvm_run* run = create_vcpu(device, memory, &vcpu);
  set_registers(vcpu);

  uint32_t writes = 0;
  for (;;) {
    // A host that goes to sleep interrupts it.
    while (ioctl(vcpu, KVM_RUN, 0) < 0) {
      if (errno != EINTR) must(-1, "KVM_RUN");
    }
    if (run->exit_reason == KVM_EXIT_HLT) break;
    if (run->exit_reason != KVM_EXIT_IO) fail("unexpected exit", run->exit_reason);
    uint8_t* data = (uint8_t*)run + run->io.data_offset;
    if (run->io.size != 1 || run->io.count != 1) fail("size of the access", run->io.size);
    if (run->io.port == 0x3f8 && *data != '5') fail("2 + 3", *data);
    if (run->io.port == 0x10) ++writes;
    if (run->io.port == 0x11) *data = 0xa5;
  }
  struct kvm_regs regs;
  must(ioctl(vcpu, KVM_GET_REGS, &regs), "KVM_GET_REGS");
  if (writes != count) fail("writes to port 0x10", writes);
  if ((regs.rax & 0xff) != 0xa5) fail("AL after the read of port 0x11", regs.rax);
  if (regs.rip != GUEST_START + sizeof kCode) fail("RIP behind HLT", regs.rip);
  printf("real mode on %s: %u port writes, one read, one HLT\n", argv[1], count);
  return 0;
}
