#pragma once
// A network driver and its whole surroundings for tests and benches: guest memory, a transport,
// rings filled with receive buffers, and a TAP in a namespace of its own. The driver runs between
// turns of the loop, on the same thread.

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "devices/virtio/mmio_transport.h"
#include "devices/virtio/net/device.h"
#include "devices/virtio/net/testing/tap_host.h"
#include "devices/virtio/testing/driver_mock.h"
#include "io/event_loop.h"
#include "memory/guest_memory.h"

namespace mote::virtio::net::testing {

class NetDriver final {
 public:
  using DriverMock = virtio::testing::DriverMock;
  static constexpr uint16_t kRingSize = Device::kQueueSize;

  /// Opens the device on config.host_dev_name and puts the interface up.
  static base::Result<std::unique_ptr<NetDriver>> create(const NetworkInterfaceConfig& config,
                                                         uint16_t queue_pairs);
  /// Resets the device, as every driver does before its memory goes away.
  ~NetDriver();
  NetDriver(const NetDriver&) = delete;
  NetDriver& operator=(const NetDriver&) = delete;

  /// Negotiates what is offered but for `without`, sets up all queues (the first ones, where there
  /// is a limit) and goes to DRIVER_OK.
  [[nodiscard]] bool start(uint64_t without = 0, size_t queue_limit = SIZE_MAX);
  void reset();
  [[nodiscard]] bool needs_reset();

  /// Runs turns of the loop until `done` or the time is over; gives done().
  [[nodiscard]] bool run_until(const std::function<bool()>& done, uint64_t limit_ms = 5000);
  /// Runs the loop for that long and gives the number of its turns: few, when nothing happens.
  uint64_t run_for(uint64_t ms);

  void kick(size_t queue_index);
  [[nodiscard]] DriverMock& receive_ring(size_t pair = 0) { return *rings_[2 * pair]; }
  [[nodiscard]] DriverMock& transmit_ring(size_t pair = 0) { return *rings_[2 * pair + 1]; }
  [[nodiscard]] DriverMock& control_ring() { return *rings_.back(); }

  /// Makes `count` receive buffers of `bytes` available, without a kick.
  void post_buffers(size_t count, uint32_t bytes, size_t pair = 0);
  struct Received {
    virtio_net_hdr_v1 header{};
    std::vector<std::byte> frame;
    std::vector<uint32_t> lengths;  ///< Of the used elements.
  };
  /// The next packet in the used ring, put together from as many buffers as its header says.
  std::optional<Received> take_received(size_t pair = 0);

  /// Where packet `slot` (0 to 255) of any pair lies when it is sent: room for the longest.
  [[nodiscard]] static memory::Gpa packet_address(uint64_t slot);
  /// Makes a packet available without a kick: header and frame in one buffer.
  void add_packet(std::span<const std::byte> frame, const virtio_net_hdr_v1& header = {},
                  uint64_t slot = 0, size_t pair = 0);
  /// Sends a command and gives the answer, 0xff without one.
  uint8_t command(std::span<const uint8_t> bytes);

  [[nodiscard]] const memory::GuestMemory& memory() const { return memory_; }
  [[nodiscard]] Device& device() { return *device_; }
  [[nodiscard]] io::EventLoop& loop() { return *loop_; }
  [[nodiscard]] uint64_t take_interrupts();

 private:
  struct Posted {
    memory::Gpa address;
    uint32_t bytes;
  };
  NetDriver(memory::GuestMemory memory, std::unique_ptr<io::EventLoop> loop)
      : memory_(std::move(memory)), loop_(std::move(loop)) {}
  void lay_out_rings();

  memory::GuestMemory memory_;
  std::unique_ptr<io::EventLoop> loop_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<MmioTransport> transport_;
  std::vector<std::unique_ptr<DriverMock>> rings_;
  std::vector<std::vector<Posted>> posted_;  ///< By pair and head.
  std::vector<uint64_t> next_buffer_;        ///< By pair: offset into its buffer area.
};

}  // namespace mote::virtio::net::testing
