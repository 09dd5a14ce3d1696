#include "devices/virtio/testing/driver_mock.h"

#include <utility>

#include "base/check.h"

namespace mote::virtio::testing {
namespace {

memory::Gpa align_up(memory::Gpa address, uint64_t alignment) {
  return memory::Gpa{(address.value + alignment - 1) & ~(alignment - 1)};
}

}  // namespace

DriverMock::DriverMock(const memory::GuestMemory& memory, memory::Gpa base, uint16_t size)
    : memory_(memory) {
  layout_.size = size;
  layout_.descriptor_table = base;
  layout_.avail_ring = base.offset(descriptor_table_bytes(size));
  layout_.used_ring = align_up(layout_.avail_ring.offset(avail_ring_bytes(size)), 4);
}

memory::Gpa DriverMock::end() const {
  return layout_.used_ring.offset(used_ring_bytes(layout_.size));
}

uint16_t DriverMock::add_chain(std::span<const Buffer> buffers) {
  const uint16_t head = next_descriptor_;
  for (size_t i = 0; i < buffers.size(); ++i) {
    const uint16_t index = next_descriptor_;
    next_descriptor_ = static_cast<uint16_t>((next_descriptor_ + 1) % layout_.size);
    const bool last = i + 1 == buffers.size();
    const auto flags = static_cast<uint16_t>((last ? 0 : VIRTQ_DESC_F_NEXT) |
                                             (buffers[i].device_writes ? VIRTQ_DESC_F_WRITE : 0));
    write_descriptor(index, {buffers[i].address.value, buffers[i].length, flags, next_descriptor_});
  }
  make_available(head);
  return head;
}

uint16_t DriverMock::add_indirect(std::span<const Buffer> buffers, memory::Gpa table) {
  for (size_t i = 0; i < buffers.size(); ++i) {
    const bool last = i + 1 == buffers.size();
    const virtq_desc descriptor{
        buffers[i].address.value, buffers[i].length,
        static_cast<uint16_t>((last ? 0 : VIRTQ_DESC_F_NEXT) |
                              (buffers[i].device_writes ? VIRTQ_DESC_F_WRITE : 0)),
        static_cast<uint16_t>(i + 1)};
    CHECK(memory_.store(table.offset(i * sizeof(descriptor)), descriptor),
          "indirect table outside memory");
  }
  const uint16_t head = next_descriptor_;
  next_descriptor_ = static_cast<uint16_t>((next_descriptor_ + 1) % layout_.size);
  write_descriptor(head, {table.value, static_cast<uint32_t>(buffers.size() * sizeof(virtq_desc)),
                          VIRTQ_DESC_F_INDIRECT, 0});
  make_available(head);
  return head;
}

void DriverMock::write_descriptor(uint16_t index, const virtq_desc& descriptor) {
  CHECK(memory_.store(layout_.descriptor_table.offset(index * sizeof(descriptor)), descriptor),
        "descriptor outside memory");
}

std::atomic_ref<uint16_t> DriverMock::field(memory::Gpa ring, uint64_t offset) const {
  const auto bytes = memory_.slice(ring.offset(offset), sizeof(uint16_t));
  CHECK(!bytes.empty(), "ring outside memory");
  return std::atomic_ref<uint16_t>(*reinterpret_cast<uint16_t*>(bytes.data()));
}

void DriverMock::make_available(uint16_t head) {
  const uint64_t slot = avail_index_ % layout_.size;
  field(layout_.avail_ring, kRingElementsOffset + 2 * slot).store(head, std::memory_order_relaxed);
  set_avail_index(static_cast<uint16_t>(avail_index_ + 1));
}

void DriverMock::set_avail_index(uint16_t index) {
  avail_index_ = index;
  field(layout_.avail_ring, kRingIndexOffset).store(index, std::memory_order_release);
}

void DriverMock::set_used_event(uint16_t index) {
  field(layout_.avail_ring, kRingElementsOffset + 2U * layout_.size)
      .store(index, std::memory_order_relaxed);
}

void DriverMock::set_no_interrupt(bool on) {
  field(layout_.avail_ring, kRingFlagsOffset)
      .store(on ? VIRTQ_AVAIL_F_NO_INTERRUPT : uint16_t{0}, std::memory_order_relaxed);
}

bool DriverMock::needs_kick(bool event_idx) {
  const uint16_t before = std::exchange(kicked_avail_, avail_index_);
  // Our index must be visible before we read whether the device wants to hear of it.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!event_idx) return (used_flags() & VIRTQ_USED_F_NO_NOTIFY) == 0;
  return static_cast<uint16_t>(avail_index_ - avail_event() - 1) <
         static_cast<uint16_t>(avail_index_ - before);
}

uint16_t DriverMock::used_flags() const {
  return field(layout_.used_ring, kRingFlagsOffset).load(std::memory_order_relaxed);
}

uint16_t DriverMock::avail_event() const {
  return field(layout_.used_ring, kRingElementsOffset + 8U * layout_.size)
      .load(std::memory_order_relaxed);
}

uint16_t DriverMock::used_index() const {
  return field(layout_.used_ring, kRingIndexOffset).load(std::memory_order_acquire);
}

std::optional<virtq_used_elem> DriverMock::take_used() {
  if (seen_used_ == used_index()) return std::nullopt;
  const uint64_t slot = seen_used_++ % layout_.size;
  return memory_.load_once<virtq_used_elem>(
      layout_.used_ring.offset(kRingElementsOffset + 8 * slot));
}

}  // namespace mote::virtio::testing
