#pragma once
// How a monitor is started, from a small JSON file (bench/peers), so that any other can stand in
// the same tables:
//   command      argument vector; its standard output carries the guest's serial port
//   api_command  the same, waiting for requests on the unix socket {socket} (optional)
//   config       text of a file that {config} names (optional)
//   binary       the program when none is given on the command line (optional)
// Placeholders: {binary} {kernel} {args} {memory_mib} {config} {socket}.

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace mote::bench {

/// What every monitor is asked to start: one vCPU, no devices but a serial port.
struct Guest {
  std::string kernel;
  std::string args;
  uint64_t memory_mib = 128;
};

/// A started monitor. `output` is its standard output.
struct Process {
  pid_t pid = -1;
  base::UniqueFd output;
};

class MonitorAdapter final {
 public:
  /// Reads bench/peers/NAME.json; `binary` may be empty when the file names one.
  static base::Result<MonitorAdapter> load(const std::string& name, const std::string& file,
                                           std::string binary);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] bool has_api() const { return !api_command_.empty(); }

  /// The argument vector for this guest. Writes the configuration into `folder`, under `tag`.
  [[nodiscard]] std::vector<std::string> command(const Guest& guest, const std::string& folder,
                                                 const std::string& tag) const;
  [[nodiscard]] std::vector<std::string> api_command(const std::string& socket) const;

 private:
  MonitorAdapter() = default;

  std::string name_;
  std::string binary_;
  std::vector<std::string> command_;
  std::vector<std::string> api_command_;
  std::string config_;
};

/// Starts a process with its output in a pipe. Any thread.
base::Result<Process> spawn(const std::vector<std::string>& command);
/// Reads until the guest's first byte ('!'), past whatever the monitor says itself; false when the
/// output ends before.
bool wait_for_guest(const Process& process);

}  // namespace mote::bench
