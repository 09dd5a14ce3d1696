/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the pure files of kvm-lite need from their surroundings: fixed-width types, errno values,
 * memory functions, atomic bits and the time. They are compiled twice, into the module and into tests
 * in user space, so they include this header and uapi headers, and nothing else.
 */
#ifndef KVML_PORTABLE_H
#define KVML_PORTABLE_H

#ifdef __KERNEL__

#include <asm/page.h>
#include <linux/atomic.h>
#include <linux/bitops.h>
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
#include "tests/user_space.h"
#endif /* __KERNEL__ */

#endif /* KVML_PORTABLE_H */
