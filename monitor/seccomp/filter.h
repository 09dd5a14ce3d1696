#pragma once
// Lays seccomp filters on threads, and ends the process with a line that names the call when one is
// violated. A filter holds for the calling thread and the threads it makes from then on; it can
// never be taken off. See seccomp(2) and docs/threat-model.md.

#include <linux/filter.h>

#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"

namespace mote::monitor::seccomp {

/// The policy that Mote was built with (policy.json).
std::span<const sock_filter> built_in_loop_program();
std::span<const sock_filter> built_in_vcpu_program();
/// What no program in a jail may do, whatever it is.
std::span<const sock_filter> built_in_jail_program();

/// The name of a system call of this architecture; empty when it has none.
std::string_view system_call_name(uint64_t number);

/// From now on a forbidden system call of any thread writes a line that names it to the log and
/// ends the process with ExitCode::kBadSystemCall.
base::Result<> report_violations();

/// Whom a filter is laid on: the calling thread, or every thread that is there.
enum class Threads : uint8_t { kThis, kAll };

/// Lays `program` on threads; gives up new privileges for good.
base::Result<> install(std::span<const sock_filter> program, Threads threads);

}  // namespace mote::monitor::seccomp
