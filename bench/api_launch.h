#pragma once
// One launch through the API, as an orchestrator does it: start the process, connect as soon as it
// listens, PUT boot source and machine, PUT InstanceStart.

#include <string>

#include "base/result.h"
#include "bench/monitor_adapter.h"

namespace mote::bench {

struct ApiLaunch {
  Process process;                    ///< Runs the guest; the caller ends it.
  double ready_ms = 0;                ///< Process start to the answer of GET /.
  double start_to_first_byte_ms = 0;  ///< Sending InstanceStart to the guest's first byte.
};

/// `socket` is removed first. An answer that is no 2xx is an error with its text.
base::Result<ApiLaunch> launch_by_api(const MonitorAdapter& monitor, const Guest& guest,
                                      const std::string& socket);

}  // namespace mote::bench
