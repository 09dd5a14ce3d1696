#pragma once
// Bytes of network packets: big-endian numbers, and the Internet checksum (RFC 1071).

#include <stddef.h>
#include <stdint.h>

static inline uint16_t get16(const uint8_t* at) {
  return (uint16_t)(at[0] << 8 | at[1]);
}
static inline uint32_t get32(const uint8_t* at) {
  return (uint32_t)get16(at) << 16 | get16(at + 2);
}
static inline void put16(uint8_t* at, uint16_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}
static inline void put32(uint8_t* at, uint32_t value) {
  put16(at, (uint16_t)(value >> 16));
  put16(at + 2, (uint16_t)value);
}
static inline void copy(uint8_t* to, const uint8_t* from, size_t size) {
  for (size_t i = 0; i < size; ++i) to[i] = from[i];
}

/// The sum of 16-bit words, carried on from `sum`; an odd byte at the end counts as a high one.
static inline uint32_t add_up(const uint8_t* data, size_t size, uint32_t sum) {
  for (size_t i = 0; i + 1 < size; i += 2) sum += get16(data + i);
  if ((size & 1) != 0) sum += (uint32_t)data[size - 1] << 8;
  return sum;
}
static inline uint16_t fold(uint32_t sum) {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}
static inline uint16_t checksum(const uint8_t* data, size_t size) {
  return fold(add_up(data, size, 0));
}
