#pragma once
// The words of the API's enumerations, for both directions.

#include <array>
#include <string_view>
#include <utility>

#include "monitor/action.h"

namespace mote::api_server {

template <typename E, size_t N>
using Words = std::array<std::pair<std::string_view, E>, N>;

inline constexpr Words<memory::HugePages, 3> kHugePagesWords = {
    {{"None", memory::HugePages::kNone},
     {"Transparent", memory::HugePages::kTransparent},
     {"2M", memory::HugePages::k2M}}};
inline constexpr Words<monitor::CpuTemplate, 6> kCpuTemplateWords = {
    {{"None", monitor::CpuTemplate::kNone},
     {"C3", monitor::CpuTemplate::kC3},
     {"T2", monitor::CpuTemplate::kT2},
     {"T2S", monitor::CpuTemplate::kT2S},
     {"T2CL", monitor::CpuTemplate::kT2CL},
     {"T2A", monitor::CpuTemplate::kT2A}}};
inline constexpr Words<virtio::blk::CacheType, 2> kCacheTypeWords = {
    {{"Unsafe", virtio::blk::CacheType::kUnsafe},
     {"Writeback", virtio::blk::CacheType::kWriteback}}};
inline constexpr Words<virtio::blk::IoEngine, 2> kIoEngineWords = {
    {{"Sync", virtio::blk::IoEngine::kSync}, {"Async", virtio::blk::IoEngine::kAsync}}};
inline constexpr Words<mmds::Version, 2> kMmdsVersionWords = {
    {{"V1", mmds::Version::kV1}, {"V2", mmds::Version::kV2}}};
inline constexpr Words<monitor::VmState, 3> kVmStateWords = {
    {{"Not started", monitor::VmState::kNotStarted},
     {"Running", monitor::VmState::kRunning},
     {"Paused", monitor::VmState::kPaused}}};

template <typename E, size_t N>
[[nodiscard]] constexpr std::string_view word_of(const Words<E, N>& words, E value) {
  for (const auto& [name, candidate] : words) {
    if (candidate == value) return name;
  }
  return {};
}

}  // namespace mote::api_server
