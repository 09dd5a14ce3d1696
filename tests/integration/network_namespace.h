#pragma once
// A network namespace of the test's own with one TAP in it, so that no test touches the host's
// network. Needs CAP_NET_ADMIN.

#include <cstdint>
#include <optional>
#include <string>

#include "base/unique_fd.h"

namespace mote::integration {

inline constexpr uint32_t kHostAddress = 0x0a000001;   // 10.0.0.1
inline constexpr uint32_t kGuestAddress = 0x0a000002;  // 10.0.0.2

/// Moves the whole process into a new namespace, once; the reason when that is not allowed.
std::optional<std::string> enter_network_namespace();
/// Makes a persistent TAP with the host's address, up. The reason when it cannot.
std::optional<std::string> create_tap(const std::string& name);
/// Removes the TAP, under the feet of whoever has it open.
void remove_tap(const std::string& name);

/// Sends `payload` by UDP to the guest's echo port and waits for the same back; tries for a while.
bool echo_by_udp(const std::string& payload);
/// One ICMP echo request with a payload of this size, and its answer.
bool ping(size_t payload_bytes);
/// Asks the guest to end.
void ask_to_quit();

}  // namespace mote::integration
