// SPDX-License-Identifier: GPL-2.0
/* A vCPU: its descriptor and ioctls, its way into and out of a processor, its life. */
#include "internal.h"

#include <linux/anon_inodes.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/debugreg.h>
#include <asm/desc.h>
#include <asm/fpu/xcr.h>
#include <asm/segment.h>
#include <linux/smp.h>
#include <linux/version.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
#include <trace/events/ipi.h>
#endif

/* ----- In a processor ----- */

/* Selectors are null in nearly every 64-bit process; VM exits leave null ones. */
static void save_host_segments(struct kvml_host_state *host)
{
	savesegment(fs, host->fs);
	savesegment(gs, host->gs);
	savesegment(ds, host->ds);
	savesegment(es, host->es);
	store_ldt(host->ldt);
}

static void restore_host_segments(struct kvml_vcpu *vcpu)
{
	const struct kvml_host_state *host = &vcpu->host;

	if (unlikely(host->ldt))
		asm volatile("lldt %0" : : "m" (host->ldt));
	if (unlikely(host->ds | host->es)) {
		loadsegment(ds, host->ds);
		loadsegment(es, host->es);
	}
	if (unlikely(host->fs)) {
		loadsegment(fs, host->fs);
		wrmsrl(MSR_FS_BASE, host->fs_base);
	}
	if (unlikely(host->gs))
		load_gs_index(host->gs);
	wrmsrl(MSR_KERNEL_GS_BASE, host->kernel_gs_base);
}

static void swap_msr(u32 index, u64 from, u64 to)
{
	if (from != to)
		wrmsrl(index, to);
}

/* Preemption off. */
static void load(struct kvml_vcpu *vcpu)
{
	const int cpu = smp_processor_id();
	unsigned long fs_base;

	if (kvml_vmcs_load(vcpu)) {
		kvml_vmcs_set_host_cpu();
		vcpu->host.cr3 = 0;
		vcpu->host.cr4 = 0;
		vcpu->host.fs_base = 0;
		vmwrite(HOST_FS_BASE, 0);
	}
	/* The TLB of a CPU where it ran long ago may remember what has changed since. */
	if (vcpu->last_cpu != cpu) {
		vcpu->last_cpu = cpu;
		vcpu->flush_vpid = true;
		vcpu->ept_generation = -1;
	}
	save_host_segments(&vcpu->host);
	rdmsrl(MSR_IA32_DEBUGCTLMSR, vcpu->host.debugctl);
	rdmsrl(MSR_FS_BASE, fs_base);
	if (fs_base != vcpu->host.fs_base) {
		vcpu->host.fs_base = fs_base;
		vmwrite(HOST_FS_BASE, fs_base);
	}
	rdmsrl(MSR_KERNEL_GS_BASE, vcpu->host.kernel_gs_base);
	wrmsrl(MSR_KERNEL_GS_BASE, vcpu->msr.kernel_gs_base);
	swap_msr(MSR_STAR, kvml_vmx.star, vcpu->msr.star);
	swap_msr(MSR_LSTAR, kvml_vmx.lstar, vcpu->msr.lstar);
	swap_msr(MSR_SYSCALL_MASK, kvml_vmx.fmask, vcpu->msr.fmask);
	if (kvml_vmx.secondary & SECONDARY_EXEC_ENABLE_RDTSCP) {
		rdmsrl(MSR_TSC_AUX, vcpu->host.tsc_aux);
		swap_msr(MSR_TSC_AUX, vcpu->host.tsc_aux, vcpu->msr.tsc_aux);
	}
	vcpu->loaded = true;
}

/* Preemption off. */
static void put(struct kvml_vcpu *vcpu)
{
	vcpu->loaded = false;
	rdmsrl(MSR_KERNEL_GS_BASE, vcpu->msr.kernel_gs_base);
	swap_msr(MSR_STAR, vcpu->msr.star, kvml_vmx.star);
	swap_msr(MSR_LSTAR, vcpu->msr.lstar, kvml_vmx.lstar);
	swap_msr(MSR_SYSCALL_MASK, vcpu->msr.fmask, kvml_vmx.fmask);
	if (kvml_vmx.secondary & SECONDARY_EXEC_ENABLE_RDTSCP)
		swap_msr(MSR_TSC_AUX, vcpu->msr.tsc_aux, vcpu->host.tsc_aux);
	restore_host_segments(vcpu);
	/* Exits set the limit of the GDT to 64 KiB: user space must not load what lies behind it. */
	load_fixmap_gdt(smp_processor_id());
}

static void scheduled_in(struct preempt_notifier *notifier, int cpu)
{
	load(container_of(notifier, struct kvml_vcpu, preempt));
}

static void scheduled_out(struct preempt_notifier *notifier, struct task_struct *next)
{
	put(container_of(notifier, struct kvml_vcpu, preempt));
}

static struct preempt_ops preempt_operations = {
	.sched_in = scheduled_in,
	.sched_out = scheduled_out,
};

void kvml_vcpu_load(struct kvml_vcpu *vcpu)
{
	preempt_disable();
	preempt_notifier_register(&vcpu->preempt);
	load(vcpu);
	preempt_enable();
}

void kvml_vcpu_put(struct kvml_vcpu *vcpu)
{
	preempt_disable();
	put(vcpu);
	preempt_notifier_unregister(&vcpu->preempt);
	preempt_enable();
}

void kvml_vcpu_kick(struct kvml_vcpu *vcpu)
{
	/* wq_has_sleeper() is the full barrier between what was posted and the look at the mode. */
	if (wq_has_sleeper(&vcpu->wait))
		wake_up(&vcpu->wait);
	if (READ_ONCE(vcpu->mode) == KVML_IN_GUEST) {
		const int here = get_cpu();
		const int cpu = READ_ONCE(vcpu->running_cpu);

		if (cpu != here && cpu_online(cpu))
			smp_send_reschedule(cpu);
		put_cpu();
	}
}

void kvml_vcpu_queue_nmi(struct kvml_vcpu *vcpu)
{
	set_bit(KVML_REQUEST_NMI, &vcpu->requests);
}

/* ----- Reset ----- */

static void reset_segment(u32 index, u32 selector, u64 base, u32 access)
{
	vmwrite(GUEST_ES_SELECTOR + 2 * index, selector);
	vmwrite(GUEST_ES_BASE + 2 * index, base);
	vmwrite(GUEST_ES_LIMIT + 2 * index, 0xffff);
	vmwrite(GUEST_ES_AR_BYTES + 2 * index, access);
}

/* SDM volume 3, "Processor State After Reset", the part that INIT shares. */
void kvml_vcpu_init(struct kvml_vcpu *vcpu)
{
	u32 index;

	memset(vcpu->regs, 0, sizeof(vcpu->regs));
	/* RDX: family, model and stepping, as CPUID tells them. */
	vcpu->regs[2] = 0x600;
	memset(&vcpu->events, 0, sizeof(vcpu->events));
	clear_bit(KVML_REQUEST_NMI, &vcpu->requests);
	memset(vcpu->dr, 0, sizeof(vcpu->dr));
	vcpu->dr6 = DR6_RESERVED;
	vcpu->dr7 = KVML_DR7_FIXED;
	vcpu->cr2 = 0;
	vcpu->io.kind = KVML_IO_NONE;
	for (index = 0; index < 6; index++)
		reset_segment(index, 0, 0, 0x93);
	reset_segment(1, 0xf000, 0xffff0000, 0x9b);
	reset_segment(6, 0, 0, 0x82);
	reset_segment(7, 0, 0, 0x8b);
	vmwrite(GUEST_RIP, 0xfff0);
	vmwrite(GUEST_RSP, 0);
	vmwrite(GUEST_RFLAGS, X86_EFLAGS_FIXED);
	vmwrite(GUEST_GDTR_BASE, 0);
	vmwrite(GUEST_GDTR_LIMIT, 0xffff);
	vmwrite(GUEST_IDTR_BASE, 0);
	vmwrite(GUEST_IDTR_LIMIT, 0xffff);
	vmwrite(GUEST_DR7, KVML_DR7_FIXED);
	vmwrite(GUEST_CR3, 0);
	vmwrite(GUEST_SYSENTER_CS, 0);
	vmwrite(GUEST_SYSENTER_ESP, 0);
	vmwrite(GUEST_SYSENTER_EIP, 0);
	vmwrite(GUEST_IA32_DEBUGCTL, 0);
	vmwrite(GUEST_INTERRUPTIBILITY_INFO, 0);
	vmwrite(GUEST_ACTIVITY_STATE, GUEST_ACTIVITY_ACTIVE);
	vmwrite(GUEST_PENDING_DBG_EXCEPTIONS, 0);
	/* Paging off before EFER and CR4 lose what it needs. */
	kvml_set_cr0(vcpu, X86_CR0_ET | X86_CR0_NW | X86_CR0_CD);
	kvml_set_efer(vcpu, 0);
	kvml_set_cr4(vcpu, 0);
	vcpu->flush_vpid = true;
}

void kvml_vcpu_startup(struct kvml_vcpu *vcpu, u8 vector)
{
	vmwrite(GUEST_CS_SELECTOR, vector << 8);
	vmwrite(GUEST_CS_BASE, vector << 12);
	vmwrite(GUEST_RIP, 0);
}

static void power_up(struct kvml_vcpu *vcpu)
{
	vcpu->xcr0 = XFEATURE_MASK_FP;
	vcpu->host.xcr0 = boot_cpu_has(X86_FEATURE_OSXSAVE) ?
		xgetbv(XCR_XFEATURE_ENABLED_MASK) : XFEATURE_MASK_FP;
	vcpu->tsc_offset = vcpu->vm->tsc_offset;
	vcpu->physical_bits = boot_cpu_data.x86_phys_bits;
	kvml_vcpu_load(vcpu);
	kvml_vmcs_setup(vcpu);
	vmwrite(GUEST_IA32_EFER, 0);
	vmwrite(GUEST_CR0, 0);
	vmwrite(CR0_READ_SHADOW, 0);
	vmwrite(CR0_GUEST_HOST_MASK, ~0UL);
	vmwrite(GUEST_CR4, 0);
	vmwrite(CR4_READ_SHADOW, 0);
	vmwrite(CR4_GUEST_HOST_MASK, ~0UL);
	vmwrite(GUEST_IA32_PAT, 0x0007040600070406);
	kvml_vcpu_init(vcpu);
	kvml_vcpu_put(vcpu);
	/* Without LAPICs there is no SIPI to wait for. */
	vcpu->mp_state = vcpu->id == 0 || !vcpu->vm->split_irqchip ? KVM_MP_STATE_RUNNABLE :
		KVM_MP_STATE_UNINITIALIZED;
}

/* ----- ioctls ----- */

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
	case KVM_GET_XSAVE:
		return get_xsave(vcpu, user);
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

static long vcpu_ioctl(struct file *file, unsigned int command, unsigned long argument)
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

/* ----- Life ----- */

static vm_fault_t run_fault(struct vm_fault *fault)
{
	struct kvml_vcpu *vcpu = fault->vma->vm_file->private_data;

	if (fault->pgoff >= KVML_RUN_PAGES)
		return VM_FAULT_SIGBUS;
	fault->page = virt_to_page((void *)vcpu->run + fault->pgoff * PAGE_SIZE);
	get_page(fault->page);
	return 0;
}

static const struct vm_operations_struct run_operations = { .fault = run_fault };

static int vcpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	if (vma->vm_pgoff + vma_pages(vma) > KVML_RUN_PAGES)
		return -EINVAL;
	vma->vm_ops = &run_operations;
	return 0;
}

static int vcpu_release(struct inode *inode, struct file *file)
{
	struct kvml_vcpu *vcpu = file->private_data;

	kvml_vm_put(vcpu->vm);
	return 0;
}

static const struct file_operations vcpu_operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = vcpu_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = vcpu_mmap,
	.release = vcpu_release,
};

void kvml_vcpu_free(struct kvml_vcpu *vcpu)
{
	kvml_lapic_destroy(vcpu);
	kvml_vmcs_destroy(vcpu);
	if (vcpu->fpu.fpstate)
		fpu_free_guest_fpstate(&vcpu->fpu);
	if (vcpu->run) {
		free_page((unsigned long)vcpu->run);
		free_page((unsigned long)vcpu->pio);
	}
	kfree(vcpu->cpuid);
	kfree(vcpu);
}

static struct kvml_vcpu *allocate_vcpu(struct kvml_vm *vm, u32 id)
{
	struct kvml_vcpu *vcpu = kzalloc(sizeof(*vcpu), GFP_KERNEL_ACCOUNT);
	int outcome = -ENOMEM;

	BUILD_BUG_ON(KVML_RUN_PAGES != 2);
	if (!vcpu)
		return ERR_PTR(-ENOMEM);
	vcpu->vm = vm;
	vcpu->id = id;
	mutex_init(&vcpu->lock);
	init_waitqueue_head(&vcpu->wait);
	preempt_notifier_init(&vcpu->preempt, &preempt_operations);
	kvml_lapic_create(vcpu);
	vcpu->run = (void *)__get_free_pages(GFP_KERNEL_ACCOUNT | __GFP_ZERO, 1);
	if (!vcpu->run)
		goto free;
	/* Each page is mapped, and so counted, by itself. */
	split_page(virt_to_page(vcpu->run), 1);
	vcpu->pio = (void *)vcpu->run + KVML_PIO_OFFSET;
	if (!fpu_alloc_guest_fpstate(&vcpu->fpu))
		goto free;
	outcome = kvml_vmcs_create(vcpu);
	if (outcome)
		goto free;
	outcome = kvml_vmx_get();
	if (outcome)
		goto free;
	power_up(vcpu);
	kvml_vmx_put();
	return vcpu;

free:
	kvml_vcpu_free(vcpu);
	return ERR_PTR(outcome);
}

/* vm->lock held. */
static int add_vcpu(struct kvml_vm *vm, u32 id)
{
	struct kvml_vcpu *vcpu;
	u32 i;
	int fd;

	for (i = 0; i < vm->vcpu_count; i++) {
		if (vm->vcpus[i]->id == id)
			return -EEXIST;
	}
	vcpu = allocate_vcpu(vm, id);
	if (IS_ERR(vcpu))
		return PTR_ERR(vcpu);
	kvml_vm_get(vm);
	fd = anon_inode_getfd("kvm-lite-vcpu", &vcpu_operations, vcpu, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		kvml_vm_put(vm);
		kvml_vcpu_free(vcpu);
		return fd;
	}
	vm->vcpus[vm->vcpu_count] = vcpu;
	/* Interrupts may find it from here on; pairs with acquires in lapic.c and ept.c. */
	smp_store_release(&vm->vcpu_count, vm->vcpu_count + 1);
	return fd;
}

long kvml_vcpu_create(struct kvml_vm *vm, unsigned long id)
{
	int outcome;

	if (id >= KVML_VCPUS_MAX)
		return -EINVAL;
	mutex_lock(&vm->lock);
	outcome = add_vcpu(vm, id);
	mutex_unlock(&vm->lock);
	return outcome;
}
