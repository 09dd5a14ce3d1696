// SPDX-License-Identifier: GPL-2.0
#include "lapic_internal.h"

#define TIMER_MODE	0x00060000u
#define TIMER_PERIODIC	0x00020000u
#define TIMER_DEADLINE	0x00040000u
#define LVT_PLAIN	(VECTOR_MASK | 0x700u | LVT_MASKED)
#define LVT_LINT	(LVT_PLAIN | BIT(13) | BIT(15))
#define LVT_TIMER	(VECTOR_MASK | LVT_MASKED | TIMER_MODE)
#define LVT_ERROR	(VECTOR_MASK | LVT_MASKED)
/* Delivery status and remote IRR, which a write may set in vain. */
#define LVT_READ_ONLY	(BIT(12) | BIT(14))
#define ICR_PENDING	BIT(12)
#define ICR_VALID	0x000ccfffu
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
	[KVML_APIC_ID ... KVML_APIC_VERSION] = { 0, 0, MSR_READ },
	[KVML_APIC_TPR] = { 0xff, 0xff, ALL },
	[KVML_APIC_PPR] = { 0, 0, MSR_READ },
	[KVML_APIC_EOI] = { 0, 0, MSR_WRITE | PAGE_WRITE },
	[KVML_APIC_LDR] = { 0, DESTINATION_8, MSR_READ | PAGE_WRITE },
	[KVML_APIC_DFR] = { 0, DFR_FLAT, PAGE_WRITE },
	[KVML_APIC_SVR] = { 0x3ff, 0x3ff, ALL },
	/* ISR, TMR and IRR. */
	[KVML_APIC_ISR ... KVML_APIC_IRR + 7] = { 0, ~0u, MSR_READ },
	[KVML_APIC_ESR] = { 0, ~0u, ALL },
	[KVML_APIC_ICR] = { DESTINATION_32 | ICR_VALID | ICR_PENDING, ICR_VALID, ALL },
	[KVML_APIC_ICR2] = { 0, ~0u, PAGE_WRITE },
	[KVML_APIC_LVT_TIMER] = { LVT_TIMER | LVT_READ_ONLY, LVT_TIMER, ALL },
	[KVML_APIC_LVT_THERMAL] = { LVT_PLAIN | LVT_READ_ONLY, LVT_PLAIN, ALL },
	[KVML_APIC_LVT_PERFORMANCE] = { LVT_PLAIN | LVT_READ_ONLY, LVT_PLAIN, ALL },
	[KVML_APIC_LVT_LINT0 ... KVML_APIC_LVT_LINT1] = { LVT_LINT | LVT_READ_ONLY, LVT_LINT, ALL },
	[KVML_APIC_LVT_ERROR] = { LVT_ERROR | LVT_READ_ONLY, LVT_ERROR, ALL },
	[KVML_APIC_TIMER_INITIAL] = { ~0u, ~0u, ALL },
	[KVML_APIC_TIMER_CURRENT] = { 0, 0, MSR_READ },
	[KVML_APIC_TIMER_DIVIDE] = { 0xb, 0xb, ALL },
	[KVML_APIC_SELF_IPI] = { 0xff, 0, MSR_WRITE },
};

/* ----- The timer ----- */

static u32 timer_mode(const struct kvml_apic *apic)
{
	return apic->regs[KVML_APIC_LVT_TIMER] & TIMER_MODE;
}

/*
 * The APIC's bus runs at 1 GHz. SDM, "Divide Configuration Register": 2, 4, 8, 16, 32, 64, 128, 1.
 */
static u64 ns_per_count(const struct kvml_apic *apic)
{
	const u32 divide = apic->regs[KVML_APIC_TIMER_DIVIDE];
	const u32 code = (divide & 3) | (divide & 8) >> 1;

	return 1ULL << ((code + 1) & 7);
}

static u64 delay_ns(const struct kvml_apic *apic, u32 count)
{
	const u64 delay = count * ns_per_count(apic);
	const u64 least = timer_mode(apic) == TIMER_PERIODIC ? KVML_APIC_MIN_PERIOD_NS : 0;

	return delay < least ? least : delay;
}

static u32 current_count(const struct kvml_apic *apic)
{
	const u32 initial = apic->regs[KVML_APIC_TIMER_INITIAL];
	const u64 now_ns = kvml_now_ns();
	u64 count;

	if (apic->deadline_ns <= now_ns)
		return 0;
	count = (apic->deadline_ns - now_ns) / ns_per_count(apic);
	return count < initial ? (u32)count : initial;
}

/* Counts down from @count; 0 stops. */
static void start_counting(struct kvml_apic *apic, u32 count)
{
	apic->deadline_ns = count ? kvml_now_ns() + delay_ns(apic, count) : 0;
	kvml_apic_timer_changed(apic);
}

static void change_timer_mode(struct kvml_apic *apic, u32 value)
{
	const u32 old_mode = timer_mode(apic);
	const u32 new_mode = value & TIMER_MODE;

	/* One-shot to periodic goes on counting; all else disarms (SDM, "TSC-Deadline Mode"). */
	if (old_mode == new_mode || (old_mode <= TIMER_PERIODIC && new_mode <= TIMER_PERIODIC))
		return;
	apic->tsc_deadline = 0;
	apic->regs[KVML_APIC_TIMER_INITIAL] = 0;
	start_counting(apic, 0);
}

void kvml_apic_write_tsc_deadline(struct kvml_apic *apic, u64 deadline)
{
	if (!kvml_apic_hardware_enabled(apic) || timer_mode(apic) != TIMER_DEADLINE)
		return;
	apic->tsc_deadline = deadline;
	kvml_apic_timer_changed(apic);
}

void kvml_apic_expire(struct kvml_apic *apic, u64 guest_tsc)
{
	const u32 entry = apic->regs[KVML_APIC_LVT_TIMER];
	const u64 now_ns = apic->deadline_ns ? kvml_now_ns() : 0;

	if (apic->tsc_deadline && guest_tsc >= apic->tsc_deadline) {
		apic->tsc_deadline = 0;
	} else if (apic->deadline_ns && now_ns >= apic->deadline_ns) {
		const u64 period = delay_ns(apic, apic->regs[KVML_APIC_TIMER_INITIAL]);
		const u64 late = now_ns - apic->deadline_ns;

		/* What was missed while the host was late is not made up for. */
		apic->deadline_ns = timer_mode(apic) == TIMER_PERIODIC ?
			now_ns + period - late % period : 0;
	} else {
		return;
	}
	if (!(entry & LVT_MASKED))
		kvml_apic_accept(apic, entry & VECTOR_MASK, false);
}

/* ----- Registers ----- */

/* @command and @destination are as in ICR. */
static void send_ipi(struct kvml_apic *apic, u32 command, u32 destination)
{
	const bool wide = kvml_apic_is_x2apic(apic);
	const u8 delivery = (command >> 8) & 7;
	/* Edge-triggered, whatever it says, but for INIT (SDM, table of valid combinations). */
	const struct kvml_apic_message message = {
		.destination = wide ? destination : destination >> 24, .wide = wide,
		.shorthand = (command >> 18) & 3, .logical = command & BIT(11),
		.vector = command & VECTOR_MASK, .delivery = delivery,
		.lowest_priority = delivery == KVML_APIC_LOWEST_PRIORITY,
		.deasserted = (command & BIT(15)) && !(command & BIT(14)),
	};

	if (delivery <= KVML_APIC_LOWEST_PRIORITY && message.vector < FIRST_LEGAL_VECTOR)
		apic_report_error(apic, ESR_SEND_ILLEGAL);
	else
		kvml_apic_send(apic, &message);
}

static u32 read_register(const struct kvml_apic *apic, u32 index)
{
	const u32 value = apic->regs[index];

	switch (index) {
	case KVML_APIC_ID:
		return kvml_apic_is_x2apic(apic) ? apic->id : apic->id << 24;
	case KVML_APIC_VERSION:
		/* 1.4 as on processors with x2APIC, six LVT entries. */
		return 0x00050014;
	case KVML_APIC_PPR:
		return apic_ppr(apic);
	case KVML_APIC_LDR:
		return kvml_apic_is_x2apic(apic) ? apic_x2apic_logical_id(apic->id) : value;
	case KVML_APIC_DFR:
		return value | ~DFR_FLAT;
	case KVML_APIC_TIMER_CURRENT:
		return current_count(apic);
	default:
		return value;
	}
}

/* @value is allowed by the register's entry in the table; ICR takes both its halves. */
static void write_register(struct kvml_apic *apic, u32 index, u64 value)
{
	u32 kept = (u32)value & registers[index].kept;
	u32 count;

	switch (index) {
	case KVML_APIC_EOI:
		apic_end_of_interrupt(apic);
		return;
	case KVML_APIC_SVR:
		if (!(kept & SVR_ENABLE))
			apic_mask_lvt(apic);
		break;
	case KVML_APIC_ESR:
		kept = (u32)xchg(&apic->errors, 0);
		break;
	case KVML_APIC_ICR:
		apic->regs[KVML_APIC_ICR2] = (u32)(value >> 32);
		send_ipi(apic, kept, (u32)(value >> 32));
		break;
	case KVML_APIC_LVT_TIMER ... KVML_APIC_LVT_ERROR:
		if (!(apic->regs[KVML_APIC_SVR] & SVR_ENABLE))
			kept |= LVT_MASKED;
		if (index == KVML_APIC_LVT_TIMER)
			change_timer_mode(apic, kept);
		break;
	case KVML_APIC_TIMER_INITIAL:
		if (timer_mode(apic) > TIMER_PERIODIC)
			return;
		start_counting(apic, kept);
		break;
	case KVML_APIC_TIMER_DIVIDE:
		count = current_count(apic);
		apic->regs[KVML_APIC_TIMER_DIVIDE] = kept;
		if (count)
			start_counting(apic, count);
		break;
	case KVML_APIC_SELF_IPI:
		send_ipi(apic, (u32)value | KVML_APIC_SELF << 18, 0);
		return;
	}
	/* Once: others look at SVR, DFR, LDR and the error's entry meanwhile. */
	WRITE_ONCE(apic->regs[index], kept);
}

u64 kvml_apic_page_read(struct kvml_apic *apic, u32 offset, u32 length)
{
	const u32 byte = offset & 0xf;
	const u32 index = offset / 16;
	u64 value;

	if (index >= KVML_APIC_REGISTERS || byte + length > 4)
		return 0;
	value = read_register(apic, array_index_nospec(index, KVML_APIC_REGISTERS)) >> (byte * 8);
	return value & GENMASK_ULL(length * 8 - 1, 0);
}

void kvml_apic_page_write(struct kvml_apic *apic, u32 offset, u32 length, u64 value)
{
	u32 index = offset / 16;
	u64 whole = (u32)value;

	/* Registers are written whole and aligned (SDM, "Local APIC Register Address Map"). */
	if (length != 4 || (offset & 0xf) || index >= KVML_APIC_REGISTERS)
		return;
	index = array_index_nospec(index, KVML_APIC_REGISTERS);
	if (index == KVML_APIC_ICR2)
		whole &= DESTINATION_8;
	if (index == KVML_APIC_ICR)
		whole |= (u64)apic->regs[KVML_APIC_ICR2] << 32;
	if (registers[index].access & PAGE_WRITE)
		write_register(apic, index, whole);
	else if (!registers[index].access)
		apic_report_error(apic, ESR_REGISTER_ILLEGAL);
}

/* The number of an x2APIC register that this mode lets be accessed as @access says, or 0. */
static u32 msr_register(const struct kvml_apic *apic, u32 msr, u32 access)
{
	u32 index = msr - KVML_X2APIC_MSR_FIRST;

	if (!kvml_apic_is_x2apic(apic) || index >= KVML_APIC_REGISTERS)
		return 0;
	index = array_index_nospec(index, KVML_APIC_REGISTERS);
	return registers[index].access & access ? index : 0;
}

int kvml_apic_msr_read(struct kvml_apic *apic, u32 msr, u64 *value)
{
	const u32 index = msr_register(apic, msr, MSR_READ);

	/* Register 0 does not exist: it stays 0. */
	*value = read_register(apic, index);
	if (index == KVML_APIC_ICR)
		*value |= (u64)apic->regs[KVML_APIC_ICR2] << 32;
	return index ? 0 : -EINVAL;
}

int kvml_apic_msr_write(struct kvml_apic *apic, u32 msr, u64 value)
{
	const u32 index = msr_register(apic, msr, MSR_WRITE);

	if (!index || (value & ~registers[index].msr_bits))
		return -EINVAL;
	write_register(apic, index, value);
	return 0;
}

/* ----- What user space saves and restores ----- */

void kvml_apic_save(const struct kvml_apic *apic, u32 *page)
{
	u32 index;

	for (index = 0; index < KVML_APIC_REGISTERS; index++)
		page[4 * index] = read_register(apic, index);
	/* The ABI keeps the id in the xAPIC's place without KVM_CAP_X2APIC_API. */
	page[4 * KVML_APIC_ID] = apic->id << 24;
	/* A one-shot timer whose last moment this is: 0 would say that it has fired. */
	if (!page[4 * KVML_APIC_TIMER_CURRENT] && apic->deadline_ns &&
	    timer_mode(apic) != TIMER_PERIODIC)
		page[4 * KVML_APIC_TIMER_CURRENT] = 1;
}

int kvml_apic_restore(struct kvml_apic *apic, const u32 *page)
{
	u32 count = page[4 * KVML_APIC_TIMER_CURRENT];
	u32 index;

	if (page[4 * KVML_APIC_ID] >> 24 != apic->id)
		return -EINVAL;
	kvml_apic_reset(apic);
	for (index = 0; index < KVML_APIC_REGISTERS; index++)
		apic->regs[index] = page[4 * index] & registers[index].kept;
	for (index = KVML_APIC_ISR; index <= KVML_APIC_IRR; index += 8)
		apic->regs[index] &= ~0u << FIRST_LEGAL_VECTOR;
	if (!(apic->regs[KVML_APIC_SVR] & SVR_ENABLE))
		apic_mask_lvt(apic);
	/* A one-shot timer at 0 has fired; a periodic one was about to start over. */
	if (count > apic->regs[KVML_APIC_TIMER_INITIAL] ||
	    (!count && timer_mode(apic) == TIMER_PERIODIC))
		count = apic->regs[KVML_APIC_TIMER_INITIAL];
	if (timer_mode(apic) <= TIMER_PERIODIC)
		start_counting(apic, count);
	return 0;
}
