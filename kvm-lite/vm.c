// SPDX-License-Identifier: GPL-2.0
/* A VM: its descriptor, its ioctls, its life. */
#include "internal.h"

#include <linux/anon_inodes.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

/* ----- The process's mappings change: entries of the EPT that show them go ----- */

static struct kvml_vm *vm_of(struct mmu_notifier *notifier)
{
	return container_of(notifier, struct kvml_vm, notifier);
}

/* Takes away the entries of all guest pages that [start, end) backs; ept.lock held. */
static bool zap_backed(struct kvml_vm *vm, unsigned long start, unsigned long end)
{
	bool changed = false;
	u32 i;

	for (i = 0; i < vm->slot_count; i++) {
		const struct kvml_memslot *slot = &vm->slots[i];
		const unsigned long slot_end = slot->hva + slot->pages * PAGE_SIZE;
		const unsigned long from = max(start & PAGE_MASK, slot->hva);
		const unsigned long to = min(PAGE_ALIGN(end), slot_end);

		if (from < to)
			changed |= kvml_ept_apply(vm->ept.root,
						   slot->gfn + ((from - slot->hva) >> PAGE_SHIFT),
						   (to - from) >> PAGE_SHIFT, KVML_EPT_ZAP);
	}
	return changed;
}

static int invalidate_start(struct mmu_notifier *notifier, const struct mmu_notifier_range *range)
{
	struct kvml_vm *vm = vm_of(notifier);

	spin_lock(&vm->ept.lock);
	vm->ept.invalidations++;
	if (zap_backed(vm, range->start, range->end))
		kvml_ept_flush(vm);
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
	if (zap_backed(vm, 0, TASK_SIZE_MAX))
		kvml_ept_flush(vm);
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
	for (i = 0; i < vm->vcpu_count; i++)
		kvml_vcpu_free(vm->vcpus[i]);
	mmu_notifier_unregister(&vm->notifier, vm->mm);
	kvml_ept_destroy(vm);
	kvml_free_slots(vm);
	mmdrop(vm->mm);
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
	mmgrab(vm->mm);
	vm->notifier.ops = &notifier_operations;
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
	mmdrop(vm->mm);
	kvml_ept_destroy(vm);
free:
	kvfree(vm);
	return ERR_PTR(outcome);
}

/* ----- ioctls ----- */

static int enable_capability(struct kvml_vm *vm, const struct kvm_enable_cap *cap)
{
	int outcome = 0;

	if (cap->flags || cap->cap != KVM_CAP_SPLIT_IRQCHIP)
		return -EINVAL;
	if (cap->args[0] > KVML_ROUTES_MAX)
		return -EINVAL;
	mutex_lock(&vm->lock);
	/* vCPUs are created with or without a LAPIC, so this comes first, and once. */
	if (vm->split_irqchip || vm->vcpu_count) {
		outcome = -EEXIST;
	} else {
		vm->interrupts.ioapic_pins = cap->args[0];
		vm->split_irqchip = true;
	}
	mutex_unlock(&vm->lock);
	return outcome;
}

static int irq_line(struct kvml_vm *vm, struct kvm_irq_level __user *user, bool status)
{
	struct kvm_irq_level line;

	if (copy_from_user(&line, user, sizeof(line)))
		return -EFAULT;
	/* All routes are messages: raising the line sends one, lowering it means nothing. */
	line.status = line.level ? kvml_signal_gsi(vm, line.irq) : 0;
	if (status && copy_to_user(user, &line, sizeof(line)))
		return -EFAULT;
	return 0;
}

/* What needs an in-kernel LAPIC. */
static long interrupt_ioctl(struct kvml_vm *vm, unsigned int command, void __user *user)
{
	union {
		struct kvm_irqfd irqfd;
		struct kvm_msi msi;
	} u;

	if (!vm->split_irqchip)
		return command == KVM_IRQ_LINE || command == KVM_IRQ_LINE_STATUS ? -ENXIO : -EINVAL;
	switch (command) {
	case KVM_IRQFD:
		if (copy_from_user(&u.irqfd, user, sizeof(u.irqfd)))
			return -EFAULT;
		return kvml_irqfd(vm, &u.irqfd);
	case KVM_SIGNAL_MSI:
		if (copy_from_user(&u.msi, user, sizeof(u.msi)))
			return -EFAULT;
		return kvml_signal_msi(vm, &u.msi);
	case KVM_SET_GSI_ROUTING:
		return kvml_set_gsi_routing(vm, user);
	default:
		return irq_line(vm, user, command == KVM_IRQ_LINE_STATUS);
	}
}

static long clock_ioctl(struct kvml_vm *vm, unsigned int command, void __user *user)
{
	struct kvm_clock_data data;

	if (command == KVM_GET_CLOCK) {
		kvml_clock_get(vm, &data);
		return copy_to_user(user, &data, sizeof(data)) ? -EFAULT : 0;
	}
	if (copy_from_user(&data, user, sizeof(data)))
		return -EFAULT;
	return kvml_clock_set(vm, &data);
}

static long memory_ioctl(struct kvml_vm *vm, unsigned int command, void __user *user)
{
	union {
		struct kvm_userspace_memory_region region;
		struct kvm_dirty_log log;
	} u;

	if (command == KVM_GET_DIRTY_LOG) {
		if (copy_from_user(&u.log, user, sizeof(u.log)))
			return -EFAULT;
		return kvml_get_dirty_log(vm, &u.log);
	}
	if (copy_from_user(&u.region, user, sizeof(u.region)))
		return -EFAULT;
	return kvml_set_memory_region(vm, &u.region);
}

static long vm_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct kvml_vm *vm = file->private_data;
	void __user *user = (void __user *)argument;
	struct kvm_ioeventfd ioeventfd;
	struct kvm_enable_cap cap;

	/* Guest memory is that of the process that made the VM. */
	if (vm->mm != current->mm)
		return -EIO;
	switch (command) {
	case KVM_CREATE_VCPU:
		return kvml_vcpu_create(vm, argument);
	case KVM_CHECK_EXTENSION:
		return kvml_check_extension(argument);
	case KVM_SET_USER_MEMORY_REGION:
	case KVM_GET_DIRTY_LOG:
		return memory_ioctl(vm, command, user);
	case KVM_IRQFD:
	case KVM_SIGNAL_MSI:
	case KVM_SET_GSI_ROUTING:
	case KVM_IRQ_LINE:
	case KVM_IRQ_LINE_STATUS:
		return interrupt_ioctl(vm, command, user);
	case KVM_IOEVENTFD:
		if (copy_from_user(&ioeventfd, user, sizeof(ioeventfd)))
			return -EFAULT;
		return kvml_ioeventfd(vm, &ioeventfd);
	case KVM_ENABLE_CAP:
		if (copy_from_user(&cap, user, sizeof(cap)))
			return -EFAULT;
		return enable_capability(vm, &cap);
	case KVM_GET_CLOCK:
	case KVM_SET_CLOCK:
		return clock_ioctl(vm, command, user);
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
