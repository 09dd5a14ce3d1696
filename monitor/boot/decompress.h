#pragma once
// Unpacks a bzImage payload as distributions compress it: gzip, xz, lz4 (legacy frame) or zstd.
// Pure.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"

namespace mote::boot {

enum class Compression : uint8_t {
  kGzip,
  kXz,
  kLz4,
  kZstd,
  // Known by name only:
  kBzip2,
  kLzma,
  kLzo,
  kUnknown,
};

/// By magic number.
[[nodiscard]] Compression detect_compression(std::span<const std::byte> payload);
/// "gzip" and so on, for messages.
[[nodiscard]] std::string_view compression_name(Compression compression);
/// Whether decompress() knows it.
[[nodiscard]] bool can_decompress(Compression compression);

/// Fills `output`, whose size is the size the image states, exactly. kCorrupt when the payload ends
/// early, is damaged, or holds more or less than that.
base::Result<> decompress(Compression compression, std::span<const std::byte> payload,
                          std::span<std::byte> output);

}  // namespace mote::boot
