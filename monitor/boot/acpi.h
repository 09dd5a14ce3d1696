#pragma once
// ACPI tables of a hardware-reduced platform (ACPI 6.4 §5.2): no PIC, PIT, PM timer or SCI; power
// and reset through one register each; serial port, keyboard controller and virtio-mmio devices in
// the DSDT.

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "memory/guest_memory.h"

namespace mote::boot {

/// One virtio-mmio register page and its interrupt line.
struct VirtioMmioSlot {
  memory::Gpa address;
  uint64_t size_bytes = 0;
  uint32_t gsi = 0;
};

/// Writes RSDP, XSDT, FADT, MADT and DSDT from layout::kAcpiTables on and gives the RSDP's address.
base::Result<memory::Gpa> write_acpi_tables(const memory::GuestMemory& memory, uint32_t vcpu_count,
                                            std::span<const VirtioMmioSlot> slots);

/// The same devices for kernels without ACPI: "virtio_mmio.device=4K@0xc0001000:5 ...".
[[nodiscard]] std::string virtio_mmio_arguments(std::span<const VirtioMmioSlot> slots);

}  // namespace mote::boot
