#pragma once
// A seccomp policy: its JSON text turned into BPF programs by libseccomp. Used when Mote is built
// (the built-in policy, policy.json) and for --seccomp-filter. No state; any thread.

#include <linux/filter.h>

#include <string_view>
#include <vector>

#include "base/result.h"

namespace mote::monitor::seccomp {

/// Programs for seccomp(SECCOMP_SET_MODE_FILTER), one for each role of a thread.
struct Programs {
  std::vector<sock_filter> loop;
  std::vector<sock_filter> vcpu;
  std::vector<sock_filter> jail;  ///< Laid on by the jailer, before its program runs; may be empty.
};

/// Compiles a policy, an object with the members "loop" and "vcpu", maybe "jail"
/// (docs/threat-model.md describes it). Errors name the role, the rule's number and system call,
/// and what is wrong with it.
base::Result<Programs> compile_policy(std::string_view json);

}  // namespace mote::monitor::seccomp
