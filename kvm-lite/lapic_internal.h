/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the three files of the LAPIC state machine share: lapic_state.c (interrupts coming in,
 * modes), lapic_timer.c and lapic_regs.c (what the guest and user space read and write).
 * Nobody else includes this.
 */
#ifndef KVML_LAPIC_INTERNAL_H
#define KVML_LAPIC_INTERNAL_H

#include "lapic_state.h"

#define VECTOR_MASK	0x000000ffu
#define LVT_PENDING	BIT(12)
#define LVT_MASKED	BIT(16)
#define LVT_DELIVERY	0x00000700u
#define TIMER_MODE	0x00060000u
#define TIMER_ONE_SHOT	0x00000000u
#define TIMER_PERIODIC	0x00020000u
#define TIMER_DEADLINE	0x00040000u
#define SVR_ENABLE	BIT(8)
#define SVR_VALID	0x000003ffu
#define DFR_FLAT	0xf0000000u	/* as kept: without the bits that always read as 1 */
#define DIVIDE_VALID	0x0000000bu
#define ICR_PENDING	BIT(12)
#define ICR_VALID	0x000ccfffu
#define ESR_SEND_ILLEGAL	BIT(5)
#define ESR_RECEIVE_ILLEGAL	BIT(6)
#define ESR_REGISTER_ILLEGAL	BIT(7)
#define FIRST_LEGAL_VECTOR	16
/* Version 1.4 as on processors with x2APIC, six LVT entries. */
#define VERSION_VALUE	0x00050014u

static inline u32 *apic_reg(struct kvml_apic *apic, u32 offset)
{
	return &apic->regs[(offset >> 4) & (KVML_APIC_REGISTERS - 1)];
}

static inline u32 apic_get(const struct kvml_apic *apic, u32 offset)
{
	return apic->regs[(offset >> 4) & (KVML_APIC_REGISTERS - 1)];
}

/* IRR, ISR and TMR are 256 bits each, in eight registers. */
static inline void apic_set_vector(struct kvml_apic *apic, u32 table, u8 vector)
{
	*apic_reg(apic, table + (vector / 32) * 16) |= BIT(vector % 32);
}

static inline void apic_clear_vector(struct kvml_apic *apic, u32 table, u8 vector)
{
	*apic_reg(apic, table + (vector / 32) * 16) &= ~BIT(vector % 32);
}

static inline bool apic_test_vector(const struct kvml_apic *apic, u32 table, u8 vector)
{
	return apic_get(apic, table + (vector / 32) * 16) & BIT(vector % 32);
}

static inline int apic_highest_vector(const struct kvml_apic *apic, u32 table)
{
	int word;

	for (word = 7; word >= 0; word--) {
		const u32 bits = apic_get(apic, table + (u32)word * 16);

		if (bits)
			return word * 32 + 31 - __builtin_clz(bits);
	}
	return -1;
}

/* SDM, "Local APIC State After It Has Been Software Disabled". */
static inline void apic_mask_lvt(struct kvml_apic *apic)
{
	u32 offset;

	for (offset = KVML_APIC_LVT_TIMER; offset <= KVML_APIC_LVT_ERROR; offset += 0x10)
		*apic_reg(apic, offset) |= LVT_MASKED;
}

/* SDM, "Task and Processor Priorities". PPR is brought up to date where it is looked at. */
static inline u32 apic_update_ppr(struct kvml_apic *apic)
{
	const u32 tpr = apic_get(apic, KVML_APIC_TPR) & 0xff;
	const int in_service = apic_highest_vector(apic, KVML_APIC_ISR);
	const u32 service_class = in_service < 0 ? 0 : (u32)in_service & 0xf0;
	const u32 ppr = (tpr & 0xf0) >= service_class ? tpr : service_class;

	*apic_reg(apic, KVML_APIC_PPR) = ppr;
	return ppr;
}

static inline u32 apic_x2apic_logical_id(u32 id)
{
	return (id >> 4) << 16 | BIT(id & 0xf);
}

/* lapic_state.c */
bool apic_accept_vector(struct kvml_apic *apic, u8 vector, bool level_triggered,
			struct kvml_apic_effects *effects);
void apic_report_error(struct kvml_apic *apic, u32 error, struct kvml_apic_effects *effects);
void apic_end_of_interrupt(struct kvml_apic *apic, struct kvml_apic_effects *effects);

/* lapic_timer.c */
u32 apic_current_count(const struct kvml_apic *apic, u64 now_ns);
void apic_write_lvt_timer(struct kvml_apic *apic, u32 value, struct kvml_apic_effects *effects);
void apic_write_timer_initial(struct kvml_apic *apic, u32 value, u64 now_ns,
			      struct kvml_apic_effects *effects);
void apic_write_timer_divide(struct kvml_apic *apic, u32 value, u64 now_ns,
			     struct kvml_apic_effects *effects);
/* The other registers are there again; @remaining is what TIMER_CURRENT has to be. */
void apic_restore_timer(struct kvml_apic *apic, u32 remaining, u64 now_ns,
			struct kvml_apic_effects *effects);

#endif /* KVML_LAPIC_INTERNAL_H */
