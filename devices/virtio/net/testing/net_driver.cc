#include "devices/virtio/net/testing/net_driver.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "devices/virtio/testing/register_driver.h"
#include "io/timer.h"
#include "memory/layout.h"

namespace mote::virtio::net::testing {
namespace {

using memory::Gpa;
using virtio::testing::RegisterDriver;
using virtio::testing::run_beside_loop;

// Guest memory: rings, then receive buffers by pair, then packets to send.
constexpr uint64_t kMemoryBytes = 64 * memory::layout::kMib;
constexpr Gpa kRings{0x1000};
constexpr uint64_t kRingStride = 0x2000;
constexpr Gpa kReceiveArea{0x400000};
constexpr uint64_t kReceiveStride = 0x400000;
constexpr Gpa kTransmitArea{0x2000000};
constexpr uint64_t kTransmitStride = 0x20000;

}  // namespace

base::Result<std::unique_ptr<NetDriver>> NetDriver::create(const NetworkInterfaceConfig& config,
                                                           uint16_t queue_pairs) {
  MOTE_TRY(auto memory, memory::GuestMemory::create(kMemoryBytes, memory::HugePages::kNone));
  MOTE_TRY(auto loop, io::EventLoop::create(256));
  std::unique_ptr<NetDriver> driver(new NetDriver(std::move(memory), std::move(loop)));
  MOTE_TRY(driver->device_, Device::create(config, *driver->loop_, queue_pairs));
  MOTE_TRY(driver->transport_,
           MmioTransport::create(driver->memory_, *driver->loop_, *driver->device_,
                                 base::UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))));
  MOTE_TRY_VOID(set_up(config.host_dev_name, true));
  return driver;
}

NetDriver::~NetDriver() {
  if (transport_) reset();
}

void NetDriver::lay_out_rings() {
  rings_.clear();
  for (size_t i = 0; i < transport_->queue_count(); ++i) {
    const Gpa base = kRings.offset(i * kRingStride);
    std::ranges::fill(memory_.slice(base, kRingStride), std::byte{0});
    rings_.push_back(std::make_unique<DriverMock>(memory_, base, kRingSize));
  }
  posted_.assign(rings_.size() / 2, std::vector<Posted>(kRingSize));
  next_buffer_.assign(rings_.size() / 2, 0);
}

bool NetDriver::start(uint64_t without, size_t queue_limit) {
  lay_out_rings();
  bool agreed = false;
  run_beside_loop(*loop_, [&] {
    RegisterDriver driver(*transport_);
    agreed = driver.negotiate(driver.device_features() & ~without);
    for (size_t i = 0; i < std::min(queue_limit, rings_.size()); ++i)
      driver.set_queue(static_cast<uint32_t>(i), rings_[i]->layout());
    driver.drive_ok();
  });
  return agreed && !needs_reset();
}

void NetDriver::reset() {
  run_beside_loop(*loop_, [&] { RegisterDriver(*transport_).reset(); });
}

bool NetDriver::needs_reset() {
  return (RegisterDriver(*transport_).read(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET) != 0;
}

bool NetDriver::run_until(const std::function<bool()>& done, uint64_t limit_ms) {
  bool over = false;
  io::Timer timer(*loop_, [&] { over = true; });
  timer.arm(limit_ms * 1'000'000);
  while (!done()) {
    if (over || !loop_->run_once(true)) return done();
  }
  return true;
}

uint64_t NetDriver::run_for(uint64_t ms) {
  bool over = false;
  io::Timer timer(*loop_, [&] { over = true; });
  timer.arm(ms * 1'000'000);
  uint64_t turns = 0;
  while (!over && loop_->run_once(true)) ++turns;
  return turns;
}

void NetDriver::kick(size_t queue_index) {
  ::eventfd_write(transport_->kick_fd(queue_index), 1);
}

void NetDriver::post_buffers(size_t count, uint32_t bytes, size_t pair) {
  for (size_t i = 0; i < count; ++i) {
    uint64_t& next = next_buffer_[pair];
    if (next + bytes > kReceiveStride) next = 0;
    const Gpa address = kReceiveArea.offset(pair * kReceiveStride + next);
    next += bytes;
    const uint16_t head = receive_ring(pair).add_chain({{address, bytes, true}});
    posted_[pair][head] = {address, bytes};
  }
}

std::optional<NetDriver::Received> NetDriver::take_received(size_t pair) {
  auto used = receive_ring(pair).take_used();
  if (!used) return std::nullopt;
  Received received;
  std::vector<std::byte> bytes;
  for (uint16_t buffers = 1; buffers > 0; --buffers) {
    CHECK(used && used->id < kRingSize, "fewer used buffers than the header says");
    const Posted& posted = posted_[pair][used->id];
    CHECK(used->len <= posted.bytes, "more was written than there is room for");
    if (received.lengths.empty()) {
      received.header = memory_.load_once<virtio_net_hdr_v1>(posted.address).value();
      buffers = received.header.num_buffers;
    }
    received.lengths.push_back(used->len);
    const auto part = memory_.slice(posted.address, used->len);
    bytes.insert(bytes.end(), part.begin(), part.end());
    if (buffers > 1) used = receive_ring(pair).take_used();
  }
  received.frame.assign(bytes.begin() + sizeof(virtio_net_hdr_v1), bytes.end());
  return received;
}

Gpa NetDriver::packet_address(uint64_t slot) {
  return kTransmitArea.offset(slot % 256 * kTransmitStride);
}

void NetDriver::add_packet(std::span<const std::byte> frame, const virtio_net_hdr_v1& header,
                           uint64_t slot, size_t pair) {
  const Gpa address = packet_address(slot);
  CHECK(memory_.store(address, header) && memory_.write(address.offset(sizeof(header)), frame),
        "no room for the packet");
  transmit_ring(pair).add_chain(
      {{address, static_cast<uint32_t>(sizeof(header) + frame.size()), false}});
}

uint8_t NetDriver::command(std::span<const uint8_t> bytes) {
  const Gpa request = packet_address(255);
  const Gpa answer = request.offset(0x1000);
  CHECK(memory_.write(request, std::as_bytes(bytes)) && memory_.store(answer, uint8_t{0xff}),
        "no room for the command");
  DriverMock& ring = control_ring();
  const auto before = ring.used_index();
  ring.add_chain({{request, static_cast<uint32_t>(bytes.size()), false}, {answer, 1, true}});
  kick(rings_.size() - 1);
  (void)run_until([&] { return ring.used_index() != before; });
  return memory_.load_once<uint8_t>(answer).value();
}

uint64_t NetDriver::take_interrupts() {
  uint64_t count = 0;
  return ::eventfd_read(transport_->interrupt_fd(), &count) == 0 ? count : 0;
}

}  // namespace mote::virtio::net::testing
