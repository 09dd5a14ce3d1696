// Random ring memory, random layouts: pop() must never leave guest memory, loop, or hand out a bad
// iovec.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

#include "devices/virtio/queue.h"
#include "devices/virtio/spec.h"
#include "memory/layout.h"

namespace {

using mote::memory::Gpa;
using mote::memory::GuestMemory;
using mote::virtio::Chain;
using mote::virtio::Queue;

constexpr uint64_t kMemoryBytes = 64 * 1024;

void check_parts(const GuestMemory& memory, const std::vector<iovec>& parts) {
  const auto all = memory.slice(Gpa{0}, kMemoryBytes);
  for (const iovec& part : parts) {
    const auto* const start = static_cast<const std::byte*>(part.iov_base);
    if (start < all.data() || start + part.iov_len > all.data() + all.size()) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  struct Head {
    uint16_t size_log2;
    uint16_t descriptor_page;
    uint16_t avail_page;
    uint16_t used_page;
    uint8_t flags;
  };
  static GuestMemory memory =
      GuestMemory::create(kMemoryBytes, mote::memory::HugePages::kNone).value();
  Head head{};
  if (size < sizeof(head)) return 0;
  std::memcpy(&head, data, sizeof(head));
  const auto rest = std::as_bytes(std::span(data, size)).subspan(sizeof(head));
  const auto all = memory.slice(Gpa{0}, kMemoryBytes);
  std::memset(all.data(), 0, all.size());
  std::memcpy(all.data(), rest.data(), std::min(rest.size(), all.size()));
  const mote::virtio::QueueLayout layout{
      static_cast<uint16_t>(1U << (head.size_log2 % 10)), Gpa{uint64_t{head.descriptor_page} * 16},
      Gpa{uint64_t{head.avail_page} * 2}, Gpa{uint64_t{head.used_page} * 4}};
  auto queue = Queue::create(
      memory, layout, {.event_idx = (head.flags & 1) != 0, .indirect = (head.flags & 2) != 0});
  if (!queue) return 0;
  Chain chain;
  for (int i = 0; i < 600 && queue->pop(chain) == Queue::Pop::kChain; ++i) {
    check_parts(memory, chain.readable);
    check_parts(memory, chain.writable);
    queue->push_used(chain.head, 1);
    if (queue->should_notify()) queue->disable_kicks();
    if (!queue->enable_kicks()) break;
  }
  return 0;
}
