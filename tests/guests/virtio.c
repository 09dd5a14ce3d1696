#include "virtio.h"

enum { SLOTS = 19, FIRST_PIN = 5 };

// A guess that is never far off: waits only need to be long enough, never exact.
#define TICKS_PER_MS 2500000ull

static inline void fence(void) {
  __asm__ volatile("mfence" : : : "memory");
}

uint64_t find_device(uint32_t device_id, unsigned which) {
  for (uint64_t slot = 0; slot < SLOTS; ++slot) {
    const uint64_t device = MMIO_VIRTIO + slot * MMIO_VIRTIO_STRIDE;
    if (load32(device + REG_MAGIC) != 0x74726976) return 0;  // Slots are filled from the first on.
    require(load32(device + REG_VERSION) == 2);
    if (load32(device + REG_DEVICE_ID) == device_id && which-- == 0) return device;
  }
  return 0;
}

uint32_t device_pin(uint64_t device) {
  return FIRST_PIN + (uint32_t)((device - MMIO_VIRTIO) / MMIO_VIRTIO_STRIDE);
}

uint64_t device_features(uint64_t device) {
  store32(device + REG_DEVICE_FEATURES_SELECT, 1);
  const uint64_t high = load32(device + REG_DEVICE_FEATURES);
  store32(device + REG_DEVICE_FEATURES_SELECT, 0);
  return high << 32 | load32(device + REG_DEVICE_FEATURES);
}

void negotiate(uint64_t device, uint64_t features) {
  store32(device + REG_STATUS, 0);
  require(load32(device + REG_STATUS) == 0);
  store32(device + REG_STATUS, STATUS_ACKNOWLEDGE);
  store32(device + REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
  features = (features | FEATURE_VERSION_1) & device_features(device);
  store32(device + REG_DRIVER_FEATURES_SELECT, 0);
  store32(device + REG_DRIVER_FEATURES, (uint32_t)features);
  store32(device + REG_DRIVER_FEATURES_SELECT, 1);
  store32(device + REG_DRIVER_FEATURES, (uint32_t)(features >> 32));
  const uint32_t status = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK;
  store32(device + REG_STATUS, status);
  require(load32(device + REG_STATUS) == status);
}

static void store_address(uint64_t device, uint32_t where, const volatile void* address) {
  store32(device + where, (uint32_t)(uint64_t)address);
  store32(device + where + 4, (uint32_t)((uint64_t)address >> 32));
}

void set_up_queue(struct queue* queue, uint64_t device, uint32_t index, uint16_t size,
                  struct queue_memory* memory) {
  *queue = (struct queue){device, index, size, 0, memory};
  for (size_t i = 0; i < sizeof(*memory); ++i) ((volatile uint8_t*)memory)[i] = 0;
  store32(device + REG_QUEUE_SELECT, index);
  require(load32(device + REG_QUEUE_READY) == 0);
  require(load32(device + REG_QUEUE_SIZE_MAX) >= size);
  store32(device + REG_QUEUE_SIZE, size);
  store_address(device, REG_QUEUE_DESCRIPTORS, memory->descriptors);
  store_address(device, REG_QUEUE_DRIVER, &memory->available);
  store_address(device, REG_QUEUE_DEVICE, &memory->used);
  store32(device + REG_QUEUE_READY, 1);
}

void start_device(uint64_t device) {
  store32(device + REG_STATUS, load32(device + REG_STATUS) | STATUS_DRIVER_OK);
}

void publish(struct queue* queue, uint16_t head) {
  volatile struct queue_memory* const memory = queue->memory;
  memory->available.ring[memory->available.index % queue->size] = head;
  fence();
  memory->available.index = (uint16_t)(memory->available.index + 1);
  fence();
}

void offer(struct queue* queue, uint16_t head, const struct buffer* buffers, uint16_t count) {
  volatile struct queue_memory* const memory = queue->memory;
  for (uint16_t i = 0; i < count; ++i) {
    const uint16_t at = (uint16_t)(head + i);
    const bool last = i + 1 == count;
    memory->descriptors[at].address = (uint64_t)buffers[i].address;
    memory->descriptors[at].length = buffers[i].length;
    memory->descriptors[at].flags = buffers[i].flags | (last ? 0 : DESCRIPTOR_NEXT);
    memory->descriptors[at].next = last ? 0 : (uint16_t)(at + 1);
  }
  publish(queue, head);
}

void kick(const struct queue* queue) {
  store32(queue->device + REG_QUEUE_NOTIFY, queue->index);
}

bool take_used(struct queue* queue, struct used_element* element) {
  volatile struct queue_memory* const memory = queue->memory;
  if (memory->used.index == queue->used_seen) return false;
  fence();
  element->id = memory->used.ring[queue->used_seen % queue->size].id;
  element->length = memory->used.ring[queue->used_seen % queue->size].length;
  ++queue->used_seen;
  return true;
}

bool wait_used(struct queue* queue, struct used_element* element, unsigned seconds) {
  const uint64_t end = time_stamp() + seconds * 1000 * TICKS_PER_MS;
  while (!take_used(queue, element)) {
    if (time_stamp() > end) return false;
    relax();
  }
  return true;
}

bool wait_status(uint64_t device, uint32_t bits, unsigned seconds) {
  const uint64_t end = time_stamp() + seconds * 1000 * TICKS_PER_MS;
  while ((load32(device + REG_STATUS) & bits) != bits) {
    if (time_stamp() > end) return false;
    relax();
  }
  return true;
}

void sleep_ms(uint64_t milliseconds) {
  const uint64_t end = time_stamp() + milliseconds * TICKS_PER_MS;
  while (time_stamp() < end) relax();
}
