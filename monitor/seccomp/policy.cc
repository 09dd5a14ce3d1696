#include "monitor/seccomp/policy.h"

#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <charconv>
#include <memory>
#include <span>
#include <string>

#include "base/unique_fd.h"
#include "monitor/seccomp/constants.h"

namespace mote::monitor::seccomp {
namespace {

namespace json = boost::json;

struct ReleaseContext {
  void operator()(void* context) const { seccomp_release(context); }
};
using Context = std::unique_ptr<void, ReleaseContext>;

std::unexpected<base::Error> wrong(std::string text) {
  return base::fail(base::ErrorCode::kInvalidArgument, std::move(text));
}

base::Result<std::string_view> string_of(const json::object& object, std::string_view key,
                                         std::string_view otherwise = {}) {
  const json::value* const value = object.if_contains(key);
  if (value == nullptr && !otherwise.empty()) return otherwise;
  if (value == nullptr || !value->is_string()) {
    return wrong("\"" + std::string(key) + "\" must be a string");
  }
  return std::string_view(value->get_string());
}

base::Result<uint32_t> action_of(std::string_view name) {
  if (name == "allow") return SCMP_ACT_ALLOW;
  if (name == "trap") return SCMP_ACT_TRAP;
  if (name == "kill_process") return SCMP_ACT_KILL_PROCESS;
  if (name == "kill_thread") return SCMP_ACT_KILL_THREAD;
  if (name == "log") return SCMP_ACT_LOG;
  if (name.starts_with("errno:")) {
    uint16_t number = 0;
    const auto [end, error] = std::from_chars(name.data() + 6, name.data() + name.size(), number);
    if (error == std::errc() && end == name.data() + name.size() && number < 4096) {
      return SCMP_ACT_ERRNO(number);
    }
  }
  return wrong("\"" + std::string(name) +
               "\" is no action; known: allow, trap, kill_process, kill_thread, log, errno:NUMBER");
}

/// A number, or the name of one.
base::Result<uint64_t> value_of(const json::value* value, std::string_view key) {
  if (value != nullptr && value->is_string()) {
    if (const auto constant = find_constant(std::string_view(value->get_string()))) {
      return *constant;
    }
    return wrong("\"" + std::string(value->get_string()) +
                 "\" is no name known here: give its number");
  }
  if (value != nullptr && value->is_int64() && value->get_int64() >= 0) {
    return static_cast<uint64_t>(value->get_int64());
  }
  if (value != nullptr && value->is_uint64()) return value->get_uint64();
  return wrong("\"" + std::string(key) + "\" must be a number from 0 or the name of one");
}

/// How an argument is compared; one comparison for each way in which it may match.
using Alternatives = std::vector<scmp_arg_cmp>;

base::Result<Alternatives> parse_in(const json::object& argument, unsigned index) {
  const json::value* const values = argument.if_contains("values");
  if (values == nullptr || !values->is_array() || values->get_array().empty()) {
    return wrong("\"values\" must be an array that is not empty");
  }
  Alternatives alternatives;
  for (const json::value& value : values->get_array()) {
    MOTE_TRY(const uint64_t number, value_of(&value, "values"));
    alternatives.push_back({index, SCMP_CMP_EQ, number, 0});
  }
  return alternatives;
}

/// All comparisons are of 64 bits: nothing hides in the half that the kernel does not read of an
/// int.
base::Result<Alternatives> parse_argument(const json::value& value) {
  if (!value.is_object()) return wrong("\"args\" must hold objects");
  const json::object& argument = value.get_object();
  MOTE_TRY(const uint64_t index, value_of(argument.if_contains("index"), "index"));
  if (index > 5) return wrong("\"index\" must be from 0 to 5");
  const auto position = static_cast<unsigned>(index);
  MOTE_TRY(const auto op, string_of(argument, "op"));
  if (op == "in") return parse_in(argument, position);
  MOTE_TRY(const uint64_t number, value_of(argument.if_contains("value"), "value"));
  if (op == "masked_eq") {
    MOTE_TRY(const uint64_t mask, value_of(argument.if_contains("mask"), "mask"));
    return Alternatives{{position, SCMP_CMP_MASKED_EQ, mask, number & mask}};
  }
  static constexpr std::pair<std::string_view, scmp_compare> kComparisons[] = {
      {"eq", SCMP_CMP_EQ}, {"ne", SCMP_CMP_NE}, {"lt", SCMP_CMP_LT},
      {"le", SCMP_CMP_LE}, {"gt", SCMP_CMP_GT}, {"ge", SCMP_CMP_GE}};
  for (const auto& [name, comparison] : kComparisons) {
    if (op == name) return Alternatives{{position, comparison, number, 0}};
  }
  return wrong("\"op\" must be eq, ne, lt, le, gt, ge, masked_eq or in");
}

/// Adds one rule for each combination of the arguments' alternatives.
base::Result<> add_combinations(void* context, uint32_t action, int number,
                                std::span<const Alternatives> arguments,
                                std::vector<scmp_arg_cmp>& chosen) {
  if (arguments.empty()) {
    const int outcome = seccomp_rule_add_array(context, action, number,
                                               static_cast<unsigned>(chosen.size()), chosen.data());
    if (outcome == -EEXIST) return {};  // Said twice.
    if (outcome != 0) return base::fail_errno(-outcome, "libseccomp refuses the rule");
    return {};
  }
  for (const scmp_arg_cmp& alternative : arguments.front()) {
    chosen.push_back(alternative);
    MOTE_TRY_VOID(add_combinations(context, action, number, arguments.subspan(1), chosen));
    chosen.pop_back();
  }
  return {};
}

base::Result<> add_rule(void* context, const json::value& value, uint32_t filter_action) {
  if (!value.is_object()) return wrong("must be an object");
  const json::object& rule = value.get_object();
  MOTE_TRY(const auto name, string_of(rule, "syscall"));
  const int number = seccomp_syscall_resolve_name(std::string(name).c_str());
  if (number < 0) return wrong("\"" + std::string(name) + "\" is no system call");
  uint32_t action = filter_action;
  if (rule.contains("action")) {
    MOTE_TRY(const auto own, string_of(rule, "action"));
    MOTE_TRY(action, action_of(own));
  }
  std::vector<Alternatives> arguments;
  if (const json::value* const args = rule.if_contains("args")) {
    if (!args->is_array()) return wrong(std::string(name) + ": \"args\" must be an array");
    for (const json::value& argument : args->get_array()) {
      auto parsed = parse_argument(argument);
      if (!parsed) return base::with_context(std::move(parsed).error(), name);
      arguments.push_back(std::move(*parsed));
    }
  }
  std::vector<scmp_arg_cmp> chosen;
  auto added = add_combinations(context, action, number, arguments, chosen);
  if (!added) return base::with_context(std::move(added).error(), name);
  return {};
}

/// libseccomp writes programs to descriptors only.
base::Result<std::vector<sock_filter>> export_program(void* context) {
  const base::UniqueFd fd(::memfd_create("seccomp", MFD_CLOEXEC));
  if (!fd.valid()) return base::fail_errno(errno, "memfd_create");
  if (const int outcome = seccomp_export_bpf(context, fd.get()); outcome != 0) {
    return base::fail_errno(-outcome, "libseccomp cannot write the program");
  }
  const off_t size = ::lseek(fd.get(), 0, SEEK_END);
  std::vector<sock_filter> program(static_cast<size_t>(std::max<off_t>(size, 0)) /
                                   sizeof(sock_filter));
  const size_t bytes = program.size() * sizeof(sock_filter);
  if (size <= 0 || ::pread(fd.get(), program.data(), bytes, 0) != static_cast<ssize_t>(bytes)) {
    return base::fail_errno(errno, "cannot read the program back");
  }
  return program;
}

base::Result<std::vector<sock_filter>> compile_role(const json::object& policy,
                                                    std::string_view role) {
  const json::value* const value = policy.if_contains(role);
  if (value == nullptr || !value->is_object()) return wrong("must be an object");
  const json::object& filter = value->get_object();
  MOTE_TRY(const auto default_name, string_of(filter, "default_action"));
  MOTE_TRY(const uint32_t default_action, action_of(default_name));
  MOTE_TRY(const auto filter_name, string_of(filter, "filter_action", "allow"));
  MOTE_TRY(const uint32_t filter_action, action_of(filter_name));
  const json::value* const rules = filter.if_contains("filter");
  if (rules == nullptr || !rules->is_array()) return wrong("\"filter\" must be an array");

  const Context context(seccomp_init(default_action));
  if (!context) return base::fail(base::ErrorCode::kInternal, "libseccomp has no context to give");
  seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  // A binary tree: when a filter is laid on, the kernel walks it once for every system call there
  // is.
  seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  size_t index = 0;
  for (const json::value& rule : rules->get_array()) {
    auto added = add_rule(context.get(), rule, filter_action);
    if (!added)
      return base::with_context(std::move(added).error(), "filter[" + std::to_string(index) + "]");
    ++index;
  }
  return export_program(context.get());
}

}  // namespace

base::Result<Programs> compile_policy(std::string_view text) {
  boost::system::error_code error;
  const json::value policy = json::parse(text, error);
  if (error) return wrong("not JSON: " + error.message());
  if (!policy.is_object()) return wrong("must be an object with the members \"loop\" and \"vcpu\"");
  for (const auto& member : policy.get_object()) {
    if (member.key() != "loop" && member.key() != "vcpu" && member.key() != "jail") {
      return wrong("\"" + std::string(member.key()) + "\" is no role; known: loop, vcpu, jail");
    }
  }
  Programs programs;
  for (auto [role, program] : {std::pair("loop", &programs.loop), std::pair("vcpu", &programs.vcpu),
                               std::pair("jail", &programs.jail)}) {
    if (program == &programs.jail && !policy.get_object().contains("jail")) continue;
    auto compiled = compile_role(policy.get_object(), role);
    if (!compiled) return base::with_context(std::move(compiled).error(), role);
    *program = std::move(*compiled);
  }
  return programs;
}

}  // namespace mote::monitor::seccomp
