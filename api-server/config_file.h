#pragma once
// The file of --config-file: the API's objects as sections of one JSON object.

#include <string_view>
#include <vector>

#include "base/result.h"
#include "monitor/action.h"

namespace mote::api_server {

/// The Actions the file stands for, in the order in which they must be applied (InstanceStart is
/// the caller's). Errors name the section, and the index in it.
base::Result<std::vector<monitor::Action>> decode_config_file(std::string_view text);

}  // namespace mote::api_server
