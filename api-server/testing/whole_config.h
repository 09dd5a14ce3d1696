#pragma once
// What a configuration file's Actions amount to, for tests and fuzzers: with it, text that was
// decoded can be encoded again.

#include <span>

#include "monitor/action.h"

namespace mote::api_server::testing {

/// The configuration that results when each Action is applied, without any of the monitor's checks.
[[nodiscard]] monitor::VmConfig whole_config(std::span<const monitor::Action> actions);

}  // namespace mote::api_server::testing
