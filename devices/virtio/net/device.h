#pragma once
// virtio-net (Virtio 1.2 §5.1) between a TAP and io_uring. Loop thread only.
//
// Transmit: each chain becomes one writev of the guest's own buffers. Receive: one readv of the TAP
// waits in the guest's buffers of each active pair, so that a packet is copied once, by the kernel.
// All packets of one turn of the loop share one interrupt.

#include <memory>
#include <optional>
#include <vector>

#include "base/log.h"
#include "devices/virtio/device.h"
#include "devices/virtio/net/config.h"
#include "devices/virtio/net/metrics.h"
#include "devices/virtio/net/receiver.h"
#include "devices/virtio/net/tap.h"
#include "io/event_loop.h"
#include "io/timer.h"

namespace mote::virtio::net {

class Device final : public virtio::Device,
                     public io::CompletionHandler,
                     public io::TurnEndHandler {
 public:
  static constexpr uint16_t kQueueSize = 256;

  /// Opens the TAP. Errors name the field of `config` at fault.
  static base::Result<std::unique_ptr<Device>> create(const NetworkInterfaceConfig& config,
                                                      io::EventLoop& loop, uint16_t queue_pairs);
  ~Device() override;

  // virtio::Device
  [[nodiscard]] Description describe() const override;
  base::Result<> activate(Activation activation) override;
  void reset(std::move_only_function<void()> done) override;

  /// PATCH: only what is given changes.
  void update_rate_limiters(const NetworkInterfacePatch& patch);
  [[nodiscard]] const Metrics& metrics() const { return metrics_; }

  // io
  void on_completion(uint32_t tag, int32_t result, uint32_t flags) override;
  void on_turn_end() override;

 private:
  /// What an operation in flight is; with a queue index and a slot it makes a tag.
  enum class Operation : uint8_t { kKick, kReceive, kTransmit };

  struct TransmitSlot {
    Chain chain;
    uint64_t started_us = 0;
  };
  struct Transmitter {
    Queue queue;
    std::vector<TransmitSlot> slots;
    std::vector<uint16_t> free_slots;
    bool starved = false;
  };
  struct Pair {
    Receiver receiver;
    Transmitter transmitter;
    bool receiving = false;
  };
  struct Kick {
    int fd;
    uint64_t count = 0;
    bool reading = false;
  };

  Device(const NetworkInterfaceConfig& config, io::EventLoop& loop, Tap tap);

  [[nodiscard]] static uint32_t make_tag(Operation operation, uint16_t queue, uint16_t slot);
  [[nodiscard]] bool multi_queue() const { return tap_.queue_count() > 1; }
  base::Result<> take_queues(Activation& activation);
  void arm_kick(uint16_t queue_index);
  void on_kick(uint16_t queue_index, int32_t result);

  void receive(uint16_t pair_index);
  void on_received(uint16_t pair_index, int32_t result);
  [[nodiscard]] bool receive_is_throttled();
  void transmit(uint16_t pair_index);
  /// False: stop for now.
  bool transmit_one(uint16_t pair_index);
  void on_transmitted(uint16_t pair_index, uint16_t slot_index, int32_t result);
  void serve_control();
  [[nodiscard]] uint8_t control(const Chain& chain);
  base::Result<> set_active_pairs(uint16_t count);

  void mark_used();
  /// `reason` is nullptr where the ring is in order and only the buffer is of no use.
  void broken(const char* queue, const char* reason);
  void retry_receive();
  void finish_reset_if_idle();

  const NetworkInterfaceConfig config_;
  io::EventLoop& loop_;
  Tap tap_;
  RateLimiter receive_limiter_;
  RateLimiter transmit_limiter_;
  Metrics metrics_;

  DriverNotifier* notifier_ = nullptr;
  std::vector<Pair> pairs_;
  std::optional<Queue> control_queue_;
  std::vector<Kick> kicks_;  ///< By queue index.
  uint16_t active_pairs_ = 0;
  uint64_t receive_debt_bytes_ = 0;  ///< Received and not yet paid for.
  bool in_debt_ = false;
  uint32_t in_flight_ = 0;
  bool active_ = false;
  bool turn_end_asked_ = false;
  std::move_only_function<void()> reset_done_;
  base::log::RateLimitedLog log_;

  io::Registration registration_;
  io::Timer receive_timer_;
  io::Timer transmit_timer_;
};

}  // namespace mote::virtio::net
