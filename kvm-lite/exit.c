// SPDX-License-Identifier: GPL-2.0
/* What made the guest leave, and what is done about it. Port I/O and MMIO are in io.c. */
#include "internal.h"

#include <asm/cpu.h>
#include <asm/debugreg.h>
#include <asm/trapnr.h>
#include <asm/processor-flags.h>
#include <uapi/linux/kvm_para.h>

/* A debugger guards the debug registers; it caught somebody. */
#define DR7_DETECT	BIT_ULL(13)
#define DR6_DETECT	BIT_ULL(13)

int kvml_internal_error(struct kvml_vcpu *vcpu, u32 suberror, u64 data)
{
	vcpu->run->internal.suberror = suberror;
	vcpu->run->internal.ndata = 1;
	vcpu->run->internal.data[0] = data;
	return kvml_to_user(vcpu, KVM_EXIT_INTERNAL_ERROR);
}

u64 kvml_truncate(u64 value)
{
	return kvml_in_64bit_code() ? value : (u32)value;
}

/* What WRMSR and XSETBV write. */
static u64 edx_eax(const struct kvml_vcpu *vcpu)
{
	return (u32)vcpu->regs[0] | vcpu->regs[2] << 32;
}

/* @causes: bits of DR6. Those of breakpoints are of the last one, the others stay until cleared. */
static int debug_exception(struct kvml_vcpu *vcpu, u64 causes)
{
	vcpu->dr[6] = (vcpu->dr[6] & ~(u64)DR_TRAP_BITS) | causes;
	kvml_set_dr(vcpu, 7, vcpu->dr[7] & ~DR7_DETECT);
	return kvml_inject_exception(vcpu, X86_TRAP_DB, 0);
}

static void move_rip(u32 length)
{
	const u32 blocked = vmread(GUEST_INTERRUPTIBILITY_INFO);
	const u64 old = vmread(GUEST_RIP);
	u64 rip = old + length;

	if (unlikely((rip ^ old) >> 32))
		rip = kvml_truncate(rip);
	vmwrite(GUEST_RIP, rip);
	if (blocked & KVML_BLOCKING_STI_OR_SS)
		vmwrite(GUEST_INTERRUPTIBILITY_INFO, blocked & ~(u32)KVML_BLOCKING_STI_OR_SS);
}

void kvml_advance_rip(struct kvml_vcpu *vcpu, u32 length)
{
	move_rip(length);
	/* The processor did not execute the instruction and so raised no single-step trap. */
	if (unlikely(vmread(GUEST_RFLAGS) & X86_EFLAGS_TF))
		debug_exception(vcpu, DR_STEP);
}

/* Goes on behind the instruction, or faults if it was refused. */
static int done(struct kvml_vcpu *vcpu, int outcome)
{
	if (outcome)
		return kvml_inject_exception(vcpu, X86_TRAP_GP, 0);
	kvml_skip_instruction(vcpu);
	return KVML_RESUME;
}

static int handle_rdmsr(struct kvml_vcpu *vcpu)
{
	u64 value = 0;
	const int outcome = kvml_get_msr(vcpu, vcpu->regs[1], &value);

	if (!outcome) {
		vcpu->regs[0] = (u32)value;
		vcpu->regs[2] = value >> 32;
	}
	return done(vcpu, outcome);
}

static int handle_hlt(struct kvml_vcpu *vcpu)
{
	kvml_skip_instruction(vcpu);
	if (vcpu->vm->split_irqchip) {
		vcpu->mp_state = KVM_MP_STATE_HALTED;
		return KVML_RESUME;
	}
	/* Without interrupts in the kernel only user space knows when to go on. */
	return kvml_to_user(vcpu, KVM_EXIT_HLT);
}

/* SDM volume 3, "Exit Qualification for Control-Register Accesses". */
static int handle_control_register(struct kvml_vcpu *vcpu)
{
	const u64 qualification = vmread(EXIT_QUALIFICATION);
	const u32 number = qualification & 15;	/* 0 for CLTS and LMSW */
	const u32 reg = (qualification >> 8) & 15;
	struct kvml_apic *apic = &vcpu->lapic.apic;
	u64 value, old;

	switch ((qualification >> 4) & 3) {
	case 0: /* MOV to CR */
		value = kvml_truncate(kvml_reg(vcpu, reg));
		break;
	case 1: /* MOV from CR8; the others are read from the shadow without an exit */
		kvml_set_reg(vcpu, reg, kvml_apic_cr8(apic));
		return done(vcpu, 0);
	case 2: /* CLTS */
		value = kvml_cr0() & ~X86_CR0_TS;
		break;
	default: /* LMSW cannot clear PE */
		value = (kvml_cr0() & ~0xeULL) | ((qualification >> 16) & 0xf);
	}
	if (number == 0)
		return done(vcpu, kvml_set_cr0(vcpu, value));
	if (number == 4)
		return done(vcpu, kvml_set_cr4(vcpu, value));
	if (number != 8 || value > 15)
		return done(vcpu, -EINVAL);
	old = kvml_apic_cr8(apic);
	kvml_apic_set_cr8(apic, value);
	done(vcpu, 0);
	/* A LAPIC in user space may have waited for this. */
	return vcpu->vm->split_irqchip || value >= old ? KVML_RESUME :
		kvml_to_user(vcpu, KVM_EXIT_SET_TPR);
}

/* SDM volume 3, "Exit Qualification for MOV DR". The registers live in vcpu until the next entry. */
static int handle_debug_register(struct kvml_vcpu *vcpu)
{
	const u64 qualification = vmread(EXIT_QUALIFICATION);
	const u32 reg = (qualification >> 8) & 15;
	u32 number = qualification & 7;
	u64 value;

	if (kvml_cpl() != 0)
		return kvml_inject_exception(vcpu, X86_TRAP_GP, 0);
	if (number == 4 || number == 5) {
		if (kvml_cr4() & X86_CR4_DE)
			return kvml_inject_exception(vcpu, X86_TRAP_UD, 0);
		number |= 2;
	}
	/* The exit comes before the fault of a debugger that guards the registers. */
	if (vcpu->dr[7] & DR7_DETECT)
		return debug_exception(vcpu, DR6_DETECT);
	if (qualification & BIT(4)) {
		kvml_set_reg(vcpu, reg, kvml_truncate(vcpu->dr[number]));
		return done(vcpu, 0);
	}
	value = kvml_truncate(kvml_reg(vcpu, reg));
	if (number >= 6 && value >> 32)
		return kvml_inject_exception(vcpu, X86_TRAP_GP, 0);
	kvml_set_dr(vcpu, number, value);
	return done(vcpu, 0);
}

void kvml_restore_nmi_blocking(bool unblocked)
{
	if (unblocked && !(vmread(IDT_VECTORING_INFO_FIELD) & VECTORING_INFO_VALID_MASK))
		vmwrite(GUEST_INTERRUPTIBILITY_INFO,
			vmread(GUEST_INTERRUPTIBILITY_INFO) | GUEST_INTR_STATE_NMI);
}

/* SDM volume 3, "Exit Qualification for Debug Exceptions". The bitmap has #DB, #AC and #MC. */
static int handle_exception(struct kvml_vcpu *vcpu)
{
	const u64 qualification = vmread(EXIT_QUALIFICATION);
	const u32 info = vmread(VM_EXIT_INTR_INFO);
	const u32 type = info & INTR_INFO_INTR_TYPE_MASK;
	const u32 vector = info & INTR_INFO_VECTOR_MASK;

	/* NMIs and machine checks are the host's; run.c handled them with interrupts off. */
	if (type == INTR_TYPE_NMI_INTR || vector == X86_TRAP_MC)
		return KVML_RESUME;
	kvml_restore_nmi_blocking(info & INTR_INFO_UNBLOCK_NMI);
	if (vector == X86_TRAP_AC) {
		/* Where the guest wants none, the host caught a lock that spans two cache lines. */
		if (!(kvml_cr0() & X86_CR0_AM) || !(vmread(GUEST_RFLAGS) & X86_EFLAGS_AC) ||
		    kvml_cpl() != 3) {
			/* Slows the guest down from here on, or sends SIGBUS. */
			handle_guest_split_lock(vmread(GUEST_RIP));
			return KVML_RESUME;
		}
		return kvml_inject_exception(vcpu, vector, vmread(VM_EXIT_INTR_ERROR_CODE));
	}
	if (type == INTR_TYPE_PRIV_SW_EXCEPTION) {
		/* INT1 traps behind itself. */
		move_rip(vmread(VM_EXIT_INSTRUCTION_LEN));
	} else if ((vmread(GUEST_RFLAGS) & X86_EFLAGS_TF) &&
		   (vmread(GUEST_INTERRUPTIBILITY_INFO) & KVML_BLOCKING_STI_OR_SS)) {
		/* A step over STI: the entry insists on a pending step where STI blocks still. */
		vmwrite(GUEST_PENDING_DBG_EXCEPTIONS,
			vmread(GUEST_PENDING_DBG_EXCEPTIONS) | DR_STEP);
	}
	return debug_exception(vcpu, qualification & (DR_TRAP_BITS | DR6_DETECT | DR_STEP));
}

/* Apart from the others, which are found with fewer comparisons so. */
static int handle_rare_exit(struct kvml_vcpu *vcpu, u32 reason)
{
	switch (reason & 0xffff) {
	case EXIT_REASON_EXTERNAL_INTERRUPT:
	case EXIT_REASON_PREEMPTION_TIMER:
	case EXIT_REASON_NMI_WINDOW:
		return KVML_RESUME;
	case EXIT_REASON_CR_ACCESS:
		return handle_control_register(vcpu);
	case EXIT_REASON_DR_ACCESS:
		return handle_debug_register(vcpu);
	case EXIT_REASON_XSETBV:
		/* XCR0 is the only one. */
		return done(vcpu, kvml_cpl() != 0 || (u32)vcpu->regs[1] ? -EINVAL :
			    kvml_set_xcr0(vcpu, edx_eax(vcpu)));
	case EXIT_REASON_EXCEPTION_NMI:
		return handle_exception(vcpu);
	case EXIT_REASON_TRIPLE_FAULT:
		return kvml_to_user(vcpu, KVM_EXIT_SHUTDOWN);
	case EXIT_REASON_TASK_SWITCH:
	case EXIT_REASON_EPT_MISCONFIG:
		return kvml_internal_error(vcpu, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, reason);
	case EXIT_REASON_INVD:
	case EXIT_REASON_WBINVD:
		/* Memory is coherent: there is nothing to write back that matters to the guest. */
	case EXIT_REASON_PAUSE_INSTRUCTION:
		/* It spins for another vCPU; the way back asks whether somebody wants this CPU. */
		return done(vcpu, 0);
	case EXIT_REASON_RDPMC:
		return kvml_inject_exception(vcpu, X86_TRAP_GP, 0);
	case EXIT_REASON_VMCALL:
		/* No hypercall is offered. */
		vcpu->regs[0] = -KVM_ENOSYS;
		return done(vcpu, 0);
	default:
		/* Instructions of features that the guest is told it has not. */
		return kvml_inject_exception(vcpu, X86_TRAP_UD, 0);
	}
}

int kvml_handle_exit(struct kvml_vcpu *vcpu, u32 reason)
{
	switch (reason & 0xffff) {
	case EXIT_REASON_IO_INSTRUCTION:
		return kvml_handle_port(vcpu);
	case EXIT_REASON_EPT_VIOLATION:
		return kvml_handle_ept_violation(vcpu);
	case EXIT_REASON_MSR_WRITE:
		return done(vcpu, kvml_set_msr(vcpu, vcpu->regs[1], edx_eax(vcpu), false));
	case EXIT_REASON_MSR_READ:
		return handle_rdmsr(vcpu);
	case EXIT_REASON_HLT:
		return handle_hlt(vcpu);
	case EXIT_REASON_INTERRUPT_WINDOW:
		if (READ_ONCE(vcpu->run->request_interrupt_window) && !vcpu->events.interrupt)
			return kvml_to_user(vcpu, KVM_EXIT_IRQ_WINDOW_OPEN);
		return KVML_RESUME;
	case EXIT_REASON_CPUID:
		kvml_cpuid(vcpu);
		return done(vcpu, 0);
	default:
		return handle_rare_exit(vcpu, reason);
	}
}
