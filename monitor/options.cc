#include "monitor/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <string_view>

#include "monitor/snapshot/format.h"
#include "monitor/version.h"

namespace mote::monitor {
namespace {

std::string base_name(std::string_view path) {
  return std::string(path.substr(path.find_last_of('/') + 1));
}

/// Launch scripts read the first line, so under the name `firecracker` it follows that convention.
std::string version_text(const std::string& program_name) {
  const std::string own = fmt::format("Mote v{}\n", kMoteVersion);
  if (program_name != "firecracker") return own;
  return fmt::format("Firecracker v{}\n", kCompatibleApiVersion) + own;
}

void declare(CLI::App& app, Options& options, std::string& level) {
  app.add_option("--api-sock", options.api_socket, "Unix socket of the API")->capture_default_str();
  app.add_option("--id", options.id, "Instance id: 1 to 64 letters, digits and hyphens")
      ->capture_default_str();
  auto* const config = app.add_option("--config-file", options.config_file,
                                      "JSON configuration: build and start at once");
  app.add_flag("--no-api", options.no_api, "Serve no API; needs --config-file")->needs(config);
  app.add_flag("--boot-timer", options.boot_timer, "Log the guest's boot time (store of 123)");
  app.add_option("--log-path", options.log_path,
                 "File or FIFO for the log; standard error if absent");
  app.add_option("--level", level, "Off, Error, Warning, Info, Debug or Trace");
  app.add_option("--module", options.log_module, "Log only lines of this source path prefix");
  app.add_flag("--show-level", options.show_level, "Put the level into log lines");
  app.add_flag("--show-log-origin", options.show_log_origin, "Put file and line into log lines");
  app.add_option("--metrics-path", options.metrics_path, "File or FIFO for metrics");
  app.add_option("--kvm-device", options.kvm_device, "/dev/kvm or /dev/kvm-lite")
      ->capture_default_str();
  app.add_option("--kernel-cache", options.kernel_cache,
                 "Directory that keeps decompressed kernels, so that a bzImage is unpacked once");
  app.add_option("--ready-fd", options.ready_fd,
                 "One byte is written here when the API socket listens")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--http-api-max-payload-size", options.http_body_limit, "Bytes of a request body")
      ->capture_default_str();
  app.add_option("--metadata", options.metadata,
                 "JSON file with the guest's metadata, as PUT /mmds would set it");
  app.add_option("--mmds-size-limit", options.mmds_limit,
                 "Bytes of the guest's metadata as JSON; the limit of a request body if absent");
  app.add_option("--start-time-us", options.start_time_us, "Monotonic time of the launch");
  app.add_option("--start-time-cpu-us", options.start_time_cpu_us, "CPU time at the launch");
  app.add_option("--parent-cpu-time-us", options.parent_cpu_time_us, "CPU time the launcher used");
  app.add_option("--describe-snapshot", options.describe_snapshot,
                 "Tell what a snapshot's state file holds, and end");
  app.add_option("--merge-snapshot", options.merge_snapshot,
                 "STATE MEMORY BASE: bring a diff's pages onto the memory file it was made after, "
                 "and end")
      ->expected(3);
  auto* const filter =
      app.add_option("--seccomp-filter", options.seccomp_filter,
                     "JSON file with a seccomp policy in place of the built-in one");
  app.add_flag("--no-seccomp", options.no_seccomp, "Install no seccomp filters: for debugging only")
      ->excludes(filter);
}

Leave bad_argument(const std::string& text) {
  std::fputs(("mote: " + text + "\nRun with --help for the list of arguments.\n").c_str(), stderr);
  return {ExitCode::kBadArguments};
}

}  // namespace

base::Result<> check_instance_id(const std::string& id) {
  const bool valid = !id.empty() && id.size() <= 64 && std::ranges::all_of(id, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-';
  });
  if (valid) return {};
  return base::fail(base::ErrorCode::kInvalidArgument,
                    "--id: \"" + id + "\" is not 1 to 64 letters, digits and hyphens");
}

std::variant<Options, Leave> parse_options(int argc, const char* const* argv) {
  Options options;
  options.program_name = argc > 0 ? base_name(argv[0]) : "mote";
  options.api_socket =
      options.program_name == "firecracker" ? "/run/firecracker.socket" : "/run/mote.socket";
  std::string level;
  CLI::App app("Mote: a microVM monitor for serverless cold start", options.program_name);
  declare(app, options, level);
  app.set_version_flag("--version,-V", version_text(options.program_name));
  app.add_flag_callback(
      "--snapshot-version",
      [] {
        std::puts(snapshot::version_text(snapshot::kMajorVersion, snapshot::kMinorVersion).c_str());
        throw CLI::Success();
      },
      "Show the version of snapshots this build writes");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    app.exit(success);
    return Leave{ExitCode::kOk};
  } catch (const CLI::ParseError& error) {
    return bad_argument(error.what());
  }
  if (const auto id = check_instance_id(options.id); !id) return bad_argument(id.error().message());
  if (!level.empty()) {
    const auto parsed = base::log::parse_level(level);
    if (!parsed) return bad_argument("--" + parsed.error().message());
    options.log_level = *parsed;
  }
  return options;
}

}  // namespace mote::monitor
