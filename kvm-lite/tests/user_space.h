/* SPDX-License-Identifier: GPL-2.0 */
/* What kvm-lite/portable.h takes from the kernel, for the tests and fuzzers of the pure files. */
#ifndef KVML_TESTS_USER_SPACE_H
#define KVML_TESTS_USER_SPACE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;

/* Time is what a test says it is. */
extern u64 kvml_test_now_ns;
#define kvml_now_ns() kvml_test_now_ns

#define BIT(n) (1UL << (n))
#define BIT_ULL(n) (1ULL << (n))
#define GENMASK_ULL(high, low) ((~0ULL << (low)) & (~0ULL >> (63 - (high))))
#define READ_ONCE(place) __atomic_load_n(&(place), __ATOMIC_RELAXED)
#define WRITE_ONCE(place, value) __atomic_store_n(&(place), value, __ATOMIC_RELAXED)
#define smp_store_release(place, value) __atomic_store_n(place, value, __ATOMIC_RELEASE)
/*
 * Bits as the kernel counts them, atomic and full barriers as on x86. Byte by byte, since others
 * look at the same memory as registers of 32 bits.
 */
#define kvml_byte_of(number, bits) ((unsigned char*)(bits) + (number) / 8)
#define kvml_bit_of(number) ((unsigned char)(1u << (number) % 8))
#define test_bit(number, bits) (!!(READ_ONCE(*kvml_byte_of(number, bits)) & kvml_bit_of(number)))
#define test_and_set_bit(number, bits)                                                       \
  (!!(__atomic_fetch_or(kvml_byte_of(number, bits), kvml_bit_of(number), __ATOMIC_SEQ_CST) & \
      kvml_bit_of(number)))
#define set_bit(number, bits) ((void)test_and_set_bit(number, bits))
#define clear_bit(number, bits) \
  ((void)__atomic_fetch_and(kvml_byte_of(number, bits), ~kvml_bit_of(number), __ATOMIC_SEQ_CST))
#define __set_bit(number, bits) set_bit(number, bits)
#define __clear_bit(number, bits) clear_bit(number, bits)
#define xchg(place, value) __atomic_exchange_n(place, value, __ATOMIC_SEQ_CST)
/* One address space: a table lies where its address says. */
#define kvml_pointer_to(address) ((void*)(uintptr_t)(address))
#define kvml_address_of(pointer) ((u64)(uintptr_t)(pointer))
/* Nothing out here is to be kept from who chooses the index. */
#define array_index_nospec(index, size) (index)

#endif /* KVML_TESTS_USER_SPACE_H */
