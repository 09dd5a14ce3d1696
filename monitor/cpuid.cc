#include "monitor/cpuid.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

namespace mote::monitor {
namespace {

constexpr uint32_t bit(uint32_t position) {
  return uint32_t{1} << position;
}

/// Replaces bits [low, low + width).
void set_field(uint32_t& target, uint32_t low, uint32_t width, uint32_t value) {
  const uint32_t mask = (bit(width) - 1) << low;
  target = (target & ~mask) | ((value << low) & mask);
}

/// Bits that hold ids 0..count-1.
uint32_t id_width(uint32_t count) {
  return static_cast<uint32_t>(std::bit_width(count - 1));
}

void set_basic_features(kvm_cpuid_entry2& leaf, const CpuTopology& topology,
                        TscDeadline tsc_deadline) {
  set_field(leaf.ebx, 16, 8, topology.vcpu_count);
  set_field(leaf.ebx, 8, 8, 8);  // CLFLUSH line, in units of 8 bytes.
  leaf.ecx |= bit(31);           // Running under a hypervisor.
  if (tsc_deadline == TscDeadline::kPresent) leaf.ecx |= bit(24);
  if (topology.vcpu_count > 1) leaf.edx |= bit(28);
}

/// Leaves 4 (Intel) and 0x8000001d (AMD): who shares each cache.
void set_cache_sharing(kvm_cpuid_entry2& leaf, const CpuTopology& topology) {
  if ((leaf.eax & 0x1f) == 0) return;  // No more caches.
  const uint32_t level = (leaf.eax >> 5) & 7;
  const uint32_t sharers = level < 3 ? topology.threads_per_core : topology.vcpu_count;
  set_field(leaf.eax, 14, 12, sharers - 1);
  if (leaf.function == 4) {
    set_field(leaf.eax, 26, 6, topology.vcpu_count / topology.threads_per_core - 1);
  }
}

/// Leaf 0xb: one subleaf for threads, one for cores, one that ends the list.
void add_extended_topology(std::vector<kvm_cpuid_entry2>& entries, const CpuTopology& topology) {
  std::erase_if(entries,
                [](const kvm_cpuid_entry2& e) { return e.function == 0xb || e.function == 0x1f; });
  for (uint32_t subleaf = 0; subleaf < 3; ++subleaf) {
    kvm_cpuid_entry2 entry{};
    entry.function = 0xb;
    entry.index = subleaf;
    entry.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    entry.ecx = subleaf;
    if (subleaf == 0) {
      entry.eax = id_width(topology.threads_per_core);
      entry.ebx = topology.threads_per_core;
      entry.ecx |= 1U << 8;  // Level type: thread.
    } else if (subleaf == 1) {
      entry.eax = id_width(topology.vcpu_count);
      entry.ebx = topology.vcpu_count;
      entry.ecx |= 2U << 8;  // Level type: core.
    }
    entries.push_back(entry);
  }
}

void set_amd_topology(kvm_cpuid_entry2& leaf, const CpuTopology& topology) {
  set_field(leaf.ecx, 0, 8, topology.vcpu_count - 1);
  set_field(leaf.ecx, 12, 4, id_width(topology.vcpu_count));
}

uint32_t& select_register(kvm_cpuid_entry2& entry, CpuidRegister reg) {
  switch (reg) {
    case CpuidRegister::kEax:
      return entry.eax;
    case CpuidRegister::kEbx:
      return entry.ebx;
    case CpuidRegister::kEcx:
      return entry.ecx;
    case CpuidRegister::kEdx:
      return entry.edx;
  }
  return entry.eax;
}

base::Result<> apply_modifiers(std::vector<kvm_cpuid_entry2>& entries, const CpuConfig& config) {
  for (const CpuidLeafModifier& modifier : config.cpuid_modifiers) {
    const auto entry = std::ranges::find_if(entries, [&](const kvm_cpuid_entry2& e) {
      return e.function == modifier.leaf && e.index == modifier.subleaf &&
             e.flags == modifier.flags;
    });
    if (entry == entries.end()) {
      return base::fail(
          base::ErrorCode::kInvalidArgument,
          fmt::format("cpuid_modifiers: leaf {:#x} subleaf {:#x} flags {} is not offered "
                      "by this host",
                      modifier.leaf, modifier.subleaf, modifier.flags));
    }
    for (const CpuidRegisterModifier& change : modifier.modifiers) {
      uint32_t& value = select_register(*entry, change.reg);
      value = (value & ~static_cast<uint32_t>(change.bitmap.mask)) |
              static_cast<uint32_t>(change.bitmap.value & change.bitmap.mask);
    }
  }
  return {};
}

}  // namespace

base::Result<std::vector<kvm_cpuid_entry2>> make_cpuid(std::vector<kvm_cpuid_entry2> supported,
                                                       const CpuTopology& topology,
                                                       TscDeadline tsc_deadline,
                                                       const std::optional<CpuConfig>& config) {
  std::vector<kvm_cpuid_entry2> entries = std::move(supported);
  bool has_extended_topology = false;
  for (kvm_cpuid_entry2& leaf : entries) {
    switch (leaf.function) {
      case 0x0:
        has_extended_topology = leaf.eax >= 0xb;
        break;
      case 0x1:
        set_basic_features(leaf, topology, tsc_deadline);
        break;
      case 0x4:
      case 0x8000001d:
        set_cache_sharing(leaf, topology);
        break;
      case 0x6:
        // Only "the APIC timer always runs": no thermal or power interface stands behind the rest.
        leaf.eax = bit(2);
        leaf.ebx = leaf.ecx = leaf.edx = 0;
        break;
      case 0xa:
        // No performance monitoring unit: its state would have to travel with every snapshot.
        leaf.eax = leaf.ebx = leaf.ecx = leaf.edx = 0;
        break;
      case 0x80000008:
        set_amd_topology(leaf, topology);
        break;
      default:
        break;
    }
  }
  if (has_extended_topology) add_extended_topology(entries, topology);
  if (config) MOTE_TRY_VOID(apply_modifiers(entries, *config));
  return entries;
}

void set_apic_id(std::vector<kvm_cpuid_entry2>& entries, uint32_t apic_id,
                 const CpuTopology& topology) {
  for (kvm_cpuid_entry2& leaf : entries) {
    if (leaf.function == 0x1) {
      set_field(leaf.ebx, 24, 8, apic_id);
    } else if (leaf.function == 0xb) {
      leaf.edx = apic_id;
    } else if (leaf.function == 0x8000001e) {
      leaf.eax = apic_id;
      leaf.ebx = (topology.threads_per_core - 1) << 8 | apic_id / topology.threads_per_core;
      leaf.ecx = 0;
    }
  }
}

}  // namespace mote::monitor
