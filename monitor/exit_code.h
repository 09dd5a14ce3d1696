#pragma once
// Exit codes of `mote`; the table for users stands in docs/cli.md.

namespace mote::monitor {

enum class ExitCode : int {
  kOk = 0,                  ///< Guest shut down, or SIGTERM/SIGINT asked for an orderly end.
  kGenericError = 1,        ///< The host refused something that Mote needs.
  kFatalVmError = 2,        ///< A vCPU or a device failed beyond repair.
  kBadSystemCall = 148,     ///< A thread made a system call that its seccomp filter forbids.
  kBadConfiguration = 152,  ///< --config-file is wrong, or the VM it describes cannot be built.
  kBadArguments = 153,      ///< The command line is wrong.
};

}  // namespace mote::monitor
