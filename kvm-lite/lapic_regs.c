// SPDX-License-Identifier: GPL-2.0
#include "lapic_internal.h"

#include <linux/kvm.h>

#define LVT_PLAIN	(VECTOR_MASK | LVT_DELIVERY | LVT_MASKED)
#define LVT_LINT	(LVT_PLAIN | BIT(13) | BIT(15))
#define LVT_TIMER	(VECTOR_MASK | LVT_MASKED | TIMER_MODE)
#define LVT_ERROR	(VECTOR_MASK | LVT_MASKED)
/* Delivery status and remote IRR, which a write may set in vain. */
#define LVT_READ_ONLY	(LVT_PENDING | BIT(14))
#define DESTINATION_8	0xff000000u
#define DESTINATION_32	0xffffffff00000000ULL

#define MSR_READ	BIT(0)
#define MSR_WRITE	BIT(1)
#define PAGE_WRITE	BIT(2)
#define ALL		(MSR_READ | MSR_WRITE | PAGE_WRITE)

/* Without access: no such register. Every register of the page can be read. */
static const struct apic_register {
	u64 msr_bits;	/* what an x2APIC write may set: another bit is #GP */
	u32 kept;	/* what stays of what the guest writes or user space restores */
	u32 access;
} registers[KVML_APIC_REGISTERS] = {
	[KVML_APIC_ID / 16] = { 0, 0, MSR_READ },
	[KVML_APIC_VERSION / 16] = { 0, 0, MSR_READ },
	[KVML_APIC_TPR / 16] = { 0xff, 0xff, ALL },
	[KVML_APIC_PPR / 16] = { 0, 0, MSR_READ },
	[KVML_APIC_EOI / 16] = { 0, 0, MSR_WRITE | PAGE_WRITE },
	[KVML_APIC_LDR / 16] = { 0, DESTINATION_8, MSR_READ | PAGE_WRITE },
	[KVML_APIC_DFR / 16] = { 0, DFR_FLAT, PAGE_WRITE },
	[KVML_APIC_SVR / 16] = { SVR_VALID, SVR_VALID, ALL },
	/* Vectors below 16 are never in here. */
	[KVML_APIC_ISR / 16] = { 0, 0xffff0000u, MSR_READ },
	[KVML_APIC_ISR / 16 + 1 ... KVML_APIC_ISR / 16 + 7] = { 0, ~0u, MSR_READ },
	[KVML_APIC_TMR / 16] = { 0, 0xffff0000u, MSR_READ },
	[KVML_APIC_TMR / 16 + 1 ... KVML_APIC_TMR / 16 + 7] = { 0, ~0u, MSR_READ },
	[KVML_APIC_IRR / 16] = { 0, 0xffff0000u, MSR_READ },
	[KVML_APIC_IRR / 16 + 1 ... KVML_APIC_IRR / 16 + 7] = { 0, ~0u, MSR_READ },
	[KVML_APIC_ESR / 16] = { 0, ~0u, ALL },
	[KVML_APIC_ICR / 16] = { DESTINATION_32 | ICR_VALID | ICR_PENDING, ICR_VALID, ALL },
	[KVML_APIC_ICR2 / 16] = { 0, ~0u, PAGE_WRITE },
	[KVML_APIC_LVT_TIMER / 16] = { LVT_TIMER | LVT_READ_ONLY, LVT_TIMER, ALL },
	[KVML_APIC_LVT_THERMAL / 16] = { LVT_PLAIN | LVT_READ_ONLY, LVT_PLAIN, ALL },
	[KVML_APIC_LVT_PERFORMANCE / 16] = { LVT_PLAIN | LVT_READ_ONLY, LVT_PLAIN, ALL },
	[KVML_APIC_LVT_LINT0 / 16] = { LVT_LINT | LVT_READ_ONLY, LVT_LINT, ALL },
	[KVML_APIC_LVT_LINT1 / 16] = { LVT_LINT | LVT_READ_ONLY, LVT_LINT, ALL },
	[KVML_APIC_LVT_ERROR / 16] = { LVT_ERROR | LVT_READ_ONLY, LVT_ERROR, ALL },
	[KVML_APIC_TIMER_INITIAL / 16] = { ~0u, ~0u, ALL },
	[KVML_APIC_TIMER_CURRENT / 16] = { 0, 0, MSR_READ },
	[KVML_APIC_TIMER_DIVIDE / 16] = { DIVIDE_VALID, DIVIDE_VALID, ALL },
	[KVML_APIC_SELF_IPI / 16] = { 0xff, 0, MSR_WRITE },
};

/* Sends what is in ICR. */
static void send_ipi(struct kvml_apic *apic, struct kvml_apic_effects *effects)
{
	struct kvml_apic_message *message = &effects->message;
	const u32 command = apic_get(apic, KVML_APIC_ICR);
	const u32 destination = apic_get(apic, KVML_APIC_ICR2);

	message->vector = command & VECTOR_MASK;
	message->delivery = (command >> 8) & 7;
	message->logical = command & BIT(11);
	/* Level and trigger mode have a meaning for INIT only (SDM, table of valid combinations). */
	message->level_triggered = false;
	message->deasserted = message->delivery == KVML_APIC_INIT &&
		(command & BIT(15)) && !(command & BIT(14));
	message->shorthand = (command >> 18) & 3;
	message->wide = kvml_apic_is_x2apic(apic);
	message->destination = message->wide ? destination : destination >> 24;
	message->lowest_priority = message->delivery == KVML_APIC_LOWEST_PRIORITY;
	if (message->delivery <= KVML_APIC_LOWEST_PRIORITY &&
	    message->vector < FIRST_LEGAL_VECTOR) {
		apic_report_error(apic, ESR_SEND_ILLEGAL, effects);
		return;
	}
	effects->flags |= KVML_APIC_EFFECT_SEND;
}

static u32 read_register(struct kvml_apic *apic, u32 offset, u64 now_ns)
{
	switch (offset) {
	case KVML_APIC_ID:
		return kvml_apic_is_x2apic(apic) ? apic->id : apic->id << 24;
	case KVML_APIC_VERSION:
		return VERSION_VALUE;
	case KVML_APIC_PPR:
		return apic_update_ppr(apic);
	case KVML_APIC_LDR:
		return kvml_apic_is_x2apic(apic) ? apic_x2apic_logical_id(apic->id) :
			apic_get(apic, KVML_APIC_LDR);
	case KVML_APIC_DFR:
		return apic_get(apic, KVML_APIC_DFR) | ~DFR_FLAT;
	case KVML_APIC_TIMER_CURRENT:
		return apic_current_count(apic, now_ns);
	case KVML_APIC_EOI:
	case KVML_APIC_SELF_IPI:
		return 0;
	default:
		return apic_get(apic, offset);
	}
}

/* @value is allowed by the register's entry in the table; ICR takes both its halves. */
static void write_register(struct kvml_apic *apic, u32 offset, u64 value, u64 now_ns,
			   struct kvml_apic_effects *effects)
{
	u32 *reg = apic_reg(apic, offset);
	u32 kept = (u32)value & registers[offset / 16].kept;

	switch (offset) {
	case KVML_APIC_TPR:
		*reg = kept;
		effects->flags |= KVML_APIC_EFFECT_INTERRUPT;
		break;
	case KVML_APIC_EOI:
		apic_end_of_interrupt(apic, effects);
		break;
	case KVML_APIC_SVR:
		*reg = kept;
		if (kept & SVR_ENABLE)
			effects->flags |= KVML_APIC_EFFECT_INTERRUPT;
		else
			apic_mask_lvt(apic);
		break;
	case KVML_APIC_ESR:
		*reg = apic->errors;
		apic->errors = 0;
		break;
	case KVML_APIC_ICR:
		*reg = kept;
		*apic_reg(apic, KVML_APIC_ICR2) = (u32)(value >> 32);
		send_ipi(apic, effects);
		break;
	case KVML_APIC_LVT_TIMER ... KVML_APIC_LVT_ERROR:
		if (!(apic_get(apic, KVML_APIC_SVR) & SVR_ENABLE))
			kept |= LVT_MASKED;
		if (offset == KVML_APIC_LVT_TIMER)
			apic_write_lvt_timer(apic, kept, effects);
		else
			*reg = kept;
		break;
	case KVML_APIC_TIMER_INITIAL:
		apic_write_timer_initial(apic, kept, now_ns, effects);
		break;
	case KVML_APIC_TIMER_DIVIDE:
		apic_write_timer_divide(apic, kept, now_ns, effects);
		break;
	case KVML_APIC_SELF_IPI:
		if (value < FIRST_LEGAL_VECTOR)
			apic_report_error(apic, ESR_SEND_ILLEGAL, effects);
		else
			apic_accept_vector(apic, (u8)value, false, effects);
		break;
	default:
		*reg = kept;
	}
}

u64 kvml_apic_page_read(struct kvml_apic *apic, u32 offset, u32 length, u64 now_ns)
{
	const u32 byte = offset & 0xf;
	const u32 index = offset / 16;
	u64 value;

	if (index >= KVML_APIC_REGISTERS || byte + length > 4)
		return 0;
	value = read_register(apic, array_index_nospec(index, KVML_APIC_REGISTERS) * 16, now_ns) >>
		(byte * 8);
	return length == 4 ? value : value & ((1ULL << (length * 8)) - 1);
}

void kvml_apic_page_write(struct kvml_apic *apic, u32 offset, u32 length, u64 value, u64 now_ns,
			  struct kvml_apic_effects *effects)
{
	u32 index = offset / 16;
	u64 whole = (u32)value;

	/* Registers are written whole and aligned (SDM, "Local APIC Register Address Map"). */
	if (length != 4 || (offset & 0xf) || index >= KVML_APIC_REGISTERS)
		return;
	index = array_index_nospec(index, KVML_APIC_REGISTERS);
	if (offset == KVML_APIC_ICR2)
		whole &= DESTINATION_8;
	if (offset == KVML_APIC_ICR)
		whole |= (u64)apic_get(apic, KVML_APIC_ICR2) << 32;
	if (registers[index].access & PAGE_WRITE)
		write_register(apic, index * 16, whole, now_ns, effects);
	else if (!registers[index].access && offset < KVML_APIC_ISR)
		apic_report_error(apic, ESR_REGISTER_ILLEGAL, effects);
}

/* The offset of an x2APIC register that this mode lets be accessed as @access says, or 0. */
static u32 msr_offset(const struct kvml_apic *apic, u32 msr, u32 access)
{
	u32 index = msr - KVML_X2APIC_MSR_FIRST;

	if (!kvml_apic_is_x2apic(apic) || index >= KVML_APIC_REGISTERS)
		return 0;
	index = array_index_nospec(index, KVML_APIC_REGISTERS);
	return registers[index].access & access ? index * 16 : 0;
}

int kvml_apic_msr_read(struct kvml_apic *apic, u32 msr, u64 now_ns, u64 *value)
{
	const u32 offset = msr_offset(apic, msr, MSR_READ);

	*value = 0;
	if (!offset)
		return -EINVAL;
	*value = read_register(apic, offset, now_ns);
	if (offset == KVML_APIC_ICR)
		*value |= (u64)apic_get(apic, KVML_APIC_ICR2) << 32;
	return 0;
}

int kvml_apic_msr_write(struct kvml_apic *apic, u32 msr, u64 value, u64 now_ns,
			struct kvml_apic_effects *effects)
{
	const u32 offset = msr_offset(apic, msr, MSR_WRITE);

	if (!offset || (value & ~registers[offset / 16].msr_bits))
		return -EINVAL;
	write_register(apic, offset, value, now_ns, effects);
	return 0;
}

void kvml_apic_write_cr8(struct kvml_apic *apic, u64 cr8, struct kvml_apic_effects *effects)
{
	*apic_reg(apic, KVML_APIC_TPR) = (u32)(cr8 & 0xf) << 4;
	effects->flags |= KVML_APIC_EFFECT_INTERRUPT;
}

/* ----- What user space saves and restores ----- */

void kvml_apic_save(struct kvml_apic *apic, struct kvm_lapic_state *state, u64 now_ns)
{
	u32 offset;

	memset(state->regs, 0, sizeof(state->regs));
	for (offset = 0; offset < KVML_APIC_REGISTERS * 16; offset += 16) {
		const u32 value = read_register(apic, offset, now_ns);

		memcpy(&state->regs[offset], &value, sizeof(value));
	}
	/* The ABI keeps the id in the xAPIC's place unless KVM_CAP_X2APIC_API is enabled. */
	offset = apic->id << 24;
	memcpy(&state->regs[KVML_APIC_ID], &offset, sizeof(offset));
}

int kvml_apic_restore(struct kvml_apic *apic, const struct kvm_lapic_state *state, u64 now_ns,
		      struct kvml_apic_effects *effects)
{
	u32 offset, value;

	memcpy(&value, &state->regs[KVML_APIC_ID], sizeof(value));
	if (value >> 24 != apic->id)
		return -EINVAL;
	kvml_apic_reset(apic);
	for (offset = 0; offset < KVML_APIC_REGISTERS * 16; offset += 16) {
		memcpy(&value, &state->regs[offset], sizeof(value));
		*apic_reg(apic, offset) = value & registers[offset / 16].kept;
	}
	if (!(apic_get(apic, KVML_APIC_SVR) & SVR_ENABLE))
		apic_mask_lvt(apic);
	apic->irr_any = apic_highest_vector(apic, KVML_APIC_IRR) >= 0;
	effects->flags |= KVML_APIC_EFFECT_INTERRUPT;
	memcpy(&value, &state->regs[KVML_APIC_TIMER_CURRENT], sizeof(value));
	apic_restore_timer(apic, value, now_ns, effects);
	return 0;
}
