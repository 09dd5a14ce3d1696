// SPDX-License-Identifier: GPL-2.0
/* A VM: its descriptor, its ioctls, its life. */
#include "internal.h"

#include <linux/anon_inodes.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/slab.h>

/* ----- The process's mappings change: entries of the EPT that show them go ----- */

static struct kvml_vm *vm_of(struct mmu_notifier *notifier)
{
	return container_of(notifier, struct kvml_vm, notifier);
}

/* Takes away the entries of all guest pages that [start, end) backs; ept.lock held. */
static void zap_backed(struct kvml_vm *vm, unsigned long start, unsigned long end)
{
	bool changed = false;
	u32 id;

	for (id = 0; id < vm->slot_count; id++) {
		const struct kvml_memslot *slot = &vm->slots[id];
		const unsigned long slot_end = slot->hva + slot->pages * PAGE_SIZE;
		const unsigned long from = max(start & PAGE_MASK, slot->hva);
		const unsigned long to = min(PAGE_ALIGN(end), slot_end);

		if (from < to)
			changed |= kvml_ept_apply(vm->ept.root,
						  slot->gfn + ((from - slot->hva) >> PAGE_SHIFT),
						  (to - from) >> PAGE_SHIFT, KVML_EPT_ZAP);
	}
	if (changed)
		kvml_ept_flush(vm);
}

static int invalidate_start(struct mmu_notifier *notifier, const struct mmu_notifier_range *range)
{
	struct kvml_vm *vm = vm_of(notifier);

	spin_lock(&vm->ept.lock);
	vm->ept.invalidations++;
	zap_backed(vm, range->start, range->end);
	spin_unlock(&vm->ept.lock);
	return 0;
}

static void invalidate_end(struct mmu_notifier *notifier, const struct mmu_notifier_range *range)
{
	struct kvml_vm *vm = vm_of(notifier);

	spin_lock(&vm->ept.lock);
	vm->ept.sequence++;
	vm->ept.invalidations--;
	spin_unlock(&vm->ept.lock);
}

/* The process is dying; its pages go back whether or not our descriptors live on elsewhere. */
static void release_mm(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	struct kvml_vm *vm = vm_of(notifier);

	spin_lock(&vm->ept.lock);
	vm->ept.sequence++;
	zap_backed(vm, 0, TASK_SIZE_MAX);
	spin_unlock(&vm->ept.lock);
}

static const struct mmu_notifier_ops notifier_operations = {
	.invalidate_range_start = invalidate_start,
	.invalidate_range_end = invalidate_end,
	.release = release_mm,
};

/* ----- Life ----- */

static DEFINE_MUTEX(all_lock);	/* takes nothing else */
static LIST_HEAD(all_vms);

void kvml_kick_all(void)
{
	struct kvml_vm *vm;
	u32 i;

	mutex_lock(&all_lock);
	list_for_each_entry(vm, &all_vms, entry) {
		/* Pairs with the release in KVM_CREATE_VCPU. */
		const u32 count = smp_load_acquire(&vm->vcpu_count);

		for (i = 0; i < count; i++)
			kvml_vcpu_kick(vm->vcpus[i]);
	}
	mutex_unlock(&all_lock);
}

static void free_vm(struct kvml_vm *vm)
{
	u32 i;

	mutex_lock(&all_lock);
	list_del(&vm->entry);
	mutex_unlock(&all_lock);
	kvml_interrupts_destroy(vm);
	/* Its last callback, and one that another thread is in, still look at the vCPUs. */
	mmu_notifier_unregister(&vm->notifier, vm->mm);
	for (i = 0; i < vm->vcpu_count; i++)
		kvml_vcpu_free(vm->vcpus[i]);
	kvml_ept_destroy(vm);
	kvml_free_slots(vm);
	kvfree(vm);
	preempt_notifier_dec();
}

void kvml_vm_get(struct kvml_vm *vm)
{
	refcount_inc(&vm->users);
}

void kvml_vm_put(struct kvml_vm *vm)
{
	if (refcount_dec_and_test(&vm->users))
		free_vm(vm);
}

static struct kvml_vm *allocate_vm(void)
{
	struct kvml_vm *vm = kvzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	int outcome;

	if (!vm)
		return ERR_PTR(-ENOMEM);
	refcount_set(&vm->users, 1);
	mutex_init(&vm->lock);
	init_rwsem(&vm->slots_lock);
	spin_lock_init(&vm->ept.lock);
	vm->tsc_offset = -rdtsc_ordered();
	kvml_clock_create(vm);
	outcome = kvml_ept_create(vm);
	if (outcome)
		goto free;
	vm->mm = current->mm;
	vm->notifier.ops = &notifier_operations;
	/* Keeps the mm_struct until the VM ends. */
	outcome = mmu_notifier_register(&vm->notifier, vm->mm);
	if (outcome)
		goto destroy;
	kvml_interrupts_create(vm);
	preempt_notifier_inc();
	mutex_lock(&all_lock);
	list_add(&vm->entry, &all_vms);
	mutex_unlock(&all_lock);
	return vm;

destroy:
	kvml_ept_destroy(vm);
free:
	kvfree(vm);
	return ERR_PTR(outcome);
}

/* ----- ioctls ----- */

static int enable_capability(struct kvml_vm *vm, const struct kvm_enable_cap *cap)
{
	int outcome = -EEXIST;

	if (cap->flags || cap->cap != KVM_CAP_SPLIT_IRQCHIP || cap->args[0] > KVML_ROUTES_MAX)
		return -EINVAL;
	mutex_lock(&vm->lock);
	/* vCPUs are created with or without a LAPIC, so this comes first, and once. */
	if (!vm->split_irqchip && !vm->vcpu_count) {
		vm->interrupts.ioapic_pins = cap->args[0];
		vm->split_irqchip = true;
		outcome = 0;
	}
	mutex_unlock(&vm->lock);
	return outcome;
}

static long vm_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct kvml_vm *vm = file->private_data;
	const int no_lapic = vm->split_irqchip ? 0 : -EINVAL;
	void __user *user = (void __user *)argument;
	union {
		struct kvm_userspace_memory_region region;
		struct kvm_dirty_log log;
		struct kvm_irqfd irqfd;
		struct kvm_msi msi;
		struct kvm_irq_level line;
		struct kvm_ioeventfd ioeventfd;
		struct kvm_enable_cap cap;
		struct kvm_clock_data clock;
	} u;

	/* Guest memory is that of the process that made the VM. */
	if (vm->mm != current->mm)
		return -EIO;
	switch (command) {
	case KVM_CREATE_VCPU:
		return kvml_vcpu_create(vm, argument);
	case KVM_CHECK_EXTENSION:
		return kvml_check_extension(argument);
	case KVM_SET_USER_MEMORY_REGION:
		return kvml_copy_in(&u, user, command) ?: kvml_set_memory_region(vm, &u.region);
	case KVM_GET_DIRTY_LOG:
		return kvml_copy_in(&u, user, command) ?: kvml_get_dirty_log(vm, &u.log);
	case KVM_IRQFD:
		return no_lapic ?: kvml_copy_in(&u, user, command) ?: kvml_irqfd(vm, &u.irqfd);
	case KVM_SIGNAL_MSI:
		return no_lapic ?: kvml_copy_in(&u, user, command) ?: kvml_signal_msi(vm, &u.msi);
	case KVM_SET_GSI_ROUTING:
		return no_lapic ?: kvml_set_gsi_routing(vm, user);
	case KVM_IRQ_LINE:
	case KVM_IRQ_LINE_STATUS:
		if (no_lapic)
			return -ENXIO;
		if (kvml_copy_in(&u, user, command))
			return -EFAULT;
		/* All routes are messages: raising a line sends one, lowering it means nothing. */
		u.line.status = u.line.level ? kvml_signal_gsi(vm, u.line.irq) : 0;
		return command == KVM_IRQ_LINE ? 0 : kvml_copy_out(user, &u, command);
	case KVM_IOEVENTFD:
		return kvml_copy_in(&u, user, command) ?: kvml_ioeventfd(vm, &u.ioeventfd);
	case KVM_ENABLE_CAP:
		return kvml_copy_in(&u, user, command) ?: enable_capability(vm, &u.cap);
	case KVM_GET_CLOCK:
		kvml_clock_get(vm, &u.clock);
		return kvml_copy_out(user, &u, command);
	case KVM_SET_CLOCK:
		return kvml_copy_in(&u, user, command) ?: kvml_clock_set(vm, &u.clock);
	case KVM_SET_TSS_ADDR:
	case KVM_SET_IDENTITY_MAP_ADDR:
		/* For processors without unrestricted guest, where the module does not load. */
		return 0;
	default:
		return -ENOTTY;
	}
}

static int vm_release(struct inode *inode, struct file *file)
{
	kvml_vm_put(file->private_data);
	return 0;
}

static const struct file_operations vm_operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = vm_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.release = vm_release,
};

long kvml_vm_create(void)
{
	struct kvml_vm *vm = allocate_vm();
	int fd;

	if (IS_ERR(vm))
		return PTR_ERR(vm);
	fd = anon_inode_getfd("kvm-lite-vm", &vm_operations, vm, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		kvml_vm_put(vm);
	return fd;
}
