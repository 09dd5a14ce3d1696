#include "monitor/boot/pvh.h"

#include "memory/layout.h"
#include "monitor/boot/linux_boot.h"
#include "monitor/boot/memory_map.h"

namespace mote::boot {
namespace layout = memory::layout;

base::Result<> write_pvh_start_info(const memory::GuestMemory& memory,
                                    const std::optional<Initrd>& initrd,
                                    std::string_view command_line, memory::Gpa rsdp) {
  MOTE_TRY_VOID(write_command_line(memory, command_line));
  const memory::Gpa module_address = layout::kPvhStartInfo.offset(sizeof(HvmStartInfo));
  const memory::Gpa map_address = module_address.offset(sizeof(HvmModule));
  HvmStartInfo info;
  info.command_line_address = layout::kCommandLine.value;
  info.rsdp_address = rsdp.value;
  info.memory_map_address = map_address.value;
  bool stored = true;
  if (initrd) {
    info.module_count = 1;
    info.module_list_address = module_address.value;
    stored =
        memory.store(module_address, HvmModule{initrd->address.value, initrd->size_bytes, 0, 0});
  }
  for (const MemoryRange& range : memory_map(memory)) {
    const HvmMemoryMapEntry entry{range.start, range.size_bytes, static_cast<uint32_t>(range.type),
                                  0};
    stored = stored &&
             memory.store(map_address.offset(info.memory_map_entries++ * sizeof(entry)), entry);
  }
  if (stored && memory.store(layout::kPvhStartInfo, info)) return {};
  return base::fail(base::ErrorCode::kInvalidArgument,
                    "mem_size_mib: guest memory is too small to boot");
}

}  // namespace mote::boot
