#pragma once
// A driver that talks to a transport's registers, as a vCPU thread would, while the event loop runs
// on the caller's thread.

#include <atomic>
#include <functional>
#include <thread>

#include "devices/virtio/mmio_transport.h"
#include "devices/virtio/spec.h"
#include "io/event_loop.h"

namespace mote::virtio::testing {

/// Runs `driver` on a thread of its own and the loop here, until the driver is done.
inline void run_beside_loop(io::EventLoop& loop, const std::function<void()>& driver) {
  bool done = false;
  std::thread thread([&] {
    driver();
    loop.post([&] { done = true; });
  });
  while (!done && loop.run_once(true)) {
  }
  thread.join();
}

class RegisterDriver final {
 public:
  explicit RegisterDriver(MmioTransport& transport) : transport_(transport) {}

  uint32_t read(uint64_t offset) {
    uint32_t value = 0;
    transport_.read(offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  void write(uint64_t offset, uint32_t value) {
    transport_.write(offset, std::as_bytes(std::span(&value, 1)));
  }

  uint64_t device_features() {
    write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    const uint64_t low = read(VIRTIO_MMIO_DEVICE_FEATURES);
    write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    return low | uint64_t{read(VIRTIO_MMIO_DEVICE_FEATURES)} << 32;
  }
  /// Up to FEATURES_OK; false when the device did not take the features.
  bool negotiate(uint64_t features) {
    write(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    write(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    write(VIRTIO_MMIO_DRIVER_FEATURES, static_cast<uint32_t>(features));
    write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    write(VIRTIO_MMIO_DRIVER_FEATURES, static_cast<uint32_t>(features >> 32));
    write(VIRTIO_MMIO_STATUS, kFeaturesOk);
    return (read(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK) != 0;
  }
  void set_queue(uint32_t index, const QueueLayout& layout) {
    write(VIRTIO_MMIO_QUEUE_SEL, index);
    write(VIRTIO_MMIO_QUEUE_NUM, layout.size);
    write_address(VIRTIO_MMIO_QUEUE_DESC_LOW, layout.descriptor_table);
    write_address(VIRTIO_MMIO_QUEUE_AVAIL_LOW, layout.avail_ring);
    write_address(VIRTIO_MMIO_QUEUE_USED_LOW, layout.used_ring);
    write(VIRTIO_MMIO_QUEUE_READY, 1);
  }
  void drive_ok() { write(VIRTIO_MMIO_STATUS, kFeaturesOk | VIRTIO_CONFIG_S_DRIVER_OK); }
  void reset() { write(VIRTIO_MMIO_STATUS, 0); }

  static constexpr uint32_t kFeaturesOk =
      VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK;

 private:
  void write_address(uint64_t low_offset, memory::Gpa address) {
    write(low_offset, static_cast<uint32_t>(address.value));
    write(low_offset + 4, static_cast<uint32_t>(address.value >> 32));
  }

  MmioTransport& transport_;
};

}  // namespace mote::virtio::testing
