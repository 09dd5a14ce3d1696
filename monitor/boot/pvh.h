#pragma once
// The start info of the PVH boot protocol (Xen include/public/arch-x86/hvm/start_info.h).

#include <optional>
#include <string_view>

#include "base/result.h"
#include "monitor/boot/initrd.h"
#include "monitor/boot/kernel_image.h"

namespace mote::boot {

struct HvmStartInfo {
  static constexpr uint32_t kMagic = 0x336ec578;
  uint32_t magic = kMagic;
  uint32_t version = 1;
  uint32_t flags = 0;
  uint32_t module_count = 0;
  uint64_t module_list_address = 0;
  uint64_t command_line_address = 0;
  uint64_t rsdp_address = 0;
  uint64_t memory_map_address = 0;
  uint32_t memory_map_entries = 0;
  uint32_t reserved = 0;
};
static_assert(sizeof(HvmStartInfo) == 56);

struct HvmModule {
  uint64_t address = 0;
  uint64_t size_bytes = 0;
  uint64_t command_line_address = 0;
  uint64_t reserved = 0;
};
static_assert(sizeof(HvmModule) == 32);

struct HvmMemoryMapEntry {
  uint64_t address = 0;
  uint64_t size_bytes = 0;
  uint32_t type = 0;
  uint32_t reserved = 0;
};
static_assert(sizeof(HvmMemoryMapEntry) == 24);

/// Writes start info, module list and memory map to layout::kPvhStartInfo and the command line
/// beside them.
base::Result<> write_pvh_start_info(const memory::GuestMemory& memory,
                                    const std::optional<Initrd>& initrd,
                                    std::string_view command_line, memory::Gpa rsdp);

}  // namespace mote::boot
