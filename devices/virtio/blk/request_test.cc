#include "devices/virtio/blk/request.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

namespace mote::virtio::blk {
namespace {

/// Builds chains over plain memory.
class RequestTest : public ::testing::Test {
 protected:
  void header(uint32_t type, uint64_t sector) {
    const virtio_blk_req_header value{type, 0, sector};
    std::memcpy(header_.data(), &value, sizeof(value));
  }
  void readable(void* data, size_t size) {
    chain_.readable.push_back({data, size});
    chain_.readable_bytes += size;
  }
  void writable(void* data, size_t size) {
    chain_.writable.push_back({data, size});
    chain_.writable_bytes += size;
  }
  std::variant<Request, Refusal, Malformed> parse() {
    return parse_request(chain_, limits_, &status_);
  }
  uint8_t refusal() {
    const auto parsed = parse();
    return std::holds_alternative<Refusal>(parsed) ? std::get<Refusal>(parsed).status : 0xee;
  }

  std::array<std::byte, 16> header_{};
  std::array<std::byte, 4096> data_{};
  std::byte status_byte_{0xff};
  std::byte* status_ = nullptr;
  Chain chain_;
  DiskLimits limits_{
      .sectors = 16, .read_only = false, .flush = true, .discard = true, .write_zeroes = true};
};

TEST_F(RequestTest, ReadIsStrippedOfHeaderAndStatus) {
  header(VIRTIO_BLK_T_IN, 3);
  readable(header_.data(), 16);
  writable(data_.data(), 1024);
  writable(&status_byte_, 1);
  const auto request = std::get<Request>(parse());
  EXPECT_EQ(request.kind, RequestKind::kRead);
  EXPECT_EQ(request.offset_bytes, 3U * 512);
  EXPECT_EQ(request.size_bytes, 1024U);
  EXPECT_EQ(status_, &status_byte_);
  ASSERT_EQ(chain_.writable.size(), 1U);
  EXPECT_TRUE(chain_.readable.empty());
}

TEST_F(RequestTest, HeaderAndStatusMayLieAnywhere) {
  header(VIRTIO_BLK_T_OUT, 0);
  readable(header_.data(), 5);
  readable(header_.data() + 5, 11);
  readable(data_.data(), 512);
  std::array<std::byte, 7> tail{};
  writable(tail.data(), tail.size());
  const auto request = std::get<Request>(parse());
  EXPECT_EQ(request.kind, RequestKind::kWrite);
  EXPECT_EQ(status_, tail.data() + 6) << "the last writable byte";
}

TEST_F(RequestTest, HeaderMayShareABufferWithData) {
  header(VIRTIO_BLK_T_OUT, 1);
  std::array<std::byte, 16 + 512> joined{};
  std::memcpy(joined.data(), header_.data(), 16);
  readable(joined.data(), joined.size());
  writable(&status_byte_, 1);
  const auto request = std::get<Request>(parse());
  EXPECT_EQ(request.size_bytes, 512U);
  EXPECT_EQ(chain_.readable.front().iov_base, joined.data() + 16);
}

TEST_F(RequestTest, WithoutHeaderOrStatusItIsMalformed) {
  readable(header_.data(), 15);
  writable(&status_byte_, 1);
  EXPECT_TRUE(std::holds_alternative<Malformed>(parse()));
  chain_.clear();
  readable(header_.data(), 16);
  EXPECT_TRUE(std::holds_alternative<Malformed>(parse()));
}

TEST_F(RequestTest, RangesAreCheckedWithoutOverflow) {
  for (const uint64_t sector : {uint64_t{15}, uint64_t{16}, UINT64_MAX, UINT64_MAX / 512}) {
    chain_.clear();
    header(VIRTIO_BLK_T_IN, sector);
    readable(header_.data(), 16);
    writable(data_.data(), 1024);
    writable(&status_byte_, 1);
    EXPECT_EQ(refusal(), VIRTIO_BLK_S_IOERR) << sector;
  }
}

TEST_F(RequestTest, OddSizesAreRefused) {
  header(VIRTIO_BLK_T_IN, 0);
  readable(header_.data(), 16);
  writable(data_.data(), 511);
  writable(&status_byte_, 1);
  EXPECT_EQ(refusal(), VIRTIO_BLK_S_IOERR);
}

TEST_F(RequestTest, ReadOnlyDisksRefuseEveryChange) {
  limits_.read_only = true;
  for (const uint32_t type : {VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES}) {
    chain_.clear();
    header(type, 0);
    readable(header_.data(), 16);
    readable(data_.data(), 512);
    writable(&status_byte_, 1);
    EXPECT_EQ(refusal(), VIRTIO_BLK_S_IOERR) << type;
  }
}

TEST_F(RequestTest, WhatWasNotNegotiatedIsUnsupported) {
  limits_.flush = limits_.discard = limits_.write_zeroes = false;
  for (const uint32_t type :
       {VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES, 99U}) {
    chain_.clear();
    header(type, 0);
    readable(header_.data(), 16);
    readable(data_.data(), 16);
    writable(&status_byte_, 1);
    EXPECT_EQ(refusal(), VIRTIO_BLK_S_UNSUPP) << type;
  }
}

TEST_F(RequestTest, DiscardTakesOneSegmentWithinTheDisk) {
  const auto attempt = [&](uint32_t type, virtio_blk_discard_write_zeroes segment,
                           size_t bytes = 16) {
    chain_.clear();
    header(type, 0);
    std::memcpy(data_.data(), &segment, sizeof(segment));
    readable(header_.data(), 16);
    readable(data_.data(), bytes);
    writable(&status_byte_, 1);
    return parse();
  };
  const auto good = std::get<Request>(
      attempt(VIRTIO_BLK_T_WRITE_ZEROES, {2, 4, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP}));
  EXPECT_EQ(good.offset_bytes, 1024U);
  EXPECT_EQ(good.size_bytes, 2048U);
  EXPECT_TRUE(good.may_unmap);
  EXPECT_TRUE(std::holds_alternative<Request>(attempt(VIRTIO_BLK_T_DISCARD, {0, 16, 0})));
  EXPECT_TRUE(std::holds_alternative<Refusal>(attempt(VIRTIO_BLK_T_DISCARD, {0, 16, 1})))
      << "no such flag";
  EXPECT_TRUE(std::holds_alternative<Refusal>(attempt(VIRTIO_BLK_T_DISCARD, {0, 17, 0})));
  EXPECT_TRUE(std::holds_alternative<Refusal>(attempt(VIRTIO_BLK_T_DISCARD, {UINT64_MAX, 2, 0})));
  EXPECT_TRUE(std::holds_alternative<Refusal>(attempt(VIRTIO_BLK_T_DISCARD, {0, 1, 0}, 32)))
      << "one segment only";
  EXPECT_TRUE(std::holds_alternative<Refusal>(attempt(VIRTIO_BLK_T_DISCARD, {0, 1, 0}, 8)));
  limits_.sectors = 1U << 30;
  EXPECT_TRUE(std::holds_alternative<Refusal>(
      attempt(VIRTIO_BLK_T_WRITE_ZEROES, {0, kMaxWriteZeroesSectors + 1, 0})));
}

}  // namespace
}  // namespace mote::virtio::blk
