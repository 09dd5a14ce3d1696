#include "monitor/boot/acpi.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string_view>

#include "memory/layout.h"
#include "monitor/boot/aml.h"

namespace mote::boot {
namespace layout = memory::layout;
namespace {

using aml::Bytes;

#pragma pack(push, 1)
struct Rsdp {  // §5.2.5.3
  char signature[8];
  uint8_t checksum;
  char oem_id[6];
  uint8_t revision;
  uint32_t rsdt_address;
  uint32_t length;
  uint64_t xsdt_address;
  uint8_t extended_checksum;
  uint8_t reserved[3];
};
static_assert(sizeof(Rsdp) == 36);

struct TableHeader {  // §5.2.6
  char signature[4];
  uint32_t length;
  uint8_t revision;
  uint8_t checksum;
  char oem_id[6];
  char oem_table_id[8];
  uint32_t oem_revision;
  char creator_id[4];
  uint32_t creator_revision;
};
static_assert(sizeof(TableHeader) == 36);

struct GenericAddress {  // §5.2.3.2
  uint8_t space_id;
  uint8_t bit_width;
  uint8_t bit_offset;
  uint8_t access_size;
  uint64_t address;
};

struct Fadt {  // §5.2.9, after the table header; what a hardware-reduced platform has not stays
               // zero.
  uint8_t before_boot_flags[109 - sizeof(TableHeader)];
  uint16_t boot_flags;  // IAPC_BOOT_ARCH
  uint8_t reserved;
  uint32_t flags;
  GenericAddress reset_register;
  uint8_t reset_value;
  uint16_t arm_boot_flags;
  uint8_t minor_version;
  uint64_t x_firmware_control;
  uint64_t x_dsdt;
  uint8_t x_event_and_control_blocks[96];
  GenericAddress sleep_control;
  GenericAddress sleep_status;
  uint64_t hypervisor_vendor;
};
static_assert(sizeof(TableHeader) + sizeof(Fadt) == 276);

struct MadtHeader {  // §5.2.12
  uint32_t local_apic_address;
  uint32_t flags;
};
struct MadtLocalApic {
  uint8_t type = 0;
  uint8_t length = 8;
  uint8_t processor_uid;
  uint8_t apic_id;
  uint32_t flags = 1;  // Enabled.
};
struct MadtIoApic {
  uint8_t type = 1;
  uint8_t length = 12;
  uint8_t id = 0;
  uint8_t reserved = 0;
  uint32_t address;
  uint32_t gsi_base = 0;
};
#pragma pack(pop)

constexpr uint16_t kBootVgaNotPresent = 1U << 2;
constexpr uint16_t kBootNoAspm = 1U << 4;
constexpr uint16_t kBootNoCmosRtc = 1U << 5;
constexpr uint32_t kFlagPowerButtonIsDevice = 1U << 4;
constexpr uint32_t kFlagSleepButtonIsDevice = 1U << 5;
constexpr uint32_t kFlagResetRegister = 1U << 10;
constexpr uint32_t kFlagHardwareReduced = 1U << 20;

uint8_t checksum(std::span<const std::byte> bytes) {
  uint8_t sum = 0;
  for (const std::byte byte : bytes) sum = static_cast<uint8_t>(sum + static_cast<uint8_t>(byte));
  return static_cast<uint8_t>(-sum);
}

template <typename T>
Bytes bytes_of(const T& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  return {bytes.begin(), bytes.end()};
}

Bytes make_table(std::string_view signature, uint8_t revision, const Bytes& body) {
  TableHeader header{};
  std::memcpy(header.signature, signature.data(), sizeof(header.signature));
  header.length = static_cast<uint32_t>(sizeof(header) + body.size());
  header.revision = revision;
  std::memcpy(header.oem_id, "MOTE  ", sizeof(header.oem_id));
  std::memcpy(header.oem_table_id, "MICROVM ", sizeof(header.oem_table_id));
  header.oem_revision = 1;
  std::memcpy(header.creator_id, "MOTE", sizeof(header.creator_id));
  header.creator_revision = 1;
  Bytes table = aml::join({bytes_of(header), body});
  table[offsetof(TableHeader, checksum)] = std::byte{checksum(table)};
  return table;
}

GenericAddress port_register(uint16_t port) {
  constexpr uint8_t kSystemIo = 1;
  constexpr uint8_t kByteAccess = 1;
  return {kSystemIo, 8, 0, kByteAccess, port};
}

Bytes make_fadt(uint64_t dsdt_address) {
  Fadt fadt{};
  fadt.boot_flags = kBootVgaNotPresent | kBootNoAspm | kBootNoCmosRtc;
  fadt.flags = kFlagPowerButtonIsDevice | kFlagSleepButtonIsDevice | kFlagResetRegister |
               kFlagHardwareReduced;
  fadt.reset_register = port_register(layout::kAcpiResetPort);
  fadt.reset_value = layout::kAcpiResetValue;
  fadt.minor_version = 4;
  fadt.x_dsdt = dsdt_address;
  fadt.sleep_control = port_register(layout::kAcpiSleepPort);
  fadt.sleep_status = port_register(layout::kAcpiSleepPort + 1);
  std::memcpy(&fadt.hypervisor_vendor, "MOTE    ", sizeof(fadt.hypervisor_vendor));
  return make_table("FACP", 6, bytes_of(fadt));
}

Bytes make_madt(uint32_t vcpu_count) {
  Bytes body = bytes_of(MadtHeader{static_cast<uint32_t>(layout::kLocalApic.value), 0});
  for (uint32_t id = 0; id < vcpu_count; ++id) {
    const MadtLocalApic entry{.processor_uid = static_cast<uint8_t>(id),
                              .apic_id = static_cast<uint8_t>(id)};
    body = aml::join({body, bytes_of(entry)});
  }
  const MadtIoApic ioapic{.address = static_cast<uint32_t>(layout::kIoApic.value)};
  return make_table("APIC", 5, aml::join({body, bytes_of(ioapic)}));
}

Bytes make_dsdt(std::span<const VirtioMmioSlot> slots) {
  const Bytes serial = aml::device(
      "COM1",
      aml::join({aml::name("_HID", aml::eisa_id("PNP0501")), aml::name("_UID", aml::integer(0)),
                 aml::name("_CRS", aml::resources({aml::io_ports(layout::kSerialPort, 8),
                                                   aml::interrupt(layout::kSerialGsi)}))}));
  const Bytes keyboard = aml::device(
      "PS2K",
      aml::join({aml::name("_HID", aml::eisa_id("PNP0303")),
                 aml::name("_CRS", aml::resources({aml::io_ports(layout::kI8042Port, 1),
                                                   aml::io_ports(layout::kI8042Port + 4, 1),
                                                   aml::interrupt(layout::kKeyboardGsi)}))}));
  // The virtual machine generation id (Microsoft's specification of that name): where it stands,
  // and an event whose handler tells the driver that it changed (ACPI 6.4 §5.6.9, §9.17).
  constexpr uint8_t kGenerationChanged = 0x80;
  const Bytes generation = aml::device(
      "VGEN", aml::join({aml::name("_HID", aml::string("VMGENCTR")),
                         aml::name("_CID", aml::string("VM_Gen_Counter")),
                         aml::name("_DDN", aml::string("VM_Gen_Counter")),
                         aml::name("ADDR", aml::package({aml::integer(layout::kGenerationId.value),
                                                         aml::integer(0)}))}));
  const Bytes events = aml::device(
      "GED_",
      aml::join({aml::name("_HID", aml::string("ACPI0013")),
                 aml::name("_CRS", aml::resources({aml::interrupt(layout::kGenerationGsi)})),
                 aml::notify_method("_EVT", 1, "VGEN", kGenerationChanged)}));
  Bytes devices = aml::join({serial, keyboard, generation, events});
  for (size_t i = 0; i < slots.size(); ++i) {
    const VirtioMmioSlot& slot = slots[i];
    const Bytes body = aml::join(
        {aml::name("_HID", aml::string("LNRO0005")), aml::name("_UID", aml::integer(i)),
         aml::name("_CCA", aml::integer(1)),
         aml::name("_CRS", aml::resources({aml::memory32(static_cast<uint32_t>(slot.address.value),
                                                         static_cast<uint32_t>(slot.size_bytes)),
                                           aml::interrupt(slot.gsi)}))});
    devices = aml::join({devices, aml::device(fmt::format("VR{:02X}", i), body)});
  }
  const Bytes sleep_s5 = aml::name("_S5_", aml::package({aml::integer(layout::kAcpiSleepTypeS5),
                                                         aml::integer(layout::kAcpiSleepTypeS5),
                                                         aml::integer(0), aml::integer(0)}));
  return make_table("DSDT", 6, aml::join({aml::scope("\\_SB_", devices), sleep_s5}));
}

Rsdp make_rsdp(uint64_t xsdt_address) {
  Rsdp rsdp{};
  std::memcpy(rsdp.signature, "RSD PTR ", sizeof(rsdp.signature));
  std::memcpy(rsdp.oem_id, "MOTE  ", sizeof(rsdp.oem_id));
  rsdp.revision = 2;
  rsdp.length = sizeof(rsdp);
  rsdp.xsdt_address = xsdt_address;
  constexpr size_t kRevision1Bytes = 20;
  const auto bytes = std::as_bytes(std::span(&rsdp, 1));
  rsdp.checksum = checksum(bytes.first(kRevision1Bytes));
  rsdp.extended_checksum = checksum(bytes);
  return rsdp;
}

/// Hands out addresses one after another and writes what is given.
class TableWriter final {
 public:
  explicit TableWriter(const memory::GuestMemory& memory) : memory_(memory) {}

  base::Result<uint64_t> write(const Bytes& table) {
    constexpr uint64_t kAlignment = 16;
    const memory::Gpa address = next_;
    const uint64_t end = address.value + table.size();
    if (end > layout::kGenerationId.value || !memory_.write(address, table)) {
      return base::fail(base::ErrorCode::kInvalidArgument,
                        "the ACPI tables do not fit below 1 MiB");
    }
    next_ = memory::Gpa{(end + kAlignment - 1) & ~(kAlignment - 1)};
    return address.value;
  }

 private:
  const memory::GuestMemory& memory_;
  memory::Gpa next_ = layout::kAcpiTables.offset(64);  // Behind the RSDP.
};

}  // namespace

base::Result<memory::Gpa> write_acpi_tables(const memory::GuestMemory& memory, uint32_t vcpu_count,
                                            std::span<const VirtioMmioSlot> slots) {
  if (vcpu_count == 0 || vcpu_count > layout::kMaxVcpus) {
    // The MADT below has one byte for an APIC id: more than 255 would need x2APIC entries.
    return base::fail(base::ErrorCode::kInvalidArgument,
                      fmt::format("vcpu_count: {} is not in 1..{}", vcpu_count, layout::kMaxVcpus));
  }
  static_assert(layout::kMaxVcpus <= 255);
  TableWriter writer(memory);
  MOTE_TRY(const uint64_t dsdt, writer.write(make_dsdt(slots)));
  MOTE_TRY(const uint64_t fadt, writer.write(make_fadt(dsdt)));
  MOTE_TRY(const uint64_t madt, writer.write(make_madt(vcpu_count)));
  MOTE_TRY(const uint64_t xsdt,
           writer.write(make_table("XSDT", 1, aml::join({bytes_of(fadt), bytes_of(madt)}))));
  if (!memory.store(layout::kAcpiTables, make_rsdp(xsdt))) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      "mem_size_mib: guest memory is too small to boot");
  }
  return layout::kAcpiTables;
}

std::string virtio_mmio_arguments(std::span<const VirtioMmioSlot> slots) {
  std::string arguments;
  for (const VirtioMmioSlot& slot : slots) {
    arguments += fmt::format("{}virtio_mmio.device={}K@{:#x}:{}", arguments.empty() ? "" : " ",
                             slot.size_bytes / 1024, slot.address.value, slot.gsi);
  }
  return arguments;
}

}  // namespace mote::boot
