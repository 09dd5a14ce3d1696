#pragma once
// What the command line does with snapshots, without a VM.

#include <string>

#include "base/result.h"
#include "monitor/snapshot/files.h"

namespace mote::monitor::snapshot {

/// A few lines about a state file, for people.
base::Result<std::string> describe(const std::string& path);

}  // namespace mote::monitor::snapshot
