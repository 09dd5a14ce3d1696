#include "monitor/boot/linux_boot.h"

#include <asm/bootparam.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <string>

#include "memory/layout.h"
#include "monitor/boot/memory_map.h"

namespace mote::boot {
namespace layout = memory::layout;
namespace {

constexpr uint8_t kUndefinedLoader = 0xff;

/// A vmlinux brings no setup header of its own.
setup_header default_header() {
  setup_header header{};
  header.boot_flag = 0xaa55;
  header.header = 0x53726448;  // "HdrS"
  header.version = 0x020f;
  header.kernel_alignment = 0x1000000;
  header.cmdline_size = layout::kCommandLineLimit - 1;
  return header;
}

}  // namespace

base::Result<> write_command_line(const memory::GuestMemory& memory,
                                  std::string_view command_line) {
  if (command_line.size() >= layout::kCommandLineLimit) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      "boot_args: the kernel command line has " +
                          std::to_string(command_line.size()) + " bytes; at most " +
                          std::to_string(layout::kCommandLineLimit - 1) + " fit");
  }
  const bool printable =
      std::ranges::all_of(command_line, [](char c) { return c >= 0x20 && c < 0x7f; });
  if (!printable) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      "boot_args: only printable ASCII characters may stand in a command line");
  }
  const std::byte nul{0};
  if (memory.write(layout::kCommandLine, std::as_bytes(std::span(command_line))) &&
      memory.write(layout::kCommandLine.offset(command_line.size()), std::span(&nul, 1))) {
    return {};
  }
  return base::fail(base::ErrorCode::kInvalidArgument,
                    "mem_size_mib: guest memory is too small to boot");
}

base::Result<> write_linux_boot(const memory::GuestMemory& memory, const LoadedKernel& kernel,
                                const std::optional<Initrd>& initrd, std::string_view command_line,
                                memory::Gpa rsdp) {
  MOTE_TRY_VOID(write_command_line(memory, command_line));
  boot_params params{};
  params.hdr = default_header();
  if (!kernel.setup_header.empty()) {
    std::memcpy(&params.hdr, kernel.setup_header.data(),
                std::min(kernel.setup_header.size(), sizeof(params.hdr)));
  }
  params.hdr.type_of_loader = kUndefinedLoader;
  params.hdr.cmd_line_ptr = static_cast<uint32_t>(layout::kCommandLine.value);
  if (initrd) {
    params.hdr.ramdisk_image = static_cast<uint32_t>(initrd->address.value);
    params.hdr.ramdisk_size = static_cast<uint32_t>(initrd->size_bytes);
  }
  params.acpi_rsdp_addr = rsdp.value;
  for (const MemoryRange& range : memory_map(memory)) {
    params.e820_table[params.e820_entries++] = {range.start, range.size_bytes,
                                                static_cast<uint32_t>(range.type)};
  }
  if (!memory.store(layout::kZeroPage, params)) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      "mem_size_mib: guest memory is too small to boot");
  }
  return {};
}

}  // namespace mote::boot
