// restore_bench: what a clone of a snapshot costs its host. A guest that fills some memory is saved
// once; then, over many runs, a fresh process loads it: by one request that also resumes it, and in
// two steps as a pool of waiting clones does. Then what a request of 8 MiB costs a waiting clone,
// with and without a working set. At last many clones wait at once.

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/clock.h"
#include "bench/api_connection.h"
#include "bench/figures.h"
#include "bench/monitor_adapter.h"
#include "bench/process_memory.h"

namespace mote::bench {
namespace {

struct Options {
  std::string mote;
  std::string guest;
  std::string json;
  std::string folder;
  int runs = 50;
  std::vector<uint64_t> memory_mib = {128, 2048};
  int clones = 1000;
};

[[noreturn]] void give_up(const std::string& reason) {
  std::fprintf(stderr, "restore_bench: %s\n", reason.c_str());
  std::exit(1);
}

template <typename T>
T need(base::Result<T> result) {
  if (!result) give_up(result.error().message());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

/// CPU time of a whole process so far.
double cpu_ms(pid_t pid) {
  clockid_t clock{};
  timespec time{};
  if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
}

/// Minor page faults of a process so far (proc(5), /proc/PID/stat field 10).
double page_faults(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::string field;
  for (int i = 3; i <= 10; ++i) fields >> field;
  return field.empty() ? 0 : std::stod(field);
}

/// A `mote` that waits for requests.
struct Monitor {
  Process process;
  ApiConnection api;
};

class Bench final {
 public:
  Bench(Options options, Figures& figures) : options_(std::move(options)), figures_(figures) {}

  void measure(uint64_t memory_mib) {
    save_template(memory_mib);
    const std::string suffix = "." + std::to_string(memory_mib);
    Series at_once{"mote", "restore.load_and_resume" + suffix, "ms", {}};
    Series load{"mote", "restore.load" + suffix, "ms", {}};
    Series load_cpu{"mote", "restore.load_cpu" + suffix, "ms", {}};
    Series resume{"mote", "restore.resume" + suffix, "ms", {}};
    Series output{"mote", "restore.resume_to_output" + suffix, "ms", {}};
    Series faults{"mote", "restore.page_faults" + suffix, "faults", {}};
    for (int run = -1; run < options_.runs; ++run) {  // Run -1 warms the page cache.
      const double one_request = load_and_resume();
      const auto monitor = start_monitor(0);
      const double cpu_before = cpu_ms(monitor.process.pid);
      const double faults_before = page_faults(monitor.process.pid);
      uint64_t start_ns = base::monotonic_ns();
      need(monitor.api.request("PUT /snapshot/load", load_body(false)));
      const double loaded = ms_since(start_ns);
      const double cpu = cpu_ms(monitor.process.pid) - cpu_before;
      start_ns = base::monotonic_ns();
      need(monitor.api.request("PATCH /vm", R"({"state":"Resumed"})"));
      const double resumed = ms_since(start_ns);
      if (!wait_for_guest(monitor.process)) give_up("the clone says nothing");
      const double said = ms_since(start_ns);
      const double faulted = page_faults(monitor.process.pid) - faults_before;
      end(monitor.process);
      if (run < 0) continue;
      at_once.values.push_back(one_request);
      load.values.push_back(loaded);
      load_cpu.values.push_back(cpu);
      resume.values.push_back(resumed);
      output.values.push_back(said);
      faults.values.push_back(faulted);
    }
    for (const Series& series : {at_once, load, load_cpu, resume, output, faults}) {
      figures_.add(series);
    }
  }

  /// A clone that waits serves its first request: every page of 8 MiB, half of them written.
  void measure_first_request() {
    const uint64_t memory_mib = options_.memory_mib.front();
    save_template(memory_mib, "touch=8 work=2048 interval=1000");
    record_working_set();
    const std::string set = R"(,"working_set_path":")" + options_.folder + R"(/pages")";
    for (const auto& [name, more] : {std::pair{"without", std::string()}, std::pair{"with", set}}) {
      const std::string suffix = std::string("_") + name + "_working_set";
      Series load{"mote", "first_request.load" + suffix, "ms", {}};
      Series took{"mote", "first_request.time" + suffix, "ms", {}};
      Series cpu{"mote", "first_request.cpu" + suffix, "ms", {}};
      Series faults{"mote", "first_request.page_faults" + suffix, "faults", {}};
      for (int run = -1; run < options_.runs; ++run) {
        const auto monitor = start_monitor(0);
        const pid_t pid = monitor.process.pid;
        uint64_t start_ns = base::monotonic_ns();
        need(monitor.api.request("PUT /snapshot/load", load_body(false, more)));
        const double loaded = ms_since(start_ns);
        const double cpu_before = cpu_ms(pid);
        const double faults_before = page_faults(pid);
        start_ns = base::monotonic_ns();
        need(monitor.api.request("PATCH /vm", R"({"state":"Resumed"})"));
        if (!wait_for_guest(monitor.process)) give_up("the clone says nothing");
        const double served = ms_since(start_ns);
        const double cpu_used = cpu_ms(pid) - cpu_before;
        const double faulted = page_faults(pid) - faults_before;
        end(monitor.process);
        if (run < 0) continue;
        load.values.push_back(loaded);
        took.values.push_back(served);
        cpu.values.push_back(cpu_used);
        faults.values.push_back(faulted);
      }
      for (const Series& series : {load, took, cpu, faults}) figures_.add(series);
    }
  }

  /// Many clones of one snapshot, loaded and waiting; then each is resumed and must speak.
  void measure_clones() {
    if (options_.clones == 0) return;
    save_template(options_.memory_mib.front());
    const uint64_t available_kib = host_available_kib();
    const uint64_t start_ns = base::monotonic_ns();
    std::vector<Monitor> clones;
    for (int i = 0; i < options_.clones; ++i) {
      clones.push_back(start_monitor(i));
      need(clones.back().api.request("PUT /snapshot/load", load_body(false)));
    }
    const double took_ms = ms_since(start_ns);
    const double used_kib =
        static_cast<double>(available_kib) - static_cast<double>(host_available_kib());
    const std::string suffix = "." + std::to_string(options_.clones);
    Series pss{"mote", "clones.pss" + suffix, "KiB", {}};
    for (const Monitor& clone : clones) {
      pss.values.push_back(static_cast<double>(
          process_memory(clone.process.pid, options_.memory_mib.front()).pss_kib));
    }
    figures_.add(pss);
    figures_.add({"mote", "clones.host_memory" + suffix, "KiB", {used_kib / options_.clones}});
    figures_.add({"mote", "clones.load_all" + suffix, "ms", {took_ms}});
    for (const Monitor& clone : clones) {  // None lost.
      need(clone.api.request("PATCH /vm", R"({"state":"Resumed"})"));
      if (!wait_for_guest(clone.process)) give_up("a clone says nothing");
      end(clone.process);
    }
  }

 private:
  static void end(const Process& process) {
    ::kill(process.pid, SIGKILL);
    ::waitpid(process.pid, nullptr, 0);
  }

  [[nodiscard]] Monitor start_monitor(int index) const {
    const std::string socket = options_.folder + "/" + std::to_string(index) + ".sock";
    ::unlink(socket.c_str());
    Process process = need(spawn({options_.mote, "--api-sock", socket}));
    ApiConnection api = need(ApiConnection::connect_when_ready(socket));
    need(api.request("GET /"));
    return {std::move(process), std::move(api)};
  }

  void record_working_set() const {
    const auto monitor = start_monitor(0);
    need(monitor.api.request("PUT /snapshot/load", load_body(true)));
    if (!wait_for_guest(monitor.process)) give_up("the clone says nothing");
    need(monitor.api.request("PUT /snapshot/working-set",
                             R"({"working_set_path":")" + options_.folder + R"(/pages"})"));
    end(monitor.process);
  }

  void save_template(uint64_t memory_mib, const std::string& arguments = "touch=4 interval=1000") {
    const auto monitor = start_monitor(0);
    const auto& api = monitor.api;
    need(api.request("PUT /boot-source", R"({"kernel_image_path":")" + options_.guest +
                                             R"(","boot_args":")" + arguments + "\"}"));
    need(api.request("PUT /machine-config",
                     R"({"vcpu_count":1,"mem_size_mib":)" + std::to_string(memory_mib) + "}"));
    need(api.request("PUT /actions", R"({"action_type":"InstanceStart"})"));
    if (!wait_for_guest(monitor.process)) give_up("the template says nothing");
    need(api.request("PATCH /vm", R"({"state":"Paused"})"));
    need(api.request("PUT /snapshot/create", R"({"snapshot_path":")" + options_.folder +
                                                 R"(/state","mem_file_path":")" + options_.folder +
                                                 R"(/memory"})"));
    end(monitor.process);
  }

  [[nodiscard]] std::string load_body(bool resume, const std::string& more = {}) const {
    return R"({"snapshot_path":")" + options_.folder +
           R"(/state","mem_backend":{"backend_type":"File","backend_path":")" + options_.folder +
           R"(/memory"},"resume_vm":)" + (resume ? "true" : "false") + more + "}";
  }

  double load_and_resume() const {
    const auto monitor = start_monitor(0);
    const uint64_t start_ns = base::monotonic_ns();
    need(monitor.api.request("PUT /snapshot/load", load_body(true)));
    if (!wait_for_guest(monitor.process)) give_up("the clone says nothing");
    const double took_ms = ms_since(start_ns);
    end(monitor.process);
    return took_ms;
  }

  Options options_;
  Figures& figures_;
};

}  // namespace
}  // namespace mote::bench

int main(int argc, char** argv) {
  using namespace mote;
  bench::Options options;
  CLI::App app("Measures clones of a snapshot on this host's /dev/kvm");
  app.add_option("--mote", options.mote, "The monitor")->required()->check(CLI::ExistingFile);
  app.add_option("--guest", options.guest, "tests/guests/clone.elf")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("--json", options.json, "File to which figures are added");
  app.add_option("--runs", options.runs)->check(CLI::Range(1, 100000))->capture_default_str();
  app.add_option("--memory-mib", options.memory_mib, "Sizes to try")->capture_default_str();
  app.add_option("--clones", options.clones, "How many at once; 0 for none")
      ->check(CLI::Range(0, 5000))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  // In memory, as a host with many clones would keep it.
  std::string folder = "/dev/shm/mote-bench-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) bench::give_up("no folder in /dev/shm");
  options.folder = folder;
  bench::Figures figures(options.json);
  bench::Bench bench(options, figures);
  for (const uint64_t memory_mib : options.memory_mib) bench.measure(memory_mib);
  bench.measure_first_request();
  bench.measure_clones();
  std::filesystem::remove_all(folder);
  return 0;
}
