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
#define PAGE_FAULT	BIT(14)

/* SDM volume 3, "Interrupt 8, Double Fault Exception": what a second exception becomes. */
int kvml_inject_exception(struct kvml_vcpu *vcpu, u8 vector, u32 error)
{
	struct kvml_events *events = &vcpu->events;
	const u32 first = events->exception ? BIT(events->exception & INTR_INFO_VECTOR_MASK) : 0;
	const u32 second = BIT(vector);

	if ((first & BIT(X86_TRAP_DF)) && (second & (CONTRIBUTORY | PAGE_FAULT))) {
		events->exception = 0;
		return kvml_to_user(vcpu, KVM_EXIT_SHUTDOWN);
	}
	if (((first & (CONTRIBUTORY | PAGE_FAULT)) && (second & CONTRIBUTORY)) ||
	    (first & second & PAGE_FAULT)) {
		vector = X86_TRAP_DF;
		error = 0;
	}
	events->exception = INTR_INFO_VALID_MASK | INTR_TYPE_HARD_EXCEPTION | vector |
		(BIT(vector) & WITH_ERROR ? INTR_INFO_DELIVER_CODE_MASK : 0);
	events->exception_error = error;
	return KVML_RESUME;
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
	const struct kvml_events *events = &vcpu->events;

	return events->exception || (events->nmi_pending && nmi_allowed()) ||
		(kvml_interrupt_allowed() &&
		 (events->interrupt || kvml_apic_pending(&vcpu->lapic.apic) >= 0));
}

/* What VM_ENTRY_INTR_INFO_FIELD says of the event that goes first, or 0. It waits no more. */
static u32 take_event(struct kvml_vcpu *vcpu)
{
	struct kvml_events *events = &vcpu->events;
	u32 info = events->exception;
	int vector;

	if (info) {
		events->exception = 0;
		vmwrite(VM_ENTRY_EXCEPTION_ERROR_CODE, events->exception_error);
		/* In real mode exceptions push no error code, and the processor refuses one. */
		return kvml_cr0() & X86_CR0_PE ? info : info & ~INTR_INFO_DELIVER_CODE_MASK;
	}
	if (events->nmi_pending && nmi_allowed()) {
		events->nmi_pending--;
		return INTR_INFO_VALID_MASK | INTR_TYPE_NMI_INTR | X86_TRAP_NMI;
	}
	/* One that an exception overtook may find interrupts off now. */
	if (!kvml_interrupt_allowed())
		return 0;
	info = events->interrupt;
	events->interrupt = 0;
	if (info)
		return info;
	vector = kvml_apic_take(&vcpu->lapic.apic);
	return vector < 0 ? 0 : KVML_INTERRUPT | vector;
}

void kvml_inject_pending(struct kvml_vcpu *vcpu)
{
	const struct kvml_events *events = &vcpu->events;
	const u32 info = take_event(vcpu);
	const u32 controls = vmread(CPU_BASED_VM_EXEC_CONTROL);
	u32 wanted = controls & ~(CPU_BASED_INTR_WINDOW_EXITING | CPU_BASED_NMI_WINDOW_EXITING);

	if (info)
		vmwrite(VM_ENTRY_INTR_INFO_FIELD, info);
	/* The windows for what waits still. */
	if (events->interrupt || kvml_apic_pending(&vcpu->lapic.apic) >= 0 ||
	    (READ_ONCE(vcpu->run->request_interrupt_window) && (info || !kvml_interrupt_allowed())))
		wanted |= CPU_BASED_INTR_WINDOW_EXITING;
	/* The window for NMIs may be open behind STI, when none may be injected. */
	if (events->nmi_pending)
		wanted |= vmread(GUEST_INTERRUPTIBILITY_INFO) & GUEST_INTR_STATE_STI ?
			CPU_BASED_INTR_WINDOW_EXITING : CPU_BASED_NMI_WINDOW_EXITING;
	if (wanted != controls)
		vmwrite(CPU_BASED_VM_EXEC_CONTROL, wanted);
}

/* SDM volume 3, "Information for VM Exits During Event Delivery". */
void kvml_recover_event(struct kvml_vcpu *vcpu, u32 info, u32 error_field)
{
	struct kvml_events *events = &vcpu->events;
	const u8 vector = info & VECTORING_INFO_VECTOR_MASK;

	switch (info & VECTORING_INFO_TYPE_MASK) {
	case INTR_TYPE_NMI_INTR:
		events->nmi_pending = min(events->nmi_pending + 1, 2);
		/* It is not being handled yet, although it was accepted. */
		vmwrite(GUEST_INTERRUPTIBILITY_INFO,
			vmread(GUEST_INTERRUPTIBILITY_INFO) & ~(u64)GUEST_INTR_STATE_NMI);
		break;
	case INTR_TYPE_HARD_EXCEPTION:
		kvml_inject_exception(vcpu, vector, info & VECTORING_INFO_DELIVER_CODE_MASK ?
				      vmread(error_field) : 0);
		break;
	case INTR_TYPE_EXT_INTR:
		events->interrupt = KVML_INTERRUPT | vector;
		break;
	/* INT n, INT3 and INTO happen again: RIP is still there. */
	}
}
