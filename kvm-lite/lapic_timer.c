// SPDX-License-Identifier: GPL-2.0
#include "lapic_internal.h"

static u32 timer_mode(const struct kvml_apic *apic)
{
	return apic_get(apic, KVML_APIC_LVT_TIMER) & TIMER_MODE;
}

/* SDM, "Divide Configuration Register": 2, 4, 8, 16, 32, 64, 128, 1. */
static u64 ns_per_count(const struct kvml_apic *apic)
{
	const u32 divide = apic_get(apic, KVML_APIC_TIMER_DIVIDE);
	const u32 code = (divide & 3) | (divide & 8) >> 1;

	return (u64)KVML_APIC_BUS_CYCLE_NS << ((code + 1) & 7);
}

static u64 delay_ns(const struct kvml_apic *apic, u32 count)
{
	const u64 delay = count * ns_per_count(apic);

	if (timer_mode(apic) == TIMER_PERIODIC && delay < KVML_APIC_MIN_PERIOD_NS)
		return KVML_APIC_MIN_PERIOD_NS;
	return delay;
}

u32 apic_current_count(const struct kvml_apic *apic, u64 now_ns)
{
	const u32 initial = apic_get(apic, KVML_APIC_TIMER_INITIAL);
	u64 count;

	if (!apic->deadline_ns || apic->deadline_ns <= now_ns)
		return 0;
	count = (apic->deadline_ns - now_ns) / ns_per_count(apic);
	return count < initial ? (u32)count : initial;
}

/* Counts down from @count; 0 stops. */
static void start_counting(struct kvml_apic *apic, u32 count, u64 now_ns,
			   struct kvml_apic_effects *effects)
{
	apic->deadline_ns = count ? now_ns + delay_ns(apic, count) : 0;
	effects->flags |= KVML_APIC_EFFECT_TIMER;
}

void apic_write_lvt_timer(struct kvml_apic *apic, u32 value, struct kvml_apic_effects *effects)
{
	const u32 old_mode = timer_mode(apic);
	const u32 new_mode = value & TIMER_MODE;

	*apic_reg(apic, KVML_APIC_LVT_TIMER) = value;
	/* One-shot to periodic goes on counting; all else disarms (SDM, "TSC-Deadline Mode"). */
	if (old_mode == new_mode || (old_mode <= TIMER_PERIODIC && new_mode <= TIMER_PERIODIC))
		return;
	apic->tsc_deadline = 0;
	apic->deadline_ns = 0;
	effects->flags |= KVML_APIC_EFFECT_TIMER;
	*apic_reg(apic, KVML_APIC_TIMER_INITIAL) = 0;
}

void apic_write_timer_initial(struct kvml_apic *apic, u32 value, u64 now_ns,
				struct kvml_apic_effects *effects)
{
	if (timer_mode(apic) > TIMER_PERIODIC)
		return;
	*apic_reg(apic, KVML_APIC_TIMER_INITIAL) = value;
	start_counting(apic, value, now_ns, effects);
}

void apic_write_timer_divide(struct kvml_apic *apic, u32 value, u64 now_ns,
			       struct kvml_apic_effects *effects)
{
	const u32 count = apic_current_count(apic, now_ns);

	*apic_reg(apic, KVML_APIC_TIMER_DIVIDE) = value;
	if (count)
		start_counting(apic, count, now_ns, effects);
}

void apic_restore_timer(struct kvml_apic *apic, u32 remaining, u64 now_ns,
			struct kvml_apic_effects *effects)
{
	const u32 initial = apic_get(apic, KVML_APIC_TIMER_INITIAL);

	effects->flags |= KVML_APIC_EFFECT_TIMER;
	if (timer_mode(apic) > TIMER_PERIODIC)
		return;
	/* A one-shot timer at 0 has fired; a periodic one was about to start over. */
	if (remaining > initial || (!remaining && timer_mode(apic) == TIMER_PERIODIC))
		remaining = initial;
	start_counting(apic, remaining, now_ns, effects);
}

void kvml_apic_write_tsc_deadline(struct kvml_apic *apic, u64 deadline,
				  struct kvml_apic_effects *effects)
{
	if (!kvml_apic_hardware_enabled(apic) || timer_mode(apic) != TIMER_DEADLINE)
		return;
	apic->tsc_deadline = deadline;
	effects->flags |= KVML_APIC_EFFECT_TIMER;
}

static void fire_timer(struct kvml_apic *apic, struct kvml_apic_effects *effects)
{
	const u32 entry = apic_get(apic, KVML_APIC_LVT_TIMER);

	if (!(entry & LVT_MASKED))
		apic_accept_vector(apic, entry & VECTOR_MASK, false, effects);
}

void kvml_apic_timer_expired(struct kvml_apic *apic, u64 now_ns, u64 guest_tsc,
			     struct kvml_apic_effects *effects)
{
	if (apic->tsc_deadline && guest_tsc >= apic->tsc_deadline) {
		apic->tsc_deadline = 0;
		fire_timer(apic, effects);
	} else if (apic->deadline_ns && now_ns >= apic->deadline_ns) {
		const u64 late = now_ns - apic->deadline_ns;
		const u64 period = delay_ns(apic, apic_get(apic, KVML_APIC_TIMER_INITIAL));

		apic->deadline_ns = 0;
		fire_timer(apic, effects);
		/* What was missed while the host was late is not made up for. */
		if (timer_mode(apic) == TIMER_PERIODIC)
			apic->deadline_ns = now_ns + period - late % period;
	} else {
		return;
	}
	if (apic->deadline_ns)
		effects->flags |= KVML_APIC_EFFECT_TIMER;
}

