#pragma once
// virtio-blk (Virtio 1.2 §5.2) over io_uring. Loop thread only.
//
// A request is popped, parsed into a Request, given a slot, and submitted; its completion writes
// the status byte and returns the chain. Slots are made when first needed, at most kQueueSize, and
// used again last-in-first-out: a busy device allocates nothing and an idle one holds little. All
// completions of one turn of the loop share one interrupt.

#include <memory>
#include <span>
#include <vector>

#include "base/log.h"
#include "devices/virtio/blk/config.h"
#include "devices/virtio/blk/disk_file.h"
#include "devices/virtio/blk/metrics.h"
#include "devices/virtio/blk/operation.h"
#include "devices/virtio/blk/request.h"
#include "devices/virtio/device.h"
#include "io/event_loop.h"
#include "io/timer.h"

namespace mote::virtio::blk {

class Device final : public virtio::Device,
                     public io::CompletionHandler,
                     public io::TurnEndHandler {
 public:
  static constexpr uint16_t kQueueSize = 256;

  /// Opens the drive's file. Errors name the field of `config` at fault.
  static base::Result<std::unique_ptr<Device>> create(const DriveConfig& config,
                                                      io::EventLoop& loop, uint16_t queue_count);
  ~Device() override;

  // virtio::Device
  [[nodiscard]] Description describe() const override;
  base::Result<> activate(Activation activation) override;
  void reset(std::move_only_function<void()> done) override;
  void suspend(std::move_only_function<void()> done) override;
  void resume() override;
  [[nodiscard]] DeviceState save() const override;

  /// PATCH: requests in flight finish on the old file; the guest hears of the new size. On error
  /// nothing changed.
  base::Result<> update_path(const std::string& path);
  void update_rate_limiter(const RateLimiterConfig& config);
  [[nodiscard]] const Metrics& metrics() const { return metrics_; }

  // io
  void on_completion(uint32_t tag, int32_t result, uint32_t flags) override;
  void on_turn_end() override;

 private:
  struct ServedQueue {
    Queue queue;
    int kick_fd;
    uint64_t kick_count = 0;  ///< Where the ring reads the eventfd to.
    bool reading_kick = false;
  };
  /// One request in flight.
  struct Slot {
    Chain chain;
    Operation operation;
    std::byte* status = nullptr;  ///< In guest memory.
    uint64_t started_us = 0;
    uint16_t queue_index = 0;
  };

  Device(const DriveConfig& config, io::EventLoop& loop, std::shared_ptr<const DiskFile> file,
         uint16_t queue_count);

  [[nodiscard]] std::vector<std::byte> config_space() const;
  [[nodiscard]] DiskLimits limits() const;
  [[nodiscard]] Durability durability() const;
  void arm_kick(uint16_t queue_index);
  void on_kick(uint16_t queue_index, int32_t result);
  void serve(uint16_t queue_index);
  void serve_all();
  /// False: stop serving this queue for now.
  bool serve_one(uint16_t queue_index);
  [[nodiscard]] bool find_free_slot();
  bool start(uint16_t slot_index);
  [[nodiscard]] bool is_throttled(const Request& request, uint16_t queue_index, uint64_t now_ns);

  void submit(uint16_t slot_index);
  void on_result(uint16_t slot_index, int32_t result);
  void count(const Slot& slot);
  void give_back(uint16_t slot_index, uint8_t status, uint64_t data_bytes);
  void write_id(const Chain& chain) const;
  void mark_used();
  void broken(const char* reason);
  void stop(std::move_only_function<void()> done);
  void finish_stop_if_idle();

  const DriveConfig config_;
  io::EventLoop& loop_;
  std::shared_ptr<const DiskFile> file_;
  const uint16_t queue_count_;
  RateLimiter rate_limiter_;
  Metrics metrics_;

  uint64_t features_ = 0;
  DriverNotifier* notifier_ = nullptr;
  std::vector<ServedQueue> queues_;
  std::vector<Slot> slots_;  ///< Reserved at activation: a slot never moves.
  std::vector<uint16_t> free_slots_;
  uint32_t in_flight_ = 0;  ///< Requests; kick reads are counted apart.
  uint32_t kick_reads_ = 0;
  bool active_ = false;
  /// What stop() is for, and whether resume() has something to go on with.
  enum class Suspended : uint8_t { kNo, kInactive, kActive };
  Suspended suspended_ = Suspended::kNo;
  bool config_changed_ = false;  ///< While no driver could be told.
  bool turn_end_asked_ = false;
  bool starved_ = false;  ///< A queue waits for a free slot.
  std::move_only_function<void()> stop_done_;
  base::log::RateLimitedLog log_;

  io::Registration registration_;
  io::Timer throttle_timer_;
};

}  // namespace mote::virtio::blk
