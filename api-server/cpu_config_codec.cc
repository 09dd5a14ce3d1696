// The /cpu-config object: bit patterns and numbers written as text.

#include <fmt/format.h>

#include <boost/json.hpp>
#include <charconv>

#include "api-server/json_codec.h"
#include "api-server/object_reader.h"

namespace mote::api_server {
namespace json = boost::json;
namespace {

using monitor::BitFilter;
using monitor::CpuidRegister;

constexpr std::array kLeafFields = {"leaf"sv, "subleaf"sv, "flags"sv, "modifiers"sv};
constexpr std::array kRegisterFields = {"register"sv, "bitmap"sv};
constexpr std::array kMsrFields = {"addr"sv, "bitmap"sv};
constexpr std::array kRegisterWords = {
    std::pair{"eax"sv, CpuidRegister::kEax}, std::pair{"ebx"sv, CpuidRegister::kEbx},
    std::pair{"ecx"sv, CpuidRegister::kEcx}, std::pair{"edx"sv, CpuidRegister::kEdx}};

std::optional<uint32_t> parse_digits(std::string_view text, int base) {
  uint32_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value, base);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

/// "0x1f" or "0b101"; without a prefix nobody could tell 10 from 16.
std::optional<uint32_t> parse_number(std::string_view text) {
  if (text.starts_with("0x")) return parse_digits(text.substr(2), 16);
  if (text.starts_with("0b")) return parse_digits(text.substr(2), 2);
  return std::nullopt;
}

uint32_t required_code(ObjectReader& reader, std::string_view field) {
  const std::string given = reader.required_text(field);
  const auto value = parse_number(given);
  if (!value) reader.fail(field, "\"" + given + "\" is not a 32-bit number like 0x1f or 0b101");
  return value.value_or(0);
}

/// Up to `width` characters 0, 1, x (keep) and _ (a separator), the lowest bit last; "0b" before
/// them may be left out.
std::optional<BitFilter> parse_bitmap(std::string_view text, unsigned width) {
  if (text.starts_with("0b")) text.remove_prefix(2);
  BitFilter filter;
  unsigned bits = 0;
  for (const char c : text) {
    if (c == '_') continue;
    if ((c != '0' && c != '1' && c != 'x') || ++bits > width) return std::nullopt;
    filter.mask = filter.mask << 1 | (c == 'x' ? 0U : 1U);
    filter.value = filter.value << 1 | (c == '1' ? 1U : 0U);
  }
  return bits == 0 ? std::nullopt : std::optional(filter);
}

BitFilter required_bitmap(ObjectReader& reader, unsigned width) {
  const std::string given = reader.required_text("bitmap");
  const auto filter = parse_bitmap(given, width);
  if (!filter) {
    reader.fail("bitmap",
                fmt::format("\"{}\" is not \"0b\" and 1 to {} of 0, 1 and x", given, width));
  }
  return filter.value_or(BitFilter{});
}

std::string format_bitmap(const BitFilter& filter, unsigned width) {
  std::string text = "0b";
  for (unsigned i = width; i-- > 0;) {
    text += (filter.mask >> i & 1) == 0 ? 'x' : static_cast<char>('0' + (filter.value >> i & 1));
  }
  return text;
}

base::Result<monitor::KvmCapability> decode_capability(const json::value& value,
                                                       const std::string& where) {
  const json::string* const string = value.if_string();
  std::string_view digits;
  if (string != nullptr) digits = {string->data(), string->size()};
  monitor::KvmCapability capability;
  if (digits.starts_with('!')) {
    capability.removed = true;
    digits.remove_prefix(1);
  }
  const auto number = parse_digits(digits, 10);
  if (!number) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      where + ": must be a string like \"12\" or \"!12\"");
  }
  capability.number = *number;
  return capability;
}

/// The items of an array, none when it is absent; each error names its index.
template <typename T>
std::vector<T> read_list(ObjectReader& reader, std::string_view field,
                         base::Result<T> (*decode)(const json::value&, const std::string& where)) {
  std::vector<T> items;
  const json::array* const array = reader.list(field);
  if (array == nullptr) return items;
  for (size_t i = 0; i < array->size(); ++i) {
    auto item = reader.adopt(decode((*array)[i], fmt::format("{}[{}]", reader.path_of(field), i)));
    if (!item) break;
    items.push_back(std::move(*item));
  }
  return items;
}

base::Result<monitor::CpuidRegisterModifier> decode_register(const json::value& value,
                                                             const std::string& where) {
  ObjectReader reader(value, kRegisterFields, where);
  monitor::CpuidRegisterModifier modifier;
  modifier.reg = reader.require("register", reader.word("register", kRegisterWords));
  modifier.bitmap = required_bitmap(reader, 32);
  return reader.finish(modifier);
}

base::Result<monitor::CpuidLeafModifier> decode_leaf(const json::value& value,
                                                     const std::string& where) {
  ObjectReader reader(value, kLeafFields, where);
  monitor::CpuidLeafModifier modifier;
  modifier.leaf = required_code(reader, "leaf");
  modifier.subleaf = required_code(reader, "subleaf");
  modifier.flags = reader.require("flags", reader.number_as<uint32_t>("flags", 0, UINT32_MAX));
  if (reader.list("modifiers") == nullptr) reader.fail("modifiers", "is required");
  modifier.modifiers = read_list(reader, "modifiers", decode_register);
  return reader.finish(std::move(modifier));
}

base::Result<monitor::MsrModifier> decode_msr(const json::value& value, const std::string& where) {
  ObjectReader reader(value, kMsrFields, where);
  monitor::MsrModifier modifier;
  modifier.address = required_code(reader, "addr");
  modifier.bitmap = required_bitmap(reader, 64);
  return reader.finish(modifier);
}

}  // namespace

base::Result<monitor::CpuConfig> decode_cpu_config(const json::value& body) {
  ObjectReader reader(body, kCpuConfigFields, "");
  monitor::CpuConfig config;
  config.kvm_capabilities = read_list(reader, "kvm_capabilities", decode_capability);
  config.cpuid_modifiers = read_list(reader, "cpuid_modifiers", decode_leaf);
  config.msr_modifiers = read_list(reader, "msr_modifiers", decode_msr);
  return reader.finish(std::move(config));
}

json::value encode_cpu_config(const monitor::CpuConfig& config) {
  json::array capabilities;
  for (const auto& capability : config.kvm_capabilities) {
    const std::string text = (capability.removed ? "!" : "") + std::to_string(capability.number);
    capabilities.emplace_back(text);
  }
  json::array leaves;
  for (const auto& leaf : config.cpuid_modifiers) {
    json::array registers;
    for (const auto& modifier : leaf.modifiers) {
      const auto word = std::ranges::find(kRegisterWords, modifier.reg,
                                          &std::pair<std::string_view, CpuidRegister>::second);
      registers.push_back(
          json::object{{"register", json::string(word->first.data(), word->first.size())},
                       {"bitmap", format_bitmap(modifier.bitmap, 32)}});
    }
    leaves.push_back(json::object{{"leaf", fmt::format("{:#x}", leaf.leaf)},
                                  {"subleaf", fmt::format("{:#x}", leaf.subleaf)},
                                  {"flags", leaf.flags},
                                  {"modifiers", std::move(registers)}});
  }
  json::array msrs;
  for (const auto& msr : config.msr_modifiers) {
    msrs.push_back(json::object{{"addr", fmt::format("{:#x}", msr.address)},
                                {"bitmap", format_bitmap(msr.bitmap, 64)}});
  }
  return json::object{{"kvm_capabilities", std::move(capabilities)},
                      {"cpuid_modifiers", std::move(leaves)},
                      {"msr_modifiers", std::move(msrs)}};
}

}  // namespace mote::api_server
