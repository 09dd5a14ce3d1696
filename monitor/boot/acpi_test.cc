#include "monitor/boot/acpi.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>

#include "memory/layout.h"
#include "monitor/boot/aml.h"

namespace mote::boot {
namespace {

using memory::Gpa;
using memory::GuestMemory;
using Bytes = std::vector<std::byte>;
namespace layout = memory::layout;

GuestMemory make_memory() {
  auto memory = GuestMemory::create(2 * layout::kMib, memory::HugePages::kNone);
  EXPECT_TRUE(memory) << memory.error().message();
  return std::move(*memory);
}

std::vector<VirtioMmioSlot> make_slots(uint32_t count) {
  std::vector<VirtioMmioSlot> slots;
  for (uint32_t i = 0; i < count; ++i) {
    slots.push_back({layout::kVirtioMmioStart.offset(i * layout::kVirtioMmioSize),
                     layout::kVirtioMmioSize, layout::kVirtioFirstGsi + i});
  }
  return slots;
}

template <typename T>
T field(const Bytes& bytes, size_t offset) {
  T value{};
  EXPECT_LE(offset + sizeof(T), bytes.size());
  if (offset + sizeof(T) <= bytes.size()) std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

uint8_t sum(std::span<const std::byte> bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), uint8_t{0}, [](uint8_t total, std::byte b) {
    return static_cast<uint8_t>(total + static_cast<uint8_t>(b));
  });
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool contains(const Bytes& haystack, const Bytes& needle) {
  return !std::ranges::search(haystack, needle).empty();
}

/// Follows the pointers as a guest does, and checks what every table must hold.
class Tables {
 public:
  Tables(const GuestMemory& memory, Gpa rsdp_address) : memory_(memory) {
    const Bytes rsdp = read(rsdp_address.value, 36);
    EXPECT_EQ(text_of(std::span(rsdp).first(8)), "RSD PTR ");
    EXPECT_EQ(sum(std::span(rsdp).first(20)), 0);
    EXPECT_EQ(sum(rsdp), 0);
    EXPECT_EQ(field<uint8_t>(rsdp, 15), 2);
    EXPECT_EQ(field<uint32_t>(rsdp, 20), 36U);
    const Bytes xsdt = read_table(field<uint64_t>(rsdp, 24), "XSDT");
    for (size_t at = 36; at < xsdt.size(); at += 8) {
      const auto address = field<uint64_t>(xsdt, at);
      const std::string signature = text_of(read(address, 4));
      tables_[signature] = read_table(address, signature);
    }
    tables_["DSDT"] = read_table(field<uint64_t>(at("FACP"), 140), "DSDT");
  }
  [[nodiscard]] const Bytes& at(const std::string& signature) const {
    return tables_.at(signature);
  }

 private:
  Bytes read(uint64_t address, size_t size) {
    EXPECT_GE(address, layout::kAcpiTables.value);
    EXPECT_LE(address + size, layout::kHighMemoryStart.value);
    for (const auto& [start, end] : used_)
      EXPECT_TRUE(address + size <= start || address >= end || size <= 36);
    Bytes bytes(size);
    EXPECT_TRUE(memory_.read(Gpa{address}, bytes));
    return bytes;
  }
  Bytes read_table(uint64_t address, const std::string& signature) {
    const Bytes header = read(address, 36);
    EXPECT_EQ(text_of(std::span(header).first(4)), signature);
    const Bytes table = read(address, field<uint32_t>(header, 4));
    EXPECT_EQ(sum(table), 0) << signature;
    used_.emplace_back(address, address + table.size());
    return table;
  }

  const GuestMemory& memory_;
  std::map<std::string, Bytes> tables_;
  std::vector<std::pair<uint64_t, uint64_t>> used_;
};

TEST(Acpi, TablesAreSoundFromTheSmallestToTheLargestMachine) {
  for (const uint32_t vcpus : {1U, 32U}) {
    for (const uint32_t devices : {0U, 1U, layout::kMaxVirtioDevices}) {
      const GuestMemory memory = make_memory();
      const auto rsdp = write_acpi_tables(memory, vcpus, make_slots(devices));
      ASSERT_TRUE(rsdp) << rsdp.error().message();
      const Tables tables(memory, *rsdp);
      EXPECT_EQ(tables.at("APIC").size(), 44 + vcpus * 8 + 12);
    }
  }
}

TEST(Acpi, FadtDescribesAHardwareReducedMachine) {
  const GuestMemory memory = make_memory();
  const auto rsdp = write_acpi_tables(memory, 1, {});
  ASSERT_TRUE(rsdp);
  const Tables tables(memory, *rsdp);
  const Bytes& fadt = tables.at("FACP");
  EXPECT_EQ(fadt.size(), 276U);
  EXPECT_EQ(field<uint8_t>(fadt, 8), 6);  // Revision.
  const auto flags = field<uint32_t>(fadt, 112);
  EXPECT_TRUE(flags & 1U << 20);                      // HW_REDUCED_ACPI
  EXPECT_TRUE(flags & 1U << 10);                      // RESET_REG_SUP
  EXPECT_TRUE(field<uint16_t>(fadt, 109) & 1U << 5);  // No CMOS clock.
  EXPECT_EQ(field<uint8_t>(fadt, 116), 1);            // RESET_REG: system I/O...
  EXPECT_EQ(field<uint64_t>(fadt, 120), layout::kAcpiResetPort);
  EXPECT_EQ(field<uint8_t>(fadt, 128), layout::kAcpiResetValue);
  EXPECT_EQ(field<uint64_t>(fadt, 248), layout::kAcpiSleepPort);
  EXPECT_EQ(field<uint64_t>(fadt, 260), layout::kAcpiSleepPort + 1U);
}

TEST(Acpi, MadtListsProcessorsAndTheIoApic) {
  const GuestMemory memory = make_memory();
  const auto rsdp = write_acpi_tables(memory, 3, {});
  ASSERT_TRUE(rsdp);
  const Tables tables(memory, *rsdp);
  const Bytes& madt = tables.at("APIC");
  EXPECT_EQ(field<uint32_t>(madt, 36), layout::kLocalApic.value);
  EXPECT_EQ(field<uint32_t>(madt, 40), 0U);  // No PC/AT interrupt controllers.
  for (uint8_t id = 0; id < 3; ++id) {
    const size_t at = 44 + size_t{id} * 8;
    EXPECT_EQ(field<uint8_t>(madt, at), 0);
    EXPECT_EQ(field<uint8_t>(madt, at + 1), 8);
    EXPECT_EQ(field<uint8_t>(madt, at + 3), id);
    EXPECT_EQ(field<uint32_t>(madt, at + 4), 1U);
  }
  EXPECT_EQ(field<uint8_t>(madt, 68), 1);
  EXPECT_EQ(field<uint8_t>(madt, 69), 12);
  EXPECT_EQ(field<uint32_t>(madt, 72), layout::kIoApic.value);
  EXPECT_EQ(field<uint32_t>(madt, 76), 0U);
}

TEST(Acpi, DsdtNamesEveryDevice) {
  const GuestMemory memory = make_memory();
  const auto slots = make_slots(layout::kMaxVirtioDevices);
  const auto rsdp = write_acpi_tables(memory, 1, slots);
  ASSERT_TRUE(rsdp);
  const Tables tables(memory, *rsdp);
  const Bytes& dsdt = tables.at("DSDT");
  for (const VirtioMmioSlot& slot : slots) {
    EXPECT_TRUE(contains(dsdt, aml::memory32(static_cast<uint32_t>(slot.address.value), 0x1000)));
    EXPECT_TRUE(contains(dsdt, aml::interrupt(slot.gsi)));
  }
  EXPECT_TRUE(contains(dsdt, aml::string("LNRO0005")));
  EXPECT_TRUE(contains(dsdt, aml::io_ports(0x3f8, 8)));
  EXPECT_TRUE(contains(dsdt, aml::name("_S5_", aml::package({aml::integer(5), aml::integer(5),
                                                             aml::integer(0), aml::integer(0)}))));
}

TEST(Acpi, RefusesWhatTheTablesCannotSay) {
  const GuestMemory memory = make_memory();
  EXPECT_FALSE(write_acpi_tables(memory, 0, {}));
  EXPECT_FALSE(write_acpi_tables(memory, 33, {}));
  // More devices than fit below 1 MiB: refused rather than written over the kernel.
  const auto result = write_acpi_tables(memory, 1, make_slots(5000));
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message().find("1 MiB"), std::string::npos);
}

TEST(Acpi, CommandLineFormOfTheSameDevices) {
  EXPECT_EQ(virtio_mmio_arguments({}), "");
  EXPECT_EQ(virtio_mmio_arguments(make_slots(2)),
            "virtio_mmio.device=4K@0xc0001000:5 virtio_mmio.device=4K@0xc0002000:6");
}

}  // namespace
}  // namespace mote::boot
