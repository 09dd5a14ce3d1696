// Loads a device as hard as a polling driver can, for benchmarks. Prints "begin" and "end" round
// the measured part; the host's clock counts between them.
//   dev=blk   count= requests of bytes= at random places, depth= at a time; op=read|write
//   dev=tx    sends count= frames of bytes=, depth= at a time
//   dev=rx    takes count= frames
// Interrupts are declined and kicks left out while the device says it looks anyway (Virtio 1.2
// §2.7.7, §2.7.10).

#include "virtio.h"

enum {
  MOST = 32,  // Depth.
  AREA = 4096,
  TYPE_IN = 0,
  TYPE_OUT = 1,
  SECTOR = 512,
  NET_HEADER = 12,
  RECEIVE = 0,
  TRANSMIT = 1,
  AVAILABLE_NO_INTERRUPT = 1,
  USED_NO_NOTIFY = 1,
  PATIENCE_S = 30,
};

struct header {
  uint32_t type;
  uint32_t reserved;
  uint64_t sector;
};

static struct queue_memory memories[2];
static struct queue queues[2];
static uint8_t areas[MOST][AREA] __attribute__((aligned(4096)));
static struct header headers[MOST];
static volatile uint8_t statuses[MOST];
static struct descriptor tables[MOST][3] __attribute__((aligned(16)));
static uint64_t device;

static void kick_if_wished(struct queue* queue) {
  __asm__ volatile("mfence" : : : "memory");  // The index before the flag, as the device has it.
  if ((((volatile struct queue_memory*)queue->memory)->used.flags & USED_NO_NOTIFY) == 0) {
    kick(queue);
  }
}

static void start(uint32_t kind, uint32_t queue_count) {
  device = find_device(kind, 0);
  require(device != 0, "no device");
  negotiate(device, FEATURE_INDIRECT | FEATURE_VERSION_1);
  for (uint32_t i = 0; i < queue_count; ++i) {
    set_up_queue(&queues[i], device, i, QUEUE_SIZE_MAX, &memories[i]);
    memories[i].available.flags = AVAILABLE_NO_INTERRUPT;
  }
  start_device(device);
}

static uint64_t next_random(void) {  // xorshift64
  static uint64_t state = 88172645463325252ull;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static void submit_block(uint16_t slot, uint32_t type, uint64_t blocks, uint32_t bytes) {
  headers[slot] = (struct header){type, 0, next_random() % blocks * (bytes / SECTOR)};
  statuses[slot] = 0xee;
  const uint16_t data_flags =
      (uint16_t)(DESCRIPTOR_NEXT | (type == TYPE_IN ? DESCRIPTOR_WRITE : 0));
  tables[slot][0] =
      (struct descriptor){(uint64_t)&headers[slot], sizeof(headers[slot]), DESCRIPTOR_NEXT, 1};
  tables[slot][1] = (struct descriptor){(uint64_t)areas[slot], bytes, data_flags, 2};
  tables[slot][2] = (struct descriptor){(uint64_t)&statuses[slot], 1, DESCRIPTOR_WRITE, 0};
  const struct buffer indirect = {tables[slot], sizeof(tables[slot]), DESCRIPTOR_INDIRECT};
  offer(&queues[0], slot, &indirect, 1);
}

static void load_block(uint64_t count, uint16_t depth, uint32_t bytes) {
  start(VIRTIO_BLOCK, 1);
  const uint64_t sectors = load32(device + REG_CONFIG) | (uint64_t)load32(device + REG_CONFIG + 4)
                                                             << 32;
  const uint64_t blocks = sectors * SECTOR / bytes;
  require(blocks > 0, "the disk is too small");
  const uint32_t type = equal_text(text_argument("op"), "write") ? TYPE_OUT : TYPE_IN;
  uint64_t submitted = 0;
  print("begin\n");
  for (; submitted < depth && submitted < count; ++submitted) {
    submit_block((uint16_t)submitted, type, blocks, bytes);
  }
  kick_if_wished(&queues[0]);
  for (uint64_t done = 0; done < count;) {
    struct used_element used;
    require(wait_used(&queues[0], &used, PATIENCE_S), "no answer");
    do {
      require(used.id < MOST && statuses[used.id] == 0, "request failed");
      ++done;
      if (submitted == count) continue;
      ++submitted;
      submit_block((uint16_t)used.id, type, blocks, bytes);
    } while (take_used(&queues[0], &used));
    kick_if_wished(&queues[0]);
  }
  print("end\n");
}

static void send_frames(uint64_t count, uint16_t depth, uint32_t bytes) {
  start(VIRTIO_NET, 2);
  for (unsigned slot = 0; slot < depth; ++slot) {
    for (unsigned i = 0; i < 6; ++i) areas[slot][NET_HEADER + i] = 0xff;
    areas[slot][NET_HEADER + 6] = 2;
    areas[slot][NET_HEADER + 12] = 0x88;  // An EtherType for experiments: nobody answers.
    areas[slot][NET_HEADER + 13] = 0xb5;
  }
  struct queue* const queue = &queues[TRANSMIT];
  uint64_t submitted = 0;
  print("begin\n");
  for (; submitted < depth && submitted < count; ++submitted) {
    const struct buffer part = {areas[submitted], NET_HEADER + bytes, 0};
    offer(queue, (uint16_t)submitted, &part, 1);
  }
  kick_if_wished(queue);
  for (uint64_t done = 0; done < count;) {
    struct used_element used;
    require(wait_used(queue, &used, PATIENCE_S), "a frame was not taken");
    do {
      require(used.id < MOST);
      ++done;
      if (submitted == count) continue;
      ++submitted;
      publish(queue, (uint16_t)used.id);
    } while (take_used(queue, &used));
    kick_if_wished(queue);
  }
  print("end\n");
}

static void receive_frames(uint64_t count) {
  start(VIRTIO_NET, 2);
  struct queue* const queue = &queues[RECEIVE];
  for (uint16_t slot = 0; slot < MOST; ++slot) {
    const struct buffer part = {areas[slot], AREA, DESCRIPTOR_WRITE};
    offer(queue, slot, &part, 1);
  }
  kick_if_wished(queue);
  print("ready\n");  // The host sends from here on; the first frame starts the clock.
  for (uint64_t done = 0; done < count;) {
    struct used_element used;
    require(wait_used(queue, &used, PATIENCE_S), "no frame");
    if (done == 0) print("begin\n");
    do {
      require(used.id < MOST);
      ++done;
      publish(queue, (uint16_t)used.id);
    } while (take_used(queue, &used));
    kick_if_wished(queue);
  }
  print("end\n");
}

int main(void) {
  const uint64_t count = number_argument("count", 1000);
  const uint64_t depth = number_argument("depth", 1);
  const uint64_t bytes = number_argument("bytes", 4096);
  require(depth >= 1 && depth <= MOST && bytes >= 60 && bytes <= AREA - NET_HEADER + 12);
  const char* const what = text_argument("dev");
  if (equal_text(what, "blk")) {
    load_block(count, (uint16_t)depth, (uint32_t)bytes);
  } else if (equal_text(what, "tx")) {
    require(bytes + NET_HEADER <= AREA);
    send_frames(count, (uint16_t)depth, (uint32_t)bytes);
  } else {
    receive_frames(count);
  }
  reset_machine();
}
