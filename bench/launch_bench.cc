// launch_bench: what one microVM costs its host, for Mote and for any other monitor beside it. The
// guest's first instructions write a line, so that monitors are measured and not guests. Runs are
// interleaved. The figures are those of this host; compare monitors only within one run.
//   launch    process start to that line; SIGKILL to process gone; CPU time of both
//   parallel  launches a second from 1 to 16 launchers at once
//   idle      memory of many VMs that halt
//   api       process start to an answer on the socket; InstanceStart to the guest's line

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/clock.h"
#include "bench/api_connection.h"
#include "bench/api_launch.h"
#include "bench/figures.h"
#include "bench/monitor_adapter.h"
#include "bench/process_memory.h"

namespace mote::bench {
namespace {

struct Options {
  std::string guest;
  std::vector<std::string> monitors;
  std::string json;
  std::string folder;
  int runs = 100;
  std::vector<int> idle_vms = {100};
  uint64_t memory_mib = 128;
};

double cpu_ms(const rusage& usage) {
  const auto ms = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_usec) / 1e3;
  };
  return ms(usage.ru_utime) + ms(usage.ru_stime);
}

[[noreturn]] void give_up(const std::string& reason) {
  std::fprintf(stderr, "launch_bench: %s\n", reason.c_str());
  std::exit(1);
}

Process launch(const std::string& name, const std::vector<std::string>& command) {
  auto process = spawn(command);
  if (!process) give_up(process.error().message());
  if (!wait_for_guest(*process)) give_up(name + ": the guest did not start");
  return std::move(*process);
}

rusage reap(const Process& process) {
  rusage usage{};
  ::kill(process.pid, SIGKILL);
  ::wait4(process.pid, nullptr, 0, &usage);
  return usage;
}

class Bench final {
 public:
  Bench(const Options& options, const std::vector<MonitorAdapter>& monitors, Figures& figures)
      : options_(options), monitors_(monitors), figures_(figures) {}

  void measure_launches() {
    std::vector<std::vector<std::string>> commands;
    std::vector<std::array<Series, 3>> series;
    for (const MonitorAdapter& monitor : monitors_) {
      commands.push_back(monitor.command(guest(), options_.folder, "launch"));
      series.push_back({Series{monitor.name(), "launch.first_byte", "ms", {}},
                        Series{monitor.name(), "launch.kill", "ms", {}},
                        Series{monitor.name(), "launch.cpu", "ms", {}}});
    }
    for (int run = -1; run < options_.runs; ++run) {  // Run -1 warms caches and does not count.
      for (size_t i = 0; i < monitors_.size(); ++i) {
        const uint64_t start_ns = base::monotonic_ns();
        const Process process = launch(monitors_[i].name(), commands[i]);
        const double first_byte = ms_since(start_ns);
        const uint64_t kill_ns = base::monotonic_ns();
        const rusage usage = reap(process);
        const double kill = ms_since(kill_ns);
        if (run < 0) continue;
        series[i][0].values.push_back(first_byte);
        series[i][1].values.push_back(kill);
        series[i][2].values.push_back(cpu_ms(usage));
      }
    }
    for (const auto& of_monitor : series) {
      for (const Series& one : of_monitor) figures_.add(one);
    }
  }

  void measure_parallel() {
    for (const MonitorAdapter& monitor : monitors_) {
      for (const int launchers : {1, 2, 4, 8, 16}) {
        figures_.add({monitor.name(),
                      "parallel." + std::to_string(launchers),
                      "launches/s",
                      {launches_per_second(monitor, launchers)}});
      }
    }
  }

  void measure_idle() {
    for (const MonitorAdapter& monitor : monitors_) {
      for (const int count : options_.idle_vms) {
        // Others need tens of MiB each: what a few of them show is enough.
        hold_idle(monitor, monitor.name() == "mote" ? count : std::min(count, 50));
        if (monitor.name() != "mote" && count >= 50) break;
      }
    }
  }

  void measure_api() {
    const std::string socket = options_.folder + "/api.sock";
    for (const MonitorAdapter& monitor : monitors_) {
      if (!monitor.has_api()) continue;
      Series ready{monitor.name(), "api.ready", "ms", {}};
      Series first_byte{monitor.name(), "api.start_to_first_byte", "ms", {}};
      for (int run = 0; run < options_.runs; ++run) {
        const auto launched = launch_by_api(monitor, guest(), socket);
        if (!launched) give_up(monitor.name() + ": " + launched.error().message());
        reap(launched->process);
        ready.values.push_back(launched->ready_ms);
        first_byte.values.push_back(launched->start_to_first_byte_ms);
      }
      figures_.add(ready);
      figures_.add(first_byte);
    }
  }

 private:
  [[nodiscard]] Guest guest() const { return {options_.guest, "stay", options_.memory_mib}; }

  double launches_per_second(const MonitorAdapter& monitor, int launchers) {
    const int total = std::max(options_.runs, launchers);
    std::atomic<int> left = total;
    const uint64_t start_ns = base::monotonic_ns();
    std::vector<std::jthread> threads;
    for (int i = 0; i < launchers; ++i) {
      const auto command =
          monitor.command(guest(), options_.folder, "parallel" + std::to_string(i));
      threads.emplace_back([&, command] {
        while (left.fetch_sub(1) > 0) reap(launch(monitor.name(), command));
      });
    }
    threads.clear();
    return total / (ms_since(start_ns) / 1e3);
  }

  void hold_idle(const MonitorAdapter& monitor, int count) {
    const auto command = monitor.command(guest(), options_.folder, "idle");
    const std::string suffix = "." + std::to_string(count);
    const uint64_t available_kib = host_available_kib();
    const uint64_t start_ns = base::monotonic_ns();
    std::vector<Process> processes;
    for (int i = 0; i < count; ++i) processes.push_back(launch(monitor.name(), command));
    const double took_ms = ms_since(start_ns);
    const uint64_t left_kib = host_available_kib();
    Series pss{monitor.name(), "idle.pss" + suffix, "KiB", {}};
    Series dirty{monitor.name(), "idle.private_dirty" + suffix, "KiB", {}};
    for (const Process& process : processes) {
      const ProcessMemory memory = process_memory(process.pid, options_.memory_mib);
      pss.values.push_back(static_cast<double>(memory.pss_kib));
      dirty.values.push_back(static_cast<double>(memory.private_dirty_kib));
    }
    figures_.add(pss);
    figures_.add(dirty);
    figures_.add({monitor.name(),
                  "idle.host_memory" + suffix,
                  "KiB",
                  {(static_cast<double>(available_kib) - static_cast<double>(left_kib)) / count}});
    figures_.add({monitor.name(), "idle.start_all" + suffix, "ms", {took_ms}});
    for (const Process& process : processes) ::kill(process.pid, SIGKILL);
    for (const Process& process : processes) ::waitpid(process.pid, nullptr, 0);
  }

  const Options& options_;
  const std::vector<MonitorAdapter>& monitors_;
  Figures& figures_;
};

/// "NAME=ADAPTER[:BINARY]".
MonitorAdapter load_adapter(const std::string& text) {
  const size_t equals = text.find('=');
  const size_t colon = text.find(':', equals);
  if (equals == std::string::npos)
    give_up("--monitor " + text + ": NAME=ADAPTER[:BINARY] expected");
  auto adapter =
      MonitorAdapter::load(text.substr(0, equals), text.substr(equals + 1, colon - equals - 1),
                           colon == std::string::npos ? "" : text.substr(colon + 1));
  if (!adapter) give_up(adapter.error().message());
  return std::move(*adapter);
}

}  // namespace
}  // namespace mote::bench

int main(int argc, char** argv) {
  using namespace mote::bench;
  Options options;
  CLI::App app("Measures launches and idle VMs on this host's /dev/kvm");
  app.add_option("--monitor", options.monitors, "NAME=ADAPTER[:BINARY], see bench/peers")
      ->required();
  app.add_option("--guest", options.guest, "tests/guests/first_byte.elf")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("--json", options.json, "File to which figures are added");
  app.add_option("--runs", options.runs)->check(CLI::Range(1, 100000))->capture_default_str();
  app.add_option("--idle-vms", options.idle_vms, "How many at once; repeatable")
      ->check(CLI::Range(1, 5000))
      ->capture_default_str();
  app.add_option("--memory-mib", options.memory_mib)->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  std::string folder = (std::filesystem::temp_directory_path() / "mote-bench-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) give_up("no temporary folder");
  options.folder = folder;
  std::vector<MonitorAdapter> monitors;
  for (const std::string& text : options.monitors) monitors.push_back(load_adapter(text));
  Figures figures(options.json);
  Bench bench(options, monitors, figures);
  bench.measure_launches();
  bench.measure_api();
  bench.measure_parallel();
  bench.measure_idle();
  std::filesystem::remove_all(folder);
  return 0;
}
