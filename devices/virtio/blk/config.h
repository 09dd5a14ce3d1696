#pragma once
// The API's Drive object: the one configuration struct of a block device.

#include <cstdint>
#include <optional>
#include <string>

#include "devices/virtio/rate_limiter.h"

namespace mote::virtio::blk {

/// Unsafe: flush is not offered. Writeback: VIRTIO_BLK_F_FLUSH, done by fdatasync.
enum class CacheType : uint8_t { kUnsafe, kWriteback };
/// Accepted for compatibility and reported back; the engine is always io_uring.
enum class IoEngine : uint8_t { kSync, kAsync };

struct DriveConfig {
  std::string drive_id;
  bool is_root_device = false;
  std::optional<std::string> path_on_host;
  std::optional<std::string> partuuid;  ///< Root only: root=PARTUUID=... instead of /dev/vda.
  bool is_read_only = false;
  CacheType cache_type = CacheType::kUnsafe;
  IoEngine io_engine = IoEngine::kSync;
  std::optional<RateLimiterConfig> rate_limiter;
  bool operator==(const DriveConfig&) const = default;
};

/// PATCH /drives/{id}: only what is given changes.
struct DrivePatch {
  std::string drive_id;
  std::optional<std::string> path_on_host;
  std::optional<RateLimiterConfig> rate_limiter;
};

}  // namespace mote::virtio::blk
