#pragma once
// The container of a snapshot's state file: a header and sections, each with its version and
// checksum. Pure.
//
//   header    8 "MOTESNAP"   2 major   2 minor   4 section count   8 file size   8 checksum of all
//             that follows and of the header before it
//   section   4 id   2 version   2 flags (1: optional)   8 payload size   8 payload checksum
//   payload
//
// Little-endian. A reader takes any minor version of its major one: what newer writers add is
// optional sections, which it skips. Any flipped, missing or added byte is noticed.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace mote::monitor::snapshot {

inline constexpr uint16_t kMajorVersion = 1;
inline constexpr uint16_t kMinorVersion = 0;
/// "v1.0.0", for --snapshot-version and --describe-snapshot.
[[nodiscard]] std::string version_text(uint16_t major, uint16_t minor);

struct Section {
  uint32_t id = 0;
  uint16_t version = 0;
  bool optional = false;
  std::vector<std::byte> payload;
};
struct Container {
  uint16_t major = kMajorVersion;
  uint16_t minor = kMinorVersion;
  std::vector<Section> sections;
};

[[nodiscard]] std::vector<std::byte> encode_container(const Container& container);
/// The error says whether the file is foreign, too new, truncated or damaged.
base::Result<Container> decode_container(std::span<const std::byte> file);

}  // namespace mote::monitor::snapshot
