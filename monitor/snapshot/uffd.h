#pragma once
// Hands guest memory to a page-fault handler in another process, as the reference's clients expect:
// a userfaultfd goes over the handler's unix socket with a JSON list of the regions it covers.

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "memory/guest_memory.h"

namespace mote::monitor::snapshot {

/// Registers all of `memory` (fresh, anonymous) and introduces it to the handler that listens on
/// `socket_path`. The descriptor stays open as long as the VM lives. Errors say which step failed.
base::Result<base::UniqueFd> hand_over_faults(const memory::GuestMemory& memory,
                                              const std::string& socket_path);

}  // namespace mote::monitor::snapshot
