#pragma once
// The seam between a virtio transport and a virtio device. The transport owns every guest-visible
// register, the configuration space included, and answers vCPU threads from them; the device lives
// wholly on the event-loop thread.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/result.h"
#include "devices/virtio/queue.h"

namespace mote::virtio {

/// What the device may tell its driver (Virtio 1.2 §2.3, §2.1.2). Loop thread. Implemented by the
/// transport.
class DriverNotifier {
 public:
  virtual ~DriverNotifier() = default;
  /// "Used buffers": call after Queue::should_notify() said so.
  virtual void notify_queues() = 0;
  /// Replaces the configuration space, raises its generation and sends the configuration interrupt.
  virtual void update_config(std::span<const std::byte> config) = 0;
  /// The driver broke the rules: sets DEVICE_NEEDS_RESET and sends the configuration interrupt.
  virtual void set_needs_reset() = 0;
};

/// One queue as the driver set it up, with the eventfd its kicks arrive on (owned by the transport,
/// and valid until reset is done).
struct ActiveQueue {
  Queue queue;
  int kick_fd;
};

struct Activation {
  uint64_t features;                ///< Negotiated, a subset of Description::features.
  std::vector<ActiveQueue> queues;  ///< The queues from index 0 up to the first that is not ready.
  DriverNotifier* notifier;         ///< Outlives the device's active phase.
  uint16_t active_pairs = 0;        ///< DeviceState::active_pairs of a snapshot; 0 after a reset.
};

/// How far the device has come in a queue. Chains it holds without having used them count as not
/// taken: whoever goes on from here takes them again.
struct QueuePosition {
  uint16_t next_avail = 0;
  uint16_t next_used = 0;
};

/// What a suspended device has to tell a snapshot beside what its transport knows.
struct DeviceState {
  std::vector<QueuePosition> positions;  ///< By queue index.
  uint16_t active_pairs = 0;             ///< virtio-net: pairs the driver switched on.
};

/// Fixed facts of a device, read once when its transport is made.
struct Description {
  uint32_t device_id;                     ///< Virtio 1.2 §5: VIRTIO_ID_NET or VIRTIO_ID_BLOCK.
  uint64_t features;                      ///< Offered, VIRTIO_F_VERSION_1 included.
  std::vector<uint16_t> queue_max_sizes;  ///< One a queue, each a power of two.
  std::vector<std::byte> config;          ///< Initial configuration space.
};

class Device {
 public:
  virtual ~Device() = default;
  [[nodiscard]] virtual Description describe() const = 0;
  /// DRIVER_OK. An error makes the transport set NEEDS_RESET. Loop thread.
  virtual base::Result<> activate(Activation activation) = 0;
  /// Stops intake, waits for operations in flight, drops the queues, then calls `done` (at once,
  /// where nothing is in flight). Inactive devices call `done` at once. Loop thread.
  virtual void reset(std::move_only_function<void()> done) = 0;
  /// As reset(), but the queues stay: when `done` is called guest memory rests, every completion
  /// told included. Loop thread; vCPUs stand still.
  virtual void suspend(std::move_only_function<void()> done) = 0;
  /// Serves again after suspend(), what waits included.
  virtual void resume() = 0;
  /// Only while suspended.
  [[nodiscard]] virtual DeviceState save() const = 0;
};

}  // namespace mote::virtio
