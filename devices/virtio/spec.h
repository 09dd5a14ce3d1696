#pragma once
// Constants and wire structures of Virtio 1.2, spelled as the specification spells them.

#include <cstdint>

namespace mote::virtio {

// §5: device types.
inline constexpr uint32_t VIRTIO_ID_NET = 1;
inline constexpr uint32_t VIRTIO_ID_BLOCK = 2;

// §2.1: device status.
inline constexpr uint32_t VIRTIO_CONFIG_S_ACKNOWLEDGE = 1;
inline constexpr uint32_t VIRTIO_CONFIG_S_DRIVER = 2;
inline constexpr uint32_t VIRTIO_CONFIG_S_DRIVER_OK = 4;
inline constexpr uint32_t VIRTIO_CONFIG_S_FEATURES_OK = 8;
inline constexpr uint32_t VIRTIO_CONFIG_S_NEEDS_RESET = 64;
inline constexpr uint32_t VIRTIO_CONFIG_S_FAILED = 128;

// §6: feature bits that are not of one device.
inline constexpr uint64_t VIRTIO_F_INDIRECT_DESC = uint64_t{1} << 28;
inline constexpr uint64_t VIRTIO_F_EVENT_IDX = uint64_t{1} << 29;
inline constexpr uint64_t VIRTIO_F_VERSION_1 = uint64_t{1} << 32;

// §4.2.2: virtio-mmio registers.
inline constexpr uint64_t VIRTIO_MMIO_MAGIC_VALUE = 0x000;
inline constexpr uint64_t VIRTIO_MMIO_VERSION = 0x004;
inline constexpr uint64_t VIRTIO_MMIO_DEVICE_ID = 0x008;
inline constexpr uint64_t VIRTIO_MMIO_VENDOR_ID = 0x00c;
inline constexpr uint64_t VIRTIO_MMIO_DEVICE_FEATURES = 0x010;
inline constexpr uint64_t VIRTIO_MMIO_DEVICE_FEATURES_SEL = 0x014;
inline constexpr uint64_t VIRTIO_MMIO_DRIVER_FEATURES = 0x020;
inline constexpr uint64_t VIRTIO_MMIO_DRIVER_FEATURES_SEL = 0x024;
inline constexpr uint64_t VIRTIO_MMIO_QUEUE_SEL = 0x030;
inline constexpr uint64_t VIRTIO_MMIO_QUEUE_NUM_MAX = 0x034;
inline constexpr uint64_t VIRTIO_MMIO_QUEUE_NUM = 0x038;
inline constexpr uint64_t VIRTIO_MMIO_QUEUE_READY = 0x044;
inline constexpr uint64_t VIRTIO_MMIO_QUEUE_NOTIFY = 0x050;
inline constexpr uint64_t VIRTIO_MMIO_INTERRUPT_STATUS = 0x060;
inline constexpr uint64_t VIRTIO_MMIO_INTERRUPT_ACK = 0x064;
inline constexpr uint64_t VIRTIO_MMIO_STATUS = 0x070;
inline constexpr uint64_t VIRTIO_MMIO_QUEUE_DESC_LOW = 0x080;
inline constexpr uint64_t VIRTIO_MMIO_QUEUE_DESC_HIGH = 0x084;
inline constexpr uint64_t VIRTIO_MMIO_QUEUE_AVAIL_LOW = 0x090;
inline constexpr uint64_t VIRTIO_MMIO_QUEUE_AVAIL_HIGH = 0x094;
inline constexpr uint64_t VIRTIO_MMIO_QUEUE_USED_LOW = 0x0a0;
inline constexpr uint64_t VIRTIO_MMIO_QUEUE_USED_HIGH = 0x0a4;
inline constexpr uint64_t VIRTIO_MMIO_SHM_LEN_LOW = 0x0b0;
inline constexpr uint64_t VIRTIO_MMIO_SHM_BASE_HIGH = 0x0bc;
inline constexpr uint64_t VIRTIO_MMIO_CONFIG_GENERATION = 0x0fc;
inline constexpr uint64_t VIRTIO_MMIO_CONFIG = 0x100;
inline constexpr uint32_t VIRTIO_MMIO_MAGIC = 0x74726976;  // "virt"
inline constexpr uint32_t VIRTIO_MMIO_INT_VRING = 1;
inline constexpr uint32_t VIRTIO_MMIO_INT_CONFIG = 2;

// §2.7.5: descriptors.
inline constexpr uint16_t VIRTQ_DESC_F_NEXT = 1;
inline constexpr uint16_t VIRTQ_DESC_F_WRITE = 2;
inline constexpr uint16_t VIRTQ_DESC_F_INDIRECT = 4;
struct virtq_desc {
  uint64_t addr;
  uint32_t len;
  uint16_t flags;
  uint16_t next;
};
static_assert(sizeof(virtq_desc) == 16);

// §2.7.6, §2.7.8: offsets within the rings.
inline constexpr uint16_t VIRTQ_AVAIL_F_NO_INTERRUPT = 1;
inline constexpr uint16_t VIRTQ_USED_F_NO_NOTIFY = 1;
struct virtq_used_elem {
  uint32_t id;
  uint32_t len;
};
static_assert(sizeof(virtq_used_elem) == 8);
inline constexpr uint64_t kRingFlagsOffset = 0;
inline constexpr uint64_t kRingIndexOffset = 2;
inline constexpr uint64_t kRingElementsOffset = 4;

[[nodiscard]] constexpr uint64_t descriptor_table_bytes(uint16_t size) {
  return uint64_t{16} * size;
}
[[nodiscard]] constexpr uint64_t avail_ring_bytes(uint16_t size) {
  return 6 + uint64_t{2} * size;
}
[[nodiscard]] constexpr uint64_t used_ring_bytes(uint16_t size) {
  return 6 + uint64_t{8} * size;
}

}  // namespace mote::virtio
