// SPDX-License-Identifier: GPL-2.0
/* The ioctls of a vCPU, one at a time; all but KVM_RUN work on a loaded vCPU. */
#include "internal.h"

#include <linux/fs.h>
#include <linux/slab.h>
#include <asm/trapnr.h>

/* ----- KVM_GET_REGS, KVM_SET_REGS ----- */

/* The registers that struct kvm_regs begins with, by their numbers in instructions. */
static const u8 regs_order[] = { 0, 3, 1, 2, 6, 7, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15 };

static void get_regs(struct kvml_vcpu *vcpu, struct kvm_regs *regs)
{
	u64 *values = (u64 *)regs;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(regs_order); i++)
		values[i] = kvml_reg(vcpu, regs_order[i]);
	regs->rip = vmread(GUEST_RIP);
	regs->rflags = vmread(GUEST_RFLAGS);
}

static int set_regs(struct kvml_vcpu *vcpu, const struct kvm_regs *regs)
{
	const u64 *values = (const u64 *)regs;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(regs_order); i++)
		kvml_set_reg(vcpu, regs_order[i], values[i]);
	vmwrite(GUEST_RIP, regs->rip);
	/* Bits 63:22, 15, 5 and 3 are reserved, bit 1 is 1; the VM entry checks it. */
	vmwrite(GUEST_RFLAGS, (regs->rflags & 0x3f7fd5) | X86_EFLAGS_FIXED);
	vcpu->events.exception = 0;
	return 0;
}

/* ----- Events and debug registers ----- */

#define EVENT_FLAGS	(KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW)

/* The VMCS has STI in bit 0 and MOV SS in bit 1, struct kvm_vcpu_events the other way round. */
static u32 exchange_shadow(u32 bits)
{
	return (bits & 1) << 1 | (bits & 2) >> 1;
}

static void get_events(struct kvml_vcpu *vcpu, struct kvm_vcpu_events *out)
{
	const struct kvml_events *events = &vcpu->events;
	const u32 blocked = vmread(GUEST_INTERRUPTIBILITY_INFO);

	out->exception.nr = events->exception & INTR_INFO_VECTOR_MASK;
	/* INT3 and INTO, whose length has no field here, happen again: RIP is still there. */
	out->exception.injected = events->exception &&
		out->exception.nr != X86_TRAP_BP && out->exception.nr != X86_TRAP_OF;
	out->exception.has_error_code = !!(events->exception & INTR_INFO_DELIVER_CODE_MASK);
	out->exception.error_code = events->exception_error;
	out->interrupt.injected = !!events->interrupt;
	out->interrupt.nr = events->interrupt & INTR_INFO_VECTOR_MASK;
	out->interrupt.shadow = exchange_shadow(blocked);
	out->nmi.pending = events->nmi_pending + test_bit(KVML_REQUEST_NMI, &vcpu->requests);
	out->nmi.masked = !!(blocked & GUEST_INTR_STATE_NMI);
	out->flags = EVENT_FLAGS;
}

static int set_events(struct kvml_vcpu *vcpu, const struct kvm_vcpu_events *in)
{
	struct kvml_events *events = &vcpu->events;
	u32 blocked = vmread(GUEST_INTERRUPTIBILITY_INFO) & ~(unsigned long)GUEST_INTR_STATE_NMI;

	if ((in->flags & ~(EVENT_FLAGS | KVM_VCPUEVENT_VALID_SIPI_VECTOR)) ||
	    (in->exception.injected && (in->exception.nr > 31 || in->exception.nr == 2)))
		return -EINVAL;
	events->exception = 0;
	/* The entry refuses an error code where there is none, none where there is one, and 32 bits. */
	if (in->exception.injected)
		kvml_inject_exception(vcpu, in->exception.nr, (u16)in->exception.error_code);
	/* INT n happens again: RIP is still there. */
	events->interrupt = in->interrupt.injected && !in->interrupt.soft ?
		KVML_INTERRUPT | in->interrupt.nr : 0;
	if (in->flags & KVM_VCPUEVENT_VALID_NMI_PENDING) {
		clear_bit(KVML_REQUEST_NMI, &vcpu->requests);
		events->nmi_pending = min_t(u8, in->nmi.pending, 2);
	}
	/* One under way goes back to those that wait: it is not being handled yet. */
	if (in->nmi.injected)
		events->nmi_pending = min(events->nmi_pending + 1, 2);
	else if (in->nmi.masked)
		blocked |= GUEST_INTR_STATE_NMI;
	if (in->flags & KVM_VCPUEVENT_VALID_SHADOW)
		blocked = (blocked & ~(u32)KVML_BLOCKING_STI_OR_SS) |
			exchange_shadow(in->interrupt.shadow);
	/* The entry refuses both kinds at once, and either with what they keep away. */
	if (blocked & GUEST_INTR_STATE_MOV_SS)
		blocked &= ~(u32)GUEST_INTR_STATE_STI;
	if (events->interrupt || in->nmi.injected)
		blocked &= ~(u32)KVML_BLOCKING_STI_OR_SS;
	vmwrite(GUEST_INTERRUPTIBILITY_INFO, blocked);
	if (in->flags & KVM_VCPUEVENT_VALID_SIPI_VECTOR)
		WRITE_ONCE(vcpu->lapic.startup_vector, in->sipi_vector);
	return 0;
}

static void get_debugregs(struct kvml_vcpu *vcpu, struct kvm_debugregs *regs)
{
	memcpy(regs->db, vcpu->dr, sizeof(regs->db));
	regs->dr6 = vcpu->dr[6];
	regs->dr7 = vcpu->dr[7];
}

static int set_debugregs(struct kvml_vcpu *vcpu, const struct kvm_debugregs *regs)
{
	if (regs->flags || regs->dr6 >> 32 || regs->dr7 >> 32)
		return -EINVAL;
	memcpy(vcpu->dr, regs->db, sizeof(regs->db));
	kvml_set_dr(vcpu, 6, regs->dr6);
	kvml_set_dr(vcpu, 7, regs->dr7);
	return 0;
}

/* ----- FPU, XCR0, MP state, interrupts ----- */

static void exchange_bytes(void *theirs, void *ours, size_t bytes, bool write)
{
	memcpy(write ? ours : theirs, write ? theirs : ours, bytes);
}

/* What struct kvm_fpu shares with the legacy part of the XSAVE area, where the order is another. */
static void exchange_fpu(struct kvml_vcpu *vcpu, struct kvm_fpu *fpu, bool write)
{
	struct fxregs_state *state = &vcpu->fpu.fpstate->regs.fxsave;

	exchange_bytes(fpu->fpr, state->st_space, sizeof(fpu->fpr), write);
	/* FCW FSW FTW, opcode, addresses of the last instruction and its data */
	exchange_bytes((void *)fpu + offsetof(struct kvm_fpu, fcw), state, 24, write);
	exchange_bytes(&fpu->mxcsr, &state->mxcsr, sizeof(fpu->mxcsr), write);
	exchange_bytes(fpu->xmm, state->xmm_space, sizeof(fpu->xmm), write);
}

static int set_fpu(struct kvml_vcpu *vcpu, struct kvm_fpu *fpu)
{
	/* A reserved bit of MXCSR would make the host's own restore fault. */
	if (fpu->mxcsr & ~0xffffu)
		return -EINVAL;
	exchange_fpu(vcpu, fpu, true);
	vcpu->fpu.fpstate->regs.xsave.header.xfeatures |= XFEATURE_MASK_FPSSE;
	return 0;
}

static int set_xcrs(struct kvml_vcpu *vcpu, const struct kvm_xcrs *xcrs)
{
	/* There is one. */
	if (xcrs->flags || xcrs->nr_xcrs != 1 || xcrs->xcrs[0].xcr != 0)
		return -EINVAL;
	return kvml_set_xcr0(vcpu, xcrs->xcrs[0].value);
}

static int set_mp_state(struct kvml_vcpu *vcpu, const struct kvm_mp_state *state)
{
	const bool startup = state->mp_state == KVM_MP_STATE_SIPI_RECEIVED;

	/* The states of x86 are the first ones. */
	if (state->mp_state > KVM_MP_STATE_SIPI_RECEIVED ||
	    (!vcpu->vm->split_irqchip && state->mp_state != KVM_MP_STATE_RUNNABLE))
		return -EINVAL;
	vcpu->mp_state = startup ? KVM_MP_STATE_INIT_RECEIVED : state->mp_state;
	if (startup)
		set_bit(KVML_REQUEST_STARTUP, &vcpu->requests);
	return 0;
}

/* KVM_INTERRUPT: a PIC in user space. */
static int queue_interrupt(struct kvml_vcpu *vcpu, const struct kvm_interrupt *interrupt)
{
	if (interrupt->irq > 255)
		return -EINVAL;
	if (vcpu->events.interrupt)
		return -EEXIST;
	vcpu->events.interrupt = KVML_INTERRUPT | interrupt->irq;
	return 0;
}

/* ----- ioctls ----- */

/* What takes or gives one structure. @data is zero, or what user space gave unless @fault says no. */
static long exchange(struct kvml_vcpu *vcpu, unsigned int command, void *data, int fault)
{
	const int no_lapic = vcpu->vm->split_irqchip ? 0 : -EINVAL;
	struct kvm_xcrs *xcrs = data;

	switch (command) {
	case KVM_GET_REGS:
		get_regs(vcpu, data);
		return 0;
	case KVM_SET_REGS:
		return fault ?: set_regs(vcpu, data);
	case KVM_GET_SREGS:
		kvml_get_sregs(vcpu, data);
		return 0;
	case KVM_SET_SREGS:
		return fault ?: kvml_set_sregs(vcpu, data);
	case KVM_GET_VCPU_EVENTS:
		get_events(vcpu, data);
		return 0;
	case KVM_SET_VCPU_EVENTS:
		return fault ?: set_events(vcpu, data);
	case KVM_GET_DEBUGREGS:
		get_debugregs(vcpu, data);
		return 0;
	case KVM_SET_DEBUGREGS:
		return fault ?: set_debugregs(vcpu, data);
	case KVM_GET_XSAVE:
	case KVM_GET_XSAVE2:
		if (command == KVM_GET_XSAVE && vcpu->fpu.uabi_size > sizeof(struct kvm_xsave))
			return -EINVAL;
		fpu_copy_guest_fpstate_to_uabi(&vcpu->fpu, data, vcpu->fpu.uabi_size,
					       kvml_supported_xcr0(), vcpu->pkru);
		return 0;
	case KVM_SET_XSAVE:
		/* As with IA32_XFD's own writes. */
		((struct xregs_state *)data)->header.xfeatures &= ~vcpu->fpu.fpstate->xfd;
		return fault ?: fpu_copy_uabi_to_guest_fpstate(&vcpu->fpu, data,
							       kvml_supported_xcr0(), &vcpu->pkru);
	case KVM_GET_FPU:
		exchange_fpu(vcpu, data, false);
		return 0;
	case KVM_SET_FPU:
		return fault ?: set_fpu(vcpu, data);
	case KVM_GET_XCRS:
		xcrs->nr_xcrs = 1;
		xcrs->xcrs[0].value = vcpu->xcr0;
		return 0;
	case KVM_SET_XCRS:
		return fault ?: set_xcrs(vcpu, data);
	case KVM_GET_LAPIC:
		kvml_lapic_expire(vcpu);
		kvml_apic_save(&vcpu->lapic.apic, data);
		return no_lapic;
	case KVM_SET_LAPIC:
		return no_lapic ?: fault ?: kvml_apic_restore(&vcpu->lapic.apic, data);
	case KVM_GET_MP_STATE:
		kvml_accept_requests(vcpu);
		((struct kvm_mp_state *)data)->mp_state = vcpu->mp_state;
		return 0;
	case KVM_SET_MP_STATE:
		return fault ?: set_mp_state(vcpu, data);
	case KVM_INTERRUPT:
		return fault ?: queue_interrupt(vcpu, data);
	case KVM_SET_VAPIC_ADDR:
		/* No page shows the guest its TPR, which is what address 0 asks for. */
		return fault ?: no_lapic ?: *(u64 *)data ? -EINVAL : 0;
	default:
		return -ENOTTY;
	}
}

static long structure_ioctl(struct kvml_vcpu *vcpu, unsigned int command, void __user *user)
{
	/* As long as the command's number says; but XSAVE areas have grown. */
	const size_t bytes = command == KVM_GET_XSAVE2 || command == KVM_SET_XSAVE ?
		vcpu->fpu.uabi_size : _IOC_SIZE(command);
	void *data = kzalloc(bytes, GFP_KERNEL_ACCOUNT);
	int fault = 0;
	long outcome;

	if (!data)
		return -ENOMEM;
	if ((_IOC_DIR(command) & _IOC_WRITE) && copy_from_user(data, user, bytes))
		fault = -EFAULT;
	outcome = exchange(vcpu, command, data, fault);
	if (!outcome && _IOC_DIR(command) == _IOC_READ && copy_to_user(user, data, bytes))
		outcome = -EFAULT;
	kfree(data);
	return outcome;
}

static int set_signal_mask(struct kvml_vcpu *vcpu, const struct kvm_signal_mask __user *mask)
{
	sigset_t set;
	u32 length;

	if (!mask) {
		vcpu->sigset_active = false;
		return 0;
	}
	if (get_user(length, &mask->len))
		return -EFAULT;
	if (length != sizeof(set))
		return -EINVAL;
	/* Not in place: half a mask must not come into force. */
	if (copy_from_user(&set, mask->sigset, sizeof(set)))
		return -EFAULT;
	sigdelsetmask(&set, sigmask(SIGKILL) | sigmask(SIGSTOP));
	vcpu->sigset = set;
	vcpu->sigset_active = true;
	return 0;
}

static long loaded_ioctl(struct kvml_vcpu *vcpu, unsigned int command, unsigned long argument)
{
	void __user *user = (void __user *)argument;

	switch (command) {
	case KVM_GET_MSRS:
	case KVM_SET_MSRS:
		return kvml_msr_transfer(vcpu, user, command == KVM_SET_MSRS);
	case KVM_SET_CPUID2:
		return kvml_set_cpuid(vcpu, user);
	case KVM_GET_CPUID2:
		return kvml_get_cpuid(vcpu, user);
	case KVM_SET_SIGNAL_MASK:
		return set_signal_mask(vcpu, user);
	case KVM_NMI:
		set_bit(KVML_REQUEST_NMI, &vcpu->requests);
		return 0;
	case KVM_KVMCLOCK_CTRL:
		return kvml_clock_pause(vcpu);
	case KVM_GET_TSC_KHZ:
		return tsc_khz;
	case KVM_SET_TSC_KHZ:
		/* There is no scaling: only the host's own rate, or 0 for it. */
		return argument && argument != tsc_khz ? -EINVAL : 0;
	default:
		return structure_ioctl(vcpu, command, user);
	}
}

long kvml_vcpu_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct kvml_vcpu *vcpu = file->private_data;
	long outcome;

	if (vcpu->vm->mm != current->mm)
		return -EIO;
	if (_IOC_TYPE(command) != KVMIO)
		return -EINVAL;
	if (mutex_lock_killable(&vcpu->lock))
		return -EINTR;
	if (command == KVM_RUN) {
		outcome = argument ? -EINVAL : kvml_vcpu_run(vcpu);
	} else {
		kvml_vcpu_load(vcpu);
		outcome = loaded_ioctl(vcpu, command, argument);
		kvml_vcpu_put(vcpu);
	}
	mutex_unlock(&vcpu->lock);
	return outcome;
}
