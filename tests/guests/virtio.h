#pragma once
// A virtio-mmio driver by polling (Virtio 1.2 §4.2, split queues §2.7), as small as a test needs:
// one outstanding chain per call, rings in static memory, no allocation.

#include "machine.h"

enum {
  VIRTIO_NET = 1,
  VIRTIO_BLOCK = 2,

  REG_MAGIC = 0x000,
  REG_VERSION = 0x004,
  REG_DEVICE_ID = 0x008,
  REG_DEVICE_FEATURES = 0x010,
  REG_DEVICE_FEATURES_SELECT = 0x014,
  REG_DRIVER_FEATURES = 0x020,
  REG_DRIVER_FEATURES_SELECT = 0x024,
  REG_QUEUE_SELECT = 0x030,
  REG_QUEUE_SIZE_MAX = 0x034,
  REG_QUEUE_SIZE = 0x038,
  REG_QUEUE_READY = 0x044,
  REG_QUEUE_NOTIFY = 0x050,
  REG_INTERRUPT_STATUS = 0x060,
  REG_INTERRUPT_ACK = 0x064,
  REG_STATUS = 0x070,
  REG_QUEUE_DESCRIPTORS = 0x080,
  REG_QUEUE_DRIVER = 0x090,
  REG_QUEUE_DEVICE = 0x0a0,
  REG_CONFIG_GENERATION = 0x0fc,
  REG_CONFIG = 0x100,

  STATUS_ACKNOWLEDGE = 1,
  STATUS_DRIVER = 2,
  STATUS_DRIVER_OK = 4,
  STATUS_FEATURES_OK = 8,
  STATUS_NEEDS_RESET = 64,

  DESCRIPTOR_NEXT = 1,
  DESCRIPTOR_WRITE = 2,
  DESCRIPTOR_INDIRECT = 4,

  QUEUE_SIZE_MAX = 64,
};

#define FEATURE_VERSION_1 (1ull << 32)
#define FEATURE_INDIRECT (1ull << 28)

struct descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags;
  uint16_t next;
};

struct used_element {
  uint32_t id;
  uint32_t length;
};

/// The three parts of a queue in guest memory, each where the specification wants it aligned.
struct queue_memory {
  struct descriptor descriptors[QUEUE_SIZE_MAX];
  struct {
    uint16_t flags;
    uint16_t index;
    uint16_t ring[QUEUE_SIZE_MAX];
    uint16_t used_event;
  } available __attribute__((aligned(2)));
  struct {
    uint16_t flags;
    uint16_t index;
    struct used_element ring[QUEUE_SIZE_MAX];
    uint16_t available_event;
  } used __attribute__((aligned(4)));
} __attribute__((aligned(4096)));

struct queue {
  uint64_t device;  ///< Register page.
  uint32_t index;
  uint16_t size;
  uint16_t used_seen;
  struct queue_memory* memory;
};

struct buffer {
  const void* address;
  uint32_t length;
  uint16_t flags;  ///< 0 or DESCRIPTOR_WRITE.
};

/// The register page of the `which`th device of this kind, 0 when there is none. Its interrupt pin
/// is 5 plus the page's number.
uint64_t find_device(uint32_t device_id, unsigned which);
uint32_t device_pin(uint64_t device);
uint64_t device_features(uint64_t device);
/// Reset to FEATURES_OK; `features` that are not offered are left out. Ends the guest on refusal.
void negotiate(uint64_t device, uint64_t features);
/// Registers the queue's memory; between negotiate() and start_device(). `size` at most
/// QUEUE_SIZE_MAX.
void set_up_queue(struct queue* queue, uint64_t device, uint32_t index, uint16_t size,
                  struct queue_memory* memory);
void start_device(uint64_t device);

/// Offers one chain whose head is descriptor `head`; `buffers` take the descriptors from there on.
void offer(struct queue* queue, uint16_t head, const struct buffer* buffers, uint16_t count);
/// Puts a head into the available ring, whatever stands in the table.
void publish(struct queue* queue, uint16_t head);
void kick(const struct queue* queue);
/// Takes one used element; false when there is none.
bool take_used(struct queue* queue, struct used_element* element);
/// Waits for one used element; false after `seconds` without.
bool wait_used(struct queue* queue, struct used_element* element, unsigned seconds);
/// Waits until the device's status shows `bits`; false after `seconds` without.
bool wait_status(uint64_t device, uint32_t bits, unsigned seconds);
/// A busy wait of about this long.
void sleep_ms(uint64_t milliseconds);
