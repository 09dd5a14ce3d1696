// SPDX-License-Identifier: GPL-2.0
/* The ioctls of a vCPU, one at a time; all but KVM_RUN work on a loaded vCPU. */
#include "internal.h"

#include <linux/fs.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

static long copy_out(void __user *user, const void *data, size_t size)
{
	return copy_to_user(user, data, size) ? -EFAULT : 0;
}

static long regs_ioctl(struct kvml_vcpu *vcpu, unsigned int command, void __user *user)
{
	union {
		struct kvm_regs regs;
		struct kvm_sregs sregs;
		struct kvm_vcpu_events events;
		struct kvm_debugregs debug;
	} u;
	const size_t size = _IOC_SIZE(command);

	if (size > sizeof(u))
		return -ENOTTY;
	if ((_IOC_DIR(command) & _IOC_WRITE) && copy_from_user(&u, user, size))
		return -EFAULT;
	switch (command) {
	case KVM_GET_REGS:
		kvml_get_regs(vcpu, &u.regs);
		return copy_out(user, &u.regs, size);
	case KVM_SET_REGS:
		kvml_set_regs(vcpu, &u.regs);
		return 0;
	case KVM_GET_SREGS:
		kvml_get_sregs(vcpu, &u.sregs);
		return copy_out(user, &u.sregs, size);
	case KVM_SET_SREGS:
		return kvml_set_sregs(vcpu, &u.sregs);
	case KVM_GET_VCPU_EVENTS:
		kvml_get_events(vcpu, &u.events);
		return copy_out(user, &u.events, size);
	case KVM_SET_VCPU_EVENTS:
		return kvml_set_events(vcpu, &u.events);
	case KVM_GET_DEBUGREGS:
		kvml_get_debugregs(vcpu, &u.debug);
		return copy_out(user, &u.debug, size);
	default:
		return kvml_set_debugregs(vcpu, &u.debug);
	}
}

static long get_xsave(struct kvml_vcpu *vcpu, void __user *user)
{
	struct kvm_xsave *area = kzalloc(sizeof(*area), GFP_KERNEL_ACCOUNT);
	long outcome;

	if (!area)
		return -ENOMEM;
	fpu_copy_guest_fpstate_to_uabi(&vcpu->fpu, area->region, sizeof(area->region),
				       kvml_supported_xcr0(), 0);
	outcome = copy_out(user, area, sizeof(*area));
	kfree(area);
	return outcome;
}

static long set_xsave(struct kvml_vcpu *vcpu, void __user *user)
{
	struct kvm_xsave *area = memdup_user(user, sizeof(*area));
	u32 keys = 0;
	int outcome;

	if (IS_ERR(area))
		return PTR_ERR(area);
	outcome = fpu_copy_uabi_to_guest_fpstate(&vcpu->fpu, area->region, kvml_supported_xcr0(),
						 &keys);
	kfree(area);
	return outcome;
}

/* KVM_GET_FPU and KVM_SET_FPU: the legacy part of the XSAVE area. */
static long fpu_ioctl(struct kvml_vcpu *vcpu, unsigned int command, void __user *user)
{
	struct fxregs_state *state = &vcpu->fpu.fpstate->regs.fxsave;
	struct kvm_fpu fpu;

	if (command == KVM_GET_FPU) {
		memset(&fpu, 0, sizeof(fpu));
		memcpy(fpu.fpr, state->st_space, sizeof(fpu.fpr));
		memcpy(fpu.xmm, state->xmm_space, sizeof(fpu.xmm));
		fpu.fcw = state->cwd;
		fpu.fsw = state->swd;
		fpu.ftwx = state->twd;
		fpu.last_opcode = state->fop;
		fpu.last_ip = state->rip;
		fpu.last_dp = state->rdp;
		fpu.mxcsr = state->mxcsr;
		return copy_out(user, &fpu, sizeof(fpu));
	}
	if (copy_from_user(&fpu, user, sizeof(fpu)))
		return -EFAULT;
	/* A reserved bit of MXCSR would make the host's own restore fault. */
	if (fpu.mxcsr & ~0xffffu)
		return -EINVAL;
	memcpy(state->st_space, fpu.fpr, sizeof(fpu.fpr));
	memcpy(state->xmm_space, fpu.xmm, sizeof(fpu.xmm));
	state->cwd = fpu.fcw;
	state->swd = fpu.fsw;
	state->twd = fpu.ftwx;
	state->fop = fpu.last_opcode;
	state->rip = fpu.last_ip;
	state->rdp = fpu.last_dp;
	state->mxcsr = fpu.mxcsr;
	if (boot_cpu_has(X86_FEATURE_XSAVE))
		vcpu->fpu.fpstate->regs.xsave.header.xfeatures |= XFEATURE_MASK_FPSSE;
	return 0;
}

static long xcrs_ioctl(struct kvml_vcpu *vcpu, unsigned int command, void __user *user)
{
	struct kvm_xcrs xcrs;
	u32 i;

	if (command == KVM_GET_XCRS) {
		memset(&xcrs, 0, sizeof(xcrs));
		xcrs.nr_xcrs = 1;
		xcrs.xcrs[0].value = vcpu->xcr0;
		return copy_out(user, &xcrs, sizeof(xcrs));
	}
	if (copy_from_user(&xcrs, user, sizeof(xcrs)))
		return -EFAULT;
	if (xcrs.nr_xcrs > KVM_MAX_XCRS || xcrs.flags)
		return -EINVAL;
	for (i = 0; i < xcrs.nr_xcrs; i++) {
		if (xcrs.xcrs[i].xcr == 0)
			return kvml_set_xcr0(vcpu, xcrs.xcrs[i].value);
	}
	return -EINVAL;
}

static long lapic_ioctl(struct kvml_vcpu *vcpu, unsigned int command, void __user *user)
{
	struct kvm_lapic_state *state;
	long outcome;

	if (!vcpu->vm->split_irqchip)
		return -EINVAL;
	state = kzalloc(sizeof(*state), GFP_KERNEL_ACCOUNT);
	if (!state)
		return -ENOMEM;
	if (command == KVM_GET_LAPIC) {
		kvml_lapic_get_state(vcpu, state);
		outcome = copy_out(user, state, sizeof(*state));
	} else if (copy_from_user(state, user, sizeof(*state))) {
		outcome = -EFAULT;
	} else {
		outcome = kvml_lapic_set_state(vcpu, state);
	}
	kfree(state);
	return outcome;
}

static long mp_state_ioctl(struct kvml_vcpu *vcpu, unsigned int command, void __user *user)
{
	struct kvm_mp_state state;

	if (command == KVM_GET_MP_STATE) {
		if (kvml_lapic_has_events(vcpu))
			kvml_lapic_accept_events(vcpu);
		state.mp_state = vcpu->mp_state;
		return copy_out(user, &state, sizeof(state));
	}
	if (copy_from_user(&state, user, sizeof(state)))
		return -EFAULT;
	if (!vcpu->vm->split_irqchip && state.mp_state != KVM_MP_STATE_RUNNABLE)
		return -EINVAL;
	switch (state.mp_state) {
	case KVM_MP_STATE_RUNNABLE:
	case KVM_MP_STATE_UNINITIALIZED:
	case KVM_MP_STATE_INIT_RECEIVED:
	case KVM_MP_STATE_HALTED:
		WRITE_ONCE(vcpu->mp_state, state.mp_state);
		return 0;
	case KVM_MP_STATE_SIPI_RECEIVED:
		WRITE_ONCE(vcpu->mp_state, KVM_MP_STATE_INIT_RECEIVED);
		set_bit(KVML_EVENT_STARTUP, &vcpu->lapic.events);
		return 0;
	default:
		return -EINVAL;
	}
}

/* KVM_INTERRUPT: a PIC in user space. */
static long interrupt_ioctl(struct kvml_vcpu *vcpu, void __user *user)
{
	struct kvm_interrupt interrupt;

	if (copy_from_user(&interrupt, user, sizeof(interrupt)))
		return -EFAULT;
	if (interrupt.irq > 255)
		return -EINVAL;
	if (vcpu->events.user_interrupt)
		return -EEXIST;
	vcpu->events.user_interrupt = true;
	vcpu->events.user_vector = interrupt.irq;
	return 0;
}

static long signal_mask_ioctl(struct kvml_vcpu *vcpu, void __user *user)
{
	struct kvm_signal_mask __user *mask = user;
	struct kvm_signal_mask header;

	if (!user) {
		vcpu->sigset_active = false;
		return 0;
	}
	if (copy_from_user(&header, mask, sizeof(header)))
		return -EFAULT;
	if (header.len != sizeof(vcpu->sigset))
		return -EINVAL;
	if (copy_from_user(&vcpu->sigset, mask->sigset, sizeof(vcpu->sigset)))
		return -EFAULT;
	sigdelsetmask(&vcpu->sigset, sigmask(SIGKILL) | sigmask(SIGSTOP));
	vcpu->sigset_active = true;
	return 0;
}

/* KVM_SET_VAPIC_ADDR: no page shows the guest its TPR, which is what address 0 asks for. */
static long vapic_ioctl(struct kvml_vcpu *vcpu, void __user *user)
{
	struct kvm_vapic_addr page;

	if (copy_from_user(&page, user, sizeof(page)))
		return -EFAULT;
	return page.vapic_addr || !vcpu->vm->split_irqchip ? -EINVAL : 0;
}

static long loaded_ioctl(struct kvml_vcpu *vcpu, unsigned int command, unsigned long argument)
{
	void __user *user = (void __user *)argument;

	switch (command) {
	case KVM_GET_REGS:
	case KVM_SET_REGS:
	case KVM_GET_SREGS:
	case KVM_SET_SREGS:
	case KVM_GET_VCPU_EVENTS:
	case KVM_SET_VCPU_EVENTS:
	case KVM_GET_DEBUGREGS:
	case KVM_SET_DEBUGREGS:
		return regs_ioctl(vcpu, command, user);
	case KVM_GET_MSRS:
		return kvml_msr_transfer(vcpu, user, false);
	case KVM_SET_MSRS:
		return kvml_msr_transfer(vcpu, user, true);
	case KVM_SET_CPUID2:
		return kvml_set_cpuid(vcpu, user);
	case KVM_GET_CPUID2:
		return kvml_get_cpuid(vcpu, user);
	case KVM_SET_VAPIC_ADDR:
		return vapic_ioctl(vcpu, user);
	case KVM_GET_XSAVE:
	case KVM_GET_XSAVE2:
		return get_xsave(vcpu, user);
	case KVM_SET_XSAVE:
		return set_xsave(vcpu, user);
	case KVM_GET_FPU:
	case KVM_SET_FPU:
		return fpu_ioctl(vcpu, command, user);
	case KVM_GET_XCRS:
	case KVM_SET_XCRS:
		return xcrs_ioctl(vcpu, command, user);
	case KVM_GET_LAPIC:
	case KVM_SET_LAPIC:
		return lapic_ioctl(vcpu, command, user);
	case KVM_GET_MP_STATE:
	case KVM_SET_MP_STATE:
		return mp_state_ioctl(vcpu, command, user);
	case KVM_INTERRUPT:
		return interrupt_ioctl(vcpu, user);
	case KVM_NMI:
		kvml_vcpu_queue_nmi(vcpu);
		return 0;
	case KVM_KVMCLOCK_CTRL:
		return kvml_clock_pause(vcpu);
	case KVM_GET_TSC_KHZ:
		return tsc_khz;
	case KVM_SET_TSC_KHZ:
		/* There is no scaling: only the host's own rate, or 0 for it. */
		return argument && argument != tsc_khz ? -EINVAL : 0;
	case KVM_SET_SIGNAL_MASK:
		return signal_mask_ioctl(vcpu, user);
	default:
		return -ENOTTY;
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
	outcome = kvml_vmx_get();
	if (outcome) {
		mutex_unlock(&vcpu->lock);
		return outcome;
	}
	if (command == KVM_RUN) {
		outcome = argument ? -EINVAL : kvml_vcpu_run(vcpu);
	} else {
		kvml_vcpu_load(vcpu);
		outcome = loaded_ioctl(vcpu, command, argument);
		kvml_vcpu_put(vcpu);
	}
	kvml_vmx_put();
	mutex_unlock(&vcpu->lock);
	return outcome;
}
