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

/// "0x1f", "0b101" or "31".
std::optional<uint32_t> parse_number(std::string_view text) {
  int base = 10;
  if (text.starts_with("0x")) base = 16;
  if (text.starts_with("0b")) base = 2;
  if (base != 10) text.remove_prefix(2);
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

uint32_t required_code(ObjectReader& reader, std::string_view field) {
  const auto text = reader.text(field);
  const auto value = text ? parse_number(*text) : std::nullopt;
  if (!value) reader.fail(field, "is required, as text like \"0x1\"");
  return value.value_or(0);
}

/// "0b" and up to `width` characters 0, 1, x (keep) and _ (a separator).
std::optional<BitFilter> parse_bitmap(std::string_view text, unsigned width) {
  if (!text.starts_with("0b") || text.size() == 2) return std::nullopt;
  BitFilter filter;
  unsigned bits = 0;
  for (const char c : text.substr(2)) {
    if (c == '_') continue;
    if ((c != '0' && c != '1' && c != 'x') || ++bits > width) return std::nullopt;
    filter.mask = filter.mask << 1 | (c == 'x' ? 0U : 1U);
    filter.value = filter.value << 1 | (c == '1' ? 1U : 0U);
  }
  return bits == 0 ? std::nullopt : std::optional(filter);
}

BitFilter required_bitmap(ObjectReader& reader, unsigned width) {
  const auto text = reader.text("bitmap");
  const auto filter = text ? parse_bitmap(*text, width) : std::nullopt;
  if (!filter) {
    reader.fail("bitmap",
                fmt::format("is required, as \"0b\" and at most {} of 0, 1 and x", width));
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

base::Result<monitor::KvmCapability> decode_capability(const json::value& value) {
  const json::string* const string = value.if_string();
  std::string_view text =
      string == nullptr ? std::string_view{} : std::string_view(string->data(), string->size());
  monitor::KvmCapability capability;
  if (text.starts_with('!')) {
    capability.removed = true;
    text.remove_prefix(1);
  }
  const auto number = parse_number(text);
  if (!number)
    return base::fail(base::ErrorCode::kInvalidArgument,
                      "kvm_capabilities: entries are text like \"12\" or \"!12\"");
  capability.number = *number;
  return capability;
}

base::Result<monitor::CpuidRegisterModifier> decode_register(const json::value& value) {
  ObjectReader reader(value, kRegisterFields, "cpuid_modifiers.modifiers");
  monitor::CpuidRegisterModifier modifier;
  modifier.reg = reader.require("register", reader.word("register", kRegisterWords));
  modifier.bitmap = required_bitmap(reader, 32);
  if (!reader.ok()) return std::unexpected(reader.status().error());
  return modifier;
}

base::Result<monitor::CpuidLeafModifier> decode_leaf(const json::value& value) {
  ObjectReader reader(value, kLeafFields, "cpuid_modifiers");
  monitor::CpuidLeafModifier modifier;
  modifier.leaf = required_code(reader, "leaf");
  modifier.subleaf = required_code(reader, "subleaf");
  modifier.flags = reader.number_as<uint32_t>("flags", 0, UINT32_MAX).value_or(0);
  const json::array* const registers = reader.list("modifiers");
  if (registers == nullptr) reader.fail("modifiers", "is required");
  if (!reader.ok()) return std::unexpected(reader.status().error());
  for (const json::value& item : *registers) {
    MOTE_TRY(auto decoded, decode_register(item));
    modifier.modifiers.push_back(decoded);
  }
  return modifier;
}

base::Result<monitor::MsrModifier> decode_msr(const json::value& value) {
  ObjectReader reader(value, kMsrFields, "msr_modifiers");
  monitor::MsrModifier modifier{required_code(reader, "addr"), required_bitmap(reader, 64)};
  if (!reader.ok()) return std::unexpected(reader.status().error());
  return modifier;
}

}  // namespace

base::Result<monitor::CpuConfig> decode_cpu_config(const json::value& body) {
  ObjectReader reader(body, kCpuConfigFields, "");
  monitor::CpuConfig config;
  const json::array* const capabilities = reader.list("kvm_capabilities");
  const json::array* const leaves = reader.list("cpuid_modifiers");
  const json::array* const msrs = reader.list("msr_modifiers");
  if (!reader.ok()) return std::unexpected(reader.status().error());
  if (capabilities != nullptr) {
    for (const json::value& item : *capabilities) {
      MOTE_TRY(auto decoded, decode_capability(item));
      config.kvm_capabilities.push_back(decoded);
    }
  }
  if (leaves != nullptr) {
    for (const json::value& item : *leaves) {
      MOTE_TRY(auto decoded, decode_leaf(item));
      config.cpuid_modifiers.push_back(std::move(decoded));
    }
  }
  if (msrs != nullptr) {
    for (const json::value& item : *msrs) {
      MOTE_TRY(auto decoded, decode_msr(item));
      config.msr_modifiers.push_back(decoded);
    }
  }
  return config;
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
