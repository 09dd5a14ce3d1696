// A block device with a hostile driver: guest memory is the input, rings included. Whatever stands
// there, the device serves or gives up, its reset ends, and nothing outside guest memory and the
// disk is touched.

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

#include "devices/virtio/blk/device.h"
#include "devices/virtio/spec.h"
#include "memory/layout.h"

namespace {

using mote::memory::Gpa;
using mote::memory::GuestMemory;
namespace virtio = mote::virtio;

constexpr uint64_t kMemoryBytes = 64 * 1024;
constexpr uint64_t kDiskBytes = 64 * 1024;
constexpr uint16_t kQueueSize = 16;
constexpr Gpa kQueueMemory{0};

struct Notifier final : virtio::DriverNotifier {
  void notify_queues() override {}
  void update_config(std::span<const std::byte>) override {}
  void set_needs_reset() override {}
};

/// Made once: a device goes through reset after each input, as it would with a guest.
struct Machine {
  GuestMemory memory = GuestMemory::create(kMemoryBytes, mote::memory::HugePages::kNone).value();
  std::unique_ptr<mote::io::EventLoop> loop = mote::io::EventLoop::create(64).value();
  mote::base::UniqueFd disk{::memfd_create("disk", MFD_CLOEXEC)};
  mote::base::UniqueFd kick{::eventfd(0, EFD_CLOEXEC)};
  Notifier notifier;
  std::unique_ptr<virtio::blk::Device> device;

  Machine() {
    if (::ftruncate(disk.get(), kDiskBytes) != 0) std::abort();
    virtio::blk::DriveConfig config;
    config.drive_id = "fuzzed";
    config.path_on_host = "/proc/self/fd/" + std::to_string(disk.get());
    config.cache_type = virtio::blk::CacheType::kWriteback;
    device = virtio::blk::Device::create(config, *loop, 1).value();
  }
};

virtio::Queue make_queue(const GuestMemory& memory, bool event_idx) {
  const Gpa avail = kQueueMemory.offset(virtio::descriptor_table_bytes(kQueueSize));
  const Gpa used{(avail.value + virtio::avail_ring_bytes(kQueueSize) + 3) & ~uint64_t{3}};
  return virtio::Queue::create(memory, {kQueueSize, kQueueMemory, avail, used},
                               {.event_idx = event_idx, .indirect = true})
      .value();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Machine machine;
  if (size < 1) return 0;
  const bool event_idx = (data[0] & 1) != 0;
  const uint64_t without = (data[0] & 2) != 0 ? virtio::blk::VIRTIO_BLK_F_FLUSH : 0;
  const auto all = machine.memory.slice(Gpa{0}, kMemoryBytes);
  std::memset(all.data(), 0, all.size());
  std::memcpy(all.data(), data + 1, std::min(size - 1, all.size()));

  virtio::Activation activation{
      machine.device->describe().features & ~without, {}, &machine.notifier};
  activation.queues.push_back({make_queue(machine.memory, event_idx), machine.kick.get()});
  if (!machine.device->activate(std::move(activation))) std::abort();
  ::eventfd_write(machine.kick.get(), 1);
  for (int turn = 0; turn < 4; ++turn) {
    if (!machine.loop->run_once(turn == 0)) std::abort();
  }
  bool done = false;
  machine.device->reset([&] { done = true; });
  while (!done) {
    if (!machine.loop->run_once(true)) std::abort();
  }
  if (::lseek(machine.disk.get(), 0, SEEK_END) != static_cast<off_t>(kDiskBytes)) std::abort();
  return 0;
}
