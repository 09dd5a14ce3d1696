// irqfd and ioeventfd: devices that never see the vCPU's thread.

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/kvm_abi/machine.h"

KVM_ABI_GUEST(long_store)
KVM_ABI_GUEST(long_out)

namespace kvm_abi {
namespace {

class Event final {
 public:
  Event() : fd_(eventfd(0, EFD_NONBLOCK)) {}
  int fd() const { return fd_.get(); }
  void raise() const {
    const std::uint64_t one = 1;
    expect(write(fd(), &one, sizeof(one)) == sizeof(one), "the eventfd takes no write");
  }
  std::uint64_t take() const {
    std::uint64_t count = 0;
    return read(fd(), &count, sizeof(count)) == sizeof(count) ? count : 0;
  }

 private:
  Descriptor fd_;
};

void route(Machine& machine, std::uint32_t gsi, std::uint32_t vector) {
  KVM_ABI_IOCTL(machine.vm(), KVM_SET_GSI_ROUTING, message_route(gsi, vector).get());
}

void irqfd(const Descriptor& system) {
  need_capability(system, KVM_CAP_IRQFD, "KVM_CAP_IRQFD");
  Machine machine(system, Interrupts::kSplit);
  machine.start_waiting();
  route(machine, 7, 0x61);
  const Event event;
  kvm_irqfd assign{};
  assign.fd = static_cast<std::uint32_t>(event.fd());
  assign.gsi = 7;
  KVM_ABI_IOCTL(machine.vm(), KVM_IRQFD, &assign);
  expect(machine.vm().try_ioctl(KVM_IRQFD, &assign) == -EBUSY, "an eventfd can be assigned twice");
  event.raise();
  machine.vcpu().expect_vector(0x61, "irqfd");
  route(machine, 7, 0x62);
  event.raise();
  machine.vcpu().expect_vector(0x62, "irqfd after its route changed");
  assign.flags = KVM_IRQFD_FLAG_DEASSIGN;
  KVM_ABI_IOCTL(machine.vm(), KVM_IRQFD, &assign);
  event.raise();
  expect_equal(event.take(), 1, "the count of a deassigned eventfd");
  assign.flags = 0;
  {
    const Event closed;
    assign.fd = static_cast<std::uint32_t>(closed.fd());
    KVM_ABI_IOCTL(machine.vm(), KVM_IRQFD, &assign);
  }
  assign.fd = static_cast<std::uint32_t>(event.fd());
  KVM_ABI_IOCTL(machine.vm(), KVM_IRQFD, &assign);
  event.raise();
  machine.vcpu().expect_vector(0x62, "irqfd after another was closed");
}

void routing_refused(const Descriptor& system) {
  Machine machine(system, Interrupts::kSplit);
  OneRoute routes = message_route(0xffffffff, 0x50);
  expect(machine.vm().try_ioctl(KVM_SET_GSI_ROUTING, routes.get()) == -EINVAL,
         "GSI 0xffffffff is accepted");
  routes->entries[0].gsi = 1;
  routes->entries[0].type = 77;
  expect(machine.vm().try_ioctl(KVM_SET_GSI_ROUTING, routes.get()) == -EINVAL,
         "type 77 is accepted");
  routes->flags = 1;
  expect(machine.vm().try_ioctl(KVM_SET_GSI_ROUTING, routes.get()) == -EINVAL,
         "unknown flags are accepted");
}

// GSIs are 0 to 4095, each with one route at most; a table replaces the one before.
void routing_table(const Descriptor& system) {
  Machine machine(system, Interrupts::kSplit);
  machine.start_waiting();
  const auto raise = [&machine](std::uint32_t gsi) {
    kvm_irq_level line{};
    line.irq = gsi;
    line.level = 1;
    return machine.vm().try_ioctl(KVM_IRQ_LINE_STATUS, &line) >= 0 ? line.status : 0;
  };
  Table<kvm_irq_routing, kvm_irq_routing_entry, 2> two;
  two->nr = 2;
  two->entries[0] = message_route(4095, 0x51)->entries[0];
  two->entries[1] = message_route(3, 0x53)->entries[0];
  KVM_ABI_IOCTL(machine.vm(), KVM_SET_GSI_ROUTING, two.get());
  expect(raise(3) == 1, "GSI 3 reaches nobody");
  machine.vcpu().expect_vector(0x53, "the second route");
  expect(raise(4095) == 1, "the last GSI reaches nobody");
  machine.vcpu().expect_vector(0x51, "the first route");
  two->entries[1].gsi = 4095;
  expect(machine.vm().try_ioctl(KVM_SET_GSI_ROUTING, two.get()) == -EINVAL, "a GSI has two routes");
  two->entries[1].gsi = 4096;
  expect(machine.vm().try_ioctl(KVM_SET_GSI_ROUTING, two.get()) == -EINVAL, "GSI 4096 is accepted");
  expect(raise(3) == 1, "a refused table took the old one's place");
  machine.vcpu().expect_vector(0x53, "a route after a refused table");
  two->nr = 0;
  KVM_ABI_IOCTL(machine.vm(), KVM_SET_GSI_ROUTING, two.get());
  expect(raise(3) <= 0, "a GSI without a route reaches somebody");
}

kvm_ioeventfd kick(const Event& event, std::uint64_t address, std::uint32_t length,
                   std::uint32_t flags, std::uint64_t match = 0) {
  kvm_ioeventfd made{};
  made.fd = event.fd();
  made.addr = address;
  made.len = length;
  made.flags = flags;
  made.datamatch = match;
  return made;
}

kvm_regs store(std::uint64_t address, std::uint64_t value) {
  kvm_regs regs{};
  regs.rdi = regs.rdx = address;
  regs.rax = value;
  return regs;
}

void ioeventfd_mmio(const Descriptor& system) {
  Machine machine(system);
  const Event event;
  kvm_ioeventfd assign = kick(event, kMmio + 0x50, 4, 0);
  KVM_ABI_IOCTL(machine.vm(), KVM_IOEVENTFD, &assign);
  expect(machine.vm().try_ioctl(KVM_IOEVENTFD, &assign) == -EEXIST,
         "an address can be assigned twice");
  machine.load_long(long_store(), store(kMmio + 0x50, 3));
  machine.vcpu().expect_end("a kick");
  expect_equal(event.take(), 1, "the count after a kick");
  machine.load_long(long_store(), store(kMmio + 0x54, 3));
  machine.vcpu().expect_exit(KVM_EXIT_MMIO, "a store beside the kick");
  assign.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
  KVM_ABI_IOCTL(machine.vm(), KVM_IOEVENTFD, &assign);
  machine.load_long(long_store(), store(kMmio + 0x50, 3));
  machine.vcpu().expect_exit(KVM_EXIT_MMIO, "a store after deassignment");
}

void ioeventfd_match(const Descriptor& system) {
  Machine machine(system);
  const Event first, second;
  kvm_ioeventfd assign = kick(first, kMmio + 0x50, 4, KVM_IOEVENTFD_FLAG_DATAMATCH, 1);
  KVM_ABI_IOCTL(machine.vm(), KVM_IOEVENTFD, &assign);
  assign = kick(second, kMmio + 0x50, 4, KVM_IOEVENTFD_FLAG_DATAMATCH, 2);
  KVM_ABI_IOCTL(machine.vm(), KVM_IOEVENTFD, &assign);
  machine.load_long(long_store(), store(kMmio + 0x50, 2));
  machine.vcpu().expect_end("a store that matches");
  expect(first.take() == 0 && second.take() == 1, "the wrong eventfd was kicked");
  machine.load_long(long_store(), store(kMmio + 0x50, 3));
  machine.vcpu().expect_exit(KVM_EXIT_MMIO, "a store that matches nothing");
}

void ioeventfd_port(const Descriptor& system) {
  Machine machine(system);
  const Event event;
  kvm_ioeventfd assign = kick(event, 0x500, 4, KVM_IOEVENTFD_FLAG_PIO);
  KVM_ABI_IOCTL(machine.vm(), KVM_IOEVENTFD, &assign);
  machine.load_long(long_out(), store(0x500, 1));
  machine.vcpu().expect_end("a kick by port");
  expect_equal(event.take(), 1, "the count after a kick");
}

void ioeventfd_any_length(const Descriptor& system) {
  need_capability(system, KVM_CAP_IOEVENTFD_ANY_LENGTH, "KVM_CAP_IOEVENTFD_ANY_LENGTH");
  Machine machine(system);
  const Event event;
  kvm_ioeventfd assign = kick(event, kMmio + 0x60, 0, 0);
  KVM_ABI_IOCTL(machine.vm(), KVM_IOEVENTFD, &assign);
  machine.load_long(long_store(), store(kMmio + 0x60, 1));
  machine.vcpu().expect_end("a kick of any length");
  expect_equal(event.take(), 1, "the count after a kick");
}

void ioeventfd_refused(const Descriptor& system) {
  const Machine machine(system);
  const Event event;
  kvm_ioeventfd bad = kick(event, kMmio, 3, 0);
  expect(machine.vm().try_ioctl(KVM_IOEVENTFD, &bad) == -EINVAL, "3 bytes are accepted");
  bad = kick(event, ~0ull - 1, 4, 0);
  expect(machine.vm().try_ioctl(KVM_IOEVENTFD, &bad) == -EINVAL,
         "an address that wraps is accepted");
  bad = kick(event, kMmio, 4, 0x80000000);
  expect(machine.vm().try_ioctl(KVM_IOEVENTFD, &bad) == -EINVAL, "unknown flags are accepted");
  bad = kick(event, kMmio, 4, 0);
  bad.fd = 9999;
  expect(machine.vm().try_ioctl(KVM_IOEVENTFD, &bad) == -EBADF, "a bad descriptor is not EBADF");
}

constexpr Case kCases[] = {
    {"irqfd", irqfd},
    {"routing-refused", routing_refused},
    {"routing-table", routing_table},
    {"ioeventfd-mmio", ioeventfd_mmio},
    {"ioeventfd-match", ioeventfd_match},
    {"ioeventfd-port", ioeventfd_port},
    {"ioeventfd-any-length", ioeventfd_any_length},
    {"ioeventfd-refused", ioeventfd_refused},
};

}  // namespace

std::span<const Case> eventfd_cases() {
  return kCases;
}

}  // namespace kvm_abi
