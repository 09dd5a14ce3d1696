// SPDX-License-Identifier: GPL-2.0
/* A vCPU: its way into and out of a processor, its descriptor and its life. */
#include "internal.h"

#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <asm/cpu_entry_area.h>
#include <asm/desc.h>
#include <asm/fpu/xcr.h>
#include <asm/segment.h>
#include <linux/smp.h>
#include <linux/version.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
#include <trace/events/ipi.h>
#endif

/* ----- In a processor ----- */

static void swap_msr(u32 index, u64 from, u64 to)
{
	if (from != to)
		wrmsrl(index, to);
}

/* Preemption off, on @cpu; also when the thread is scheduled in. */
static void load(struct preempt_notifier *notifier, int cpu)
{
	struct kvml_vcpu *vcpu = container_of(notifier, struct kvml_vcpu, preempt);
	struct kvml_host_state *host = &vcpu->host;

	if (kvml_vmcs_load(vcpu)) {
		/* What differs from CPU to CPU, or can have changed while the machine slept. */
		vmwrite(TSC_OFFSET, vcpu->tsc_offset + kvml_vmx.tsc_lost);
		vmwrite(HOST_TR_BASE, (unsigned long)&get_cpu_entry_area(cpu)->tss.x86_tss);
		vmwrite(HOST_GDTR_BASE, (unsigned long)get_current_gdt_ro());
		vmwrite(HOST_IA32_SYSENTER_ESP, native_read_msr(MSR_IA32_SYSENTER_ESP));
		vmwrite(HOST_GS_BASE, native_read_msr(MSR_GS_BASE));
		/* No values that these have: the true ones will be written. */
		host->cr3 = 0;
		host->cr4 = 0;
		host->fs_base = ~0UL;
		/* The TLB of a CPU where it ran long ago may remember what has changed since. */
		vcpu->flush_vpid = true;
		vcpu->ept_generation = -1;
	}
	savesegment(fs, host->fs);
	savesegment(gs, host->gs);
	savesegment(ds, host->ds);
	savesegment(es, host->es);
	store_ldt(host->ldt);
	vmx_update(HOST_FS_BASE, &host->fs_base, native_read_msr(MSR_FS_BASE));
	rdmsrl(MSR_KERNEL_GS_BASE, host->kernel_gs_base);
	wrmsrl(MSR_KERNEL_GS_BASE, vcpu->msr.kernel_gs_base);
	swap_msr(MSR_STAR, kvml_vmx.star, vcpu->msr.star);
	swap_msr(MSR_LSTAR, kvml_vmx.lstar, vcpu->msr.lstar);
	swap_msr(MSR_SYSCALL_MASK, kvml_vmx.fmask, vcpu->msr.fmask);
	rdmsrl(MSR_TSC_AUX, host->tsc_aux);
	swap_msr(MSR_TSC_AUX, host->tsc_aux, vcpu->msr.tsc_aux);
}

/* Preemption off; also when the thread is scheduled out, for @next. */
static void put(struct preempt_notifier *notifier, struct task_struct *next)
{
	struct kvml_vcpu *vcpu = container_of(notifier, struct kvml_vcpu, preempt);
	struct kvml_host_state *host = &vcpu->host;

	rdmsrl(MSR_KERNEL_GS_BASE, vcpu->msr.kernel_gs_base);
	swap_msr(MSR_STAR, vcpu->msr.star, kvml_vmx.star);
	swap_msr(MSR_LSTAR, vcpu->msr.lstar, kvml_vmx.lstar);
	swap_msr(MSR_SYSCALL_MASK, vcpu->msr.fmask, kvml_vmx.fmask);
	swap_msr(MSR_TSC_AUX, vcpu->msr.tsc_aux, host->tsc_aux);
	/* Selectors are null in nearly every 64-bit process; VM exits leave null ones. */
	if (unlikely(host->ldt | host->ds | host->es | host->fs | host->gs)) {
		/* First the table that the others may be in; their bases change along with FS and GS. */
		asm volatile("lldt %0" : : "m" (host->ldt));
		loadsegment(ds, host->ds);
		loadsegment(es, host->es);
		loadsegment(fs, host->fs);
		wrmsrl(MSR_FS_BASE, host->fs_base);
		load_gs_index(host->gs);
	}
	wrmsrl(MSR_KERNEL_GS_BASE, host->kernel_gs_base);
	/* Exits set the limit of the GDT to 64 KiB: user space must not load what lies behind it. */
	load_fixmap_gdt(smp_processor_id());
	/* And that of the TSS to 104 bytes, which hides the ports that ioperm() and iopl() gave. */
	invalidate_tss_limit();
	kvml_vmcs_put();
}

static struct preempt_ops preempt_operations = {
	.sched_in = load,
	.sched_out = put,
};

void kvml_vcpu_load(struct kvml_vcpu *vcpu)
{
	preempt_disable();
	preempt_notifier_register(&vcpu->preempt);
	load(&vcpu->preempt, smp_processor_id());
	preempt_enable();
}

void kvml_vcpu_put(struct kvml_vcpu *vcpu)
{
	preempt_disable();
	put(&vcpu->preempt, NULL);
	preempt_notifier_unregister(&vcpu->preempt);
	preempt_enable();
}

void kvml_vcpu_kick(struct kvml_vcpu *vcpu)
{
	int cpu;

	/* wq_has_sleeper() is the full barrier between what was posted and the look at the CPU. */
	if (wq_has_sleeper(&vcpu->wait))
		wake_up(&vcpu->wait);
	cpu = READ_ONCE(vcpu->running_cpu);
	if (cpu >= 0) {
		const int here = get_cpu();

		if (cpu != here && cpu_online(cpu))
			smp_send_reschedule(cpu);
		put_cpu();
	}
}

/* ----- Life ----- */

#define RUN_ORDER	get_order(KVML_RUN_PAGES * PAGE_SIZE)

/* kvm_run and what follows it. The mapping keeps the descriptor, and that the pages. */
static int vcpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct kvml_vcpu *vcpu = file->private_data;

	return vm_iomap_memory(vma, virt_to_phys(vcpu->run), KVML_RUN_PAGES * PAGE_SIZE);
}

static int vcpu_release(struct inode *inode, struct file *file)
{
	struct kvml_vcpu *vcpu = file->private_data;

	fput(vcpu->vm_file);
	return 0;
}

static const struct file_operations vcpu_operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = kvml_vcpu_ioctl,
	.mmap = vcpu_mmap,
	.release = vcpu_release,
};

void kvml_vcpu_free(struct kvml_vcpu *vcpu)
{
	/* It can be found no more: nobody starts the timer again. */
	hrtimer_cancel(&vcpu->lapic.timer);
	kvml_vmcs_free(vcpu);
	if (vcpu->fpu.fpstate)
		fpu_free_guest_fpstate(&vcpu->fpu);
	free_page((unsigned long)vcpu->spare_table);
	free_pages((unsigned long)vcpu->run, RUN_ORDER);
	kfree(vcpu->cpuid);
	kfree(vcpu);
}

/* Null: there is no memory. */
static struct kvml_vcpu *power_up(struct kvml_vm *vm, u32 id)
{
	struct kvml_vcpu *vcpu = kzalloc(sizeof(*vcpu), GFP_KERNEL_ACCOUNT);

	if (!vcpu)
		return NULL;
	vcpu->vm = vm;
	vcpu->id = id;
	vcpu->vpid = id + 1;
	vcpu->vmcs_cpu = -1;
	vcpu->running_cpu = -1;
	vcpu->xcr0 = XFEATURE_MASK_FP;
	vcpu->host.xcr0 = xgetbv(XCR_XFEATURE_ENABLED_MASK);
	vcpu->tsc_offset = vm->tsc_offset;
	vcpu->physical_bits = boot_cpu_data.x86_phys_bits;
	vcpu->apic_base_reserved = KVML_APIC_BASE_X2APIC;
	/* There is no room for tiles yet. */
	vcpu->xcr0_reserved = XFEATURE_MASK_XTILE;
	/* Without LAPICs there is no SIPI to wait for. */
	vcpu->mp_state = id == 0 || !vm->split_irqchip ? KVM_MP_STATE_RUNNABLE :
		KVM_MP_STATE_UNINITIALIZED;
	mutex_init(&vcpu->lock);
	init_waitqueue_head(&vcpu->wait);
	preempt_notifier_init(&vcpu->preempt, &preempt_operations);
	kvml_lapic_create(vcpu);
	vcpu->vmcs = kvml_vmcs_create();
	vcpu->run = (void *)__get_free_pages(GFP_KERNEL_ACCOUNT | __GFP_ZERO, RUN_ORDER);
	if (!vcpu->vmcs || !vcpu->run || !fpu_alloc_guest_fpstate(&vcpu->fpu)) {
		kvml_vcpu_free(vcpu);
		return NULL;
	}
	vcpu->pio = (void *)vcpu->run + KVML_PIO_OFFSET;
	kvml_vcpu_load(vcpu);
	kvml_vmcs_setup(vcpu);
	vmwrite(GUEST_IA32_PAT, 0x0007040600070406);
	kvml_vcpu_init(vcpu);
	kvml_vcpu_put(vcpu);
	return vcpu;
}

int kvml_vcpu_create(struct file *vm_file, unsigned long id)
{
	struct kvml_vm *vm = vm_file->private_data;
	struct kvml_vcpu *vcpu;
	struct file *file;
	u32 i;
	int fd;

	if (id >= KVML_VCPUS_MAX)
		return -EINVAL;
	for (i = 0; i < vm->vcpu_count; i++) {
		if (vm->vcpus[i]->id == id)
			return -EEXIST;
	}
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	vcpu = power_up(vm, id);
	file = vcpu ? anon_inode_getfile("kvm-lite-vcpu", &vcpu_operations, vcpu, O_RDWR) :
		      ERR_PTR(-ENOMEM);
	if (IS_ERR(file)) {
		if (vcpu)
			kvml_vcpu_free(vcpu);
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	vcpu->vm_file = get_file(vm_file);
	vm->vcpus[vm->vcpu_count] = vcpu;
	/* Interrupts and flushes of the EPT find it from here on; pairs with their acquires. */
	smp_store_release(&vm->vcpu_count, vm->vcpu_count + 1);
	/* Not before: another thread that guesses the number may run or close it at once. */
	fd_install(fd, file);
	return fd;
}
