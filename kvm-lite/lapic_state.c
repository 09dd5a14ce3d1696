// SPDX-License-Identifier: GPL-2.0
#include "lapic_internal.h"

/* IRR, ISR and TMR are 256 bits each, in eight registers. */
static unsigned long *vectors(const struct kvml_apic *apic, u32 table)
{
	return (unsigned long *)&apic->regs[table];
}

/* 0, which is in no table, if there is none. */
static u32 highest_vector(const struct kvml_apic *apic, u32 table)
{
	const unsigned long *words = vectors(apic, table);
	int word;

	for (word = 3; word >= 0; word--) {
		const unsigned long bits = READ_ONCE(words[word]);

		if (bits)
			return word * 64 + 63 - __builtin_clzl(bits);
	}
	return 0;
}

/* ----- Interrupts coming in ----- */

static void raise_vector(struct kvml_apic *apic, u8 vector, bool level_triggered)
{
	unsigned long *tmr = vectors(apic, KVML_APIC_TMR);

	if (level_triggered)
		set_bit(vector, tmr);
	else if (test_bit(vector, tmr))
		clear_bit(vector, tmr);
	set_bit(vector, vectors(apic, KVML_APIC_IRR));
}

void apic_report_error(struct kvml_apic *apic, u32 error)
{
	const u32 entry = READ_ONCE(apic->regs[KVML_APIC_LVT_ERROR]);
	const bool first = !test_and_set_bit(error, &apic->errors);

	/* An illegal vector here would be the next error: it is only recorded. */
	if (first && !(entry & LVT_MASKED) && (entry & VECTOR_MASK) >= FIRST_LEGAL_VECTOR)
		raise_vector(apic, entry & VECTOR_MASK, false);
}

bool kvml_apic_accept(struct kvml_apic *apic, u8 vector, bool level_triggered)
{
	if (!(READ_ONCE(apic->regs[KVML_APIC_SVR]) & SVR_ENABLE))
		return false;
	if (vector < FIRST_LEGAL_VECTOR) {
		apic_report_error(apic, ESR_RECEIVE_ILLEGAL);
		return false;
	}
	raise_vector(apic, vector, level_triggered);
	return true;
}

static bool matches_logical(const struct kvml_apic *apic, u32 destination)
{
	const u32 xapic_id = READ_ONCE(apic->regs[KVML_APIC_LDR]) >> 24;

	if (kvml_apic_is_x2apic(apic)) {
		const u32 id = apic_x2apic_logical_id(apic->id);

		return (id >> 16) == (destination >> 16) && (id & destination & 0xffff);
	}
	if (destination > 0xff)
		return false;
	if (READ_ONCE(apic->regs[KVML_APIC_DFR]) == DFR_FLAT)
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
	if (!kvml_apic_hardware_enabled(apic))
		return false;
	if (message->shorthand >= KVML_APIC_ALL)
		return message->shorthand == KVML_APIC_ALL || apic != source;
	if (is_broadcast(message))
		return true;
	return message->logical ? matches_logical(apic, message->destination) :
				  message->destination == apic->id;
}

bool kvml_apic_names_one(const struct kvml_apic_message *message)
{
	return message->shorthand == KVML_APIC_NO_SHORTHAND && !message->logical &&
		!is_broadcast(message);
}

/* ----- Priorities ----- */

/* SDM, "Task and Processor Priorities". */
u32 apic_ppr(const struct kvml_apic *apic)
{
	const u32 tpr = apic->regs[KVML_APIC_TPR];
	const u32 service_class = highest_vector(apic, KVML_APIC_ISR) & 0xf0;

	return (tpr & 0xf0) >= service_class ? tpr : service_class;
}

int kvml_apic_pending(const struct kvml_apic *apic)
{
	const unsigned long *irr = vectors(apic, KVML_APIC_IRR);
	u32 vector;

	/* So it is nearly always, and each entry into the guest asks. */
	if (!(READ_ONCE(irr[0]) | READ_ONCE(irr[1]) | READ_ONCE(irr[2]) | READ_ONCE(irr[3])) ||
	    !kvml_apic_hardware_enabled(apic))
		return -1;
	vector = highest_vector(apic, KVML_APIC_IRR);
	return (vector & 0xf0) > (apic_ppr(apic) & 0xf0) ? (int)vector : -1;
}

int kvml_apic_take(struct kvml_apic *apic)
{
	const int vector = kvml_apic_pending(apic);

	if (vector >= 0) {
		clear_bit(vector, vectors(apic, KVML_APIC_IRR));
		__set_bit(vector, vectors(apic, KVML_APIC_ISR));
	}
	return vector;
}

void apic_end_of_interrupt(struct kvml_apic *apic)
{
	const u32 vector = highest_vector(apic, KVML_APIC_ISR);

	if (!vector)
		return;
	__clear_bit(vector, vectors(apic, KVML_APIC_ISR));
	if (test_bit(vector, vectors(apic, KVML_APIC_TMR)))
		apic->ended = (u8)vector;
}

/* ----- Modes and reset ----- */

#define MODES	(KVML_APIC_BASE_X2APIC | KVML_APIC_BASE_ENABLE)

void kvml_apic_reset(struct kvml_apic *apic)
{
	memset(apic, 0, offsetof(struct kvml_apic, base));
	apic->regs[KVML_APIC_DFR] = DFR_FLAT;
	apic->regs[KVML_APIC_SVR] = 0xff;
	apic_mask_lvt(apic);
	kvml_apic_timer_changed(apic);
}

void kvml_apic_power_up(struct kvml_apic *apic, u32 id)
{
	apic->id = id;
	apic->base = KVML_APIC_DEFAULT_BASE | KVML_APIC_BASE_ENABLE |
		(id == 0 ? KVML_APIC_BASE_BSP : 0);
	kvml_apic_reset(apic);
}

int kvml_apic_restore_base(struct kvml_apic *apic, u64 value, u8 physical_bits)
{
	const u64 reserved = (KVML_APIC_PAGE_SIZE - 1) & ~(MODES | KVML_APIC_BASE_BSP);
	const u64 changed = apic->base ^ value;

	if ((value & reserved) || value >> physical_bits ||
	    (value & MODES) == KVML_APIC_BASE_X2APIC)
		return -EINVAL;
	WRITE_ONCE(apic->base, value);
	/* What comes back when it is enabled again is the state after reset. */
	if (changed & ~value & KVML_APIC_BASE_ENABLE)
		kvml_apic_reset(apic);
	if (changed & value & KVML_APIC_BASE_X2APIC)
		apic->regs[KVML_APIC_ICR2] = 0;
	return 0;
}

int kvml_apic_write_base(struct kvml_apic *apic, u64 value, u8 physical_bits)
{
	const u64 old_mode = apic->base & MODES;
	const u64 new_mode = value & MODES;

	/* SDM, "x2APIC State Transitions": not from off to x2APIC, not from x2APIC to xAPIC. */
	if ((old_mode == 0 && new_mode == MODES) ||
	    (old_mode == MODES && new_mode == KVML_APIC_BASE_ENABLE))
		return -EINVAL;
	return kvml_apic_restore_base(apic, value, physical_bits);
}
