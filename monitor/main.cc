// mote: one process, one microVM. Start-up reads from top to bottom; everything after it happens in
// the event loop.

#include <fcntl.h>
#include <malloc.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>

#include "api-server/config_file.h"
#include "api-server/server.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/event_loop.h"
#include "monitor/controller.h"
#include "monitor/host_probe.h"
#include "monitor/options.h"
#include "monitor/seccomp/filter.h"
#include "monitor/seccomp/policy.h"
#include "monitor/signals.h"
#include "monitor/snapshot/tool.h"
#include "monitor/vcpu.h"
#include "monitor/version.h"

namespace mote::monitor {
namespace {

constexpr uint32_t kRingEntries = 256;

ExitCode complain(const base::Error& error, ExitCode code) {
  const std::string text = error.message();
  LOG_ERROR("{}", text);
  std::fprintf(stderr, "mote: %s\n", text.c_str());
  return code;
}

BootPhases start_phases(const Options& options, uint64_t now_us, uint64_t cpu_us) {
  BootPhases phases;
  phases.process_start_us = options.start_time_us.value_or(now_us);
  phases.process_start_cpu_us =
      options.start_time_cpu_us.value_or(options.start_time_us ? 0 : cpu_us);
  phases.parent_cpu_us = options.parent_cpu_time_us;
  return phases;
}

/// Applies an Action that is answered before apply() returns.
base::Result<> apply_now(Controller& controller, Action action) {
  base::Result<> outcome;
  controller.apply(std::move(action), [&](Reply reply) {
    if (!reply) outcome = std::unexpected(std::move(reply).error());
  });
  return outcome;
}

/// What the command line says of log and metrics goes the way of the API requests it stands for.
base::Result<> apply_log_options(const Options& options, Controller& controller) {
  LoggerConfig logger;
  logger.log_path = options.log_path;
  logger.level = options.log_level;
  logger.module = options.log_module;
  if (options.show_level) logger.show_level = true;
  if (options.show_log_origin) logger.show_log_origin = true;
  MOTE_TRY_VOID(apply_now(controller, PutLogger{std::move(logger)}));
  if (options.metrics_path) {
    MOTE_TRY_VOID(apply_now(controller, PutMetrics{MetricsConfig{*options.metrics_path}}));
  }
  return {};
}

base::Result<std::string> read_text_file(const std::string& path) {
  constexpr size_t kLimit = 1024 * 1024;
  constexpr size_t kStep = 2048;
  const base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid()) return base::fail_errno(errno, "cannot open " + path);
  std::string text;
  while (text.size() <= kLimit) {
    const size_t before = text.size();
    text.resize(before + kStep);
    const ssize_t got = ::read(fd.get(), text.data() + before, kStep);
    text.resize(before + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got == 0) return text;
    if (got < 0 && errno != EINTR) return base::fail_errno(errno, "cannot read " + path);
  }
  return base::fail(base::ErrorCode::kInvalidArgument, path + " is larger than 1 MiB");
}

base::Result<> apply_metadata_file(const std::string& path, Controller& controller) {
  const auto text = read_text_file(path);
  if (!text) return base::with_context(text.error(), "--metadata");
  auto content = api_server::decode_metadata_file(*text);
  if (!content) return base::with_context(content.error(), "--metadata");
  auto applied = apply_now(controller, PutMmds{std::move(*content)});
  if (!applied) return base::with_context(applied.error(), "--metadata");
  return applied;
}

/// Configures from the file and starts the VM.
base::Result<> apply_config_file(const std::string& path, Controller& controller) {
  const auto text = read_text_file(path);
  if (!text) return base::with_context(text.error(), "--config-file");
  MOTE_TRY(auto actions, api_server::decode_config_file(*text, read_text_file));
  for (Action& action : actions) MOTE_TRY_VOID(apply_now(controller, std::move(action)));
  return apply_now(controller, InstanceStart{});
}

void tell_ready(const Options& options, BootPhases& phases) {
  phases.api_ready_us = base::monotonic_us();
  phases.api_ready_cpu_us = base::process_cpu_us();
  if (!options.ready_fd) return;
  if (::write(*options.ready_fd, "R", 1) != 1) {
    LOG_WARNING("--ready-fd: cannot write to descriptor {}: {}", *options.ready_fd,
                std::strerror(errno));
  }
  ::close(*options.ready_fd);
}

// A sanitizer's runtime makes calls of its own.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kCanFilter = false;
#else
constexpr bool kCanFilter = true;
#endif

/// The filters to install: built in, from a file, or none.
struct Filters {
  seccomp::Programs own;  ///< What the spans show when they come from a file.
  std::span<const sock_filter> loop;
  std::span<const sock_filter> vcpu;
};

base::Result<> choose_filters(const Options& options, Filters& filters) {
  if (options.no_seccomp || !kCanFilter) {
    LOG_WARNING("no seccomp filters are installed");
    return {};
  }
  filters.loop = seccomp::built_in_loop_program();
  filters.vcpu = seccomp::built_in_vcpu_program();
  if (options.seccomp_filter) {
    MOTE_TRY(const auto text, read_text_file(*options.seccomp_filter));
    MOTE_TRY(filters.own, seccomp::compile_policy(text));
    filters.loop = filters.own.loop;
    filters.vcpu = filters.own.vcpu;
  }
  return seccomp::report_violations();
}

/// --describe-snapshot and --merge-snapshot; nothing when a VM was asked for.
std::optional<ExitCode> use_snapshot_tool(const Options& options) {
  if (options.describe_snapshot) {
    const auto text = snapshot::describe(*options.describe_snapshot);
    if (!text) return complain(text.error(), ExitCode::kBadArguments);
    std::fputs(text->c_str(), stdout);
    return ExitCode::kOk;
  }
  if (!options.merge_snapshot.empty()) {
    const auto& files = options.merge_snapshot;
    const auto merged = snapshot::merge_diff(files[2], {files[0], files[1]});
    return merged ? ExitCode::kOk : complain(merged.error(), ExitCode::kBadArguments);
  }
  return std::nullopt;
}

ExitCode run(const Options& options, BootPhases phases) {
  if (auto blocked = SignalWatcher::block_signals(); !blocked) {
    return complain(blocked.error(), ExitCode::kGenericError);
  }
  HostProbe host(options.kvm_device);
  auto loop = io::EventLoop::create(kRingEntries);
  if (!loop) return complain(loop.error(), ExitCode::kGenericError);
  if (auto kick = Vcpu::install_kick_signal(); !kick) {
    return complain(kick.error(), ExitCode::kGenericError);
  }

  Filters filters;
  if (auto chosen = choose_filters(options, filters); !chosen) {
    return complain(base::with_context(chosen.error(), "--seccomp-filter").error(),
                    ExitCode::kBadArguments);
  }
  Controller controller(
      **loop, host,
      {options.id, options.kernel_cache, options.boot_timer,
       options.mmds_limit.value_or(options.http_body_limit), phases, filters.vcpu});
  if (auto logs = apply_log_options(options, controller); !logs) {
    return complain(logs.error(), ExitCode::kBadArguments);
  }
  if (options.metadata) {
    if (auto applied = apply_metadata_file(*options.metadata, controller); !applied) {
      return complain(applied.error(), ExitCode::kBadConfiguration);
    }
  }
  auto signals = SignalWatcher::create(**loop, [&](int signal) {
    LOG_INFO("signal {}: ending the VM", signal);
    controller.shut_down(ExitCode::kOk);
  });
  if (!signals) return complain(signals.error(), ExitCode::kGenericError);

  std::unique_ptr<api_server::Server> server;
  if (!options.no_api) {
    auto created = api_server::Server::create(**loop, options.api_socket, controller,
                                              {options.http_body_limit});
    if (!created) return complain(created.error(), ExitCode::kGenericError);
    server = std::move(*created);
  }
  ::setenv("TZ", "UTC0",
           1);  // Log times are in UTC; and no file is read for them behind the filter.
  ::tzset();
  // From here on, and before the first byte of anybody else's: nothing but what the policy allows.
  if (!filters.loop.empty()) {
    if (auto installed = seccomp::install(filters.loop, seccomp::Threads::kAll); !installed) {
      return complain(installed.error(), ExitCode::kGenericError);
    }
  }
  LOG_INFO("Mote {} is ready", kMoteVersion);
  tell_ready(options, controller.phases());
  if (options.config_file) {
    if (auto applied = apply_config_file(*options.config_file, controller); !applied) {
      return complain(applied.error(), ExitCode::kBadConfiguration);
    }
  }
  if (auto ran = (*loop)->run(); !ran) return complain(ran.error(), ExitCode::kGenericError);
  LOG_INFO("exiting with code {}", static_cast<int>(controller.exit_code()));
  return controller.exit_code();
}

}  // namespace
}  // namespace mote::monitor

int main(int argc, char** argv) {
  using namespace mote;
  // Another heap for each thread would cost a page table and pages, and nothing waits for this one.
  ::mallopt(M_ARENA_MAX, 1);
  const uint64_t now_us = base::monotonic_us();
  const uint64_t cpu_us = base::process_cpu_us();
  const auto parsed = monitor::parse_options(argc, argv);
  if (const auto* const leave = std::get_if<monitor::Leave>(&parsed))
    return static_cast<int>(leave->code);
  const auto& options = std::get<monitor::Options>(parsed);
  // The jailer runs us by a descriptor, after which the kernel names the process.
  ::prctl(PR_SET_NAME, options.program_name.c_str());
  if (const auto code = monitor::use_snapshot_tool(options)) return static_cast<int>(*code);
  return static_cast<int>(monitor::run(options, monitor::start_phases(options, now_us, cpu_us)));
}
