// Drives virtio-blk. `mode=`:
//   verify    checks every sector against the pattern the test wrote, rewrites the second half with
//             another, and tries flush, id, discard, write-zeroes, indirect and odd buffers
//   readonly  reads, and expects writes to be refused
//   watch     reads the capacity, then waits for configuration changes by interrupt (`changes=`)
//   interrupt reads with the processor asleep until the device's interrupt
//   read      reads `count=` times 4 KiB between the lines "begin" and "end"
//   absent    expects reads to fail with an I/O error, the disk being gone
// The pattern of byte i of sector s is (s * 31 + i) mod 256, plus 1 once rewritten.

#include "virtio.h"

enum {
  TYPE_IN = 0,
  TYPE_OUT = 1,
  TYPE_FLUSH = 4,
  TYPE_GET_ID = 8,
  TYPE_DISCARD = 11,
  TYPE_WRITE_ZEROES = 13,
  STATUS_OK = 0,
  STATUS_IO_ERROR = 1,
  STATUS_UNSUPPORTED = 2,
  SECTOR = 512,
};

#define FEATURE_READ_ONLY (1ull << 5)
#define FEATURE_FLUSH (1ull << 9)
#define FEATURE_DISCARD (1ull << 13)
#define FEATURE_WRITE_ZEROES (1ull << 14)

struct header {
  uint32_t type;
  uint32_t reserved;
  uint64_t sector;
};

static struct queue_memory queue_memory;
static struct queue queue;
static uint64_t device;
static uint64_t features;
static uint8_t data[64 * 1024] __attribute__((aligned(4096)));

static uint8_t pattern(uint64_t sector, unsigned byte, unsigned rewritten) {
  return (uint8_t)(sector * 31 + byte + rewritten);
}

static void fill(uint8_t* to, uint64_t sector, uint64_t count, unsigned rewritten) {
  for (uint64_t s = 0; s < count; ++s) {
    for (unsigned i = 0; i < SECTOR; ++i) *to++ = pattern(sector + s, i, rewritten);
  }
}

static void check(const uint8_t* from, uint64_t sector, uint64_t count, unsigned rewritten) {
  for (uint64_t s = 0; s < count; ++s) {
    for (unsigned i = 0; i < SECTOR; ++i, ++from) {
      require(*from == pattern(sector + s, i, rewritten), "sector %d byte %d is %x", sector + s,
              (uint64_t)i, (uint64_t)*from);
    }
  }
}

static uint64_t capacity(void) {
  uint32_t before;
  uint64_t sectors;
  do {
    before = load32(device + REG_CONFIG_GENERATION);
    sectors = load32(device + REG_CONFIG) | (uint64_t)load32(device + REG_CONFIG + 4) << 32;
  } while (load32(device + REG_CONFIG_GENERATION) != before);
  return sectors;
}

/// One request with any number of data buffers; gives the status byte and checks the used element.
static uint8_t submit(uint32_t type, uint64_t sector, const struct buffer* parts, uint16_t count,
                      uint32_t* written) {
  static struct header header;
  static volatile uint8_t status;
  struct buffer chain[16];
  header = (struct header){type, 0, sector};
  status = 0xee;
  chain[0] = (struct buffer){&header, sizeof(header), 0};
  for (uint16_t i = 0; i < count; ++i) chain[1 + i] = parts[i];
  chain[1 + count] = (struct buffer){(const void*)&status, 1, DESCRIPTOR_WRITE};
  offer(&queue, 0, chain, (uint16_t)(count + 2));
  kick(&queue);
  struct used_element used;
  require(wait_used(&queue, &used, 30), "no answer; device status %x",
          (uint64_t)load32(device + REG_STATUS));
  require(used.id == 0);
  if (written != 0) *written = used.length;
  return status;
}

static uint8_t transfer(uint32_t type, uint64_t sector, uint8_t* buffer, uint32_t size) {
  const struct buffer part = {buffer, size, type == TYPE_IN ? DESCRIPTOR_WRITE : 0};
  uint32_t written = 0;
  const uint8_t status = submit(type, sector, &part, 1, &written);
  if (status == STATUS_OK) require(written == (type == TYPE_IN ? size + 1 : 1));
  return status;
}

static void start(void) {
  device = find_device(VIRTIO_BLOCK, 0);
  require(device != 0, "no block device");
  features = device_features(device);
  negotiate(device, features & ~(1ull << 29));  // Polling: no event indices.
  set_up_queue(&queue, device, 0, 64, &queue_memory);
  start_device(device);
}

static void verify_content(uint64_t sectors) {
  for (uint64_t s = 0; s + 64 <= sectors; s += 64) {
    require(transfer(TYPE_IN, s, data, 64 * SECTOR) == STATUS_OK);
    check(data, s, 64, 0);
  }
}

static void rewrite_second_half(uint64_t sectors) {
  for (uint64_t s = sectors / 2; s < sectors; s += 64) {
    fill(data, s, 64, 1);
    require(transfer(TYPE_OUT, s, data, 64 * SECTOR) == STATUS_OK);
  }
  if ((features & FEATURE_FLUSH) != 0) {
    require(submit(TYPE_FLUSH, 0, 0, 0, 0) == STATUS_OK);
  }
  for (uint64_t s = sectors / 2; s < sectors; s += 64) {
    for (unsigned i = 0; i < sizeof(data); ++i) data[i] = 0;
    require(transfer(TYPE_IN, s, data, 64 * SECTOR) == STATUS_OK);
    check(data, s, 64, 1);
  }
}

static void try_odd_buffers(void) {
  // 1024 bytes over parts whose borders are neither sectors nor pages.
  const struct buffer parts[] = {{data + 1, 1, DESCRIPTOR_WRITE},
                                 {data + 2, 700, DESCRIPTOR_WRITE},
                                 {data + 702, 323, DESCRIPTOR_WRITE}};
  require(submit(TYPE_IN, 7, parts, 3, 0) == STATUS_OK);
  check(data + 1, 7, 2, 0);

  // The same through an indirect table.
  static struct header header;
  static volatile uint8_t status;
  static struct descriptor table[3];
  header = (struct header){TYPE_IN, 0, 9};
  status = 0xee;
  table[0] = (struct descriptor){(uint64_t)&header, sizeof(header), DESCRIPTOR_NEXT, 1};
  table[1] = (struct descriptor){(uint64_t)data, 1024, DESCRIPTOR_NEXT | DESCRIPTOR_WRITE, 2};
  table[2] = (struct descriptor){(uint64_t)&status, 1, DESCRIPTOR_WRITE, 0};
  const struct buffer indirect = {table, sizeof(table), DESCRIPTOR_INDIRECT};
  offer(&queue, 5, &indirect, 1);
  kick(&queue);
  struct used_element used;
  require(wait_used(&queue, &used, 30) && used.id == 5 && status == STATUS_OK);
  check(data, 9, 2, 0);
}

static void try_many_at_once(void) {
  enum { REQUESTS = 16 };
  static struct header headers[REQUESTS];
  static volatile uint8_t statuses[REQUESTS];
  for (uint16_t i = 0; i < REQUESTS; ++i) {
    headers[i] = (struct header){TYPE_IN, 0, i * 8u};
    statuses[i] = 0xee;
    const struct buffer chain[] = {{&headers[i], sizeof(headers[i]), 0},
                                   {data + i * 4096, 4096, DESCRIPTOR_WRITE},
                                   {(const void*)&statuses[i], 1, DESCRIPTOR_WRITE}};
    offer(&queue, (uint16_t)(3 * i), chain, 3);
  }
  kick(&queue);
  uint64_t heads = 0;
  for (unsigned i = 0; i < REQUESTS; ++i) {
    struct used_element used;
    require(wait_used(&queue, &used, 30));
    heads |= 1ull << used.id;
  }
  for (unsigned i = 0; i < REQUESTS; ++i) {
    require((heads >> (3 * i) & 1) != 0 && statuses[i] == STATUS_OK);
    check(data + i * 4096, i * 8u, 8, 0);
  }
}

static void try_errors(uint64_t sectors) {
  require(transfer(TYPE_IN, sectors, data, SECTOR) == STATUS_IO_ERROR);
  require(transfer(TYPE_OUT, sectors - 1, data, 2 * SECTOR) == STATUS_IO_ERROR);
  require(transfer(TYPE_IN, ~0ull, data, SECTOR) == STATUS_IO_ERROR);
  require(transfer(TYPE_IN, 1ull << 55, data, SECTOR) == STATUS_IO_ERROR);
  require(transfer(99, 0, data, SECTOR) == STATUS_UNSUPPORTED);
}

static void try_erasing(void) {
  struct {
    uint64_t sector;
    uint32_t count;
    uint32_t flags;
  } range = {16, 16, 0};
  const struct buffer part = {&range, sizeof(range), 0};
  require(submit(TYPE_WRITE_ZEROES, 0, &part, 1, 0) == STATUS_OK);
  require(transfer(TYPE_IN, 16, data, 16 * SECTOR) == STATUS_OK);
  for (unsigned i = 0; i < 16 * SECTOR; ++i) require(data[i] == 0);
  range.sector = 32;
  require(submit(TYPE_DISCARD, 0, &part, 1, 0) == STATUS_OK);
  require(transfer(TYPE_IN, 48, data, 16 * SECTOR) == STATUS_OK);
  check(data, 48, 16, 0);
}

static void print_id(void) {
  static char id[21];
  const struct buffer part = {id, 20, DESCRIPTOR_WRITE};
  require(submit(TYPE_GET_ID, 0, &part, 1, 0) == STATUS_OK);
  print("id %s\n", id);
}

static void verify(void) {
  const uint64_t sectors = capacity();
  verify_content(sectors);
  print_id();
  try_odd_buffers();
  try_many_at_once();
  try_errors(sectors);
  rewrite_second_half(sectors);
  if ((features & FEATURE_WRITE_ZEROES) != 0) try_erasing();
}

static void read_only(void) {
  require((features & FEATURE_READ_ONLY) != 0, "the device does not say that it is read-only");
  verify_content(capacity());
  fill(data, 0, 1, 1);
  require(transfer(TYPE_OUT, 0, data, SECTOR) == STATUS_IO_ERROR);
  verify_content(64);
}

static void watch(void) {
  set_up_interrupts();
  enable_pin(device_pin(device));
  uint32_t seen = 0;
  print("watching\n");
  for (uint64_t changes = number_argument("changes", 1); changes > 0; --changes) {
    seen = wait_for_pin(device_pin(device), seen);
    require((load32(device + REG_INTERRUPT_STATUS) & 2) != 0, "no configuration interrupt");
    store32(device + REG_INTERRUPT_ACK, 2);
    print("changed to %d sectors\n", capacity());
    if (capacity() > 0) {
      require(transfer(TYPE_IN, 0, data, SECTOR) == STATUS_OK);
      print("first byte %x\n", (uint64_t)data[0]);
      store32(device + REG_INTERRUPT_ACK, 1);
      seen = pin_interrupts(device_pin(device));
    }
  }
}

static void read_by_interrupt(void) {
  set_up_interrupts();
  const uint32_t pin = device_pin(device);
  enable_pin(pin);
  for (uint32_t i = 0; i < 8; ++i) {
    static struct header header;
    static volatile uint8_t status;
    header = (struct header){TYPE_IN, 0, i};
    const struct buffer chain[] = {{&header, sizeof(header), 0},
                                   {data, SECTOR, DESCRIPTOR_WRITE},
                                   {(const void*)&status, 1, DESCRIPTOR_WRITE}};
    offer(&queue, 0, chain, 3);
    kick(&queue);
    wait_for_pin(pin, i);
    struct used_element used;
    require(take_used(&queue, &used), "an interrupt without a used buffer");
    require((load32(device + REG_INTERRUPT_STATUS) & 1) != 0);
    store32(device + REG_INTERRUPT_ACK, 1);
    require(load32(device + REG_INTERRUPT_STATUS) == 0);
    check(data, i, 1, 0);
  }
  print("interrupts %d\n", (uint64_t)pin_interrupts(pin));
}

static void read_repeatedly(void) {
  print("begin\n");
  const uint64_t count = number_argument("count", 1);
  for (uint64_t i = 0; i < count; ++i) {
    require(transfer(TYPE_IN, 8 * (i % 8), data, 4096) == STATUS_OK);
  }
  print("end\n");
}

static void expect_errors(void) {
  print("waiting\n");
  // The disk goes while we read; from then on every answer is an error, and there is an answer.
  uint8_t status = STATUS_OK;
  for (unsigned i = 0; i < 2000 && status == STATUS_OK; ++i) {
    sleep_ms(5);
    status = transfer(TYPE_IN, 64, data, SECTOR);
  }
  require(status == STATUS_IO_ERROR);
  require(transfer(TYPE_IN, 64, data, SECTOR) == STATUS_IO_ERROR);
}

int main(void) {
  start();
  const char* const mode = text_argument("mode");
  print("capacity %d sectors%s%s\n", capacity(), (features & FEATURE_READ_ONLY) != 0 ? " ro" : "",
        (features & FEATURE_FLUSH) != 0 ? " flush" : "");
  if (equal_text(mode, "verify")) verify();
  if (equal_text(mode, "readonly")) read_only();
  if (equal_text(mode, "watch")) watch();
  if (equal_text(mode, "interrupt")) read_by_interrupt();
  if (equal_text(mode, "read")) read_repeatedly();
  if (equal_text(mode, "absent")) expect_errors();
  print("blk ok\n");
  reset_machine();
}
