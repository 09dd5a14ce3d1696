// Writes `count=` random values into random registers of every virtio device, from `seed=`, kicks
// included, then shows that each device still comes up after a reset.

#include "virtio.h"

static uint64_t next_random(uint64_t* state) {
  *state = *state * 6364136223846793005ull + 1442695040888963407ull;
  return *state >> 24;
}

static uint32_t likely_value(uint64_t* state, uint32_t reg) {
  const uint64_t random = next_random(state);
  if (reg == REG_STATUS) return (uint32_t)(random >> 8 & 0xcf);
  if (reg == REG_QUEUE_SELECT || reg == REG_QUEUE_READY || reg == REG_QUEUE_NOTIFY) {
    return (uint32_t)(random >> 8 & 3);
  }
  if (reg == REG_QUEUE_SIZE) return 1u << (random >> 8 & 15);
  // Addresses: mostly in RAM.
  return (random & 3) != 0 ? (uint32_t)(random >> 4 & 0x7fffff0) : (uint32_t)random;
}

static void random_write(uint64_t* state, uint64_t device) {
  static const uint16_t registers[] = {REG_DEVICE_FEATURES_SELECT,
                                       REG_DRIVER_FEATURES,
                                       REG_DRIVER_FEATURES_SELECT,
                                       REG_QUEUE_SELECT,
                                       REG_QUEUE_SIZE,
                                       REG_QUEUE_READY,
                                       REG_QUEUE_NOTIFY,
                                       REG_INTERRUPT_ACK,
                                       REG_STATUS,
                                       REG_STATUS,
                                       REG_QUEUE_DESCRIPTORS,
                                       REG_QUEUE_DESCRIPTORS + 4,
                                       REG_QUEUE_DRIVER,
                                       REG_QUEUE_DRIVER + 4,
                                       REG_QUEUE_DEVICE,
                                       REG_QUEUE_DEVICE + 4,
                                       REG_CONFIG,
                                       REG_CONFIG + 8};
  const uint64_t choice = next_random(state);
  if (choice % 16 == 0) {  // Anywhere, in any width.
    const uint64_t address = device + next_random(state) % 4096;
    if ((choice & 0x100) != 0) store8(address, (uint8_t)choice);
    if ((choice & 0x200) != 0) (void)load8(address);
    if ((choice & 0x400) != 0) store64(address & ~7ull, choice);
    if ((choice & 0x800) != 0) (void)load64(address & ~7ull);
    return;
  }
  const uint32_t reg = registers[choice / 16 % (sizeof(registers) / sizeof(registers[0]))];
  store32(device + reg, likely_value(state, reg));
}

/// The valid first half of a negotiation, so that random writes reach the later states too.
static void half_negotiate(uint64_t device) {
  store32(device + REG_STATUS, 0);
  store32(device + REG_STATUS, 3);
  store32(device + REG_DRIVER_FEATURES_SELECT, 1);
  store32(device + REG_DRIVER_FEATURES, 1);
  store32(device + REG_STATUS, 11);
}

int main(void) {
  set_up_interrupts();
  uint64_t state = number_argument("seed", 1);
  const uint64_t count = number_argument("count", 1000);
  uint64_t devices[4] = {0};
  unsigned found = 0;
  for (uint32_t id = VIRTIO_NET; id <= VIRTIO_BLOCK; ++id) {
    const uint64_t device = find_device(id, 0);
    if (device != 0) devices[found++] = device;
  }
  require(found > 0, "no device");
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t device = devices[next_random(&state) % found];
    if (i % 16 == 0) half_negotiate(device);
    random_write(&state, device);
  }
  for (unsigned i = 0; i < found; ++i) negotiate(devices[i], 0);
  print("registers ok\n");
  reset_machine();
}
