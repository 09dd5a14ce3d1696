// SPDX-License-Identifier: GPL-2.0
/* The ioctls of a vCPU, one at a time; all but KVM_RUN work on a loaded vCPU. */
#include "internal.h"

#include <linux/fs.h>
#include <linux/slab.h>

/* KVM_GET_FPU and KVM_SET_FPU: the legacy part of the XSAVE area. */
static void get_fpu(struct kvml_vcpu *vcpu, struct kvm_fpu *fpu)
{
	const struct fxregs_state *state = &vcpu->fpu.fpstate->regs.fxsave;

	memcpy(fpu->fpr, state->st_space, sizeof(fpu->fpr));
	memcpy(fpu->xmm, state->xmm_space, sizeof(fpu->xmm));
	fpu->fcw = state->cwd;
	fpu->fsw = state->swd;
	fpu->ftwx = state->twd;
	fpu->last_opcode = state->fop;
	fpu->last_ip = state->rip;
	fpu->last_dp = state->rdp;
	fpu->mxcsr = state->mxcsr;
}

static int set_fpu(struct kvml_vcpu *vcpu, const struct kvm_fpu *fpu)
{
	struct fxregs_state *state = &vcpu->fpu.fpstate->regs.fxsave;

	/* A reserved bit of MXCSR would make the host's own restore fault. */
	if (fpu->mxcsr & ~0xffffu)
		return -EINVAL;
	memcpy(state->st_space, fpu->fpr, sizeof(fpu->fpr));
	memcpy(state->xmm_space, fpu->xmm, sizeof(fpu->xmm));
	state->cwd = fpu->fcw;
	state->swd = fpu->fsw;
	state->twd = fpu->ftwx;
	state->fop = fpu->last_opcode;
	state->rip = fpu->last_ip;
	state->rdp = fpu->last_dp;
	state->mxcsr = fpu->mxcsr;
	if (boot_cpu_has(X86_FEATURE_XSAVE))
		vcpu->fpu.fpstate->regs.xsave.header.xfeatures |= XFEATURE_MASK_FPSSE;
	return 0;
}

static void get_xcrs(struct kvml_vcpu *vcpu, struct kvm_xcrs *xcrs)
{
	xcrs->nr_xcrs = 1;
	xcrs->xcrs[0].value = vcpu->xcr0;
}

static int set_xcrs(struct kvml_vcpu *vcpu, const struct kvm_xcrs *xcrs)
{
	u32 i;

	if (xcrs->nr_xcrs > KVM_MAX_XCRS || xcrs->flags)
		return -EINVAL;
	for (i = 0; i < xcrs->nr_xcrs; i++) {
		if (xcrs->xcrs[i].xcr == 0)
			return kvml_set_xcr0(vcpu, xcrs->xcrs[i].value);
	}
	return -EINVAL;
}

static void get_mp_state(struct kvml_vcpu *vcpu, struct kvm_mp_state *state)
{
	if (kvml_lapic_has_events(vcpu))
		kvml_lapic_accept_events(vcpu);
	state->mp_state = vcpu->mp_state;
}

static int set_mp_state(struct kvml_vcpu *vcpu, const struct kvm_mp_state *state)
{
	const bool startup = state->mp_state == KVM_MP_STATE_SIPI_RECEIVED;

	/* The states of x86 are the first ones. */
	if (state->mp_state > KVM_MP_STATE_SIPI_RECEIVED ||
	    (!vcpu->vm->split_irqchip && state->mp_state != KVM_MP_STATE_RUNNABLE))
		return -EINVAL;
	WRITE_ONCE(vcpu->mp_state, startup ? KVM_MP_STATE_INIT_RECEIVED : state->mp_state);
	if (startup)
		set_bit(KVML_EVENT_STARTUP, &vcpu->lapic.events);
	return 0;
}

/* KVM_INTERRUPT: a PIC in user space. */
static int queue_interrupt(struct kvml_vcpu *vcpu, const struct kvm_interrupt *interrupt)
{
	if (interrupt->irq > 255)
		return -EINVAL;
	if (vcpu->events.user_interrupt)
		return -EEXIST;
	vcpu->events.user_interrupt = true;
	vcpu->events.user_vector = interrupt->irq;
	return 0;
}

/* KVM_SET_VAPIC_ADDR: no page shows the guest its TPR, which is what address 0 asks for. */
static int set_vapic(struct kvml_vcpu *vcpu, const struct kvm_vapic_addr *page)
{
	return page->vapic_addr || !vcpu->vm->split_irqchip ? -EINVAL : 0;
}

/* What takes or gives one structure. @data has room for it and is zero at first. */
static long exchange(struct kvml_vcpu *vcpu, unsigned int command, void __user *user, void *data)
{
	const int no_lapic = vcpu->vm->split_irqchip ? 0 : -EINVAL;
	u32 keys = 0;

	switch (command) {
	case KVM_GET_REGS:
		kvml_get_regs(vcpu, data);
		return 0;
	case KVM_SET_REGS:
		if (kvml_copy_in(data, user, command))
			return -EFAULT;
		kvml_set_regs(vcpu, data);
		return 0;
	case KVM_GET_SREGS:
		kvml_get_sregs(vcpu, data);
		return 0;
	case KVM_SET_SREGS:
		return kvml_copy_in(data, user, command) ?: kvml_set_sregs(vcpu, data);
	case KVM_GET_VCPU_EVENTS:
		kvml_get_events(vcpu, data);
		return 0;
	case KVM_SET_VCPU_EVENTS:
		return kvml_copy_in(data, user, command) ?: kvml_set_events(vcpu, data);
	case KVM_GET_DEBUGREGS:
		kvml_get_debugregs(vcpu, data);
		return 0;
	case KVM_SET_DEBUGREGS:
		return kvml_copy_in(data, user, command) ?: kvml_set_debugregs(vcpu, data);
	case KVM_GET_XSAVE:
	case KVM_GET_XSAVE2:
		fpu_copy_guest_fpstate_to_uabi(&vcpu->fpu, data, sizeof(struct kvm_xsave),
					       kvml_supported_xcr0(), 0);
		return 0;
	case KVM_SET_XSAVE:
		return kvml_copy_in(data, user, command) ?:
			fpu_copy_uabi_to_guest_fpstate(&vcpu->fpu, data, kvml_supported_xcr0(),
						       &keys);
	case KVM_GET_FPU:
		get_fpu(vcpu, data);
		return 0;
	case KVM_SET_FPU:
		return kvml_copy_in(data, user, command) ?: set_fpu(vcpu, data);
	case KVM_GET_XCRS:
		get_xcrs(vcpu, data);
		return 0;
	case KVM_SET_XCRS:
		return kvml_copy_in(data, user, command) ?: set_xcrs(vcpu, data);
	case KVM_GET_LAPIC:
		if (!no_lapic)
			kvml_lapic_get_state(vcpu, data);
		return no_lapic;
	case KVM_SET_LAPIC:
		return no_lapic ?: kvml_copy_in(data, user, command) ?:
			kvml_lapic_set_state(vcpu, data);
	case KVM_GET_MP_STATE:
		get_mp_state(vcpu, data);
		return 0;
	case KVM_SET_MP_STATE:
		return kvml_copy_in(data, user, command) ?: set_mp_state(vcpu, data);
	case KVM_INTERRUPT:
		return kvml_copy_in(data, user, command) ?: queue_interrupt(vcpu, data);
	case KVM_SET_VAPIC_ADDR:
		return kvml_copy_in(data, user, command) ?: set_vapic(vcpu, data);
	default:
		return -ENOTTY;
	}
}

static long structure_ioctl(struct kvml_vcpu *vcpu, unsigned int command, void __user *user)
{
	void *data = kzalloc(_IOC_SIZE(command), GFP_KERNEL_ACCOUNT);
	long outcome;

	if (!data)
		return -ENOMEM;
	outcome = exchange(vcpu, command, user, data);
	if (!outcome && _IOC_DIR(command) == _IOC_READ)
		outcome = kvml_copy_out(user, data, command);
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
		return kvml_msr_transfer(vcpu, user, false);
	case KVM_SET_MSRS:
		return kvml_msr_transfer(vcpu, user, true);
	case KVM_SET_CPUID2:
		return kvml_set_cpuid(vcpu, user);
	case KVM_GET_CPUID2:
		return kvml_get_cpuid(vcpu, user);
	case KVM_SET_SIGNAL_MASK:
		return set_signal_mask(vcpu, user);
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
	if (kvml_vmx_stopping())
		return -ESHUTDOWN;
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
