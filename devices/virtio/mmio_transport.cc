#include "devices/virtio/mmio_transport.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <cstring>
#include <future>

#include "devices/virtio/spec.h"

namespace mote::virtio {
namespace {

constexpr uint32_t kMmioVersion = 2;
constexpr uint32_t kVendorId = 0x45544f4d;  // "MOTE"

void set_low(uint64_t& target, uint32_t value) {
  target = (target & ~uint64_t{0xffffffff}) | value;
}
void set_high(uint64_t& target, uint32_t value) {
  target = (target & 0xffffffff) | uint64_t{value} << 32;
}

}  // namespace

base::Result<std::unique_ptr<MmioTransport>> MmioTransport::create(
    const memory::GuestMemory& memory, io::EventLoop& loop, Device& device,
    base::UniqueFd interrupt_fd) {
  std::unique_ptr<MmioTransport> transport(
      new MmioTransport(memory, loop, device, device.describe(), std::move(interrupt_fd)));
  for (size_t i = 0; i < transport->description_.queue_max_sizes.size(); ++i) {
    base::UniqueFd kick(::eventfd(0, EFD_CLOEXEC));
    if (!kick.valid()) return base::fail_errno(errno, "eventfd for a virtqueue");
    transport->kicks_.push_back(std::move(kick));
  }
  return transport;
}

MmioTransport::MmioTransport(const memory::GuestMemory& memory, io::EventLoop& loop, Device& device,
                             Description description, base::UniqueFd interrupt_fd)
    : memory_(memory),
      loop_(loop),
      device_(device),
      description_(std::move(description)),
      interrupt_fd_(std::move(interrupt_fd)) {
  registers_.config = description_.config;
  for (const uint16_t max_size : description_.queue_max_sizes) {
    registers_.queues.push_back({.max_size = max_size});
  }
}

void MmioTransport::read(uint64_t offset, std::span<std::byte> data) {
  if (offset >= VIRTIO_MMIO_CONFIG) return read_config(offset - VIRTIO_MMIO_CONFIG, data);
  // §4.2.2.2: the driver uses aligned accesses of 32 bits for all registers.
  if (data.size() != sizeof(uint32_t) || offset % sizeof(uint32_t) != 0) {
    std::ranges::fill(data, std::byte{0xff});
    LOG_GUEST(log_, "virtio-mmio: a read of {} bytes at {:#x}", data.size(), offset);
    return;
  }
  const uint32_t value = read_register(offset);
  std::memcpy(data.data(), &value, sizeof(value));
}

void MmioTransport::read_config(uint64_t offset, std::span<std::byte> data) const {
  std::ranges::fill(data, std::byte{0});
  const std::scoped_lock lock(registers_lock_);
  if (offset >= registers_.config.size()) return;
  const size_t count = std::min<size_t>(data.size(), registers_.config.size() - offset);
  std::copy_n(registers_.config.begin() + static_cast<ptrdiff_t>(offset), count, data.begin());
}

uint32_t MmioTransport::read_register(uint64_t offset) const {
  if (offset == VIRTIO_MMIO_INTERRUPT_STATUS)
    return interrupt_status_.load(std::memory_order_acquire);
  if (offset >= VIRTIO_MMIO_SHM_LEN_LOW && offset <= VIRTIO_MMIO_SHM_BASE_HIGH)
    return UINT32_MAX;  // None.
  const std::scoped_lock lock(registers_lock_);
  const Registers& r = registers_;
  const QueueRegisters* const queue =
      r.queue_select < r.queues.size() ? &r.queues[r.queue_select] : nullptr;
  switch (offset) {
    case VIRTIO_MMIO_MAGIC_VALUE:
      return VIRTIO_MMIO_MAGIC;
    case VIRTIO_MMIO_VERSION:
      return kMmioVersion;
    case VIRTIO_MMIO_DEVICE_ID:
      return description_.device_id;
    case VIRTIO_MMIO_VENDOR_ID:
      return kVendorId;
    case VIRTIO_MMIO_DEVICE_FEATURES:
      if (r.device_features_select > 1) return 0;
      return static_cast<uint32_t>(description_.features >> (32 * r.device_features_select));
    case VIRTIO_MMIO_QUEUE_NUM_MAX:
      return queue == nullptr ? 0 : queue->max_size;
    case VIRTIO_MMIO_QUEUE_READY:
      return queue != nullptr && queue->ready ? 1 : 0;
    case VIRTIO_MMIO_STATUS:
      return r.status;
    case VIRTIO_MMIO_CONFIG_GENERATION:
      return r.config_generation;
    default:
      return 0;
  }
}

void MmioTransport::write(uint64_t offset, std::span<const std::byte> data) {
  // No configuration field of the devices we have is for the driver to write.
  if (offset >= VIRTIO_MMIO_CONFIG) return;
  if (data.size() != sizeof(uint32_t) || offset % sizeof(uint32_t) != 0) {
    LOG_GUEST(log_, "virtio-mmio: a write of {} bytes at {:#x}", data.size(), offset);
    return;
  }
  uint32_t value = 0;
  std::memcpy(&value, data.data(), sizeof(value));
  if (offset == VIRTIO_MMIO_INTERRUPT_ACK) {
    interrupt_status_.fetch_and(~value, std::memory_order_acq_rel);
  } else if (offset == VIRTIO_MMIO_QUEUE_NOTIFY) {
    // Comes here only where no ioeventfd took it.
    if (value < kicks_.size()) ::eventfd_write(kicks_[value].get(), 1);
  } else {
    const std::scoped_lock serialised(control_);
    write_register(offset, value);
  }
}

void MmioTransport::write_register(uint64_t offset, uint32_t value) {
  switch (offset) {
    case VIRTIO_MMIO_STATUS:
      return write_status(value);
    case VIRTIO_MMIO_DRIVER_FEATURES:
      return write_driver_features(value);
    default:
      break;
  }
  const std::scoped_lock lock(registers_lock_);
  switch (offset) {
    case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
      registers_.device_features_select = value;
      return;
    case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
      registers_.driver_features_select = value;
      return;
    case VIRTIO_MMIO_QUEUE_SEL:
      registers_.queue_select = value;
      return;
    default:
      return write_queue_register(offset, value);
  }
}

void MmioTransport::write_driver_features(uint32_t value) {
  const std::scoped_lock lock(registers_lock_);
  Registers& r = registers_;
  // Features are settled once FEATURES_OK stands (§3.1.1).
  if ((r.status & VIRTIO_CONFIG_S_FEATURES_OK) != 0 || (r.status & VIRTIO_CONFIG_S_DRIVER) == 0) {
    LOG_GUEST(log_, "virtio-mmio: features written in device status {:#x}", r.status);
    return;
  }
  if (r.driver_features_select == 0) set_low(r.driver_features, value);
  if (r.driver_features_select == 1) set_high(r.driver_features, value);
}

void MmioTransport::write_queue_register(uint64_t offset, uint32_t value) {
  Registers& r = registers_;
  const bool settled = (r.status & VIRTIO_CONFIG_S_DRIVER_OK) != 0;
  if (r.queue_select >= r.queues.size() || (r.status & VIRTIO_CONFIG_S_FEATURES_OK) == 0 ||
      settled) {
    // Linux takes its queues back after a reset, where they are gone already.
    const bool takes_back = offset == VIRTIO_MMIO_QUEUE_READY && value == 0 && !settled;
    if (takes_back) return;
    LOG_GUEST(log_, "virtio-mmio: queue register {:#x} written in device status {:#x}", offset,
              r.status);
    return;
  }
  QueueRegisters& queue = r.queues[r.queue_select];
  if (queue.ready && offset != VIRTIO_MMIO_QUEUE_READY)
    return;  // §4.2.2.2: not while the queue is ready.
  switch (offset) {
    case VIRTIO_MMIO_QUEUE_NUM:
      queue.size = value;
      return;
    case VIRTIO_MMIO_QUEUE_READY:
      queue.ready = value == 1;
      return;
    case VIRTIO_MMIO_QUEUE_DESC_LOW:
      return set_low(queue.descriptor_table, value);
    case VIRTIO_MMIO_QUEUE_DESC_HIGH:
      return set_high(queue.descriptor_table, value);
    case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
      return set_low(queue.avail_ring, value);
    case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
      return set_high(queue.avail_ring, value);
    case VIRTIO_MMIO_QUEUE_USED_LOW:
      return set_low(queue.used_ring, value);
    case VIRTIO_MMIO_QUEUE_USED_HIGH:
      return set_high(queue.used_ring, value);
    default:
      LOG_GUEST(log_, "virtio-mmio: a write to {:#x}, where no register is", offset);
  }
}

void MmioTransport::write_status(uint32_t value) {
  if (value == 0) return reset();
  bool becomes_active = false;
  {
    const std::scoped_lock lock(registers_lock_);
    uint32_t& status = registers_.status;
    const uint32_t added = value & ~status;
    // The driver may only add bits (§2.1.1); NEEDS_RESET is the device's.
    uint32_t accepted = added & (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_FAILED);
    const uint32_t so_far = status | accepted;
    if ((so_far & VIRTIO_CONFIG_S_ACKNOWLEDGE) != 0) accepted |= added & VIRTIO_CONFIG_S_DRIVER;
    const bool features_fit = (registers_.driver_features & ~description_.features) == 0 &&
                              (registers_.driver_features & VIRTIO_F_VERSION_1) != 0;
    if (((status | accepted) & VIRTIO_CONFIG_S_DRIVER) != 0 && features_fit) {
      accepted |= added & VIRTIO_CONFIG_S_FEATURES_OK;
    }
    if ((status & VIRTIO_CONFIG_S_FEATURES_OK) != 0 && (so_far & VIRTIO_CONFIG_S_FAILED) == 0) {
      accepted |= added & VIRTIO_CONFIG_S_DRIVER_OK;
      becomes_active = (added & VIRTIO_CONFIG_S_DRIVER_OK) != 0;
    }
    status |= accepted;
    if (accepted != added) {
      LOG_GUEST(log_, "virtio-mmio: device status {:#x} refused, it stays {:#x}", value, status);
    }
  }
  if (becomes_active) activate();
}

base::Result<Activation> MmioTransport::prepare_activation() const {
  const std::scoped_lock lock(registers_lock_);
  Activation activation{registers_.driver_features, {}, nullptr, 0};
  const QueueFeatures features{
      .event_idx = (registers_.driver_features & VIRTIO_F_EVENT_IDX) != 0,
      .indirect = (registers_.driver_features & VIRTIO_F_INDIRECT_DESC) != 0};
  for (size_t i = 0; i < registers_.queues.size(); ++i) {
    const QueueRegisters& queue = registers_.queues[i];
    if (!queue.ready) break;
    if (queue.size > queue.max_size) {
      return base::fail(base::ErrorCode::kInvalidArgument, "a queue is larger than its maximum");
    }
    const QueueLayout layout{static_cast<uint16_t>(queue.size), memory::Gpa{queue.descriptor_table},
                             memory::Gpa{queue.avail_ring}, memory::Gpa{queue.used_ring}};
    MOTE_TRY(auto created, Queue::create(memory_, layout, features));
    activation.queues.push_back({std::move(created), kicks_[i].get()});
  }
  return activation;
}

void MmioTransport::activate() {
  auto activation = prepare_activation();
  if (!activation) {
    LOG_GUEST(log_, "virtio-mmio: {}", activation.error().message());
    return set_needs_reset();
  }
  activation->notifier = this;
  const size_t ready = activation->queues.size();
  // The promise travels with the task, so that a loop which ends without running it lets us go.
  std::promise<void> done;
  const std::future<void> finished = done.get_future();
  loop_.post([this, given = std::move(*activation), told = std::move(done)]() mutable {
    if (const auto outcome = device_.activate(std::move(given)); !outcome) {
      LOG_GUEST(log_, "virtio: activation failed: {}", outcome.error().message());
      set_needs_reset();
    }
    told.set_value();
  });
  finished.wait();
  // The driver may have filled its rings before DRIVER_OK (and kicked in vain).
  for (size_t i = 0; i < ready; ++i) ::eventfd_write(kicks_[i].get(), 1);
}

void MmioTransport::reset() {
  std::promise<void> done;
  const std::future<void> finished = done.get_future();
  loop_.post([this, told = std::move(done)]() mutable {
    device_.reset([told = std::move(told)]() mutable { told.set_value(); });
  });
  finished.wait();
  const std::scoped_lock lock(registers_lock_);
  const uint32_t generation = registers_.config_generation;
  registers_ = {
      .config_generation = generation, .queues = {}, .config = std::move(registers_.config)};
  for (const uint16_t max_size : description_.queue_max_sizes)
    registers_.queues.push_back({.max_size = max_size});
  interrupt_status_.store(0, std::memory_order_release);
}

bool MmioTransport::has_status(uint32_t bits) const {
  const std::scoped_lock lock(registers_lock_);
  return (registers_.status & bits) == bits;
}

void MmioTransport::raise(uint32_t cause) {
  interrupt_status_.fetch_or(cause, std::memory_order_acq_rel);
  ::eventfd_write(interrupt_fd_.get(), 1);
}

MmioTransport::State MmioTransport::save() const {
  const DeviceState device = device_.save();
  const std::scoped_lock lock(registers_lock_);
  const Registers& r = registers_;
  State state{.device_id = description_.device_id,
              .status = r.status,
              .interrupt_status = interrupt_status_.load(std::memory_order_acquire),
              .device_features_select = r.device_features_select,
              .driver_features_select = r.driver_features_select,
              .driver_features = r.driver_features,
              .queue_select = r.queue_select,
              .config_generation = r.config_generation,
              .active_pairs = device.active_pairs,
              .queues = {},
              .config = r.config};
  for (size_t i = 0; i < r.queues.size(); ++i) {
    const QueueRegisters& queue = r.queues[i];
    state.queues.push_back({queue.size, queue.ready, queue.descriptor_table, queue.avail_ring,
                            queue.used_ring,
                            i < device.positions.size() ? device.positions[i] : QueuePosition{}});
  }
  return state;
}

base::Result<> MmioTransport::restore(const State& state) {
  using base::ErrorCode;
  if (state.device_id != description_.device_id) {
    return base::fail(ErrorCode::kInvalidArgument, "the saved device is of another kind");
  }
  if (state.queues.size() != registers_.queues.size()) {
    return base::fail(ErrorCode::kInvalidArgument,
                      "the saved device has " + std::to_string(state.queues.size()) +
                          " queues, this one " + std::to_string(registers_.queues.size()));
  }
  if ((state.driver_features & ~description_.features) != 0) {
    return base::fail(ErrorCode::kInvalidArgument,
                      "the guest's driver uses features that this device does not offer");
  }
  {
    const std::scoped_lock lock(registers_lock_);
    Registers& r = registers_;
    r.status = state.status;
    r.device_features_select = state.device_features_select;
    r.driver_features_select = state.driver_features_select;
    r.driver_features = state.driver_features;
    r.queue_select = state.queue_select;
    r.config_generation = state.config_generation;
    for (size_t i = 0; i < r.queues.size(); ++i) {
      const QueueState& queue = state.queues[i];
      r.queues[i] = {r.queues[i].max_size,   queue.size,       queue.ready,
                     queue.descriptor_table, queue.avail_ring, queue.used_ring};
    }
    uint32_t interrupts = state.interrupt_status;
    if (r.config != state.config) {  // Another disk, for one: the driver shall look again.
      ++r.config_generation;
      interrupts |= VIRTIO_MMIO_INT_CONFIG;
    }
    interrupt_status_.store(interrupts, std::memory_order_release);
  }
  if (!has_status(VIRTIO_CONFIG_S_DRIVER_OK) || has_status(VIRTIO_CONFIG_S_NEEDS_RESET)) return {};
  MOTE_TRY(auto activation, prepare_activation());
  for (size_t i = 0; i < activation.queues.size(); ++i) {
    const QueuePosition& position = state.queues[i].position;
    activation.queues[i].queue.set_positions(position.next_avail, position.next_used);
  }
  activation.notifier = this;
  activation.active_pairs = state.active_pairs;
  const size_t ready = activation.queues.size();
  MOTE_TRY_VOID(device_.activate(std::move(activation)));
  for (size_t i = 0; i < ready; ++i) ::eventfd_write(kicks_[i].get(), 1);
  return {};
}

void MmioTransport::raise_pending() {
  if (interrupt_status_.load(std::memory_order_acquire) != 0) {
    ::eventfd_write(interrupt_fd_.get(), 1);
  }
}

void MmioTransport::notify_queues() {
  raise(VIRTIO_MMIO_INT_VRING);
}

void MmioTransport::update_config(std::span<const std::byte> config) {
  {
    const std::scoped_lock lock(registers_lock_);
    registers_.config.assign(config.begin(), config.end());
    ++registers_.config_generation;
  }
  if (has_status(VIRTIO_CONFIG_S_DRIVER_OK)) raise(VIRTIO_MMIO_INT_CONFIG);
}

void MmioTransport::set_needs_reset() {
  {
    const std::scoped_lock lock(registers_lock_);
    registers_.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
  }
  // §2.1.2: the driver hears of it only once it is up.
  if (has_status(VIRTIO_CONFIG_S_DRIVER_OK)) raise(VIRTIO_MMIO_INT_CONFIG);
}

}  // namespace mote::virtio
