#pragma once
// The zero page of the Linux 64-bit boot protocol (Documentation/arch/x86/boot.rst, zero-page.rst).

#include <optional>
#include <string_view>

#include "base/result.h"
#include "monitor/boot/initrd.h"
#include "monitor/boot/kernel_image.h"

namespace mote::boot {

/// Writes boot_params to layout::kZeroPage and the command line to layout::kCommandLine.
base::Result<> write_linux_boot(const memory::GuestMemory& memory, const LoadedKernel& kernel,
                                const std::optional<Initrd>& initrd, std::string_view command_line,
                                memory::Gpa rsdp);

/// The command line with its NUL, for either protocol.
base::Result<> write_command_line(const memory::GuestMemory& memory, std::string_view command_line);

}  // namespace mote::boot
