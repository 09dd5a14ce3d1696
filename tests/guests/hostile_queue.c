// Breaks the virtqueue rules on purpose, on `device=` blk or net in the way `case=` names; tells
// what became of it ("needs reset", "used, status N", "refused" or "ignored"); then resets the
// device and makes one honest request.

#include "virtio.h"

enum { SIZE = 16, SECTOR = 512 };

struct header {
  uint32_t type;
  uint32_t reserved;
  uint64_t sector;
};

static struct queue_memory memory;
static struct queue queue;
static uint64_t device;
static bool is_block;
static struct header header;
static uint8_t data[SECTOR];
static volatile uint8_t status;
static struct descriptor table[SIZE];

static void set(uint16_t index, const volatile void* address, uint32_t length, unsigned flags,
                uint16_t next) {
  memory.descriptors[index] = (struct descriptor){(uint64_t)address, length, (uint16_t)flags, next};
}

/// An honest chain in descriptors 0 to 2: the cases then spoil it. For a network device the header
/// is that of a packet.
static void honest_chain(void) {
  header = (struct header){0, 0, 0};
  status = 0xee;
  if (is_block) {
    set(0, &header, sizeof(header), DESCRIPTOR_NEXT, 1);
    set(1, data, SECTOR, DESCRIPTOR_NEXT | DESCRIPTOR_WRITE, 2);
    set(2, &status, 1, DESCRIPTOR_WRITE, 0);
  } else {
    set(0, &header, 12, DESCRIPTOR_NEXT, 1);
    set(1, data, 60, 0, 0);
  }
}

static void begin(void) {
  negotiate(device, FEATURE_INDIRECT);
  set_up_queue(&queue, device, is_block ? 0 : 1, SIZE, &memory);
  if (!is_block) {  // A network device wants both of its queues.
    static struct queue_memory other_memory;
    static struct queue other;
    set_up_queue(&other, device, 0, SIZE, &other_memory);
  }
}

static void spoil(const char* name) {
  const uint64_t end = ram_end();
  const unsigned write = is_block ? DESCRIPTOR_WRITE : 0;
  struct descriptor* const d = memory.descriptors;
  if (equal_text(name, "loop")) d[1] = (struct descriptor){d[1].address, 1, DESCRIPTOR_NEXT, 0};
  if (equal_text(name, "self_loop")) d[0].next = 0;
  if (equal_text(name, "next_outside")) d[0].next = SIZE;
  if (equal_text(name, "region_end")) d[1].address = end - 4;
  if (equal_text(name, "outside_ram")) d[1].address = 0x80000000;
  if (equal_text(name, "mmio_target")) d[1].address = MMIO_VIRTIO;
  if (equal_text(name, "address_wrap")) d[1].address = ~0ull - 7;
  if (equal_text(name, "huge_length")) d[1].length = 0xffffffff;
  if (equal_text(name, "zero_length")) d[1].length = 0;
  if (equal_text(name, "header_outside")) d[0].address = end;
  if (equal_text(name, "header_writable")) d[0].flags |= DESCRIPTOR_WRITE;
  if (equal_text(name, "short_header")) d[0].length = 4;
  if (equal_text(name, "wrong_direction")) {
    d[1].flags = DESCRIPTOR_NEXT | DESCRIPTOR_WRITE;
    d[1].next = 2;
    d[2].flags = 0;
    d[2].address = (uint64_t)&status;
    d[2].length = 1;
  }
  if (equal_text(name, "no_status")) d[1].flags = 0;
  if (equal_text(name, "odd_size")) d[1].length = 100;
  const bool nested = equal_text(name, "indirect_nested");
  if (nested || equal_text(name, "indirect_loop") || equal_text(name, "indirect_odd") ||
      equal_text(name, "indirect_empty") || equal_text(name, "indirect_outside") ||
      equal_text(name, "indirect_huge")) {
    for (uint16_t i = 0; i < SIZE; ++i) {
      table[i] = (struct descriptor){(uint64_t)data, 1, (uint16_t)(DESCRIPTOR_NEXT | write),
                                     (uint16_t)((i + 1) % SIZE)};
    }
    if (nested) table[0].flags = DESCRIPTOR_INDIRECT;
    d[0] = (struct descriptor){(uint64_t)table, sizeof(table), DESCRIPTOR_INDIRECT, 0};
    if (equal_text(name, "indirect_odd")) d[0].length = 17;
    if (equal_text(name, "indirect_empty")) d[0].length = 0;
    if (equal_text(name, "indirect_outside")) d[0].address = end - 8;
    if (equal_text(name, "indirect_huge")) d[0].length = 0xfffffff0;
  }
}

/// Queue addresses and sizes that no device may accept. True when `name` is one of them.
static bool spoil_registers(const char* name) {
  uint32_t where = 0;
  uint64_t value = 0;
  if (equal_text(name, "rings_outside")) where = REG_QUEUE_DRIVER, value = ram_end();
  if (equal_text(name, "used_across_end")) where = REG_QUEUE_DEVICE, value = ram_end() - 16;
  if (equal_text(name, "table_wraps")) where = REG_QUEUE_DESCRIPTORS, value = ~0ull - 15;
  if (equal_text(name, "table_unaligned")) {
    where = REG_QUEUE_DESCRIPTORS;
    value = (uint64_t)memory.descriptors + 8;
  }
  if (equal_text(name, "used_unaligned")) {
    where = REG_QUEUE_DEVICE;
    value = (uint64_t)&memory.used + 2;
  }
  const bool bad_size = equal_text(name, "size_odd") || equal_text(name, "size_huge") ||
                        equal_text(name, "size_zero");
  if (where == 0 && !bad_size) return false;
  store32(device + REG_QUEUE_SELECT, queue.index);
  store32(device + REG_QUEUE_READY, 0);
  if (where != 0) {
    store32(device + where, (uint32_t)value);
    store32(device + where + 4, (uint32_t)(value >> 32));
  }
  if (equal_text(name, "size_odd")) store32(device + REG_QUEUE_SIZE, 15);
  if (equal_text(name, "size_huge")) store32(device + REG_QUEUE_SIZE, 0x10010);
  if (equal_text(name, "size_zero")) store32(device + REG_QUEUE_SIZE, 0);
  store32(device + REG_QUEUE_READY, 1);
  return true;
}

static void tell_outcome(void) {
  struct used_element used;
  for (unsigned i = 0; i < 500; ++i) {
    if ((load32(device + REG_STATUS) & STATUS_NEEDS_RESET) != 0) {
      print("outcome: needs reset\n");
      return;
    }
    if (take_used(&queue, &used)) {
      print("outcome: used, status %x\n", (uint64_t)status);
      return;
    }
    sleep_ms(2);
  }
  print("outcome: ignored\n");
}

/// Rewrites the table without pause while the device works on it.
static void scribble(void) {
  uint64_t random = number_argument("seed", 1);
  const uint64_t rounds = number_argument("count", 2000);
  for (uint64_t i = 0; i < rounds; ++i) {
    honest_chain();
    publish(&queue, 0);
    kick(&queue);
    for (unsigned j = 0; j < 200; ++j) {
      random = random * 6364136223846793005ull + 1442695040888963407ull;
      volatile struct descriptor* const d = &memory.descriptors[random >> 40 & 3];
      d->address = random >> 20 & 7 ? (uint64_t)data : random;
      d->length = (uint32_t)(random >> 30 & 3 ? SECTOR : random);
      d->next = (uint16_t)(random >> 50 & 3);
      d->flags = (uint16_t)(random >> 56 & 7);
    }
    if ((load32(device + REG_STATUS) & STATUS_NEEDS_RESET) != 0) begin(), start_device(device);
  }
  print("outcome: scribbled\n");
}

static void make_honest_request(void) {
  begin();
  start_device(device);
  honest_chain();
  publish(&queue, 0);
  kick(&queue);
  struct used_element used;
  require(wait_used(&queue, &used, 30), "no answer after the reset");
  require(used.id == 0);
  if (is_block) require(status == 0);
  print("recovered\n");
}

int main(void) {
  is_block = !equal_text(text_argument("device"), "net");
  device = find_device(is_block ? VIRTIO_BLOCK : VIRTIO_NET, 0);
  require(device != 0, "no such device");
  char name[64];
  const char* const given = text_argument("case");
  for (unsigned i = 0; i < sizeof(name); ++i) name[i] = given[i];
  begin();
  if (equal_text(name, "early_driver_ok")) {
    store32(device + REG_STATUS, 0);
    store32(device + REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_DRIVER_OK);
    print("outcome: %s\n",
          (load32(device + REG_STATUS) & STATUS_DRIVER_OK) != 0 ? "accepted" : "refused");
  } else if (equal_text(name, "unoffered_feature")) {
    store32(device + REG_STATUS, 0);
    store32(device + REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
    store32(device + REG_DRIVER_FEATURES_SELECT, 1);
    store32(device + REG_DRIVER_FEATURES, 0xffffffff);
    store32(device + REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
    print("outcome: %s\n",
          (load32(device + REG_STATUS) & STATUS_FEATURES_OK) != 0 ? "accepted" : "refused");
  } else if (equal_text(name, "scribble")) {
    start_device(device);
    scribble();
  } else {
    const bool by_registers = spoil_registers(name);
    start_device(device);
    if (!by_registers) {
      honest_chain();
      spoil(name);
    }
    publish(&queue, equal_text(name, "head_outside") ? SIZE : 0);
    if (equal_text(name, "index_jump")) memory.available.index = 1000;
    kick(&queue);
    tell_outcome();
  }
  make_honest_request();
  if (number_argument("stay", 0) != 0) {
    for (;;) relax();
  }
  reset_machine();
}
