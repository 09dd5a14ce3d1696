#pragma once
// Unpacks a bzImage payload as distributions compress it: gzip, xz, lz4 (legacy frame) or zstd.
// Pure.

#include <cstddef>
#include <span>
#include <string_view>

#include "base/result.h"

namespace mote::boot {

enum class Compression : uint8_t { kNone, kGzip, kXz, kLz4, kZstd, kUnsupported };

/// By magic number. kNone: an ELF file that is not compressed.
[[nodiscard]] Compression detect_compression(std::span<const std::byte> payload);

/// Fills `output`, whose size is the size the image states, exactly. kCorrupt when the payload ends
/// early, is damaged, or holds more or less than that.
base::Result<> decompress(Compression compression, std::span<const std::byte> payload,
                          std::span<std::byte> output);

}  // namespace mote::boot
