#pragma once
// virtio-net (Virtio 1.2 §5.1) between a TAP and io_uring. Loop thread only.
//
// Transmit: each packet is one writev of the guest's own buffers, many submitted together. Receive:
// the ring waits until the TAP has packets, and a burst of them is then read straight into the
// guest's buffers, so that no read is ever in flight when the driver takes its buffers away. Either
// way a packet is copied once, by the kernel, and order is kept. All packets of one turn of the
// loop share one interrupt.

#include <memory>
#include <optional>
#include <vector>

#include "base/log.h"
#include "devices/virtio/device.h"
#include "devices/virtio/net/config.h"
#include "devices/virtio/net/metrics.h"
#include "devices/virtio/net/receiver.h"
#include "devices/virtio/net/tap.h"
#include "devices/virtio/net/transmitter.h"
#include "io/event_loop.h"
#include "io/timer.h"

namespace mote::mmds {
class Service;
}

namespace mote::virtio::net {

struct Metadata;

class Device final : public virtio::Device,
                     public io::CompletionHandler,
                     public io::TurnEndHandler {
 public:
  static constexpr uint16_t kQueueSize = 256;

  /// Opens the TAP. `queue_pairs` (1 to 128) is what is wished for: a TAP with a single queue gives
  /// one. Errors name the field of `config` at fault.
  static base::Result<std::unique_ptr<Device>> create(const NetworkInterfaceConfig& config,
                                                      io::EventLoop& loop, uint16_t queue_pairs);
  ~Device() override;

  // virtio::Device
  [[nodiscard]] Description describe() const override;
  base::Result<> activate(Activation activation) override;
  void reset(std::move_only_function<void()> done) override;
  void suspend(std::move_only_function<void()> done) override;
  void resume() override;
  [[nodiscard]] DeviceState save() const override;

  /// From now on the guest finds the metadata `service` at its address on this interface; before
  /// activation. `service` is configured already and outlives the device.
  void serve_metadata(mmds::Service& service);
  /// PATCH: only what is given changes.
  void update_rate_limiters(const NetworkInterfacePatch& patch);
  [[nodiscard]] const Metrics& metrics() const { return metrics_; }

  // io
  void on_completion(uint32_t tag, int32_t result, uint32_t flags) override;
  void on_turn_end() override;

 private:
  /// What an operation in flight is; with a queue index and a slot it makes a tag.
  enum class Operation : uint8_t { kKick, kPoll, kTransmit };

  struct Pair {
    Receiver receiver;
    Transmitter transmitter;
    bool polling = false;                ///< The ring waits for packets.
    bool starved = false;                ///< Packets wait for a transmit slot.
    std::optional<uint64_t> owed_bytes;  ///< Received and not yet granted by the limiter.
  };
  struct Kick {
    int fd;
    uint64_t count = 0;  ///< Where the ring reads the eventfd to.
    bool reading = false;
  };

  Device(const NetworkInterfaceConfig& config, io::EventLoop& loop, Tap tap);

  // device.cc: life cycle, kicks, control queue, interrupts.
  [[nodiscard]] bool multi_queue() const { return tap_.queue_count() > 1; }
  base::Result<> take_queues(Activation& activation);
  void drop_queues();
  base::Result<> set_active_pairs(uint16_t count);
  [[nodiscard]] io_uring_sqe* prepare(Operation operation, uint16_t queue, uint16_t slot);
  void cancel(Operation operation, uint16_t queue, uint16_t slot);
  void arm_kick(uint16_t queue_index);
  void on_kick(uint16_t queue_index, int32_t result);
  void serve_control();
  [[nodiscard]] uint8_t control(const Chain& chain);
  void mark_used();
  void broken(const char* queue, const char* reason);
  void stop(std::move_only_function<void()> done);
  void finish_stop_if_idle();

  // traffic.cc: packets.
  void receive(uint16_t pair_index);
  void receive_all();
  [[nodiscard]] bool receive_one(uint16_t pair_index);
  [[nodiscard]] bool gather(uint16_t pair_index);
  [[nodiscard]] bool pay_for_received(Pair& pair);
  void arm_poll(uint16_t pair_index);
  void on_poll(uint16_t pair_index, int32_t result);
  void back_off(int os_errno);
  void transmit(uint16_t pair_index);
  void transmit_all();
  [[nodiscard]] bool transmit_one(uint16_t pair_index, uint64_t now_ns);
  void submit(uint16_t pair_index, uint16_t slot);
  void on_transmitted(uint16_t pair_index, uint16_t slot, int32_t result);

  // metadata.cc: the metadata service's frames.
  [[nodiscard]] bool take_for_metadata(Pair& pair, uint16_t slot);
  void finish_metadata_turn();
  void send_metadata();
  [[nodiscard]] bool deliver_metadata(uint64_t now_ns);
  void stop_metadata();
  void resume_metadata();
  void reset_metadata();

  const NetworkInterfaceConfig config_;
  io::EventLoop& loop_;
  Tap tap_;
  RateLimiter receive_limiter_;
  RateLimiter transmit_limiter_;
  Metrics metrics_;

  DriverNotifier* notifier_ = nullptr;
  std::vector<Pair> pairs_;  ///< Those the driver set up.
  std::optional<Queue> control_queue_;
  std::vector<Kick> kicks_;    ///< By queue index.
  uint16_t active_pairs_ = 0;  ///< The first ones, which receive.
  uint32_t in_flight_ = 0;     ///< Operations of the ring.
  bool active_ = false;
  /// What stop() is for, and whether resume() has something to go on with.
  enum class Suspended : uint8_t { kNo, kInactive, kActive };
  Suspended suspended_ = Suspended::kNo;
  bool turn_end_asked_ = false;
  uint64_t turn_us_ = 0;     ///< When this turn's first packet was done.
  bool backed_off_ = false;  ///< The TAP cannot be read; the timer tries again.
  std::move_only_function<void()> stop_done_;
  base::log::RateLimitedLog log_;
  std::unique_ptr<Metadata> metadata_;  ///< Null: the interface has none.

  io::Registration registration_;
  io::Timer receive_timer_;   ///< Armed: nothing is received until it rings.
  io::Timer transmit_timer_;  ///< Armed: nothing is transmitted until it rings.
};

}  // namespace mote::virtio::net
