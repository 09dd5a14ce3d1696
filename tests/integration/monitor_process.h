#pragma once
// A `mote` process under test and the folder it works in. The process ends with the test.

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "tests/integration/api_client.h"

namespace mote::integration {

/// A fresh folder that goes, with what is in it, when the test ends.
class TemporaryFolder final {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  [[nodiscard]] std::string path(const std::string& name) const { return folder_ + "/" + name; }
  /// Writes a file and gives its path.
  std::string write(const std::string& name, std::string_view content) const;

 private:
  std::string folder_;
};

std::string read_file(const std::string& path);

/// How a process ended.
struct Ending {
  int exit_code = -1;  ///< -1: by a signal.
  int signal = 0;
  bool operator==(const Ending&) const = default;
};
std::ostream& operator<<(std::ostream& stream, const Ending& ending);

/// What a host may deny the monitor.
enum class Host : uint8_t { kAllowsAll, kDeniesIoUring, kDeniesThreads };

class MonitorProcess final {
 public:
  /// Starts `mote` with these arguments. Standard output and error go to files in `folder`.
  MonitorProcess(const TemporaryFolder& folder, std::vector<std::string> arguments,
                 const std::string& name = "mote", Host host = Host::kAllowsAll);
  ~MonitorProcess();
  MonitorProcess(const MonitorProcess&) = delete;
  MonitorProcess& operator=(const MonitorProcess&) = delete;

  /// Starts with an API socket in `folder` and waits for the ready byte.
  static std::unique_ptr<MonitorProcess> with_api(const TemporaryFolder& folder,
                                                  std::vector<std::string> arguments = {},
                                                  const std::string& name = "mote",
                                                  Host host = Host::kAllowsAll);

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] const std::string& socket_path() const { return socket_path_; }
  /// One request on a connection of its own.
  [[nodiscard]] Response request(std::string_view method, std::string_view path,
                                 std::string_view body = {}) const;

  /// Sends bytes to standard input; only with_api() processes have one.
  [[nodiscard]] bool type(const std::string& text) const;

  /// Waits for the end of the process; nothing when it goes on.
  std::optional<Ending> wait(std::chrono::seconds limit = std::chrono::seconds(60));
  void signal(int number) const;

  /// What the guest printed, and what the monitor logged, so far.
  [[nodiscard]] std::string console() const { return read_file(console_path_); }
  [[nodiscard]] std::string log() const { return read_file(log_path_); }
  /// Waits until the console shows this text.
  [[nodiscard]] bool wait_for_console(const std::string& text) const;
  [[nodiscard]] bool wait_for_log(const std::string& text) const;

  /// Descriptors held while no connection is closing: the least of what is seen in a short while.
  [[nodiscard]] size_t open_descriptors() const;
  /// True as soon as no more than `count` are held; the end of a connection takes a moment.
  [[nodiscard]] bool holds_at_most(size_t count) const;
  [[nodiscard]] size_t resident_bytes() const;

 private:
  MonitorProcess() = default;

  std::string socket_path_;
  std::string console_path_;
  std::string log_path_;
  base::UniqueFd input_;
  pid_t pid_ = -1;
  std::optional<Ending> ending_;
};

}  // namespace mote::integration
