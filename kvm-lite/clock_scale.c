// SPDX-License-Identifier: GPL-2.0
#include "clock_scale.h"

struct kvml_clock_scale kvml_clock_scale_of(u32 tsc_khz)
{
	struct kvml_clock_scale scale = { 0, 0 };
	const u64 ns_per_ms = 1000000;
	u64 rate = tsc_khz;

	/* Bring the rate above 1 GHz, up to 2 GHz: the multiplier uses all of its bits. */
	while (rate <= ns_per_ms) {
		rate <<= 1;
		scale.shift++;
	}
	while (rate > 2 * ns_per_ms) {
		rate = (rate + 1) >> 1;
		scale.shift--;
	}
	/* From tsc_khz itself, which lost no bits; 10^6 * 2^(32 + 12) is the most, below 2^64. */
	scale.multiplier = (u32)((ns_per_ms << (32 - scale.shift)) / tsc_khz);
	return scale;
}

u64 kvml_clock_ns(const struct kvml_clock_scale *scale, u64 ticks)
{
	const u64 shifted = scale->shift < 0 ? ticks >> -scale->shift : ticks << scale->shift;

	return (u64)(((__uint128_t)shifted * scale->multiplier) >> 32);
}

u64 kvml_clock_ns_until(u32 tsc_khz, u64 now, u64 deadline)
{
	u64 ticks, ms;

	if (deadline <= now)
		return 0;
	ticks = deadline - now;
	ms = ticks / tsc_khz;
	if (ms >= KVML_CLOCK_FAR_NS / 1000000)
		return KVML_CLOCK_FAR_NS;
	return ms * 1000000 + ((ticks % tsc_khz) * 1000000 + tsc_khz - 1) / tsc_khz;
}
