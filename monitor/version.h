#pragma once
// What this build is, and which API it speaks.

namespace mote::monitor {

inline constexpr const char* kMoteVersion = MOTE_VERSION;
/// Release of the reference whose API requests and answers Mote follows.
inline constexpr const char* kCompatibleApiVersion = "1.14.2";
inline constexpr const char* kAppName = "Mote";

}  // namespace mote::monitor
