#pragma once
// Virtio 1.2 §5.2: wire structures and numbers of the block device, in the specification's
// spelling.

#include <cstdint>

namespace mote::virtio::blk {

inline constexpr uint64_t VIRTIO_BLK_F_SEG_MAX = uint64_t{1} << 2;
inline constexpr uint64_t VIRTIO_BLK_F_RO = uint64_t{1} << 5;
inline constexpr uint64_t VIRTIO_BLK_F_BLK_SIZE = uint64_t{1} << 6;
inline constexpr uint64_t VIRTIO_BLK_F_FLUSH = uint64_t{1} << 9;
inline constexpr uint64_t VIRTIO_BLK_F_MQ = uint64_t{1} << 12;
inline constexpr uint64_t VIRTIO_BLK_F_DISCARD = uint64_t{1} << 13;
inline constexpr uint64_t VIRTIO_BLK_F_WRITE_ZEROES = uint64_t{1} << 14;

inline constexpr uint32_t VIRTIO_BLK_T_IN = 0;
inline constexpr uint32_t VIRTIO_BLK_T_OUT = 1;
inline constexpr uint32_t VIRTIO_BLK_T_FLUSH = 4;
inline constexpr uint32_t VIRTIO_BLK_T_GET_ID = 8;
inline constexpr uint32_t VIRTIO_BLK_T_DISCARD = 11;
inline constexpr uint32_t VIRTIO_BLK_T_WRITE_ZEROES = 13;

inline constexpr uint8_t VIRTIO_BLK_S_OK = 0;
inline constexpr uint8_t VIRTIO_BLK_S_IOERR = 1;
inline constexpr uint8_t VIRTIO_BLK_S_UNSUPP = 2;

inline constexpr uint32_t VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP = 1;

inline constexpr uint64_t kSectorBytes = 512;
inline constexpr uint64_t kIdBytes = 20;

struct virtio_blk_req_header {
  uint32_t type;
  uint32_t reserved;
  uint64_t sector;
};
static_assert(sizeof(virtio_blk_req_header) == 16);

struct virtio_blk_discard_write_zeroes {
  uint64_t sector;
  uint32_t num_sectors;
  uint32_t flags;
};
static_assert(sizeof(virtio_blk_discard_write_zeroes) == 16);

struct virtio_blk_config {
  uint64_t capacity;
  uint32_t size_max;
  uint32_t seg_max;
  struct {
    uint16_t cylinders;
    uint8_t heads;
    uint8_t sectors;
  } geometry;
  uint32_t blk_size;
  struct {
    uint8_t physical_block_exp;
    uint8_t alignment_offset;
    uint16_t min_io_size;
    uint32_t opt_io_size;
  } topology;
  uint8_t writeback;
  uint8_t unused0;
  uint16_t num_queues;
  uint32_t max_discard_sectors;
  uint32_t max_discard_seg;
  uint32_t discard_sector_alignment;
  uint32_t max_write_zeroes_sectors;
  uint32_t max_write_zeroes_seg;
  uint8_t write_zeroes_may_unmap;
  uint8_t unused1[3];
};
static_assert(sizeof(virtio_blk_config) == 64);

}  // namespace mote::virtio::blk
