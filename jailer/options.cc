#include "jailer/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdio>
#include <string_view>

namespace mote::jailer {
namespace {

std::unexpected<base::Error> wrong(std::string text) {
  return base::fail(base::ErrorCode::kInvalidArgument, std::move(text));
}

base::Result<> check_id(const std::string& id) {
  const bool valid = !id.empty() && id.size() <= 64 && std::ranges::all_of(id, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-';
  });
  if (valid) return {};
  return wrong("--id: \"" + id + "\" is not 1 to 64 letters, digits and hyphens");
}

/// A path that stays where it is put: no empty, "." or ".." part, and not absolute.
bool is_inner_path(std::string_view path) {
  if (path.empty() || path.size() > 255) return false;
  while (true) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

base::Result<CgroupSetting> parse_cgroup(const std::string& text) {
  const size_t equals = text.find('=');
  CgroupSetting setting{text.substr(0, equals),
                        equals == std::string::npos ? "" : text.substr(equals + 1)};
  const bool named =
      setting.file.contains('.') && !setting.file.starts_with('.') && !setting.file.contains('/');
  if (!named || setting.value.empty()) {
    return wrong("--cgroup: \"" + text + "\" is not FILE=VALUE, like memory.max=256M");
  }
  return setting;
}

base::Result<uint64_t> parse_number(std::string_view text, const std::string& what) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size()) return number;
  return wrong(what + ": \"" + std::string(text) + "\" is not a number");
}

base::Result<> apply_limit(const std::string& text, Options& options) {
  const size_t equals = text.find('=');
  const std::string name = text.substr(0, equals);
  if (equals == std::string::npos || (name != "fsize" && name != "no-file")) {
    return wrong("--resource-limit: \"" + text + "\" is not fsize=BYTES or no-file=NUMBER");
  }
  MOTE_TRY(const uint64_t value,
           parse_number(std::string_view(text).substr(equals + 1), "--resource-limit " + name));
  if (name == "fsize") {
    options.file_size_limit = value;
  } else {
    options.descriptor_limit = value;
  }
  return {};
}

base::Result<FileSetting> parse_file(const std::string& option, std::string text) {
  FileSetting setting;
  const std::string whole = text;
  if (option == "--bind") {
    setting.how = FileSetting::How::kBind;
    if (text.ends_with(":ro")) {
      setting.how = FileSetting::How::kBindReadOnly;
      text.resize(text.size() - 3);
    }
  }
  const size_t equals = text.rfind('=');
  if (equals != std::string::npos) {
    setting.source = text.substr(0, equals);
    setting.name = text.substr(equals + 1);
    if (setting.name.starts_with('/')) setting.name.erase(0, 1);  // Absolute in the jail.
  }
  if (setting.source.starts_with('/') && is_inner_path(setting.name)) return setting;
  return wrong(option + ": \"" + whole +
               "\" is not /PATH/ON/HOST=NAME with a name inside the jail");
}

struct Words {
  std::vector<std::string> cgroups, limits, links, binds;
  bool has_uid = false;
};

void declare(CLI::App& app, Options& options, Words& words) {
  app.add_option("--id", options.id, "Instance id: 1 to 64 letters, digits and hyphens")
      ->required();
  app.add_option("--exec-file", options.exec_file, "The monitor: a static program")->required();
  app.add_option("--uid", options.uid, "User to become")->required();
  app.add_option("--gid", options.gid, "Group to become")->required();
  app.add_option("--chroot-base-dir", options.chroot_base, "Where jails are made")
      ->capture_default_str();
  app.add_option("--netns", options.network_namespace, "Network namespace to join: its file");
  app.add_option("--cgroup", words.cgroups, "FILE=VALUE to write in the VM's cgroup; repeatable")
      ->allow_extra_args(false);
  app.add_option("--cgroup-version", options.cgroup_version, "1 or 2; default: what is mounted")
      ->check(CLI::IsMember({1, 2}));
  app.add_option("--parent-cgroup", options.parent_cgroup, "Default: the program's name");
  app.add_option("--resource-limit", words.limits, "fsize=BYTES or no-file=NUMBER; repeatable")
      ->allow_extra_args(false);
  app.add_flag("--daemonize", options.daemonize, "A session of its own, no terminal");
  app.add_flag("--new-pid-ns", options.new_pid_namespace, "A PID namespace of its own");
  app.add_flag("--dry-run", options.dry_run, "Check everything, show the plan, do nothing");
  app.add_option("--kvm-device", options.kvm_device, "/dev/kvm or /dev/kvm-lite")
      ->capture_default_str();
  app.add_option("--link", words.links, "/HOST/FILE=NAME: a hard link in the jail; repeatable")
      ->allow_extra_args(false);
  app.add_option("--bind", words.binds, "/HOST/FILE=NAME[:ro]: a bind mount; repeatable")
      ->allow_extra_args(false);
  app.add_option("--keep-fd", options.kept_descriptors, "Descriptor to hand on; repeatable")
      ->allow_extra_args(false)
      ->check(CLI::Range(3, 1 << 20));
}

base::Result<> apply_words(const Words& words, Options& options) {
  MOTE_TRY_VOID(check_id(options.id));
  for (const auto& text : words.cgroups) {
    MOTE_TRY(auto setting, parse_cgroup(text));
    options.cgroup_settings.push_back(std::move(setting));
  }
  for (const auto& text : words.limits) MOTE_TRY_VOID(apply_limit(text, options));
  for (const auto& text : words.links) {
    MOTE_TRY(auto file, parse_file("--link", text));
    options.files.push_back(std::move(file));
  }
  for (const auto& text : words.binds) {
    MOTE_TRY(auto file, parse_file("--bind", text));
    options.files.push_back(std::move(file));
  }
  if (options.parent_cgroup && !is_inner_path(*options.parent_cgroup)) {
    return wrong("--parent-cgroup: \"" + *options.parent_cgroup +
                 "\" is no relative path without \"..\"");
  }
  if (!options.kvm_device.starts_with("/dev/") ||
      !is_inner_path(std::string_view(options.kvm_device).substr(1))) {
    return wrong("--kvm-device: \"" + options.kvm_device + "\" is not a path below /dev");
  }
  return {};
}

Leave bad_argument(const std::string& text) {
  std::fputs(("jailer: " + text + "\nRun with --help for the list of arguments.\n").c_str(),
             stderr);
  return {1};
}

}  // namespace

std::variant<Options, Leave> parse_options(int argc, const char* const* argv) {
  Options options;
  // What stands behind "--" is the monitor's, whatever it looks like.
  const auto* const all = argv + argc;
  const auto* const separator =
      std::find_if(argv, all, [](const char* word) { return std::string_view(word) == "--"; });
  if (separator != all) options.monitor_arguments.assign(separator + 1, all);

  Words words;
  CLI::App app("Mote's jailer: starts one monitor with nothing but what it needs", "jailer");
  declare(app, options, words);
  app.set_version_flag("--version,-V", std::string("Mote jailer v") + MOTE_VERSION + "\n");
  try {
    app.parse(static_cast<int>(separator - argv), argv);
  } catch (const CLI::Success& success) {
    return Leave{app.exit(success)};
  } catch (const CLI::ParseError& error) {
    return bad_argument(error.what());
  }
  if (const auto applied = apply_words(words, options); !applied) {
    return bad_argument(applied.error().message());
  }
  return options;
}

}  // namespace mote::jailer
