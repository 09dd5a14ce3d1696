#include "devices/virtio/testing/driver_mock.h"

#include <atomic>

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

void DriverMock::make_available(uint16_t head) {
  const uint64_t slot = avail_index_ % layout_.size;
  CHECK(memory_.store(layout_.avail_ring.offset(kRingElementsOffset + 2 * slot), head),
        "ring outside memory");
  set_avail_index(static_cast<uint16_t>(avail_index_ + 1));
}

void DriverMock::set_avail_index(uint16_t index) {
  avail_index_ = index;
  std::atomic_thread_fence(std::memory_order_release);
  CHECK(memory_.store(layout_.avail_ring.offset(kRingIndexOffset), index), "ring outside memory");
}

void DriverMock::set_used_event(uint16_t index) {
  CHECK(memory_.store(layout_.avail_ring.offset(kRingElementsOffset + 2U * layout_.size), index),
        "ring outside memory");
}

void DriverMock::set_no_interrupt(bool on) {
  const uint16_t flags = on ? VIRTQ_AVAIL_F_NO_INTERRUPT : uint16_t{0};
  CHECK(memory_.store(layout_.avail_ring.offset(kRingFlagsOffset), flags), "ring outside memory");
}

uint16_t DriverMock::used_flags() const {
  return memory_.load_once<uint16_t>(layout_.used_ring.offset(kRingFlagsOffset)).value();
}

uint16_t DriverMock::avail_event() const {
  return memory_
      .load_once<uint16_t>(layout_.used_ring.offset(kRingElementsOffset + 8U * layout_.size))
      .value();
}

uint16_t DriverMock::used_index() const {
  return memory_.load_once<uint16_t>(layout_.used_ring.offset(kRingIndexOffset)).value();
}

std::optional<virtq_used_elem> DriverMock::take_used() {
  if (seen_used_ == used_index()) return std::nullopt;
  std::atomic_thread_fence(std::memory_order_acquire);
  const uint64_t slot = seen_used_++ % layout_.size;
  return memory_.load_once<virtq_used_elem>(
      layout_.used_ring.offset(kRingElementsOffset + 8 * slot));
}

}  // namespace mote::virtio::testing
