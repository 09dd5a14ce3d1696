// SPDX-License-Identifier: GPL-2.0
#include "lapic_internal.h"

#include <linux/kvm.h>

bool kvml_apic_software_enabled(const struct kvml_apic *apic)
{
	return kvml_apic_hardware_enabled(apic) && (apic_get(apic, KVML_APIC_SVR) & SVR_ENABLE);
}

/* ----- Interrupts coming in ----- */

static void raise_vector(struct kvml_apic *apic, u8 vector, bool level_triggered,
			 struct kvml_apic_effects *effects)
{
	if (level_triggered)
		apic_set_vector(apic, KVML_APIC_TMR, vector);
	else
		apic_clear_vector(apic, KVML_APIC_TMR, vector);
	apic_set_vector(apic, KVML_APIC_IRR, vector);
	apic->irr_any = true;
	effects->flags |= KVML_APIC_EFFECT_INTERRUPT;
}

void apic_report_error(struct kvml_apic *apic, u32 error, struct kvml_apic_effects *effects)
{
	const u32 entry = apic_get(apic, KVML_APIC_LVT_ERROR);
	const bool first = !(apic->errors & error);

	apic->errors |= error;
	/* An illegal vector here would be the next error: it is only recorded. */
	if (first && !(entry & LVT_MASKED) && (entry & VECTOR_MASK) >= FIRST_LEGAL_VECTOR)
		raise_vector(apic, entry & VECTOR_MASK, false, effects);
}

bool apic_accept_vector(struct kvml_apic *apic, u8 vector, bool level_triggered,
			  struct kvml_apic_effects *effects)
{
	if (!kvml_apic_software_enabled(apic))
		return false;
	if (vector < FIRST_LEGAL_VECTOR) {
		apic_report_error(apic, ESR_RECEIVE_ILLEGAL, effects);
		return false;
	}
	raise_vector(apic, vector, level_triggered, effects);
	return true;
}

bool kvml_apic_accept(struct kvml_apic *apic, const struct kvml_apic_message *message,
		      struct kvml_apic_effects *effects)
{
	/* An LAPIC that IA32_APIC_BASE turns off has only its pins left. */
	if (!kvml_apic_hardware_enabled(apic))
		return false;
	switch (message->delivery) {
	case KVML_APIC_FIXED:
	case KVML_APIC_LOWEST_PRIORITY:
		return apic_accept_vector(apic, message->vector, message->level_triggered, effects);
	case KVML_APIC_NMI:
		effects->flags |= KVML_APIC_EFFECT_NMI;
		return true;
	case KVML_APIC_INIT:
		if (message->deasserted)
			return true;
		effects->flags |= KVML_APIC_EFFECT_INIT;
		return true;
	case KVML_APIC_STARTUP:
		effects->flags |= KVML_APIC_EFFECT_STARTUP;
		effects->startup_vector = message->vector;
		return true;
	default:
		/* There is neither SMM nor a PIC in here. */
		return false;
	}
}

static bool matches_logical(const struct kvml_apic *apic, u32 destination)
{
	const u32 xapic_id = apic_get(apic, KVML_APIC_LDR) >> 24;

	if (kvml_apic_is_x2apic(apic)) {
		const u32 id = apic_x2apic_logical_id(apic->id);

		return (id >> 16) == (destination >> 16) && (id & destination & 0xffff);
	}
	if (destination > 0xff)
		return false;
	if (apic_get(apic, KVML_APIC_DFR) == DFR_FLAT)
		return xapic_id & destination;
	return (xapic_id >> 4) == (destination >> 4) && (xapic_id & destination & 0xf);
}

bool kvml_apic_matches(const struct kvml_apic *apic, const struct kvml_apic_message *message,
		       const struct kvml_apic *source)
{
	switch (message->shorthand) {
	case KVML_APIC_SELF:
		return apic == source;
	case KVML_APIC_ALL:
		return true;
	case KVML_APIC_ALL_BUT_SELF:
		return apic != source;
	default:
		break;
	}
	if (message->destination == (message->wide ? 0xffffffffu : 0xffu))
		return true;
	if (message->logical)
		return matches_logical(apic, message->destination);
	return message->destination == apic->id;
}

int kvml_apic_pending(struct kvml_apic *apic)
{
	int vector;

	if (!apic->irr_any || !kvml_apic_hardware_enabled(apic))
		return -1;
	vector = apic_highest_vector(apic, KVML_APIC_IRR);
	if (vector < 0) {
		apic->irr_any = false;
		return -1;
	}
	return ((u32)vector & 0xf0) > (apic_update_ppr(apic) & 0xf0) ? vector : -1;
}

void kvml_apic_acknowledge(struct kvml_apic *apic, u8 vector)
{
	apic_clear_vector(apic, KVML_APIC_IRR, vector);
	apic_set_vector(apic, KVML_APIC_ISR, vector);
	apic_update_ppr(apic);
}

void apic_end_of_interrupt(struct kvml_apic *apic, struct kvml_apic_effects *effects)
{
	const int vector = apic_highest_vector(apic, KVML_APIC_ISR);

	if (vector < 0)
		return;
	apic_clear_vector(apic, KVML_APIC_ISR, (u8)vector);
	apic_update_ppr(apic);
	if (apic->irr_any)
		effects->flags |= KVML_APIC_EFFECT_INTERRUPT;
	if (apic_test_vector(apic, KVML_APIC_TMR, (u8)vector)) {
		effects->flags |= KVML_APIC_EFFECT_EOI;
		effects->eoi_vector = (u8)vector;
	}
}

bool kvml_apic_accepts_extint(const struct kvml_apic *apic)
{
	const u32 entry = apic_get(apic, KVML_APIC_LVT_LINT0);

	if (!kvml_apic_hardware_enabled(apic))
		return true;
	return !(entry & LVT_MASKED) && (entry & LVT_DELIVERY) >> 8 == KVML_APIC_EXTINT;
}

/* ----- Modes, reset, save and restore ----- */

void kvml_apic_reset(struct kvml_apic *apic)
{
	u32 offset;

	memset(apic->regs, 0, sizeof(apic->regs));
	apic->errors = 0;
	apic->tsc_deadline = 0;
	apic->deadline_ns = 0;
	apic->irr_any = false;
	*apic_reg(apic, KVML_APIC_DFR) = DFR_FLAT;
	*apic_reg(apic, KVML_APIC_SVR) = 0xff;
	for (offset = KVML_APIC_LVT_TIMER; offset <= KVML_APIC_LVT_ERROR; offset += 0x10)
		*apic_reg(apic, offset) = LVT_MASKED;
}

void kvml_apic_power_up(struct kvml_apic *apic, u32 id, bool bootstrap)
{
	apic->id = id;
	apic->base = KVML_APIC_DEFAULT_BASE | KVML_APIC_BASE_ENABLE |
		(bootstrap ? KVML_APIC_BASE_BSP : 0);
	kvml_apic_reset(apic);
}

static bool base_is_valid(u64 value, u8 physical_bits)
{
	const u64 modes = KVML_APIC_BASE_BSP | KVML_APIC_BASE_X2APIC | KVML_APIC_BASE_ENABLE;
	const u64 address = value & ~(KVML_APIC_PAGE_SIZE - 1ULL);

	if ((value & ~modes) != address || (physical_bits < 64 && value >> physical_bits))
		return false;
	return (value & KVML_APIC_BASE_ENABLE) || !(value & KVML_APIC_BASE_X2APIC);
}

static void apply_base(struct kvml_apic *apic, u64 value, struct kvml_apic_effects *effects)
{
	const u64 changed = apic->base ^ value;

	apic->base = value;
	if ((changed & KVML_APIC_BASE_ENABLE) && !(value & KVML_APIC_BASE_ENABLE)) {
		/* What comes back when it is enabled again is the state after reset. */
		kvml_apic_reset(apic);
		effects->flags |= KVML_APIC_EFFECT_TIMER;
	}
	if (changed & value & KVML_APIC_BASE_X2APIC)
		*apic_reg(apic, KVML_APIC_ICR2) = 0;
	effects->flags |= KVML_APIC_EFFECT_INTERRUPT;
}

int kvml_apic_write_base(struct kvml_apic *apic, u64 value, u8 physical_bits, bool x2apic,
			 struct kvml_apic_effects *effects)
{
	const u64 modes = KVML_APIC_BASE_X2APIC | KVML_APIC_BASE_ENABLE;
	const u64 old_mode = apic->base & modes;
	const u64 new_mode = value & modes;

	if (!base_is_valid(value, physical_bits) || ((value & KVML_APIC_BASE_X2APIC) && !x2apic))
		return -EINVAL;
	/* SDM, "x2APIC State Transitions": not from off to x2APIC, not from x2APIC to xAPIC. */
	if ((old_mode == 0 && new_mode == modes) ||
	    (old_mode == modes && new_mode == KVML_APIC_BASE_ENABLE))
		return -EINVAL;
	apply_base(apic, value, effects);
	return 0;
}

int kvml_apic_restore_base(struct kvml_apic *apic, u64 value, u8 physical_bits,
			   struct kvml_apic_effects *effects)
{
	if (!base_is_valid(value, physical_bits))
		return -EINVAL;
	apply_base(apic, value, effects);
	return 0;
}

void kvml_apic_save(struct kvml_apic *apic, struct kvm_lapic_state *state, u64 now_ns)
{
	u32 offset;

	memset(state->regs, 0, sizeof(state->regs));
	for (offset = 0; offset < KVML_APIC_REGISTERS * 16; offset += 16) {
		const u32 value = apic_read_register(apic, offset, now_ns);

		memcpy(&state->regs[offset], &value, sizeof(value));
	}
	/* The ABI keeps the id in the xAPIC's place unless KVM_CAP_X2APIC_API is enabled. */
	offset = apic->id << 24;
	memcpy(&state->regs[KVML_APIC_ID], &offset, sizeof(offset));
}

/* Makes what user space gave for the register at @offset something this machine could hold. */
static u32 restored_register(u32 offset, u32 value)
{
	switch (offset) {
	case KVML_APIC_TPR:
		return value & 0xff;
	case KVML_APIC_LDR:
		return value & 0xff000000u;
	case KVML_APIC_DFR:
		return value | 0x0fffffffu;
	case KVML_APIC_SVR:
		return value & SVR_VALID;
	case KVML_APIC_ISR:
	case KVML_APIC_TMR:
	case KVML_APIC_IRR:
		return value & 0xffff0000u;
	case KVML_APIC_ICR:
		return value & ICR_VALID & ~(u32)ICR_PENDING;
	case KVML_APIC_TIMER_DIVIDE:
		return value & DIVIDE_VALID;
	case KVML_APIC_ESR:
	case KVML_APIC_ICR2:
	case KVML_APIC_TIMER_INITIAL:
		return value;
	default:
		if (offset > KVML_APIC_ISR && offset < KVML_APIC_ESR)
			return value;
		if (offset >= KVML_APIC_LVT_TIMER && offset <= KVML_APIC_LVT_ERROR)
			return value & apic_lvt_valid(offset);
		return 0;
	}
}

static void mask_if_disabled(struct kvml_apic *apic)
{
	u32 offset;

	if (apic_get(apic, KVML_APIC_SVR) & SVR_ENABLE)
		return;
	for (offset = KVML_APIC_LVT_TIMER; offset <= KVML_APIC_LVT_ERROR; offset += 0x10)
		*apic_reg(apic, offset) |= LVT_MASKED;
}

int kvml_apic_restore(struct kvml_apic *apic, const struct kvm_lapic_state *state, u64 now_ns,
		      struct kvml_apic_effects *effects)
{
	u32 offset, value, remaining;

	memcpy(&value, &state->regs[KVML_APIC_ID], sizeof(value));
	if (value >> 24 != apic->id)
		return -EINVAL;
	memcpy(&remaining, &state->regs[KVML_APIC_TIMER_CURRENT], sizeof(remaining));
	kvml_apic_reset(apic);
	for (offset = 0; offset < KVML_APIC_REGISTERS * 16; offset += 16) {
		memcpy(&value, &state->regs[offset], sizeof(value));
		*apic_reg(apic, offset) = restored_register(offset, value);
	}
	mask_if_disabled(apic);
	apic->irr_any = apic_highest_vector(apic, KVML_APIC_IRR) >= 0;
	apic_update_ppr(apic);
	effects->flags |= KVML_APIC_EFFECT_TIMER | KVML_APIC_EFFECT_INTERRUPT;
	if (apic_timer_mode(apic) > TIMER_PERIODIC)
		return 0;
	value = apic_get(apic, KVML_APIC_TIMER_INITIAL);
	/* A one-shot timer at 0 has fired; a periodic one was about to start over. */
	if (remaining > value || (!remaining && apic_timer_mode(apic) == TIMER_PERIODIC))
		remaining = value;
	apic_start_counting(apic, remaining, now_ns, effects);
	return 0;
}
