#include "monitor/boot/aml.h"

#include <bit>

#include "base/check.h"

namespace mote::boot::aml {
namespace {

void append(Bytes& target, const Bytes& source) {
  target.insert(target.end(), source.begin(), source.end());
}

void append_byte(Bytes& target, uint64_t value) {
  target.push_back(static_cast<std::byte>(value & 0xff));
}

/// Little-endian, `count` bytes.
void append_number(Bytes& target, uint64_t value, unsigned count) {
  for (unsigned i = 0; i < count; ++i) append_byte(target, value >> (8 * i));
}

void append_text(Bytes& target, std::string_view text) {
  for (const char c : text) append_byte(target, static_cast<uint8_t>(c));
}

/// PkgLength counts itself (§20.2.4): 1 byte up to 63, else 2 to 4 with 4 bits in the first.
Bytes with_length(const Bytes& body) {
  Bytes encoded;
  unsigned extra = 0;
  size_t total = body.size() + 1;
  if (total > 0x3f) {
    extra = 1;
    while (body.size() + 1 + extra >= size_t{1} << (4 + 8 * extra)) ++extra;
    total = body.size() + 1 + extra;
  }
  CHECK(extra <= 3, "an AML package of 256 MiB");
  if (extra == 0) {
    append_byte(encoded, total);
  } else {
    append_byte(encoded, extra << 6 | (total & 0xf));
    append_number(encoded, total >> 4, extra);
  }
  append(encoded, body);
  return encoded;
}

/// opcode PkgLength body
Bytes packaged(std::initializer_list<uint8_t> opcode, const Bytes& body) {
  Bytes term;
  for (const uint8_t byte : opcode) append_byte(term, byte);
  append(term, with_length(body));
  return term;
}

Bytes named_body(std::string_view name, const Bytes& body) {
  Bytes bytes;
  append_text(bytes, name);
  append(bytes, body);
  return bytes;
}

}  // namespace

Bytes join(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const Bytes& part : parts) append(all, part);
  return all;
}

Bytes integer(uint64_t value) {
  Bytes bytes;
  if (value <= 1) {
    append_byte(bytes, value);  // ZeroOp, OneOp.
  } else if (value <= 0xff) {
    append_byte(bytes, 0x0a);
    append_number(bytes, value, 1);
  } else if (value <= 0xffff) {
    append_byte(bytes, 0x0b);
    append_number(bytes, value, 2);
  } else if (value <= 0xffffffff) {
    append_byte(bytes, 0x0c);
    append_number(bytes, value, 4);
  } else {
    append_byte(bytes, 0x0e);
    append_number(bytes, value, 8);
  }
  return bytes;
}

Bytes string(std::string_view text) {
  Bytes bytes;
  append_byte(bytes, 0x0d);
  append_text(bytes, text);
  append_byte(bytes, 0);
  return bytes;
}

Bytes eisa_id(std::string_view id) {
  CHECK(id.size() == 7, "an EISA id has seven characters");
  const auto letter = [&](size_t i) { return static_cast<uint32_t>(id[i] - '@') & 0x1f; };
  const auto digit = [&](size_t i) {
    return static_cast<uint32_t>(id[i] <= '9' ? id[i] - '0' : id[i] - 'A' + 10);
  };
  const uint32_t big_endian = letter(0) << 26 | letter(1) << 21 | letter(2) << 16 | digit(3) << 12 |
                              digit(4) << 8 | digit(5) << 4 | digit(6);
  Bytes bytes;
  append_byte(bytes, 0x0c);
  append_number(bytes, __builtin_bswap32(big_endian), 4);
  return bytes;
}

Bytes package(std::initializer_list<Bytes> elements) {
  Bytes body;
  append_byte(body, elements.size());
  append(body, join(elements));
  return packaged({0x12}, body);
}

Bytes name(std::string_view name, const Bytes& value) {
  Bytes bytes;
  append_byte(bytes, 0x08);
  append(bytes, named_body(name, value));
  return bytes;
}

Bytes device(std::string_view name, const Bytes& body) {
  return packaged({0x5b, 0x82}, named_body(name, body));
}

Bytes notify_method(std::string_view name, uint8_t arguments, std::string_view object,
                    uint8_t value) {
  Bytes body;
  append_byte(body, arguments & 0x7);  // Not serialised.
  append_byte(body, 0x86);
  append_text(body, object);
  append(body, integer(value));
  return packaged({0x14}, named_body(name, body));
}

Bytes scope(std::string_view name, const Bytes& body) {
  return packaged({0x10}, named_body(name, body));
}

Bytes resources(std::initializer_list<Bytes> descriptors) {
  Bytes all = join(descriptors);
  append_byte(all, 0x79);  // End tag; checksum 0 means "not computed".
  append_byte(all, 0x00);
  return packaged({0x11}, join({integer(all.size()), all}));
}

Bytes memory32(uint32_t start, uint32_t size_bytes) {
  Bytes bytes;
  append_byte(bytes, 0x86);
  append_number(bytes, 9, 2);
  append_byte(bytes, 1);  // Read-write.
  append_number(bytes, start, 4);
  append_number(bytes, size_bytes, 4);
  return bytes;
}

Bytes io_ports(uint16_t start, uint8_t count) {
  Bytes bytes;
  append_byte(bytes, 0x47);
  append_byte(bytes, 1);  // 16-bit decode.
  append_number(bytes, start, 2);
  append_number(bytes, start, 2);
  append_byte(bytes, 1);
  append_byte(bytes, count);
  return bytes;
}

Bytes interrupt(uint32_t gsi) {
  Bytes bytes;
  append_byte(bytes, 0x89);
  append_number(bytes, 6, 2);
  append_byte(bytes, 0x03);  // Consumer, edge, active high, exclusive.
  append_byte(bytes, 1);
  append_number(bytes, gsi, 4);
  return bytes;
}

}  // namespace mote::boot::aml
