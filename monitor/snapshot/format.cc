#include "monitor/snapshot/format.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <array>
#include <cstring>

namespace mote::monitor::snapshot {
namespace {

constexpr std::array<char, 8> kMagic = {'M', 'O', 'T', 'E', 'S', 'N', 'A', 'P'};
constexpr uint16_t kOptional = 1;

struct Header {
  std::array<char, 8> magic = kMagic;
  uint16_t major = kMajorVersion;
  uint16_t minor = kMinorVersion;
  uint32_t section_count = 0;
  uint64_t file_bytes = 0;
  uint64_t checksum = 0;
};
static_assert(sizeof(Header) == 32);

struct SectionHeader {
  uint32_t id = 0;
  uint16_t version = 0;
  uint16_t flags = 0;
  uint64_t payload_bytes = 0;
  uint64_t checksum = 0;
};
static_assert(sizeof(SectionHeader) == 24);

uint64_t checksum(std::span<const std::byte> bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

/// Of everything but the checksum itself.
uint64_t file_checksum(std::span<const std::byte> file) {
  return checksum(file.subspan(sizeof(Header)),
                  checksum(file.first(offsetof(Header, checksum)), 0));
}

base::Error damaged(std::string what) {
  return {base::ErrorCode::kInvalidArgument, 0, std::move(what)};
}

template <typename T>
T read_at(std::span<const std::byte> bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

base::Result<Header> check_header(std::span<const std::byte> file) {
  if (file.size() < sizeof(Header)) return std::unexpected(damaged("too short for a snapshot"));
  const auto header = read_at<Header>(file, 0);
  if (header.magic != kMagic) return std::unexpected(damaged("not a snapshot of Mote"));
  if (header.major != kMajorVersion) {
    return base::fail(base::ErrorCode::kUnsupported,
                      fmt::format("snapshot version {}; this build reads {}",
                                  version_text(header.major, header.minor),
                                  version_text(kMajorVersion, kMinorVersion)));
  }
  if (header.file_bytes != file.size()) {
    return std::unexpected(damaged(
        fmt::format("the file has {} bytes and should have {}", file.size(), header.file_bytes)));
  }
  if (header.checksum != file_checksum(file)) {
    return std::unexpected(damaged("the file is damaged: its checksum does not match"));
  }
  return header;
}

}  // namespace

std::string version_text(uint16_t major, uint16_t minor) {
  return fmt::format("v{}.{}.0", major, minor);
}

std::vector<std::byte> encode_container(const Container& container) {
  std::vector<std::byte> file(sizeof(Header));
  for (const Section& section : container.sections) {
    const SectionHeader header{section.id, section.version,
                               section.optional ? kOptional : uint16_t{0}, section.payload.size(),
                               checksum(section.payload, section.id)};
    const auto bytes = std::as_bytes(std::span(&header, 1));
    file.insert(file.end(), bytes.begin(), bytes.end());
    file.insert(file.end(), section.payload.begin(), section.payload.end());
  }
  Header header;
  header.major = container.major;
  header.minor = container.minor;
  header.section_count = static_cast<uint32_t>(container.sections.size());
  header.file_bytes = file.size();
  std::memcpy(file.data(), &header, sizeof(header));
  header.checksum = file_checksum(file);
  std::memcpy(file.data(), &header, sizeof(header));
  return file;
}

base::Result<Container> decode_container(std::span<const std::byte> file) {
  MOTE_TRY(const auto header, check_header(file));
  Container container{header.major, header.minor, {}};
  size_t at = sizeof(Header);
  for (uint32_t i = 0; i < header.section_count; ++i) {
    if (file.size() - at < sizeof(SectionHeader)) {
      return std::unexpected(damaged("a section's head is cut off"));
    }
    const auto section = read_at<SectionHeader>(file, at);
    at += sizeof(SectionHeader);
    if (section.payload_bytes > file.size() - at) {
      return std::unexpected(damaged(fmt::format("section {} is cut off", section.id)));
    }
    const auto payload = file.subspan(at, section.payload_bytes);
    if (checksum(payload, section.id) != section.checksum) {
      return std::unexpected(damaged(fmt::format("section {} is damaged", section.id)));
    }
    container.sections.push_back({section.id,
                                  section.version,
                                  (section.flags & kOptional) != 0,
                                  {payload.begin(), payload.end()}});
    at += section.payload_bytes;
  }
  if (at != file.size()) return std::unexpected(damaged("bytes follow the last section"));
  return container;
}

}  // namespace mote::monitor::snapshot
