// Expected bytes are worked out from the grammar of ACPI 6.4 §20.2, not from our encoder.

#include "monitor/boot/aml.h"

#include <gtest/gtest.h>

namespace mote::boot::aml {
namespace {

Bytes bytes(std::initializer_list<int> values) {
  Bytes result;
  for (const int value : values) result.push_back(static_cast<std::byte>(value));
  return result;
}

TEST(Aml, IntegersTakeTheShortestForm) {
  EXPECT_EQ(integer(0), bytes({0x00}));
  EXPECT_EQ(integer(1), bytes({0x01}));
  EXPECT_EQ(integer(2), bytes({0x0a, 0x02}));
  EXPECT_EQ(integer(0xff), bytes({0x0a, 0xff}));
  EXPECT_EQ(integer(0x100), bytes({0x0b, 0x00, 0x01}));
  EXPECT_EQ(integer(0x12345), bytes({0x0c, 0x45, 0x23, 0x01, 0x00}));
  EXPECT_EQ(integer(uint64_t{1} << 32), bytes({0x0e, 0, 0, 0, 0, 1, 0, 0, 0}));
}

TEST(Aml, EisaIdsAreCompressed) {
  EXPECT_EQ(eisa_id("PNP0501"), bytes({0x0c, 0x41, 0xd0, 0x05, 0x01}));
  EXPECT_EQ(eisa_id("PNP0303"), bytes({0x0c, 0x41, 0xd0, 0x03, 0x03}));
}

TEST(Aml, StringsAndNames) {
  EXPECT_EQ(string("AB"), bytes({0x0d, 'A', 'B', 0}));
  EXPECT_EQ(name("_UID", integer(3)), bytes({0x08, '_', 'U', 'I', 'D', 0x0a, 3}));
}

TEST(Aml, PackagesCountTheirElements) {
  EXPECT_EQ(package({integer(5), integer(0)}), bytes({0x12, 0x05, 0x02, 0x0a, 0x05, 0x00}));
}

/// Decodes what stands behind an opcode, by §20.2.4.
size_t package_length(const Bytes& term, size_t at, size_t& length_bytes) {
  const auto lead = static_cast<uint8_t>(term[at]);
  length_bytes = 1 + (lead >> 6U);
  if (length_bytes == 1) return lead & 0x3f;
  size_t length = lead & 0x0f;
  for (size_t i = 1; i < length_bytes; ++i) {
    length |= static_cast<size_t>(term[at + i]) << (4 + 8 * (i - 1));
  }
  return length;
}

TEST(Aml, PackageLengthsAreRightAtEveryEdge) {
  // Body sizes round the 1, 2, 3 and 4 byte encodings; the name takes four bytes of them.
  for (const size_t size : {58U, 59U, 60U, 61U, 4088U, 4089U, 4090U, 4091U, 4092U, 1048566U,
                            1048567U, 1048568U, 1048569U, 1048570U}) {
    const Bytes term = scope("TEST", Bytes(size));
    size_t length_bytes = 0;
    const size_t length = package_length(term, 1, length_bytes);
    EXPECT_EQ(length, term.size() - 1) << size;
    EXPECT_EQ(term[1 + length_bytes], std::byte{'T'}) << size;
  }
}

TEST(Aml, ResourceTemplatesEndWithATag) {
  EXPECT_EQ(resources({io_ports(0x3f8, 8)}), bytes({0x11, 0x0d, 0x0a, 0x0a, 0x47, 0x01, 0xf8, 0x03,
                                                    0xf8, 0x03, 0x01, 0x08, 0x79, 0x00}));
}

TEST(Aml, Descriptors) {
  EXPECT_EQ(memory32(0xc0001000, 0x1000),
            bytes({0x86, 0x09, 0x00, 0x01, 0x00, 0x10, 0x00, 0xc0, 0x00, 0x10, 0x00, 0x00}));
  EXPECT_EQ(interrupt(5), bytes({0x89, 0x06, 0x00, 0x03, 0x01, 0x05, 0x00, 0x00, 0x00}));
}

TEST(Aml, NotifyMethods) {
  // Method (_EVT, 1) { Notify (VGEN, 0x80) }
  const Bytes expected =
      bytes({0x14, 0x0d, '_', 'E', 'V', 'T', 0x01, 0x86, 'V', 'G', 'E', 'N', 0x0a, 0x80});
  EXPECT_EQ(notify_method("_EVT", 1, "VGEN", 0x80), expected);
}

}  // namespace
}  // namespace mote::boot::aml
