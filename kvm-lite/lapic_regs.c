// SPDX-License-Identifier: GPL-2.0
#include "lapic_internal.h"

u32 apic_lvt_valid(u32 offset)
{
	switch (offset) {
	case KVML_APIC_LVT_TIMER:
		return VECTOR_MASK | LVT_MASKED | TIMER_MODE;
	case KVML_APIC_LVT_LINT0:
	case KVML_APIC_LVT_LINT1:
		return VECTOR_MASK | LVT_DELIVERY | LVT_MASKED | BIT(13) | BIT(15);
	case KVML_APIC_LVT_ERROR:
		return VECTOR_MASK | LVT_MASKED;
	default:
		return VECTOR_MASK | LVT_DELIVERY | LVT_MASKED;
	}
}

static void write_lvt(struct kvml_apic *apic, u32 offset, u32 value,
		      struct kvml_apic_effects *effects)
{
	value &= apic_lvt_valid(offset);
	/* SDM, "Local APIC State After It Has Been Software Disabled". */
	if (!(apic_get(apic, KVML_APIC_SVR) & SVR_ENABLE))
		value |= LVT_MASKED;
	if (offset == KVML_APIC_LVT_TIMER)
		apic_write_lvt_timer(apic, value, effects);
	else
		*apic_reg(apic, offset) = value;
}

static void write_svr(struct kvml_apic *apic, u32 value, struct kvml_apic_effects *effects)
{
	u32 offset;

	*apic_reg(apic, KVML_APIC_SVR) = value & SVR_VALID;
	if (value & SVR_ENABLE) {
		effects->flags |= KVML_APIC_EFFECT_INTERRUPT;
		return;
	}
	for (offset = KVML_APIC_LVT_TIMER; offset <= KVML_APIC_LVT_ERROR; offset += 0x10)
		*apic_reg(apic, offset) |= LVT_MASKED;
}

static void send_ipi(struct kvml_apic *apic, u32 command, u32 destination,
		     struct kvml_apic_effects *effects)
{
	struct kvml_apic_message *message = &effects->message;

	message->vector = command & VECTOR_MASK;
	message->delivery = (command >> 8) & 7;
	message->logical = command & BIT(11);
	/* Level and trigger mode have a meaning for INIT only (SDM, table of valid combinations). */
	message->level_triggered = false;
	message->deasserted = message->delivery == KVML_APIC_INIT &&
		(command & BIT(15)) && !(command & BIT(14));
	message->shorthand = (command >> 18) & 3;
	message->destination = destination;
	message->wide = kvml_apic_is_x2apic(apic);
	message->lowest_priority = message->delivery == KVML_APIC_LOWEST_PRIORITY;
	if (message->delivery <= KVML_APIC_LOWEST_PRIORITY &&
	    message->vector < FIRST_LEGAL_VECTOR) {
		apic_report_error(apic, ESR_SEND_ILLEGAL, effects);
		return;
	}
	effects->flags |= KVML_APIC_EFFECT_SEND;
}

static void send_self_ipi(struct kvml_apic *apic, u8 vector, struct kvml_apic_effects *effects)
{
	if (vector < FIRST_LEGAL_VECTOR)
		apic_report_error(apic, ESR_SEND_ILLEGAL, effects);
	else
		apic_accept_vector(apic, vector, false, effects);
}

u32 apic_read_register(struct kvml_apic *apic, u32 offset, u64 now_ns)
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
	case KVML_APIC_TIMER_CURRENT:
		return apic_current_count(apic, now_ns);
	case KVML_APIC_EOI:
	case KVML_APIC_SELF_IPI:
		return 0;
	default:
		return apic_get(apic, offset);
	}
}

/* Every register that is written the same way in both modes. False: no such register. */
static bool write_register(struct kvml_apic *apic, u32 offset, u32 value, u64 now_ns,
			   struct kvml_apic_effects *effects)
{
	switch (offset) {
	case KVML_APIC_TPR:
		*apic_reg(apic, KVML_APIC_TPR) = value & 0xff;
		apic_update_ppr(apic);
		effects->flags |= KVML_APIC_EFFECT_INTERRUPT;
		return true;
	case KVML_APIC_EOI:
		apic_end_of_interrupt(apic, effects);
		return true;
	case KVML_APIC_SVR:
		write_svr(apic, value, effects);
		return true;
	case KVML_APIC_ESR:
		*apic_reg(apic, KVML_APIC_ESR) = apic->errors;
		apic->errors = 0;
		return true;
	case KVML_APIC_LVT_TIMER:
	case KVML_APIC_LVT_THERMAL:
	case KVML_APIC_LVT_PERFORMANCE:
	case KVML_APIC_LVT_LINT0:
	case KVML_APIC_LVT_LINT1:
	case KVML_APIC_LVT_ERROR:
		write_lvt(apic, offset, value, effects);
		return true;
	case KVML_APIC_TIMER_INITIAL:
		apic_write_timer_initial(apic, value, now_ns, effects);
		return true;
	case KVML_APIC_TIMER_DIVIDE:
		apic_write_timer_divide(apic, value, now_ns, effects);
		return true;
	default:
		return false;
	}
}

u64 kvml_apic_page_read(struct kvml_apic *apic, u32 offset, u32 length, u64 now_ns)
{
	const u32 byte = offset & 0xf;
	u64 value;

	if (offset >= KVML_APIC_REGISTERS * 16 || byte + length > 4)
		return 0;
	value = apic_read_register(apic, offset & ~0xfu, now_ns) >> (byte * 8);
	return length == 4 ? value : value & ((1ULL << (length * 8)) - 1);
}

void kvml_apic_page_write(struct kvml_apic *apic, u32 offset, u32 length, u64 value, u64 now_ns,
			  struct kvml_apic_effects *effects)
{
	const u32 word = (u32)value;

	/* Registers are written whole and aligned (SDM, "Local APIC Register Address Map"). */
	if (length != 4 || (offset & 0xf) || offset >= KVML_APIC_REGISTERS * 16)
		return;
	switch (offset) {
	case KVML_APIC_LDR:
		*apic_reg(apic, offset) = word & 0xff000000u;
		return;
	case KVML_APIC_DFR:
		*apic_reg(apic, offset) = word | 0x0fffffffu;
		return;
	case KVML_APIC_ICR:
		*apic_reg(apic, offset) = word & ICR_VALID & ~ICR_PENDING;
		send_ipi(apic, word, apic_get(apic, KVML_APIC_ICR2) >> 24, effects);
		return;
	case KVML_APIC_ICR2:
		*apic_reg(apic, offset) = word & 0xff000000u;
		return;
	case KVML_APIC_ID:
	case KVML_APIC_VERSION:
	case KVML_APIC_PPR:
	case KVML_APIC_TIMER_CURRENT:
		return;
	default:
		break;
	}
	if (!write_register(apic, offset, word, now_ns, effects) && offset < KVML_APIC_ISR)
		apic_report_error(apic, ESR_REGISTER_ILLEGAL, effects);
}

static bool x2apic_readable(u32 offset)
{
	switch (offset) {
	case KVML_APIC_ID:
	case KVML_APIC_VERSION:
	case KVML_APIC_TPR:
	case KVML_APIC_PPR:
	case KVML_APIC_LDR:
	case KVML_APIC_SVR:
	case KVML_APIC_ESR:
	case KVML_APIC_ICR:
	case KVML_APIC_TIMER_INITIAL:
	case KVML_APIC_TIMER_CURRENT:
	case KVML_APIC_TIMER_DIVIDE:
		return true;
	default:
		return (offset >= KVML_APIC_ISR && offset < KVML_APIC_ESR) ||
		       (offset >= KVML_APIC_LVT_TIMER && offset <= KVML_APIC_LVT_ERROR);
	}
}

int kvml_apic_msr_read(struct kvml_apic *apic, u32 msr, u64 now_ns, u64 *value)
{
	const u32 offset = (msr - KVML_X2APIC_MSR_FIRST) << 4;

	*value = 0;
	if (!kvml_apic_is_x2apic(apic) || msr < KVML_X2APIC_MSR_FIRST ||
	    offset >= KVML_APIC_REGISTERS * 16 || !x2apic_readable(offset))
		return -EINVAL;
	*value = apic_read_register(apic, offset, now_ns);
	if (offset == KVML_APIC_ICR)
		*value |= (u64)apic_get(apic, KVML_APIC_ICR2) << 32;
	return 0;
}

/* The bits that x2APIC lets be written; setting another one is #GP. */
static u64 x2apic_writable(u32 offset)
{
	switch (offset) {
	case KVML_APIC_TPR:
	case KVML_APIC_SELF_IPI:
		return 0xff;
	case KVML_APIC_SVR:
		return SVR_VALID;
	case KVML_APIC_ICR:
		return 0xffffffff00000000ULL | ICR_VALID | ICR_PENDING;
	case KVML_APIC_TIMER_INITIAL:
		return 0xffffffffu;
	case KVML_APIC_TIMER_DIVIDE:
		return DIVIDE_VALID;
	case KVML_APIC_LVT_TIMER:
	case KVML_APIC_LVT_THERMAL:
	case KVML_APIC_LVT_PERFORMANCE:
	case KVML_APIC_LVT_LINT0:
	case KVML_APIC_LVT_LINT1:
	case KVML_APIC_LVT_ERROR:
		/* The read-only status bits are ignored. */
		return apic_lvt_valid(offset) | LVT_PENDING | BIT(14);
	default:
		/* EOI and ESR take 0 only. */
		return 0;
	}
}

int kvml_apic_msr_write(struct kvml_apic *apic, u32 msr, u64 value, u64 now_ns,
			struct kvml_apic_effects *effects)
{
	const u32 offset = (msr - KVML_X2APIC_MSR_FIRST) << 4;

	if (!kvml_apic_is_x2apic(apic) || msr < KVML_X2APIC_MSR_FIRST ||
	    offset >= KVML_APIC_REGISTERS * 16 || (value & ~x2apic_writable(offset)))
		return -EINVAL;
	switch (offset) {
	case KVML_APIC_ICR:
		*apic_reg(apic, KVML_APIC_ICR) = (u32)value & ~(u32)ICR_PENDING;
		*apic_reg(apic, KVML_APIC_ICR2) = (u32)(value >> 32);
		send_ipi(apic, (u32)value, (u32)(value >> 32), effects);
		return 0;
	case KVML_APIC_SELF_IPI:
		send_self_ipi(apic, (u8)value, effects);
		return 0;
	default:
		return write_register(apic, offset, (u32)value, now_ns, effects) ? 0 : -EINVAL;
	}
}

u64 kvml_apic_read_cr8(const struct kvml_apic *apic)
{
	return (apic_get(apic, KVML_APIC_TPR) & 0xf0) >> 4;
}

void kvml_apic_write_cr8(struct kvml_apic *apic, u64 cr8, struct kvml_apic_effects *effects)
{
	*apic_reg(apic, KVML_APIC_TPR) = (u32)(cr8 & 0xf) << 4;
	apic_update_ppr(apic);
	effects->flags |= KVML_APIC_EFFECT_INTERRUPT;
}

