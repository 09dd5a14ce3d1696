// SPDX-License-Identifier: GPL-2.0
#include "lapic_internal.h"

/* Enabled in IA32_APIC_BASE and in SVR: takes fixed interrupts. */
static bool software_enabled(const struct kvml_apic *apic)
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
	if (!software_enabled(apic))
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
		if (!message->deasserted)
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
	const u32 xapic_id = READ_ONCE(apic->regs[KVML_APIC_LDR / 16]) >> 24;

	if (kvml_apic_is_x2apic(apic)) {
		const u32 id = apic_x2apic_logical_id(apic->id);

		return (id >> 16) == (destination >> 16) && (id & destination & 0xffff);
	}
	if (destination > 0xff)
		return false;
	if (READ_ONCE(apic->regs[KVML_APIC_DFR / 16]) == DFR_FLAT)
		return xapic_id & destination;
	return (xapic_id >> 4) == (destination >> 4) && (xapic_id & destination & 0xf);
}

static bool is_broadcast(const struct kvml_apic_message *message)
{
	return message->destination == (message->wide ? 0xffffffffu : 0xffu);
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
	if (is_broadcast(message))
		return true;
	if (message->logical)
		return matches_logical(apic, message->destination);
	return message->destination == apic->id;
}

bool kvml_apic_names_one(const struct kvml_apic_message *message)
{
	return message->shorthand == KVML_APIC_NO_SHORTHAND && !message->logical &&
		!is_broadcast(message);
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
}

void apic_end_of_interrupt(struct kvml_apic *apic, struct kvml_apic_effects *effects)
{
	const int vector = apic_highest_vector(apic, KVML_APIC_ISR);

	if (vector < 0)
		return;
	apic_clear_vector(apic, KVML_APIC_ISR, (u8)vector);
	if (apic->irr_any)
		effects->flags |= KVML_APIC_EFFECT_INTERRUPT;
	if (apic_test_vector(apic, KVML_APIC_TMR, (u8)vector)) {
		effects->flags |= KVML_APIC_EFFECT_EOI;
		effects->eoi_vector = (u8)vector;
	}
}

/* ----- Modes and reset ----- */

void kvml_apic_reset(struct kvml_apic *apic)
{
	memset(apic->regs, 0, sizeof(apic->regs));
	apic->errors = 0;
	apic->tsc_deadline = 0;
	apic->deadline_ns = 0;
	apic->irr_any = false;
	*apic_reg(apic, KVML_APIC_DFR) = DFR_FLAT;
	*apic_reg(apic, KVML_APIC_SVR) = 0xff;
	apic_mask_lvt(apic);
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

int kvml_apic_restore_base(struct kvml_apic *apic, u64 value, u8 physical_bits,
			   struct kvml_apic_effects *effects)
{
	const u64 changed = apic->base ^ value;

	if (!base_is_valid(value, physical_bits))
		return -EINVAL;
	apic->base = value;
	if (changed & ~value & KVML_APIC_BASE_ENABLE) {
		/* What comes back when it is enabled again is the state after reset. */
		kvml_apic_reset(apic);
		effects->flags |= KVML_APIC_EFFECT_TIMER;
	}
	if (changed & value & KVML_APIC_BASE_X2APIC)
		*apic_reg(apic, KVML_APIC_ICR2) = 0;
	effects->flags |= KVML_APIC_EFFECT_INTERRUPT;
	return 0;
}

int kvml_apic_write_base(struct kvml_apic *apic, u64 value, u8 physical_bits, bool x2apic,
			 struct kvml_apic_effects *effects)
{
	const u64 modes = KVML_APIC_BASE_X2APIC | KVML_APIC_BASE_ENABLE;
	const u64 old_mode = apic->base & modes;
	const u64 new_mode = value & modes;

	if (new_mode == modes && !x2apic)
		return -EINVAL;
	/* SDM, "x2APIC State Transitions": not from off to x2APIC, not from x2APIC to xAPIC. */
	if ((old_mode == 0 && new_mode == modes) ||
	    (old_mode == modes && new_mode == KVML_APIC_BASE_ENABLE))
		return -EINVAL;
	return kvml_apic_restore_base(apic, value, physical_bits, effects);
}
