/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The arithmetic of kvmclock (Linux Documentation/virt/kvm/x86/msr.rst, struct
 * pvclock_vcpu_time_info): from TSC ticks to nanoseconds with a shift and a 32-bit multiplier.
 * Pure.
 */
#ifndef KVML_CLOCK_SCALE_H
#define KVML_CLOCK_SCALE_H

#include "portable.h"

struct kvml_clock_scale {
	u32 multiplier;	/* nanoseconds = (ticks shifted) * multiplier / 2^32 */
	s8 shift;	/* left if positive, right if negative; -31 to 31 */
};

/* @tsc_khz is not 0. */
struct kvml_clock_scale kvml_clock_scale_of(u32 tsc_khz);

/* Nanoseconds in @ticks, as a guest computes them. */
u64 kvml_clock_ns(const struct kvml_clock_scale *scale, u64 ticks);

/*
 * The time until the TSC, now @now, reaches @deadline: at least the true time, so that a timer does
 * not fire too early, and at most KVML_CLOCK_FAR_NS.
 */
u64 kvml_clock_ns_until(u32 tsc_khz, u64 now, u64 deadline);

#define KVML_CLOCK_FAR_NS	(1ULL << 60)

#endif /* KVML_CLOCK_SCALE_H */
