#include "monitor/boot/decompress.h"

#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

namespace mote::boot {
namespace {

using base::ErrorCode;
using base::fail;

// What the Linux kernel's own xz decoder may need for the dictionaries its build uses, with room.
constexpr uint64_t kXzMemoryLimit = 256 * 1024 * 1024;
constexpr uint32_t kLz4LegacyMagic = 0x184c2102;
constexpr size_t kLz4BlockLimit = 8 * 1024 * 1024;  // LZ4 legacy frame format.

base::Result<> check_size(size_t got, size_t expected) {
  if (got == expected) return {};
  return fail(ErrorCode::kCorrupt, "the compressed kernel unpacks to " + std::to_string(got) +
                                       " bytes instead of " + std::to_string(expected));
}

uint8_t* bytes_of(std::span<std::byte> data) {
  return reinterpret_cast<uint8_t*>(data.data());
}
const uint8_t* bytes_of(std::span<const std::byte> data) {
  return reinterpret_cast<const uint8_t*>(data.data());
}

base::Result<> unpack_gzip(std::span<const std::byte> payload, std::span<std::byte> output) {
  constexpr size_t kMax = std::numeric_limits<uInt>::max();
  if (payload.size() > kMax || output.size() > kMax) {
    return fail(ErrorCode::kCorrupt, "the gzip payload is too large");
  }
  z_stream stream{};
  constexpr int kGzipWindow = 15 + 16;
  if (inflateInit2(&stream, kGzipWindow) != Z_OK)
    return fail(ErrorCode::kInternal, "zlib did not start");
  stream.next_in = const_cast<Bytef*>(bytes_of(payload));  // zlib's type is older than const.
  stream.avail_in = static_cast<uInt>(payload.size());
  stream.next_out = bytes_of(output);
  stream.avail_out = static_cast<uInt>(output.size());
  const int outcome = inflate(&stream, Z_FINISH);
  const size_t produced = output.size() - stream.avail_out;
  inflateEnd(&stream);
  if (outcome != Z_STREAM_END)
    return fail(ErrorCode::kCorrupt, "the gzip payload is damaged or too long");
  return check_size(produced, output.size());
}

base::Result<> unpack_xz(std::span<const std::byte> payload, std::span<std::byte> output) {
  lzma_stream stream = LZMA_STREAM_INIT;
  if (lzma_stream_decoder(&stream, kXzMemoryLimit, 0) != LZMA_OK) {
    return fail(ErrorCode::kInternal, "liblzma did not start");
  }
  stream.next_in = bytes_of(payload);
  stream.avail_in = payload.size();
  stream.next_out = bytes_of(output);
  stream.avail_out = output.size();
  const lzma_ret outcome = lzma_code(&stream, LZMA_FINISH);
  const size_t produced = output.size() - stream.avail_out;
  lzma_end(&stream);
  if (outcome != LZMA_STREAM_END)
    return fail(ErrorCode::kCorrupt, "the xz payload is damaged or too long");
  return check_size(produced, output.size());
}

base::Result<> unpack_lz4(std::span<const std::byte> payload, std::span<std::byte> output) {
  if (payload.size() < sizeof(uint32_t))
    return fail(ErrorCode::kCorrupt, "the lz4 payload ends early");
  size_t in = sizeof(uint32_t);  // Behind the magic number.
  size_t out = 0;
  while (out < output.size()) {
    uint32_t block = 0;
    if (payload.size() - in < sizeof(block))
      return fail(ErrorCode::kCorrupt, "the lz4 payload ends early");
    std::memcpy(&block, payload.data() + in, sizeof(block));
    in += sizeof(block);
    if (block == kLz4LegacyMagic) continue;  // Frames may follow one another.
    if (block > payload.size() - in || block > INT32_MAX)
      return fail(ErrorCode::kCorrupt, "an lz4 block is longer than the payload");
    const size_t room = std::min(output.size() - out, kLz4BlockLimit);
    const int got = LZ4_decompress_safe(reinterpret_cast<const char*>(payload.data() + in),
                                        reinterpret_cast<char*>(output.data() + out),
                                        static_cast<int>(block), static_cast<int>(room));
    if (got <= 0) return fail(ErrorCode::kCorrupt, "an lz4 block is damaged");
    in += block;
    out += static_cast<size_t>(got);
  }
  return {};
}

/// In one go: the window then is the output itself, where streaming would allocate up to 128 MiB.
base::Result<> unpack_zstd(std::span<const std::byte> payload, std::span<std::byte> output) {
  // The unpacked size stands behind the frame, so that the frame's own end must be found first.
  const size_t frame = ZSTD_findFrameCompressedSize(payload.data(), payload.size());
  if (ZSTD_isError(frame) != 0) {
    return fail(ErrorCode::kCorrupt, "the zstd payload is damaged or ends early");
  }
  const size_t got = ZSTD_decompress(output.data(), output.size(), payload.data(), frame);
  if (ZSTD_isError(got) != 0) {
    return fail(ErrorCode::kCorrupt,
                std::string("the zstd payload is damaged: ") + ZSTD_getErrorName(got));
  }
  return check_size(got, output.size());
}

}  // namespace

Compression detect_compression(std::span<const std::byte> payload) {
  struct Magic {
    std::string_view bytes;
    Compression compression;
  };
  using namespace std::string_view_literals;
  static constexpr std::array kMagics = {
      Magic{"\x1f\x8b"sv, Compression::kGzip},
      Magic{"\xfd"
            "7zXZ\0"sv,
            Compression::kXz},
      Magic{"\x02\x21\x4c\x18"sv, Compression::kLz4},
      Magic{"\x28\xb5\x2f\xfd"sv, Compression::kZstd},
      Magic{"BZh"sv, Compression::kBzip2},
      Magic{"\x5d\0\0"sv, Compression::kLzma},
      Magic{"\x89LZO"sv, Compression::kLzo},
  };
  for (const Magic& magic : kMagics) {
    if (payload.size() >= magic.bytes.size() &&
        std::memcmp(payload.data(), magic.bytes.data(), magic.bytes.size()) == 0) {
      return magic.compression;
    }
  }
  return Compression::kUnknown;
}

std::string_view compression_name(Compression compression) {
  switch (compression) {
    case Compression::kGzip:
      return "gzip";
    case Compression::kXz:
      return "xz";
    case Compression::kLz4:
      return "lz4";
    case Compression::kZstd:
      return "zstd";
    case Compression::kBzip2:
      return "bzip2";
    case Compression::kLzma:
      return "lzma";
    case Compression::kLzo:
      return "lzo";
    case Compression::kUnknown:
      break;
  }
  return "unknown";
}

bool can_decompress(Compression compression) {
  return compression <= Compression::kZstd;
}

base::Result<> decompress(Compression compression, std::span<const std::byte> payload,
                          std::span<std::byte> output) {
  switch (compression) {
    case Compression::kGzip:
      return unpack_gzip(payload, output);
    case Compression::kXz:
      return unpack_xz(payload, output);
    case Compression::kLz4:
      return unpack_lz4(payload, output);
    case Compression::kZstd:
      return unpack_zstd(payload, output);
    case Compression::kBzip2:
    case Compression::kLzma:
    case Compression::kLzo:
    case Compression::kUnknown:
      break;
  }
  return fail(ErrorCode::kUnsupported,
              "unsupported compression: " + std::string(compression_name(compression)));
}

}  // namespace mote::boot
