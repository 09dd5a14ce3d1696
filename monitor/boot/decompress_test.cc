#include "monitor/boot/decompress.h"

#include <gtest/gtest.h>

#include <array>

#include "monitor/boot/testing/image_builder.h"

namespace mote::boot {
namespace {

using testing::Bytes;
using testing::compress_payload;
using testing::pattern;

constexpr std::array kKnown = {Compression::kGzip, Compression::kXz, Compression::kLz4,
                               Compression::kZstd};

TEST(Decompress, RoundTripsWithTheSizeBehindTheStream) {
  for (const Compression compression : kKnown) {
    SCOPED_TRACE(compression_name(compression));
    // Two lz4 blocks.
    const Bytes content = pattern(9 * 1024 * 1024 + 13, 5);
    const Bytes payload = compress_payload(compression, content);
    EXPECT_EQ(detect_compression(payload), compression);
    Bytes output(content.size());
    const auto result = decompress(compression, payload, output);
    ASSERT_TRUE(result) << result.error().message();
    EXPECT_EQ(output, content);
  }
}

TEST(Decompress, RefusesAnOutputOfAnotherSize) {
  const Bytes content = pattern(100'000, 5);
  for (const Compression compression : kKnown) {
    SCOPED_TRACE(compression_name(compression));
    const Bytes payload = compress_payload(compression, content);
    for (const size_t size : {size_t{1}, content.size() - 1, content.size() + 1}) {
      Bytes output(size);
      const auto result = decompress(compression, payload, output);
      ASSERT_FALSE(result) << size;
      EXPECT_EQ(result.error().code, base::ErrorCode::kCorrupt);
    }
  }
}

TEST(Decompress, RefusesEveryTruncation) {
  const Bytes content = pattern(3000, 5);
  for (const Compression compression : kKnown) {
    SCOPED_TRACE(compression_name(compression));
    // Without the trailing size, which is not part of the stream (gzip's is, with its checksum).
    Bytes stream = compress_payload(compression, content);
    if (compression != Compression::kGzip) stream.resize(stream.size() - 4);
    Bytes output(content.size());
    ASSERT_TRUE(decompress(compression, stream, output));
    for (size_t size = 0; size < stream.size(); ++size) {
      EXPECT_FALSE(decompress(compression, std::span(stream).first(size), output)) << size;
    }
  }
}

TEST(Decompress, SurvivesEveryFlippedByte) {
  const Bytes content = pattern(3000, 5);
  for (const Compression compression : kKnown) {
    const Bytes good = compress_payload(compression, content);
    Bytes output(content.size());
    for (size_t i = 0; i < good.size(); ++i) {
      Bytes bad = good;
      bad[i] ^= std::byte{0xff};
      (void)decompress(compression, bad, output);  // Any answer, but no crash, hang or overrun.
    }
  }
}

TEST(Decompress, RefusesWhatItDoesNotKnow) {
  Bytes output(10);
  const auto result = decompress(Compression::kBzip2, pattern(10, 1), output);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, base::ErrorCode::kUnsupported);
  EXPECT_NE(result.error().message().find("bzip2"), std::string::npos);
  EXPECT_FALSE(can_decompress(Compression::kBzip2));
  EXPECT_TRUE(can_decompress(Compression::kZstd));
  EXPECT_EQ(detect_compression({}), Compression::kUnknown);
}

}  // namespace
}  // namespace mote::boot
