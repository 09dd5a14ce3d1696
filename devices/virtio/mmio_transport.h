#pragma once
// virtio-mmio, version 2 (Virtio 1.2 §4.2.2): one device's 4 KiB register page. vCPU threads read
// and write registers under this object's mutex; activation and reset are posted to the event loop
// and waited for, so that the driver sees them done when its register write returns.

#include <array>
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

  /// Resets the device as the driver would (end of the VM); `done` is called on the loop thread.
  void shut_down(std::move_only_function<void()> done);

 private:
  // The implementer completes this part.
  std::vector<base::UniqueFd> kicks_;
  base::UniqueFd interrupt_fd_;
};

}  // namespace mote::virtio
