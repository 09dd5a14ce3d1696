#pragma once
// Just enough AML to describe devices (ACPI 6.4 §20.2). Each function gives the encoded bytes of
// one term.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace mote::boot::aml {

using Bytes = std::vector<std::byte>;

/// Terms one after another.
[[nodiscard]] Bytes join(std::initializer_list<Bytes> parts);

[[nodiscard]] Bytes integer(uint64_t value);
[[nodiscard]] Bytes string(std::string_view text);
/// Seven characters as in "PNP0501" (ACPI 6.4 §19.3.4).
[[nodiscard]] Bytes eisa_id(std::string_view id);
[[nodiscard]] Bytes package(std::initializer_list<Bytes> elements);

/// `name` is four characters, or "\\_SB_" style with a root prefix.
[[nodiscard]] Bytes name(std::string_view name, const Bytes& value);
[[nodiscard]] Bytes device(std::string_view name, const Bytes& body);
[[nodiscard]] Bytes scope(std::string_view name, const Bytes& body);

/// Method (NAME, arguments) { Notify (OBJECT, value) } (ACPI 6.4 §20.2.5.2, §20.2.5.3).
[[nodiscard]] Bytes notify_method(std::string_view name, uint8_t arguments, std::string_view object,
                                  uint8_t value);

/// A resource template from descriptors (ACPI 6.4 §6.4), with its end tag.
[[nodiscard]] Bytes resources(std::initializer_list<Bytes> descriptors);
[[nodiscard]] Bytes memory32(uint32_t start, uint32_t size_bytes);
[[nodiscard]] Bytes io_ports(uint16_t start, uint8_t count);
/// Edge-triggered, active high, exclusive.
[[nodiscard]] Bytes interrupt(uint32_t gsi);

}  // namespace mote::boot::aml
