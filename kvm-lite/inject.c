// SPDX-License-Identifier: GPL-2.0
/*
 * What is delivered to the guest at its next entry: exceptions first, then NMIs, then interrupts
 * (SDM volume 3, "VM-Entry Controls for Event Injection"). One event an entry; for the rest a window
 * is opened that brings the guest out when it can take one.
 */
#include "internal.h"

#include <asm/trapnr.h>

/* #DF #TS #NP #SS #GP #PF #AC: they push an error code. */
#define WITH_ERROR	(BIT(8) | BIT(10) | BIT(11) | BIT(12) | BIT(13) | BIT(14) | BIT(17))
/* #DE #TS #NP #SS #GP */
#define CONTRIBUTORY	(BIT(0) | BIT(10) | BIT(11) | BIT(12) | BIT(13))

/* SDM volume 3, "Interrupt 8, Double Fault Exception": what a second exception becomes. */
void kvml_inject_exception(struct kvml_vcpu *vcpu, u8 vector, u32 error)
{
	struct kvml_events *events = &vcpu->events;
	const u32 first = events->exception_pending ? BIT(events->exception_vector) : 0;

	if (first & BIT(X86_TRAP_DF)) {
		events->exception_pending = false;
		vcpu->shutdown = true;
		return;
	}
	if (((first & (CONTRIBUTORY | BIT(X86_TRAP_PF))) && (BIT(vector) & CONTRIBUTORY)) ||
	    ((first & BIT(X86_TRAP_PF)) && vector == X86_TRAP_PF)) {
		vector = X86_TRAP_DF;
		error = 0;
	}
	events->exception_pending = true;
	events->exception_vector = vector;
	events->exception_has_error = BIT(vector) & WITH_ERROR;
	events->exception_error = error;
	events->instruction_length = 0;
}

void kvml_inject_page_fault(struct kvml_vcpu *vcpu, u64 linear, u32 error)
{
	vcpu->cr2 = linear;
	kvml_inject_exception(vcpu, X86_TRAP_PF, error);
}

bool kvml_interrupt_allowed(void)
{
	return (vmread(GUEST_RFLAGS) & X86_EFLAGS_IF) &&
		!(vmread(GUEST_INTERRUPTIBILITY_INFO) & KVML_BLOCKING_STI_OR_SS);
}

static bool nmi_allowed(void)
{
	return !(vmread(GUEST_INTERRUPTIBILITY_INFO) &
		 (KVML_BLOCKING_STI_OR_SS | GUEST_INTR_STATE_NMI));
}

bool kvml_has_wakeup(struct kvml_vcpu *vcpu)
{
	if (vcpu->events.nmi_pending || vcpu->events.nmi_injected ||
	    vcpu->events.exception_pending || vcpu->events.interrupt_injected)
		return true;
	if (test_bit(KVML_REQUEST_NMI, &vcpu->requests) || kvml_lapic_has_events(vcpu))
		return true;
	if (!(vmread(GUEST_RFLAGS) & X86_EFLAGS_IF))
		return false;
	return vcpu->events.user_interrupt || kvml_lapic_pending_vector(vcpu) >= 0;
}

static void write_event(u32 info)
{
	vmwrite(VM_ENTRY_INTR_INFO_FIELD, info | INTR_INFO_VALID_MASK);
}

static void write_exception(struct kvml_vcpu *vcpu)
{
	struct kvml_events *events = &vcpu->events;
	u32 info = events->exception_vector;

	/* INT3 and INTO are soft: they end behind their instruction. */
	if (events->instruction_length && (info == 3 || info == 4)) {
		vmwrite(VM_ENTRY_INSTRUCTION_LEN, events->instruction_length);
		info |= INTR_TYPE_SOFT_EXCEPTION;
	} else {
		info |= INTR_TYPE_HARD_EXCEPTION;
	}
	/* In real mode exceptions push no error code, and the processor refuses one. */
	if (events->exception_has_error && (kvml_cr0() & X86_CR0_PE)) {
		vmwrite(VM_ENTRY_EXCEPTION_ERROR_CODE, events->exception_error);
		info |= INTR_INFO_DELIVER_CODE_MASK;
	}
	events->exception_pending = false;
	write_event(info);
}

static void write_interrupt(struct kvml_vcpu *vcpu)
{
	struct kvml_events *events = &vcpu->events;
	u32 type = INTR_TYPE_EXT_INTR;

	if (events->interrupt_soft) {
		vmwrite(VM_ENTRY_INSTRUCTION_LEN, events->instruction_length);
		type = INTR_TYPE_SOFT_INTR;
	}
	write_event(events->interrupt_vector | type);
	events->interrupt_injected = false;
	events->interrupt_soft = false;
}

/* Is there one under way, or else one that the PIC in user space or the LAPIC has? */
static bool take_interrupt(struct kvml_vcpu *vcpu)
{
	struct kvml_events *events = &vcpu->events;
	int vector;

	if (events->interrupt_injected)
		return true;
	if (!kvml_interrupt_allowed())
		return false;
	vector = events->user_interrupt ? events->user_vector : kvml_lapic_take_vector(vcpu);
	if (vector < 0)
		return false;
	events->user_interrupt = false;
	events->interrupt_vector = vector;
	return true;
}

static void set_windows(struct kvml_vcpu *vcpu, bool busy)
{
	const u32 controls = vmread(CPU_BASED_VM_EXEC_CONTROL);
	u32 wanted = controls & ~(CPU_BASED_INTR_WINDOW_EXITING | CPU_BASED_NMI_WINDOW_EXITING);

	if (vcpu->events.user_interrupt || kvml_lapic_pending_vector(vcpu) >= 0 ||
	    (READ_ONCE(vcpu->run->request_interrupt_window) && (busy || !kvml_interrupt_allowed())))
		wanted |= CPU_BASED_INTR_WINDOW_EXITING;
	if (vcpu->events.nmi_pending)
		wanted |= CPU_BASED_NMI_WINDOW_EXITING;
	if (wanted != controls)
		vmwrite(CPU_BASED_VM_EXEC_CONTROL, wanted);
}

void kvml_inject_pending(struct kvml_vcpu *vcpu)
{
	struct kvml_events *events = &vcpu->events;
	bool busy = true;

	if (test_and_clear_bit(KVML_REQUEST_NMI, &vcpu->requests) && events->nmi_pending < 2)
		events->nmi_pending++;
	if (events->exception_pending) {
		write_exception(vcpu);
	} else if (events->nmi_injected || (events->nmi_pending && nmi_allowed())) {
		if (events->nmi_injected)
			events->nmi_injected = false;
		else
			events->nmi_pending--;
		vmx_clear_bits(GUEST_INTERRUPTIBILITY_INFO, GUEST_INTR_STATE_NMI);
		write_event(2 | INTR_TYPE_NMI_INTR);
	} else if (take_interrupt(vcpu)) {
		write_interrupt(vcpu);
	} else {
		busy = false;
	}
	set_windows(vcpu, busy);
}

/* SDM volume 3, "Information for VM Exits During Event Delivery". */
void kvml_recover_events(struct kvml_vcpu *vcpu)
{
	const u32 info = vmread(IDT_VECTORING_INFO_FIELD);
	struct kvml_events *events = &vcpu->events;

	if (!(info & VECTORING_INFO_VALID_MASK))
		return;
	events->instruction_length = vmread(VM_EXIT_INSTRUCTION_LEN);
	switch (info & VECTORING_INFO_TYPE_MASK) {
	case INTR_TYPE_NMI_INTR:
		events->nmi_injected = true;
		/* It is not being handled yet, although it was accepted. */
		vmx_clear_bits(GUEST_INTERRUPTIBILITY_INFO, GUEST_INTR_STATE_NMI);
		break;
	case INTR_TYPE_HARD_EXCEPTION:
		events->instruction_length = 0;
		fallthrough;
	case INTR_TYPE_SOFT_EXCEPTION:
		events->exception_pending = true;
		events->exception_vector = info & VECTORING_INFO_VECTOR_MASK;
		events->exception_has_error = info & VECTORING_INFO_DELIVER_CODE_MASK;
		if (events->exception_has_error)
			events->exception_error = vmread(IDT_VECTORING_ERROR_CODE);
		break;
	case INTR_TYPE_SOFT_INTR:
	case INTR_TYPE_EXT_INTR:
		events->interrupt_injected = true;
		events->interrupt_soft = (info & VECTORING_INFO_TYPE_MASK) == INTR_TYPE_SOFT_INTR;
		events->interrupt_vector = info & VECTORING_INFO_VECTOR_MASK;
		break;
	}
}
