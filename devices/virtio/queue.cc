#include "devices/virtio/queue.h"

#include <fmt/format.h>

#include <atomic>
#include <bit>
#include <cstring>

#include "base/checked_math.h"
#include "devices/virtio/spec.h"

namespace mote::virtio {
namespace {

/// A 16-bit ring field the driver shares with us; create() checked that it is aligned.
std::atomic_ref<uint16_t> shared_u16(std::byte* ring, uint64_t offset) {
  return std::atomic_ref<uint16_t>(*reinterpret_cast<uint16_t*>(ring + offset));
}

/// Copies out of guest memory once; see GuestMemory::load_once for the barrier.
virtq_desc load_descriptor(const std::byte* table, uint64_t index) {
  virtq_desc descriptor;
  std::memcpy(&descriptor, table + index * sizeof(virtq_desc), sizeof(descriptor));
  asm volatile("" : "+m"(descriptor) : : "memory");
  return descriptor;
}

base::Result<std::byte*> resolve(const memory::GuestMemory& memory, memory::Gpa address,
                                 uint64_t size_bytes, uint64_t alignment, const char* what) {
  const auto bytes = memory.slice(address, size_bytes);
  if (bytes.empty() || !base::is_aligned(address.value, alignment)) {
    return base::fail(
        base::ErrorCode::kInvalidArgument,
        fmt::format("the {} at {:#x} is misaligned or outside guest memory", what, address.value));
  }
  return bytes.data();
}

}  // namespace

base::Result<Queue> Queue::create(const memory::GuestMemory& memory, const QueueLayout& layout,
                                  QueueFeatures features) {
  if (!std::has_single_bit(layout.size) || layout.size > 32768) {
    return base::fail(
        base::ErrorCode::kInvalidArgument,
        fmt::format("a queue size of {} is no power of two up to 32768", layout.size));
  }
  Queue queue(memory, layout, features);
  MOTE_TRY(queue.descriptors_,
           resolve(memory, layout.descriptor_table, descriptor_table_bytes(layout.size), 16,
                   "descriptor table"));
  MOTE_TRY(queue.avail_,
           resolve(memory, layout.avail_ring, avail_ring_bytes(layout.size), 2, "available ring"));
  MOTE_TRY(queue.used_,
           resolve(memory, layout.used_ring, used_ring_bytes(layout.size), 4, "used ring"));
  return queue;
}

Queue::Queue(const memory::GuestMemory& memory, const QueueLayout& layout, QueueFeatures features)
    : memory_(&memory), layout_(layout), features_(features) {}

uint16_t Queue::pending() const {
  // Acquire: descriptors and ring entries written before the index are seen.
  const uint16_t avail_index = shared_u16(avail_, kRingIndexOffset).load(std::memory_order_acquire);
  return static_cast<uint16_t>(avail_index - next_avail_);
}

Queue::Pop Queue::pop(Chain& chain) {
  const uint16_t available = pending();
  if (available == 0) return Pop::kEmpty;
  if (available > layout_.size) {
    broken_reason_ = "claims more available buffers than the ring holds";
    return Pop::kBroken;
  }
  const uint64_t slot = next_avail_ & (layout_.size - 1U);
  chain.clear();
  chain.head = shared_u16(avail_, kRingElementsOffset + 2 * slot).load(std::memory_order_relaxed);
  if (const char* const reason = walk(chain.head, chain); reason != nullptr) {
    broken_reason_ = reason;
    return Pop::kBroken;
  }
  ++next_avail_;
  return Pop::kChain;
}

void Queue::undo_pop() {
  --next_avail_;
}

/// Follows the chain; the reason it is refused, or nullptr.
const char* Queue::walk(uint16_t head, Chain& chain) const {
  const std::byte* table = descriptors_;
  uint64_t table_entries = layout_.size;
  uint64_t index = head;
  bool indirect = false;
  // A chain cannot hold more descriptors than the queue, indirect or not (§2.7.5.3.1), so a loop
  // ends here.
  for (uint32_t budget = layout_.size; budget > 0; --budget) {
    if (index >= table_entries) return "made a chain that points outside its table";
    const virtq_desc descriptor = load_descriptor(table, index);
    if ((descriptor.flags & VIRTQ_DESC_F_INDIRECT) != 0) {
      if (!features_.indirect) return "made an indirect chain, which was not negotiated";
      if (indirect || (descriptor.flags & VIRTQ_DESC_F_NEXT) != 0)
        return "made a chain that nests or continues an indirect table";
      if (descriptor.len == 0 || descriptor.len % sizeof(virtq_desc) != 0)
        return "made an indirect table that is empty or no multiple of 16 bytes";
      const auto bytes = memory_->slice(memory::Gpa{descriptor.addr}, descriptor.len);
      if (bytes.empty()) return "made an indirect table outside guest memory";
      table = bytes.data();
      table_entries = descriptor.len / sizeof(virtq_desc);
      index = 0;
      indirect = true;
      ++budget;  // The descriptor that names the table is none of the chain's buffers.
      continue;
    }
    if (const char* reason =
            append(descriptor.addr, descriptor.len,
                   (descriptor.flags & VIRTQ_DESC_F_WRITE) != 0 ? Access::kDeviceWrites
                                                                : Access::kDeviceReads,
                   chain);
        reason != nullptr) {
      return reason;
    }
    if ((descriptor.flags & VIRTQ_DESC_F_NEXT) == 0) return nullptr;
    index = descriptor.next;
  }
  return "made a chain that loops or is longer than its queue";
}

const char* Queue::append(uint64_t address, uint32_t length, Access access, Chain& chain) const {
  if (access == Access::kDeviceReads && !chain.writable.empty())
    return "made a chain with readable buffers behind writable ones";
  // The specification does not forbid empty buffers, and nothing is in them.
  if (length == 0) return nullptr;
  const auto bytes = memory_->slice(memory::Gpa{address}, length);
  if (bytes.empty()) return "made a chain with a buffer outside guest memory";
  const iovec part{bytes.data(), bytes.size()};
  if (access == Access::kDeviceWrites) memory_->mark_written(bytes.data(), bytes.size());
  uint64_t& total = access == Access::kDeviceWrites ? chain.writable_bytes : chain.readable_bytes;
  total += length;
  if (chain.readable_bytes + chain.writable_bytes > UINT32_MAX)
    return "made a chain of more than 4 GiB";
  (access == Access::kDeviceWrites ? chain.writable : chain.readable).push_back(part);
  return nullptr;
}

void Queue::stage_used(uint16_t head, uint32_t written_bytes) {
  const uint64_t slot = next_used_ & (layout_.size - 1U);
  const virtq_used_elem element{head, written_bytes};
  std::memcpy(used_ + kRingElementsOffset + slot * sizeof(element), &element, sizeof(element));
  ++next_used_;
}

void Queue::publish_used() {
  mark_used_ring();
  // Release: the elements and what the device wrote are seen before the index.
  shared_u16(used_, kRingIndexOffset).store(next_used_, std::memory_order_release);
}

void Queue::mark_used_ring() const {
  // Flags, index, elements, avail_event (§2.7.8).
  memory_->mark_written(used_, 6 + sizeof(virtq_used_elem) * layout_.size);
}

void Queue::mark_written(const Chain& chain) const {
  for (const iovec& part : chain.writable) memory_->mark_written(part.iov_base, part.iov_len);
}

void Queue::push_used(uint16_t head, uint32_t written_bytes) {
  stage_used(head, written_bytes);
  publish_used();
}

bool Queue::should_notify() {
  const uint16_t before = signalled_used_;
  signalled_used_ = next_used_;
  if (before == next_used_) return false;
  // Our index must be visible before we read whether the driver wants to hear of it (§2.7.7.2).
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!features_.event_idx) {
    const uint16_t flags = shared_u16(avail_, kRingFlagsOffset).load(std::memory_order_relaxed);
    return (flags & VIRTQ_AVAIL_F_NO_INTERRUPT) == 0;
  }
  const uint16_t event = shared_u16(avail_, kRingElementsOffset + uint64_t{2} * layout_.size)
                             .load(std::memory_order_relaxed);
  // True when the index moved past `event`, in 16-bit arithmetic (§2.7.10.1).
  return static_cast<uint16_t>(next_used_ - event - 1) < static_cast<uint16_t>(next_used_ - before);
}

void Queue::disable_kicks() {
  mark_used_ring();
  // With EVENT_IDX the stale avail_event already keeps the driver quiet.
  if (!features_.event_idx) {
    shared_u16(used_, kRingFlagsOffset).store(VIRTQ_USED_F_NO_NOTIFY, std::memory_order_relaxed);
  }
}

bool Queue::enable_kicks() {
  mark_used_ring();
  if (features_.event_idx) {
    shared_u16(used_, kRingElementsOffset + uint64_t{8} * layout_.size)
        .store(next_avail_, std::memory_order_relaxed);
  } else {
    shared_u16(used_, kRingFlagsOffset).store(0, std::memory_order_relaxed);
  }
  // The wish must be visible before we look whether something came in the meantime (§2.7.10.2).
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return !empty();
}

void Queue::set_positions(uint16_t next_avail, uint16_t next_used) {
  next_avail_ = next_avail;
  next_used_ = signalled_used_ = next_used;
}

}  // namespace mote::virtio
