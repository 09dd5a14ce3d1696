#pragma once
// The file of --config-file: the API's objects as sections of one JSON object.

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "monitor/action.h"

namespace mote::api_server {

/// Gives a file's content; its errors name the file.
using FileReader = base::Result<std::string> (*)(const std::string& path);

/// The Actions the file stands for, in the order in which they must be applied (InstanceStart is
/// the caller's). Errors name the section, and the index in it. "cpu-config" may be the path of
/// a file of its own, which `read_file` gives.
base::Result<std::vector<monitor::Action>> decode_config_file(std::string_view text,
                                                              FileReader read_file);

/// The content of a --metadata file: one JSON object.
base::Result<boost::json::object> decode_metadata_file(std::string_view text);

}  // namespace mote::api_server
