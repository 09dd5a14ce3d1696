#pragma once
// KVM's structs that end in an array of entries, all of one shape: a count, a second word, the
// entries. The kernel's own declarations are not used, because their flexible arrays get another
// offset and size in C++ than in C.

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace mote::monitor {

/// Head of kvm_cpuid2, kvm_msrs and kvm_irq_routing.
struct KvmTableHeader {
  uint32_t count = 0;
  uint32_t reserved = 0;
};
static_assert(sizeof(KvmTableHeader) == 8);

// The requests that take such a table, with the size C code gives them.
// Its head is the count alone.
inline constexpr unsigned long kGetMsrIndexList = _IOWR(KVMIO, 0x02, uint32_t);
inline constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, KvmTableHeader);
inline constexpr unsigned long kSetGsiRouting = _IOW(KVMIO, 0x6a, KvmTableHeader);
inline constexpr unsigned long kGetMsrs = _IOWR(KVMIO, 0x88, KvmTableHeader);
inline constexpr unsigned long kSetMsrs = _IOW(KVMIO, 0x89, KvmTableHeader);
inline constexpr unsigned long kGetCpuid2 = _IOWR(KVMIO, 0x91, KvmTableHeader);
inline constexpr unsigned long kSetCpuid2 = _IOW(KVMIO, 0x90, KvmTableHeader);

// struct kvm_xsave ends in a flexible array, too: this much is there on every host.
inline constexpr size_t kXsaveBytes = 4096;
inline constexpr unsigned long kGetXsave = _IOC(_IOC_READ, KVMIO, 0xa4, kXsaveBytes);
inline constexpr unsigned long kSetXsave = _IOC(_IOC_WRITE, KVMIO, 0xa5, kXsaveBytes);
inline constexpr unsigned long kGetXsave2 = _IOC(_IOC_READ, KVMIO, 0xcf, kXsaveBytes);

/// Owns a header and `capacity` entries behind it.
template <typename Entry>
class KvmTable final {
 public:
  explicit KvmTable(size_t capacity) : bytes_(sizeof(KvmTableHeader) + capacity * sizeof(Entry)) {
    set_count(capacity);
  }
  explicit KvmTable(std::span<const Entry> entries) : KvmTable(entries.size()) {
    std::memcpy(bytes_.data() + sizeof(KvmTableHeader), entries.data(), entries.size_bytes());
  }

  [[nodiscard]] void* raw() { return bytes_.data(); }
  /// The entries that the header counts now.
  [[nodiscard]] std::vector<Entry> entries() const {
    KvmTableHeader header;
    std::memcpy(&header, bytes_.data(), sizeof(header));
    const size_t capacity = (bytes_.size() - sizeof(header)) / sizeof(Entry);
    std::vector<Entry> result(std::min<size_t>(header.count, capacity));
    std::memcpy(result.data(), bytes_.data() + sizeof(header), result.size() * sizeof(Entry));
    return result;
  }

 private:
  void set_count(size_t count) {
    const KvmTableHeader header{static_cast<uint32_t>(count), 0};
    std::memcpy(bytes_.data(), &header, sizeof(header));
  }

  std::vector<std::byte> bytes_;
};

}  // namespace mote::monitor
