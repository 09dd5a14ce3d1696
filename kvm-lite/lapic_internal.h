/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the two files of the LAPIC state machine share: lapic_state.c (interrupts on their way,
 * modes) and lapic_regs.c (what the guest and user space read and write, the timer among it).
 * Nobody else includes this.
 */
#ifndef KVML_LAPIC_INTERNAL_H
#define KVML_LAPIC_INTERNAL_H

#include "lapic_state.h"

#define VECTOR_MASK	0x000000ffu
#define LVT_MASKED	BIT(16)
#define SVR_ENABLE	BIT(8)
#define DFR_FLAT	0xf0000000u	/* as kept: without the bits that always read as 1 */
#define FIRST_LEGAL_VECTOR	16

/* Bits of ESR, by their numbers. */
enum { ESR_SEND_ILLEGAL = 5, ESR_RECEIVE_ILLEGAL = 6, ESR_REGISTER_ILLEGAL = 7 };

/* SDM, "Local APIC State After It Has Been Software Disabled". */
static inline void apic_mask_lvt(struct kvml_apic *apic)
{
	u32 index;

	for (index = KVML_APIC_LVT_TIMER; index <= KVML_APIC_LVT_ERROR; index++)
		apic->regs[index] |= LVT_MASKED;
}

static inline u32 apic_x2apic_logical_id(u32 id)
{
	return (id >> 4) << 16 | BIT(id & 0xf);
}

/* Any thread. */
void apic_report_error(struct kvml_apic *apic, u32 error);
void apic_end_of_interrupt(struct kvml_apic *apic);
/* The processor's priority: what interrupts it is of a higher class. */
u32 apic_ppr(const struct kvml_apic *apic);

#endif /* KVML_LAPIC_INTERNAL_H */
