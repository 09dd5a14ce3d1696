/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The local APIC as a state machine (SDM volume 3, "Advanced Programmable Interrupt Controller"):
 * registers in xAPIC and x2APIC form, priorities, messages and the timer's modes.
 *
 * There is no lock. A LAPIC belongs to one thread at a time, its vCPU's. Any other may, at any
 * moment, ask kvml_apic_matches() and call kvml_apic_accept(): these read each register that decides
 * once, and write nothing but bits of IRR, TMR and errors, atomically. The owner takes those bits away
 * in the same way, and finds what waits by looking at IRR itself, so no interrupt is lost. Only when
 * the LAPIC is reset, or user space sets its state, one that comes meanwhile is either kept or lost.
 *
 * Pure but for the time and two functions that the surroundings have to provide.
 *
 * Invariants, whatever guest or user space wrote: vectors below 16 are never in IRR, ISR or TMR; at
 * most one of tsc_deadline and deadline_ns is not 0.
 */
#ifndef KVML_LAPIC_STATE_H
#define KVML_LAPIC_STATE_H

#include "portable.h"

#define KVML_APIC_DEFAULT_BASE	0xfee00000ULL
#define KVML_APIC_PAGE_SIZE	0x1000u
#define KVML_APIC_REGISTERS	64	/* one each 16 bytes of the page */
/* A guest must not be able to keep the host busy with timer interrupts. */
#define KVML_APIC_MIN_PERIOD_NS	200000ULL

/* IA32_APIC_BASE */
#define KVML_APIC_BASE_BSP	(1ULL << 8)
#define KVML_APIC_BASE_X2APIC	(1ULL << 10)
#define KVML_APIC_BASE_ENABLE	(1ULL << 11)

/* MSRs of the x2APIC; the first plus a register's number. */
#define KVML_X2APIC_MSR_FIRST	0x800u
#define KVML_X2APIC_MSR_LAST	0x8ffu

/* Numbers of registers: a sixteenth of their offsets in the xAPIC page. */
enum kvml_apic_register {
	KVML_APIC_ID = 0x02, KVML_APIC_VERSION = 0x03,
	KVML_APIC_TPR = 0x08, KVML_APIC_PPR = 0x0a, KVML_APIC_EOI = 0x0b,
	KVML_APIC_LDR = 0x0d, KVML_APIC_DFR = 0x0e, KVML_APIC_SVR = 0x0f,
	KVML_APIC_ISR = 0x10, KVML_APIC_TMR = 0x18, KVML_APIC_IRR = 0x20,
	KVML_APIC_ESR = 0x28, KVML_APIC_ICR = 0x30, KVML_APIC_ICR2 = 0x31,
	KVML_APIC_LVT_TIMER = 0x32, KVML_APIC_LVT_THERMAL = 0x33, KVML_APIC_LVT_PERFORMANCE = 0x34,
	KVML_APIC_LVT_LINT0 = 0x35, KVML_APIC_LVT_LINT1 = 0x36, KVML_APIC_LVT_ERROR = 0x37,
	KVML_APIC_TIMER_INITIAL = 0x38, KVML_APIC_TIMER_CURRENT = 0x39,
	KVML_APIC_TIMER_DIVIDE = 0x3e, KVML_APIC_SELF_IPI = 0x3f,
};

/* Delivery modes of a message or LVT entry, bits 10:8. NOWHERE is reserved: it delivers nothing. */
enum kvml_apic_delivery {
	KVML_APIC_FIXED, KVML_APIC_LOWEST_PRIORITY, KVML_APIC_SMI, KVML_APIC_NOWHERE,
	KVML_APIC_NMI, KVML_APIC_INIT, KVML_APIC_STARTUP, KVML_APIC_EXTINT,
};

/* Destination shorthands of the ICR, bits 19:18. */
enum kvml_apic_shorthand {
	KVML_APIC_NO_SHORTHAND, KVML_APIC_SELF, KVML_APIC_ALL, KVML_APIC_ALL_BUT_SELF,
};

/* One interrupt message: an IPI or a decoded MSI. */
struct kvml_apic_message {
	u32 destination;
	u8 vector;
	u8 delivery;		/* enum kvml_apic_delivery */
	u8 shorthand;		/* enum kvml_apic_shorthand */
	bool logical, level_triggered;
	bool deasserted;	/* an INIT's, that is: heeded by no processor since the Pentium 4 */
	bool wide;		/* destination has 32 bits: broadcast is 0xffffffff and not 0xff */
	bool lowest_priority;	/* one receiver is enough */
};

struct kvml_apic {
	/* What a reset clears. */
	u32 regs[KVML_APIC_REGISTERS];	/* first, so that pairs of them are aligned */
	unsigned long errors;		/* atomic bits; what the next write to ESR makes visible */
	u64 tsc_deadline;		/* guest TSC; 0 = not armed */
	u64 deadline_ns;		/* one-shot and periodic; 0 = not armed */

	u64 base;			/* IA32_APIC_BASE; any thread reads */
	u32 id;				/* x2APIC id, which is the vCPU's id; 0 to 254 */
	u8 ended;			/* level-triggered vector that got its EOI, until taken; or 0 */
};

/* ----- What the surroundings provide: lapic.c, or a test; called by the owner ----- */

/* Sends to all that match, @apic perhaps among them. */
void kvml_apic_send(struct kvml_apic *apic, const struct kvml_apic_message *message);
/* tsc_deadline or deadline_ns is another: kvml_apic_expire() has to be called when it is over. */
void kvml_apic_timer_changed(struct kvml_apic *apic);

/* ----- What the owner does ----- */

/*
 * State after power-up: xAPIC enabled in IA32_APIC_BASE, disabled by software. The bootstrap
 * processor is number 0.
 */
void kvml_apic_power_up(struct kvml_apic *apic, u32 id);
/* State after INIT; IA32_APIC_BASE stays (SDM, "Local APIC State After It Receives an INIT"). */
void kvml_apic_reset(struct kvml_apic *apic);

static inline bool kvml_apic_hardware_enabled(const struct kvml_apic *apic)
{
	return READ_ONCE(apic->base) & KVML_APIC_BASE_ENABLE;
}

static inline bool kvml_apic_is_x2apic(const struct kvml_apic *apic)
{
	return READ_ONCE(apic->base) & KVML_APIC_BASE_X2APIC;
}

/*
 * The guest writes IA32_APIC_BASE. -EINVAL (the guest gets #GP): reserved bits, or a mode that cannot
 * follow the present one.
 */
int kvml_apic_write_base(struct kvml_apic *apic, u64 value, u8 physical_bits);
/* User space sets it (KVM_SET_SREGS, KVM_SET_MSRS): any valid mode may follow any other. */
int kvml_apic_restore_base(struct kvml_apic *apic, u64 value, u8 physical_bits);

/*
 * xAPIC page. Accesses outside what the SDM allows read as 0 and write nothing. @offset is below
 * KVML_APIC_PAGE_SIZE; @length is 1, 2, 4 or 8.
 */
u64 kvml_apic_page_read(struct kvml_apic *apic, u32 offset, u32 length);
void kvml_apic_page_write(struct kvml_apic *apic, u32 offset, u32 length, u64 value);

/* x2APIC MSRs. -EINVAL: the guest gets #GP. */
int kvml_apic_msr_read(struct kvml_apic *apic, u32 msr, u64 *value);
int kvml_apic_msr_write(struct kvml_apic *apic, u32 msr, u64 value);

/* IA32_TSC_DEADLINE: ignored, and 0, unless the timer is in that mode. */
void kvml_apic_write_tsc_deadline(struct kvml_apic *apic, u64 deadline);

/* CR8 is TPR[7:4]. */
static inline u64 kvml_apic_cr8(const struct kvml_apic *apic)
{
	return apic->regs[KVML_APIC_TPR] >> 4;
}

static inline void kvml_apic_set_cr8(struct kvml_apic *apic, u8 cr8)
{
	apic->regs[KVML_APIC_TPR] = (cr8 & 0xfu) << 4;
}

/* The vector that the processor would take now, or -1. */
int kvml_apic_pending(const struct kvml_apic *apic);
/* As above, and the processor takes it. */
int kvml_apic_take(struct kvml_apic *apic);

/*
 * The time may have come: fires what has expired and, if periodic, starts over. Then, or if it was too
 * early, the caller sees to the next time.
 */
void kvml_apic_expire(struct kvml_apic *apic, u64 guest_tsc);

/* @page: struct kvm_lapic_state, where a register is the first of four words; zero in between. */
void kvml_apic_save(const struct kvml_apic *apic, u32 *page);
/* As above. -EINVAL: the id is not this vCPU's. Everything else is made valid by masking. */
int kvml_apic_restore(struct kvml_apic *apic, const u32 *page);

/* ----- What any thread does ----- */

/*
 * Is @apic among the destinations of @message, which @source (null: a device) sends, not to itself?
 * One that IA32_APIC_BASE turns off has only its pins left, and is none. What changes meanwhile has
 * no order.
 */
bool kvml_apic_matches(const struct kvml_apic *apic, const struct kvml_apic_message *message,
		       const struct kvml_apic *source);
/* No more than one LAPIC can be. */
bool kvml_apic_names_one(const struct kvml_apic_message *message);
/* A fixed interrupt has arrived. False: not taken; the LAPIC is off or the vector is illegal. */
bool kvml_apic_accept(struct kvml_apic *apic, u8 vector, bool level_triggered);

#endif /* KVML_LAPIC_STATE_H */
