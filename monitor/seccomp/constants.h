#pragma once
// Names that a policy may use for argument values, as the kernel's headers spell them.

#include <cstdint>
#include <optional>
#include <string_view>

namespace mote::monitor::seccomp {

std::optional<uint64_t> find_constant(std::string_view name);

}  // namespace mote::monitor::seccomp
