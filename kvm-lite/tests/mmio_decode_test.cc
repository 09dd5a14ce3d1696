#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>
#include <vector>

extern "C" {
#include "kvm-lite/mmio_decode.h"
}

namespace mote::kvm_lite {
namespace {

struct Case {
  const char* name;
  kvml_code_size code;
  std::vector<uint8_t> bytes;
  kvml_mmio expected;
};

constexpr kvml_mmio store(uint8_t reg, uint8_t size, uint8_t length, bool high = false) {
  kvml_mmio mmio{};
  mmio.write = true;
  mmio.reg = reg;
  mmio.size = mmio.reg_size = size;
  mmio.length = length;
  mmio.high_byte = high;
  return mmio;
}

constexpr kvml_mmio load(uint8_t reg, uint8_t size, uint8_t reg_size, uint8_t length,
                         bool sign_extend = false, bool high = false) {
  kvml_mmio mmio = store(reg, size, length, high);
  mmio.write = false;
  mmio.reg_size = reg_size;
  mmio.sign_extend = sign_extend;
  return mmio;
}

constexpr kvml_mmio immediate(uint64_t value, uint8_t size, uint8_t length) {
  kvml_mmio mmio = store(0, size, length);
  mmio.immediate = true;
  mmio.value = value;
  return mmio;
}

class MmioDecode : public testing::TestWithParam<Case> {};

void expect_equal(const kvml_mmio& got, const kvml_mmio& wanted) {
  EXPECT_EQ(got.write, wanted.write);
  EXPECT_EQ(got.immediate, wanted.immediate);
  EXPECT_EQ(got.sign_extend, wanted.sign_extend);
  EXPECT_EQ(got.high_byte, wanted.high_byte);
  EXPECT_EQ(got.reg, wanted.reg);
  EXPECT_EQ(got.reg_size, wanted.reg_size);
  EXPECT_EQ(got.size, wanted.size);
  EXPECT_EQ(got.length, wanted.length);
  EXPECT_EQ(got.value, wanted.value);
}

TEST_P(MmioDecode, ReadsTheInstruction) {
  const Case& c = GetParam();
  kvml_mmio mmio{};
  ASSERT_EQ(kvml_mmio_decode(c.bytes.data(), static_cast<uint32_t>(c.bytes.size()), c.code, &mmio),
            0);
  expect_equal(mmio, c.expected);
}

TEST_P(MmioDecode, WantsEveryByte) {
  const Case& c = GetParam();
  kvml_mmio mmio{};
  for (uint32_t count = 0; count < c.bytes.size(); ++count) {
    EXPECT_EQ(kvml_mmio_decode(c.bytes.data(), count, c.code, &mmio), -ENODATA) << count;
  }
}

TEST_P(MmioDecode, IgnoresWhatFollows) {
  const Case& c = GetParam();
  kvml_mmio mmio{};
  auto bytes = c.bytes;
  bytes.insert(bytes.end(), 8, 0xcc);
  ASSERT_EQ(kvml_mmio_decode(bytes.data(), static_cast<uint32_t>(bytes.size()), c.code, &mmio), 0);
  expect_equal(mmio, c.expected);
}

INSTANTIATE_TEST_SUITE_P(
    Instructions, MmioDecode,
    testing::Values(
        Case{"mov_eax_to_rdi", KVML_CODE_64, {0x89, 0x07}, store(0, 4, 2)},
        Case{"mov_rax_to_rdi", KVML_CODE_64, {0x48, 0x89, 0x07}, store(0, 8, 3)},
        Case{"mov_r9d_to_disp8", KVML_CODE_64, {0x44, 0x89, 0x4f, 0x10}, store(9, 4, 4)},
        Case{"mov_ax_to_rdi", KVML_CODE_64, {0x66, 0x89, 0x07}, store(0, 2, 3)},
        Case{"mov_ah_to_rdi", KVML_CODE_64, {0x88, 0x27}, store(0, 1, 2, true)},
        Case{"mov_spl_to_rdi", KVML_CODE_64, {0x40, 0x88, 0x27}, store(4, 1, 3)},
        Case{"mov_bl_to_absolute",
             KVML_CODE_64,
             {0x88, 0x1c, 0x25, 0x00, 0xf0, 0x5f, 0xff},
             store(3, 1, 7)},
        Case{"mov_eax_to_rip_relative",
             KVML_CODE_64,
             {0x89, 0x05, 0x10, 0x20, 0x30, 0x40},
             store(0, 4, 6)},
        Case{"mov_from_rsi_disp32",
             KVML_CODE_64,
             {0x8b, 0x86, 0x00, 0x01, 0x00, 0x00},
             load(0, 4, 4, 6)},
        Case{"mov_byte_from_sib", KVML_CODE_64, {0x8a, 0x4c, 0x24, 0x08}, load(1, 1, 1, 4)},
        Case{"mov_dh_from_rdi", KVML_CODE_64, {0x8a, 0x37}, load(2, 1, 1, 2, false, true)},
        Case{"movzx_byte", KVML_CODE_64, {0x0f, 0xb6, 0x07}, load(0, 1, 4, 3)},
        Case{"movzx_word_to_r8", KVML_CODE_64, {0x4c, 0x0f, 0xb7, 0x07}, load(8, 2, 8, 4)},
        Case{"movsx_byte", KVML_CODE_64, {0x0f, 0xbe, 0x07}, load(0, 1, 4, 3, true)},
        Case{"movsx_word_to_rax", KVML_CODE_64, {0x48, 0x0f, 0xbf, 0x07}, load(0, 2, 8, 4, true)},
        Case{"movsxd", KVML_CODE_64, {0x48, 0x63, 0x07}, load(0, 4, 8, 3, true)},
        Case{"mov_imm32",
             KVML_CODE_64,
             {0xc7, 0x07, 0x78, 0x56, 0x34, 0x12},
             immediate(0x12345678, 4, 6)},
        Case{"mov_imm32_to_8_bytes",
             KVML_CODE_64,
             {0x48, 0xc7, 0x07, 0xfe, 0xff, 0xff, 0xff},
             immediate(~1ULL, 8, 7)},
        Case{"mov_imm16", KVML_CODE_64, {0x66, 0xc7, 0x07, 0x34, 0x12}, immediate(0x1234, 2, 5)},
        Case{"mov_imm8_disp8", KVML_CODE_64, {0xc6, 0x47, 0x04, 0x7b}, immediate(0x7b, 1, 4)},
        Case{"moffs_64", KVML_CODE_64, {0xa3, 1, 2, 3, 4, 5, 6, 7, 8}, store(0, 4, 9)},
        Case{"moffs_from_32", KVML_CODE_32, {0xa1, 1, 2, 3, 4}, load(0, 4, 4, 5)},
        Case{"moffs_byte_16", KVML_CODE_16, {0xa0, 1, 2}, load(0, 1, 1, 3)},
        Case{"gs_prefix", KVML_CODE_64, {0x65, 0x8b, 0x07}, load(0, 4, 4, 3)},
        Case{"rex_before_prefix_is_void", KVML_CODE_64, {0x48, 0x66, 0x89, 0x07}, store(0, 2, 4)},
        Case{"code_32_inc_is_not_rex", KVML_CODE_32, {0x89, 0x0f}, store(1, 4, 2)},
        Case{"code_16_disp16", KVML_CODE_16, {0x89, 0x06, 0x00, 0x10}, store(0, 2, 4)},
        Case{"code_16_big", KVML_CODE_16, {0x67, 0x66, 0x89, 0x03}, store(0, 4, 4)},
        Case{"code_16_disp8", KVML_CODE_16, {0x8b, 0x5f, 0x02}, load(3, 2, 2, 3)}),
    [](const auto& param) { return param.param.name; });

struct Refused {
  const char* name;
  kvml_code_size code;
  std::vector<uint8_t> bytes;
};

class MmioRefusal : public testing::TestWithParam<Refused> {};

TEST_P(MmioRefusal, IsNotDecoded) {
  kvml_mmio mmio{};
  auto bytes = GetParam().bytes;
  bytes.resize(KVML_INSTRUCTION_MAX, 0);
  EXPECT_EQ(kvml_mmio_decode(bytes.data(), KVML_INSTRUCTION_MAX, GetParam().code, &mmio), -EINVAL);
}

INSTANTIATE_TEST_SUITE_P(
    Instructions, MmioRefusal,
    testing::Values(Refused{"register_to_register", KVML_CODE_64, {0x89, 0xc0}},
                    Refused{"add_to_memory", KVML_CODE_64, {0x01, 0x07}},
                    Refused{"xchg", KVML_CODE_64, {0x87, 0x07}},
                    Refused{"lock_mov", KVML_CODE_64, {0xf0, 0x89, 0x07}},
                    Refused{"rep_movs", KVML_CODE_64, {0xf3, 0xa5}},
                    Refused{"group_11_extension", KVML_CODE_64, {0xc7, 0x4f, 0x00, 0x00}},
                    Refused{"movaps", KVML_CODE_64, {0x0f, 0x28, 0x07}},
                    Refused{"arpl_in_32_bit_code", KVML_CODE_32, {0x63, 0x07}},
                    Refused{"inc_in_32_bit_code", KVML_CODE_32, {0x48, 0x89, 0x07}},
                    Refused{"prefixes_without_end", KVML_CODE_64,
                            std::vector<uint8_t>(KVML_INSTRUCTION_MAX, 0x66)},
                    Refused{"longer_than_an_instruction",
                            KVML_CODE_64,
                            {0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0xc7, 0x07,
                             0, 0, 0}}),
    [](const auto& param) { return param.param.name; });

TEST(MmioMerge, WritesRegistersAsTheProcessorDoes) {
  constexpr uint64_t kOld = 0x1122334455667788;
  const auto merged = [](const kvml_mmio& mmio, uint64_t data) {
    return kvml_mmio_merge(&mmio, kOld, data);
  };
  EXPECT_EQ(merged(load(0, 1, 1, 2), 0xff), 0x11223344556677ffu);
  EXPECT_EQ(merged(load(0, 1, 1, 2, false, true), 0xff), 0x112233445566ff88u);
  EXPECT_EQ(merged(load(0, 2, 2, 2), 0xffee), 0x112233445566ffeeu);
  EXPECT_EQ(merged(load(0, 4, 4, 2), 0xffeeddcc), 0xffeeddccu) << "the upper half is cleared";
  EXPECT_EQ(merged(load(0, 8, 8, 2), 0xffeeddccbbaa9988), 0xffeeddccbbaa9988u);
  EXPECT_EQ(merged(load(0, 1, 4, 2), 0x80), 0x80u);
  EXPECT_EQ(merged(load(0, 1, 4, 2, true), 0x80), 0xffffff80u);
  EXPECT_EQ(merged(load(0, 1, 8, 2, true), 0x7f), 0x7fu);
  EXPECT_EQ(merged(load(0, 4, 8, 2, true), 0x80000000), 0xffffffff80000000u);
  EXPECT_EQ(merged(load(0, 1, 2, 2, true), 0x80), 0x112233445566ff80u);
  EXPECT_EQ(merged(load(0, 1, 1, 2), 0xffff), 0x11223344556677ffu) << "only what was read";
}

}  // namespace
}  // namespace mote::kvm_lite
