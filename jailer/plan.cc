#include "jailer/plan.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "jailer/cgroup.h"
#include "jailer/checks.h"
#include "jailer/folder.h"
#include "jailer/mounts.h"
#include "jailer/privileges.h"
#include "jailer/process.h"
#include "monitor/seccomp/filter.h"

namespace mote::jailer {
namespace {

std::string read_whole(const char* path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

base::Result<> give_to(int folder, const char* name, uid_t uid, gid_t gid) {
  const int flags = AT_SYMLINK_NOFOLLOW | (*name == '\0' ? AT_EMPTY_PATH : 0);
  if (::fchownat(folder, name, uid, gid, flags) == 0) return {};
  return base::fail_errno(errno, "chown");
}

}  // namespace

/// What the steps hand to each other.
struct Plan::State {
  explicit State(const Options& given) : options(given) {}

  const Options& options;
  std::string program_name;
  std::string jail_path;  ///< For people.
  base::UniqueFd program;
  base::UniqueFd network_namespace;
  std::vector<DeviceNode> devices;
  std::vector<CgroupPlan> cgroup_plans;
  int landlock = 0;

  Ledger ledger;
  base::UniqueFd root;
  base::UniqueFd pid_file;
  std::vector<Cgroup> cgroups;
  std::vector<BindMount> binds;
  std::unique_ptr<Child> child;  ///< There when the launch goes on in a child of ours.
};

Plan::Plan(const Options& options) : state_(std::make_unique<State>(options)) {}
Plan::~Plan() = default;

base::Result<std::unique_ptr<Plan>> Plan::make(const Options& options) {
  std::unique_ptr<Plan> plan(new Plan(options));
  MOTE_TRY_VOID(plan->check());
  plan->add_steps();
  return plan;
}

base::Result<> Plan::check() {
  State& s = *state_;
  const Options& options = s.options;
  if (options.uid == static_cast<uid_t>(-1) || options.gid == static_cast<gid_t>(-1)) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      "--uid, --gid: 4294967295 is nobody's number");
  }
  s.program_name = options.exec_file.substr(options.exec_file.rfind('/') + 1);
  s.jail_path = fmt::format("{}/{}/{}/root", options.chroot_base, s.program_name, options.id);
  MOTE_TRY(s.program, open_program(options.exec_file));
  MOTE_TRY(s.devices, find_devices(options.kvm_device));
  MOTE_TRY_VOID(check_descriptors(options.kept_descriptors));
  for (const auto& file : options.files) MOTE_TRY_VOID(check_source(file));
  if (options.network_namespace) {
    MOTE_TRY(s.network_namespace, open_network_namespace(*options.network_namespace));
  }
  MOTE_TRY(s.cgroup_plans, plan_cgroups(options, s.program_name, read_whole("/proc/self/mounts")));
  const auto base = open_host_folder(options.chroot_base);
  if (!base) return base::with_context(base.error(), "--chroot-base-dir");
  auto trusted = check_trusted(base->get(), options.chroot_base, 0);
  if (!trusted) return base::with_context(trusted.error(), "--chroot-base-dir");
  s.landlock = landlock_version();
  return {};
}

void Plan::add(std::string text, std::move_only_function<base::Result<>()> run) {
  steps_.push_back({std::move(text), std::move(run)});
}

void Plan::add_steps() {
  State& s = *state_;
  const Options& options = s.options;
  add(fmt::format("close all descriptors from 3 on at the program's start{}",
                  options.kept_descriptors.empty()
                      ? ""
                      : fmt::format(", but keep {}", fmt::join(options.kept_descriptors, ", "))),
      [&s] { return close_at_exec(s.options.kept_descriptors); });
  add("clear the environment", []() -> base::Result<> {
    ::clearenv();
    ::umask(022);
    return {};
  });
  add("take a mount namespace of our own", [] { return take_mount_namespace(); });
  add_folder_steps();
  add_file_steps();
  add_last_steps();
}

void Plan::add_folder_steps() {
  State& s = *state_;
  add(fmt::format("make the folder {}", s.jail_path), [&s]() -> base::Result<> {
    MOTE_TRY(const auto base, open_host_folder(s.options.chroot_base));
    MOTE_TRY(const auto program, make_folder(base.get(), s.program_name, 0755, s.ledger));
    MOTE_TRY_VOID(check_trusted(program.get(), s.program_name, 0));
    MOTE_TRY(const auto jail, make_folder(program.get(), s.options.id, 0755, s.ledger));
    MOTE_TRY_VOID(check_trusted(jail.get(), s.options.id, s.options.uid));
    MOTE_TRY(s.root, make_folder(jail.get(), "root", 0700, s.ledger));
    return check_trusted(s.root.get(), "root", s.options.uid);
  });
  const std::string pid_name = s.program_name + ".pid";
  add(fmt::format("claim the jail: make {}, which must not be there", pid_name),
      [&s, pid_name]() -> base::Result<> {
        s.pid_file.reset(::openat(s.root.get(), pid_name.c_str(),
                                  O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
        if (!s.pid_file.valid() && errno == EEXIST) {
          return base::fail(base::ErrorCode::kWrongState,
                            fmt::format("{}/{} exists: another VM has this id, or had it and its "
                                        "jail was not removed",
                                        s.jail_path, pid_name));
        }
        if (!s.pid_file.valid()) return base::fail_errno(errno, pid_name);
        s.ledger.note(s.root.get(), pid_name, false);
        return {};
      });
  for (const CgroupPlan& plan : s.cgroup_plans) {
    std::string text = fmt::format("{} the control group {}/{}", plan.make ? "make" : "open",
                                   plan.mount, plan.path);
    for (const auto& [file, value] : plan.settings) text += fmt::format(", {}={}", file, value);
    add(std::move(text), [&s, &plan]() -> base::Result<> {
      MOTE_TRY(auto cgroup, make_cgroup(plan, s.ledger));
      s.cgroups.push_back(std::move(cgroup));
      return {};
    });
  }
}

void Plan::add_file_steps() {
  State& s = *state_;
  for (const FileSetting& file : s.options.files) {
    if (file.how == FileSetting::How::kHardLink) {
      add(fmt::format("hard link {} as /{}", file.source, file.name),
          [&s, &file]() -> base::Result<> {
            MOTE_TRY(const auto place, make_place(s.root.get(), file.name, s.ledger));
            if (::linkat(AT_FDCWD, file.source.c_str(), place.folder.get(), place.name.c_str(),
                         0) != 0) {
              return base::fail_errno(errno, "link");
            }
            s.ledger.note(place.folder.get(), place.name, false);
            return {};
          });
      continue;
    }
    const bool read_only = file.how == FileSetting::How::kBindReadOnly;
    add(fmt::format("bind {} as /{}{}", file.source, file.name, read_only ? ", read-only" : ""),
        [&s, &file, read_only]() -> base::Result<> {
          MOTE_TRY(const auto place, make_place(s.root.get(), file.name, s.ledger));
          const base::UniqueFd target(::openat(place.folder.get(), place.name.c_str(),
                                               O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                                               0600));
          if (!target.valid()) return base::fail_errno(errno, file.name);
          s.ledger.note(place.folder.get(), place.name, false);
          MOTE_TRY(auto bind, clone_file(file.source, file.name, read_only));
          s.binds.push_back(std::move(bind));
          return {};
        });
  }
  for (const DeviceNode& device : s.devices) {
    add(fmt::format("make the device /{} ({}:{}) for {}:{}", device.path, ::major(device.number),
                    ::minor(device.number), s.options.uid, s.options.gid),
        [&s, &device]() -> base::Result<> {
          MOTE_TRY(const auto place, make_place(s.root.get(), device.path, s.ledger));
          const char* const name = place.name.c_str();
          if (::mknodat(place.folder.get(), name, S_IFCHR | 0600, device.number) != 0) {
            return base::fail_errno(errno, "mknod");
          }
          s.ledger.note(place.folder.get(), place.name, false);
          return give_to(place.folder.get(), name, s.options.uid, s.options.gid);
        });
  }
  add(fmt::format("make /run and give it and / to {}:{}", s.options.uid, s.options.gid),
      [&s]() -> base::Result<> {
        MOTE_TRY(const auto run, make_folder(s.root.get(), "run", 0755, s.ledger));
        MOTE_TRY_VOID(give_to(run.get(), "", s.options.uid, s.options.gid));
        return give_to(s.root.get(), "", s.options.uid, s.options.gid);
      });
}

void Plan::add_last_steps() {
  State& s = *state_;
  const Options& options = s.options;
  add(fmt::format("limit descriptors to {}{}", options.descriptor_limit,
                  options.file_size_limit
                      ? fmt::format(", files to {} bytes", *options.file_size_limit)
                      : ""),
      [&s] { return set_limits(s.options.descriptor_limit, s.options.file_size_limit); });
  if (options.network_namespace) {
    add(fmt::format("join the network namespace {}", *options.network_namespace),
        [&s]() -> base::Result<> {
          if (::setns(s.network_namespace.get(), CLONE_NEWNET) == 0) return {};
          return base::fail_errno(errno, "setns");
        });
  }
  if (options.new_pid_namespace || options.daemonize) {
    add(fmt::format("go on in a child{}{}",
                    options.new_pid_namespace ? " in a new PID namespace" : "",
                    options.daemonize ? " that has a session of its own and no terminal" : ""),
        [&s]() -> base::Result<> {
          MOTE_TRY(s.child, Child::become(s.options.new_pid_namespace, s.options.daemonize,
                                          s.pid_file.get()));
          return {};
        });
  } else {
    add("write our PID to the PID file", [&s] { return write_pid(s.pid_file.get(), ::getpid()); });
  }
  for (size_t i = 0; i < s.cgroup_plans.size(); ++i) {
    add(fmt::format("enter the control group {}", s.cgroup_plans[i].path),
        [&s, i] { return enter_cgroup(s.cgroups[i]); });
  }
  add(fmt::format("make {} the root, and the host's files unreachable", s.jail_path),
      [&s] { return enter_root(s.root.get(), s.binds); });
  add(s.landlock == 0 ? "no Landlock: this kernel has none"
                      : fmt::format("restrict by Landlock (version {})", s.landlock),
      [&s] { return restrict_by_landlock(s.landlock, s.program.get()); });
  add(fmt::format("become {}:{}, without groups, capabilities or new privileges", options.uid,
                  options.gid),
      [&s] { return drop_privileges(s.options.uid, s.options.gid); });
  add("lay the jail's seccomp filter on", [] {
    return monitor::seccomp::install(monitor::seccomp::built_in_jail_program(),
                                     monitor::seccomp::Threads::kThis);
  });
  add(fmt::format("run {} --id {} {}", options.exec_file, options.id,
                  fmt::join(options.monitor_arguments, " ")),
      [&s] { return run_program(s.program.get(), s.program_name, s.options); });
}

std::string Plan::describe() const {
  std::string text;
  for (size_t i = 0; i < steps_.size(); ++i)
    text += fmt::format("{:2}. {}\n", i + 1, steps_[i].text);
  return text;
}

base::Error Plan::execute() {
  State& s = *state_;
  for (Step& step : steps_) {
    auto done = step.run();
    if (done) continue;
    base::Error error = std::move(done).error();
    error.context = step.text + ": " + error.context;
    if (s.child && s.child->is_here()) s.child->fail(error.message());  // Does not return.
    // The parent of a child that failed comes here too, still with all it needs to clean up.
    s.ledger.undo();
    return error;
  }
  return {base::ErrorCode::kInternal, 0, "the last step came back"};
}

}  // namespace mote::jailer
