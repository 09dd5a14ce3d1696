#pragma once
// The guest kernel's command line: the client's boot_args plus what the configuration implies.
// Pure.

#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "monitor/boot/acpi.h"
#include "monitor/vm_config.h"

namespace mote::monitor {

/// Adds `pci=off` (there is no PCI bus to scan), the root device, and a `virtio_mmio.device=` for
/// each slot: kernels without ACPI find their devices by it, and with ACPI the second mention of a
/// device is refused harmlessly. What the client said itself is never said again, and everything
/// stands before a ` -- ` that begins init's own arguments. kInvalidArgument names boot_args.
base::Result<std::string> make_command_line(const VmConfig& config,
                                            std::span<const boot::VirtioMmioSlot> slots);

}  // namespace mote::monitor
