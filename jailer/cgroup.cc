#include "jailer/cgroup.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <ranges>
#include <sstream>

namespace mote::jailer {
namespace {

std::unexpected<base::Error> wrong(std::string text) {
  return base::fail(base::ErrorCode::kInvalidArgument, std::move(text));
}

struct Mounts {
  std::string unified;                         ///< Empty: none.
  std::map<std::string, std::string> by_name;  ///< v1: controller to mount point.
};

Mounts parse_mounts(const std::string& text) {
  Mounts mounts;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string device, point, type, flags;
    words >> device >> point >> type >> flags;
    if (type == "cgroup2" && mounts.unified.empty()) mounts.unified = point;
    if (type != "cgroup") continue;
    for (const auto flag : flags | std::views::split(',')) {
      mounts.by_name.emplace(std::string(flag.begin(), flag.end()), point);
    }
  }
  return mounts;
}

std::string controller_of(const CgroupSetting& setting) {
  return setting.file.substr(0, setting.file.find('.'));
}

base::Result<> write_file(int folder, const std::string& name, const std::string& text) {
  const base::UniqueFd fd(::openat(folder, name.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid()) return base::fail_errno(errno, name);
  if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return base::fail_errno(errno, name + " does not take \"" + text + "\"");
  }
  return {};
}

std::string read_file(int folder, const std::string& name) {
  const base::UniqueFd fd(::openat(folder, name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  std::string text(4096, '\0');
  const ssize_t got = fd.valid() ? ::read(fd.get(), text.data(), text.size()) : 0;
  text.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

/// v2: what a group's children may use is switched on in it. v1: a new cpuset has no CPUs at all.
base::Result<> prepare_children(int folder, const CgroupPlan& plan) {
  if (plan.version != 2) return {};
  const std::string enabled = " " + read_file(folder, "cgroup.subtree_control") + " ";
  for (const auto& setting : plan.settings) {
    const std::string controller = controller_of(setting);
    if (controller == "cgroup" || enabled.contains(" " + controller + " ")) continue;
    MOTE_TRY_VOID(write_file(folder, "cgroup.subtree_control", "+" + controller));
  }
  return {};
}

base::Result<> inherit_cpuset(int parent, int child, const CgroupPlan& plan) {
  if (plan.version != 1 || plan.settings.empty() || controller_of(plan.settings[0]) != "cpuset") {
    return {};
  }
  for (const char* const name : {"cpuset.cpus", "cpuset.mems"}) {
    if (!read_file(child, name).empty()) continue;
    MOTE_TRY_VOID(write_file(child, name, read_file(parent, name)));
  }
  return {};
}

}  // namespace

base::Result<std::vector<CgroupPlan>> plan_cgroups(const Options& options,
                                                   const std::string& default_parent,
                                                   const std::string& text) {
  std::vector<CgroupPlan> plans;
  if (options.cgroup_settings.empty() && !options.parent_cgroup) return plans;
  const Mounts mounts = parse_mounts(text);
  const int version = options.cgroup_version.value_or(mounts.unified.empty() ? 1 : 2);
  const std::string parent = options.parent_cgroup.value_or(default_parent);
  if (version == 2) {
    if (mounts.unified.empty()) return wrong("--cgroup: no cgroup2 file system is mounted");
    const bool make = !options.cgroup_settings.empty();
    plans.push_back({mounts.unified, make ? parent + "/" + options.id : parent, make, 2,
                     options.cgroup_settings});
    return plans;
  }
  if (options.cgroup_settings.empty()) {
    return wrong("--parent-cgroup: cgroup version 1 needs a --cgroup, which names the controller");
  }
  for (const auto& setting : options.cgroup_settings) {
    const auto mount = mounts.by_name.find(controller_of(setting));
    if (mount == mounts.by_name.end()) {
      return wrong("--cgroup: " + setting.file +
                   ": no such controller is mounted (cgroup version 1)");
    }
    auto plan = std::ranges::find(plans, mount->second, &CgroupPlan::mount);
    if (plan == plans.end()) {
      plan = plans.insert(plans.end(), {mount->second, parent + "/" + options.id, true, 1, {}});
    }
    plan->settings.push_back(setting);
  }
  return plans;
}

base::Result<Cgroup> make_cgroup(const CgroupPlan& plan, Ledger& ledger) {
  MOTE_TRY(base::UniqueFd folder, open_host_folder(plan.mount));
  std::istringstream parts(plan.path);
  for (std::string part; std::getline(parts, part, '/');) {
    if (plan.make) MOTE_TRY_VOID(prepare_children(folder.get(), plan));
    base::UniqueFd child;
    if (plan.make) {
      MOTE_TRY(child, make_folder(folder.get(), part, 0755, ledger));
      MOTE_TRY_VOID(inherit_cpuset(folder.get(), child.get(), plan));
    } else {
      child.reset(
          ::openat(folder.get(), part.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!child.valid()) return base::fail_errno(errno, plan.mount + "/" + plan.path);
    }
    folder = std::move(child);
  }
  for (const auto& setting : plan.settings) {
    MOTE_TRY_VOID(write_file(folder.get(), setting.file, setting.value));
  }
  Cgroup cgroup{
      base::UniqueFd(::openat(folder.get(), "cgroup.procs", O_WRONLY | O_CLOEXEC | O_NOFOLLOW))};
  if (!cgroup.processes.valid()) return base::fail_errno(errno, "cgroup.procs");
  return cgroup;
}

base::Result<> enter_cgroup(const Cgroup& cgroup) {
  if (::write(cgroup.processes.get(), "0", 1) != 1) return base::fail_errno(errno, "cgroup.procs");
  return {};
}

}  // namespace mote::jailer
