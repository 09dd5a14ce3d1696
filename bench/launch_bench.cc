// launch_bench: what one microVM costs its host. Starts mote with a guest whose first instructions
// write a line, and measures, over many runs: process start to that line, CPU time, teardown; then
// idle VMs: memory of one, and of many. The figures are those of this host; compare monitors only
// within one run.

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/unique_fd.h"

extern char** environ;

namespace {

using mote::base::UniqueFd;

struct Options {
  std::string mote;
  std::string guest;
  int runs = 100;
  int idle_vms = 100;
  uint64_t memory_mib = 128;
};

struct Child {
  pid_t pid = -1;
  UniqueFd output;
};

std::string write_config(const Options& options, const std::string& boot_args) {
  const std::string path = "/tmp/mote_launch_bench_" + std::to_string(::getpid()) + ".json";
  std::ofstream(path) << "{\"boot-source\":{\"kernel_image_path\":\"" << options.guest
                      << "\",\"boot_args\":\"" << boot_args
                      << "\"},\"machine-config\":{\"vcpu_count\":1,\"mem_size_mib\":"
                      << options.memory_mib << "}}";
  return path;
}

Child launch(const Options& options, const std::string& config) {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) std::exit(1);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  std::vector<std::string> words = {options.mote, "--no-api", "--config-file", config};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  Child child;
  if (::posix_spawn(&child.pid, options.mote.c_str(), &actions, nullptr, arguments.data(),
                    environ) != 0) {
    std::perror(options.mote.c_str());
    std::exit(1);
  }
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  child.output.reset(ends[0]);
  return child;
}

/// Waits for the guest's line; false when the monitor ended without one.
bool wait_for_line(const Child& child) {
  char byte = 0;
  return ::read(child.output.get(), &byte, 1) == 1 && byte == '!';
}

class Series {
 public:
  void add(double value) { values_.push_back(value); }
  void print(const char* name, const char* unit) {
    std::sort(values_.begin(), values_.end());
    const auto at = [&](double part) {
      return values_[static_cast<size_t>(part * static_cast<double>(values_.size() - 1))];
    };
    std::printf("  %-34s median %8.3f  p10 %8.3f  p90 %8.3f %s\n", name, at(0.5), at(0.1), at(0.9),
                unit);
  }

 private:
  std::vector<double> values_;
};

double ms_since(uint64_t start_ns) {
  return static_cast<double>(mote::base::monotonic_ns() - start_ns) / 1e6;
}

double cpu_ms(const rusage& usage) {
  const auto ms = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_usec) / 1e3;
  };
  return ms(usage.ru_utime) + ms(usage.ru_stime);
}

bool measure_launches(const Options& options) {
  const std::string config = write_config(options, "reset");
  Series first_byte;
  Series teardown;
  Series cpu;
  for (int i = 0; i < options.runs; ++i) {
    const uint64_t start_ns = mote::base::monotonic_ns();
    const Child child = launch(options, config);
    const bool seen = wait_for_line(child);
    const uint64_t seen_ns = mote::base::monotonic_ns();
    first_byte.add(ms_since(start_ns));
    int status = 0;
    rusage usage{};
    ::wait4(child.pid, &status, 0, &usage);
    teardown.add(ms_since(seen_ns));
    cpu.add(cpu_ms(usage));
    if (!seen || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
      std::fprintf(stderr, "the guest did not start and end well (status %d)\n", status);
      return false;
    }
  }
  std::printf("%d launches, 1 vCPU, %lu MiB:\n", options.runs,
              static_cast<unsigned long>(options.memory_mib));
  first_byte.print("process start to first guest byte", "ms");
  teardown.print("guest's reset to process gone", "ms");
  cpu.print("CPU time of the whole life", "ms");
  ::unlink(config.c_str());
  return true;
}

/// Sums a field of smaps_rollup, in KiB.
uint64_t rollup_kib(pid_t pid, const std::string& field) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/smaps_rollup");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(field)) return std::stoull(line.substr(line.find(':') + 1));
  }
  return 0;
}

/// Resident pages of guest RAM (the one mapping of that size), in KiB.
uint64_t guest_kib(pid_t pid, uint64_t memory_mib) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/smaps");
  uint64_t total = 0;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    uint64_t start = 0;
    uint64_t end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &start, &end) == 2) {
      // The kernel image cuts the mapping in two or three; all pieces are far larger than anything
      // else.
      inside = end - start > memory_mib * 1024 * 1024 / 4;
    } else if (inside && line.starts_with("Pss:")) {
      total += std::stoull(line.substr(4));
    }
  }
  return total;
}

bool measure_idle(const Options& options) {
  const std::string config = write_config(options, "stay");
  std::vector<Child> children;
  const uint64_t start_ns = mote::base::monotonic_ns();
  for (int i = 0; i < options.idle_vms; ++i) {
    children.push_back(launch(options, config));
    if (!wait_for_line(children.back())) return false;
  }
  const double took_ms = ms_since(start_ns);
  Series pss;
  Series private_dirty;
  for (const Child& child : children) {
    const uint64_t guest = guest_kib(child.pid, options.memory_mib);
    pss.add(static_cast<double>(rollup_kib(child.pid, "Pss:") - guest));
    private_dirty.add(static_cast<double>(rollup_kib(child.pid, "Private_Dirty:")) -
                      static_cast<double>(guest));
  }
  std::printf("%d idle VMs, started one after another in %.0f ms:\n", options.idle_vms, took_ms);
  pss.print("PSS of each beyond guest RAM", "KiB");
  private_dirty.print("private dirty beyond guest RAM", "KiB");
  for (const Child& child : children) ::kill(child.pid, SIGTERM);
  for (const Child& child : children) ::waitpid(child.pid, nullptr, 0);
  ::unlink(config.c_str());
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Measures launches and idle VMs of mote on this host's /dev/kvm");
  app.add_option("--mote", options.mote, "The monitor")->required()->check(CLI::ExistingFile);
  app.add_option("--guest", options.guest, "tests/guests/first_byte.elf")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("--runs", options.runs)->check(CLI::Range(1, 100000))->capture_default_str();
  app.add_option("--idle-vms", options.idle_vms)->check(CLI::Range(1, 5000))->capture_default_str();
  app.add_option("--memory-mib", options.memory_mib)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return measure_launches(options) && measure_idle(options) ? 0 : 1;
}
