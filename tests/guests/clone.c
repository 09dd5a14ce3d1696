// What snapshots are tried with: fills `touch=` MiB of its memory with a pattern, says "ready", and
// from then on checks `work=` pages after others (1 if absent), writes into every second of them,
// and says "!", about every `interval=` microseconds. With `disk=1` it also reads a sector each
// time. Ends after `beats=` of them, if given.

#include "virtio.h"

enum { PAGE = 4096, FIRST_MIB = 16, SECTOR = 512, TICKS_PER_US = 2000 };

struct header {
  uint32_t type;
  uint32_t reserved;
  uint64_t sector;
};

static struct queue_memory queue_memory;
static struct queue queue;
static uint8_t data[SECTOR] __attribute__((aligned(512)));

static uint64_t* page_at(uint64_t page) {
  return (uint64_t*)(FIRST_MIB * 1024 * 1024 + page * PAGE);
}

/// Checks a page, and leaves a trace beside the pattern in pages of an even number.
static void visit(uint64_t page, uint64_t beat) {
  uint64_t* const words = page_at(page);
  require(words[page % 512] == page * 0x9e3779b97f4a7c15ull, "page %d is not as it was", page);
  if (page % 2 == 0) words[(page + 1) % 512] = beat;
}

static void start_disk(void) {
  const uint64_t device = find_device(VIRTIO_BLOCK, 0);
  require(device != 0, "no block device");
  negotiate(device, FEATURE_INDIRECT | FEATURE_VERSION_1);
  set_up_queue(&queue, device, 0, 64, &queue_memory);
  start_device(device);
}

static void read_sector(uint64_t sector) {
  static struct header header;
  static volatile uint8_t status;
  header = (struct header){0, 0, sector};
  status = 0xee;
  const struct buffer chain[] = {{&header, sizeof(header), 0},
                                 {data, SECTOR, DESCRIPTOR_WRITE},
                                 {(const void*)&status, 1, DESCRIPTOR_WRITE}};
  offer(&queue, 0, chain, 3);
  kick(&queue);
  struct used_element used;
  require(wait_used(&queue, &used, 30), "no answer from the disk");
  require(status == 0, "disk status %x", (uint64_t)status);
  require(data[0] == (uint8_t)(sector * 31), "sector %d begins with %x", sector, (uint64_t)data[0]);
}

int main(void) {
  const uint64_t pages = number_argument("touch", 1) * 256;
  const uint64_t interval = number_argument("interval", 100) * TICKS_PER_US;
  const uint64_t work = number_argument("work", 1);
  const uint64_t beats = number_argument("beats", 0);
  const bool disk = number_argument("disk", 0) != 0;
  require(ram_end() >= FIRST_MIB * 1024 * 1024 + pages * PAGE, "touch= is larger than memory");
  for (uint64_t i = 0; i < pages; ++i) page_at(i)[i % 512] = i * 0x9e3779b97f4a7c15ull;
  if (disk) start_disk();
  print("ready\n");
  for (uint64_t beat = 0; beats == 0 || beat < beats; ++beat) {
    for (uint64_t i = 0; i < work; ++i) visit((beat * work + i) % pages, beat);
    if (disk) read_sector(beat % 8);
    print("!\n");
    for (const uint64_t end = time_stamp() + interval; time_stamp() < end;) relax();
  }
  print("done\n");
  reset_machine();
}
