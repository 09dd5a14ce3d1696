#pragma once
// The guest physical address map: the only place where these numbers stand.

#include <cstdint>

#include "memory/gpa.h"

namespace mote::memory::layout {

inline constexpr uint64_t kPageSize = 4096;
inline constexpr uint64_t kMib = 1024 * 1024;

// Low memory, in the first megabyte.
inline constexpr Gpa kGdt{0x500};
inline constexpr Gpa kPvhStartInfo{0x6000};  ///< hvm_start_info, its module list and memory map.
inline constexpr Gpa kZeroPage{0x7000};      ///< struct boot_params.
inline constexpr Gpa kBootStackTop{0x8ff0};
inline constexpr Gpa kPml4{0x9000};  ///< Three pages: PML4, PDPT, PD.
inline constexpr Gpa kCommandLine{0x20000};
inline constexpr uint64_t kCommandLineLimit = 2048;  ///< With the final NUL; x86 COMMAND_LINE_SIZE.
inline constexpr Gpa kEbdaStart{0x9fc00};            ///< End of usable low memory.
inline constexpr Gpa kAcpiTables{0xe0000};           ///< RSDP first; reserved up to 1 MiB.
inline constexpr Gpa kGenerationId{0xff000};  ///< 16 bytes, alone in the last page below 1 MiB.
inline constexpr Gpa kHighMemoryStart{0x100000};

// The 32-bit gap for MMIO: RAM stops at 3 GiB and goes on at 4 GiB.
inline constexpr Gpa kMmioGapStart{0xc0000000};
inline constexpr Gpa kMmioGapEnd{0x100000000};
inline constexpr Gpa kBootTimer{0xc0000000};  ///< A store of 123 ends the boot (API contract).
inline constexpr Gpa kVirtioMmioStart{0xc0001000};
inline constexpr uint64_t kVirtioMmioSize = 0x1000;
inline constexpr Gpa kIoApic{0xfec00000};
inline constexpr Gpa kLocalApic{0xfee00000};
inline constexpr Gpa kKvmTss{0xfffbd000};  ///< Three pages for KVM_SET_TSS_ADDR.
inline constexpr Gpa kKvmIdentityMap{0xfffbc000};

// Interrupt lines (GSI = IOAPIC pin; split irqchip with 24 pins).
inline constexpr uint32_t kIoApicPins = 24;
inline constexpr uint32_t kKeyboardGsi = 1;
inline constexpr uint32_t kGenerationGsi = 3;  ///< Tells of a new generation id.
inline constexpr uint32_t kSerialGsi = 4;
inline constexpr uint32_t kVirtioFirstGsi = 5;
inline constexpr uint32_t kMaxVirtioDevices = kIoApicPins - kVirtioFirstGsi;  ///< 19.

// Ports.
inline constexpr uint16_t kSerialPort = 0x3f8;  ///< COM1, eight ports.
inline constexpr uint16_t kI8042Port = 0x60;    ///< 0x60 and 0x64.
inline constexpr uint16_t kAcpiSleepPort =
    0x600;  ///< ACPI 6.4 §4.8.3.7 sleep control; 0x601 status.
inline constexpr uint16_t kAcpiResetPort =
    0x604;  ///< FADT RESET_REG; value kAcpiResetValue resets.
inline constexpr uint8_t kAcpiResetValue = 1;
inline constexpr uint8_t kAcpiSleepTypeS5 = 5;
inline constexpr uint16_t kBootTimerPort = 0x610;  ///< One byte of 123: as kBootTimer.

inline constexpr uint32_t kMaxVcpus = 32;

}  // namespace mote::memory::layout
