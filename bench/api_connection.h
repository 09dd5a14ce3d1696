#pragma once
// One connection to a monitor's API socket, as an orchestrator holds it.

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace mote::bench {

class ApiConnection final {
 public:
  /// Connects, trying again until the monitor listens; gives up after ten seconds.
  static base::Result<ApiConnection> connect_when_ready(const std::string& socket);

  /// Sends "METHOD PATH" and reads one answer; anything but a 2xx is an error with its text.
  base::Result<> request(const std::string& head, const std::string& body = "") const;

 private:
  explicit ApiConnection(base::UniqueFd fd) : fd_(std::move(fd)) {}
  base::UniqueFd fd_;
};

/// Milliseconds since a moment of base::monotonic_ns().
double ms_since(uint64_t start_ns);

}  // namespace mote::bench
