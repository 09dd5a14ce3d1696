#pragma once
// The process side of a launch: descriptors, the child that a PID namespace or a daemon needs,
// exec.

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "jailer/options.h"

namespace mote::jailer {

/// All descriptors from 3 on close at exec, but these do not.
base::Result<> close_at_exec(const std::vector<int>& kept);

base::Result<> write_pid(int pid_file, pid_t pid);

/// The child in which a launch goes on. The parent waits until the program runs, or removes what
/// was made: it still has the host around it.
class Child final {
 public:
  /// Forks. In the child, returns it. In the parent, ends the process with code 0 when the child
  /// runs the program, or returns the child's error.
  static base::Result<std::unique_ptr<Child>> become(bool new_pid_namespace, bool daemonize,
                                                     int pid_file);
  [[nodiscard]] bool is_here() const { return report_.valid(); }
  /// In the child: tells the parent and ends.
  [[noreturn]] void fail(const std::string& text) const;

 private:
  base::UniqueFd report_;  ///< Closes at exec, by which the parent knows.
};

/// Replaces this process by the program. Returns only on failure.
base::Result<> run_program(int program, const std::string& name, const Options& options);

}  // namespace mote::jailer
