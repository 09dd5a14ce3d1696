#include "monitor/command_line.h"

#include <algorithm>
#include <ranges>
#include <string_view>

#include "memory/layout.h"

namespace mote::monitor {
namespace {

/// Is there a word that begins with `prefix`?
bool has_word(std::string_view arguments, std::string_view prefix) {
  return std::ranges::any_of(arguments | std::views::split(' '), [&](auto word) {
    return std::string_view(word.begin(), word.end()).starts_with(prefix);
  });
}

/// The place of a lone `--`, or the end.
size_t find_init_arguments(std::string_view arguments) {
  if (arguments == "--" || arguments.starts_with("-- ")) return 0;
  for (size_t at = arguments.find(" --"); at != std::string_view::npos;
       at = arguments.find(" --", at + 1)) {
    if (at + 3 == arguments.size() || arguments[at + 3] == ' ') return at;
  }
  return arguments.size();
}

std::string root_arguments(const VmConfig& config) {
  for (const auto& drive : config.drives) {
    if (!drive.is_root_device) continue;
    const std::string device = drive.partuuid ? "PARTUUID=" + *drive.partuuid : "/dev/vda";
    return " root=" + device + (drive.is_read_only ? " ro" : " rw");
  }
  return {};
}

base::Result<> check_characters(std::string_view arguments) {
  const bool printable =
      std::ranges::all_of(arguments, [](unsigned char c) { return c >= 0x20 && c < 0x7f; });
  if (printable) return {};
  return base::fail(
      base::ErrorCode::kInvalidArgument,
      "boot_args: only printable ASCII characters may stand in a kernel command line");
}

}  // namespace

base::Result<std::string> make_command_line(const VmConfig& config,
                                            std::span<const boot::VirtioMmioSlot> slots) {
  const std::string arguments = config.boot_source && config.boot_source->boot_args
                                    ? *config.boot_source->boot_args
                                    : std::string(kDefaultBootArgs);
  MOTE_TRY_VOID(check_characters(arguments));
  const size_t split = find_init_arguments(arguments);
  std::string line = arguments.substr(0, split);
  const std::string init_arguments = arguments.substr(split);
  if (!has_word(line, "pci=")) line += " pci=off";
  if (!has_word(line, "root=")) line += root_arguments(config);
  if (!has_word(line, "virtio_mmio.device=") && !slots.empty())
    line += " " + boot::virtio_mmio_arguments(slots);
  if (line.starts_with(' ')) line.erase(0, 1);
  if (init_arguments.starts_with("--")) line += ' ';
  line += init_arguments;
  if (line.size() + 1 > memory::layout::kCommandLineLimit) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      "boot_args: the kernel command line would be " + std::to_string(line.size()) +
                          " bytes long; at most " +
                          std::to_string(memory::layout::kCommandLineLimit - 1) + " fit");
  }
  return line;
}

}  // namespace mote::monitor
