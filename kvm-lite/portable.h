/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the pure files of kvm-lite need from their surroundings: fixed-width types, errno values,
 * memory functions and the time. They are compiled twice, into the module and into tests in user
 * space, so they include this header and uapi headers, and nothing else.
 */
#ifndef KVML_PORTABLE_H
#define KVML_PORTABLE_H

#ifdef __KERNEL__

#include <asm/page.h>
#include <linux/bits.h>
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/ktime.h>
#include <linux/nospec.h>
#include <linux/string.h>
#include <linux/types.h>

/* The time that deadlines are in. */
#define kvml_now_ns() ktime_get_ns()

/* A table's address in memory, as the processor knows it, and where it is read and written. */
#define kvml_pointer_to(address)	((void *)__va(address))
#define kvml_address_of(pointer)	((u64)__pa(pointer))

#else

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
/* One address space: a table lies where its address says. */
#define kvml_pointer_to(address) ((void *)(uintptr_t)(address))
#define kvml_address_of(pointer) ((u64)(uintptr_t)(pointer))
/* Nothing out here is to be kept from who chooses the index. */
#define array_index_nospec(index, size) (index)

#endif /* __KERNEL__ */

#endif /* KVML_PORTABLE_H */
