#pragma once
// virtio-mmio, version 2 (Virtio 1.2 §4.2.2): one device's 4 KiB register page.
//
// Two locks, taken in this order: `control_` serialises the drivers' writes and may be held while a
// vCPU thread waits for the loop; `registers_lock_` guards the register file and is never held
// across a call. The loop thread takes only the second. Activation and reset run on the loop and
// are waited for, so that the driver sees them done when its register write returns.

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "base/log.h"
#include "base/unique_fd.h"
#include "devices/bus.h"
#include "devices/virtio/device.h"
#include "io/event_loop.h"
#include "memory/guest_memory.h"

namespace mote::virtio {

class MmioTransport final : public devices::BusDevice, public DriverNotifier {
 public:
  /// `interrupt_fd` is an eventfd bound to the device's GSI by irqfd (edge); this object owns it.
  /// All references outlive the transport.
  static base::Result<std::unique_ptr<MmioTransport>> create(const memory::GuestMemory& memory,
                                                             io::EventLoop& loop, Device& device,
                                                             base::UniqueFd interrupt_fd);

  // BusDevice: vCPU threads.
  void read(uint64_t offset, std::span<std::byte> data) override;
  void write(uint64_t offset, std::span<const std::byte> data) override;

  // DriverNotifier: loop thread.
  void notify_queues() override;
  void update_config(std::span<const std::byte> config) override;
  void set_needs_reset() override;

  /// For KVM_IOEVENTFD at offset VIRTIO_MMIO_QUEUE_NOTIFY, 4 bytes, datamatch = queue index.
  [[nodiscard]] size_t queue_count() const { return kicks_.size(); }
  [[nodiscard]] int kick_fd(size_t queue_index) const { return kicks_[queue_index].get(); }
  [[nodiscard]] int interrupt_fd() const { return interrupt_fd_.get(); }

  /// Stops the device between two requests, and lets it go on (see Device). Loop thread.
  void suspend(std::move_only_function<void()> done) { device_.suspend(std::move(done)); }
  void resume() { device_.resume(); }

  /// The driver's view of one queue.
  struct QueueState {
    uint32_t size = 0;
    bool ready = false;
    uint64_t descriptor_table = 0;
    uint64_t avail_ring = 0;
    uint64_t used_ring = 0;
    QueuePosition position;
  };
  /// All that a driver set up, for snapshots.
  struct State {
    uint32_t device_id = 0;
    uint32_t status = 0;
    uint32_t interrupt_status = 0;
    uint32_t device_features_select = 0;
    uint32_t driver_features_select = 0;
    uint64_t driver_features = 0;
    uint32_t queue_select = 0;
    uint32_t config_generation = 0;
    uint16_t active_pairs = 0;
    std::vector<QueueState> queues;
    std::vector<std::byte> config;
  };
  /// While the device is suspended. Loop thread.
  [[nodiscard]] State save() const;
  /// Takes over where save() left off, on a fresh transport and before any vCPU runs. An error
  /// names what does not fit: another device, features this host lacks, rings outside memory.
  base::Result<> restore(const State& state);
  /// Interrupts that were on their way when the state was saved; after the vCPUs are restored.
  void raise_pending();

  /// Resets the device at the end of the VM, when no vCPU runs any more. Loop thread; so is `done`.
  void shut_down(std::move_only_function<void()> done) { device_.reset(std::move(done)); }

 private:
  /// A queue as the driver has written it so far.
  struct QueueRegisters {
    uint16_t max_size = 0;
    uint32_t size = 0;
    bool ready = false;
    uint64_t descriptor_table = 0;
    uint64_t avail_ring = 0;
    uint64_t used_ring = 0;
  };
  struct Registers {
    uint32_t status = 0;
    uint32_t device_features_select = 0;
    uint32_t driver_features_select = 0;
    uint64_t driver_features = 0;
    uint32_t queue_select = 0;
    uint32_t config_generation = 0;
    std::vector<QueueRegisters> queues;
    std::vector<std::byte> config;
  };

  MmioTransport(const memory::GuestMemory& memory, io::EventLoop& loop, Device& device,
                Description description, base::UniqueFd interrupt_fd);

  [[nodiscard]] uint32_t read_register(uint64_t offset) const;
  void read_config(uint64_t offset, std::span<std::byte> data) const;
  void write_register(uint64_t offset, uint32_t value);
  void write_queue_register(uint64_t offset, uint32_t value);
  void write_driver_features(uint32_t value);
  void write_status(uint32_t value);
  void activate();
  void reset();
  base::Result<Activation> prepare_activation() const;
  void raise(uint32_t cause);
  [[nodiscard]] bool has_status(uint32_t bits) const;

  const memory::GuestMemory& memory_;
  io::EventLoop& loop_;
  Device& device_;
  const Description description_;
  std::vector<base::UniqueFd> kicks_;
  base::UniqueFd interrupt_fd_;
  std::atomic<uint32_t> interrupt_status_{0};
  base::log::RateLimitedLog log_;

  std::mutex control_;
  mutable std::mutex registers_lock_;
  Registers registers_;
};

}  // namespace mote::virtio
