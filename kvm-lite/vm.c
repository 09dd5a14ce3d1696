// SPDX-License-Identifier: GPL-2.0
/* A VM: its descriptor, its ioctls, its life. */
#include "internal.h"

#include <linux/anon_inodes.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/slab.h>

/* ----- The process's mappings change: entries of the EPT that show them go ----- */

/* Takes away the entries of all guest pages that the range backs. */
static int invalidate_start(struct mmu_notifier *notifier, const struct mmu_notifier_range *range)
{
	struct kvml_vm *vm = container_of(notifier, struct kvml_vm, notifier);
	u32 id;

	spin_lock(&vm->ept.lock);
	/* Before the sequence changes: see kvml_ept_fault(). */
	atomic_inc(&vm->ept.invalidations);
	for (id = 0; id < vm->slot_count; id++) {
		const struct kvml_memslot *slot = &vm->slots[id];
		const unsigned long slot_end = slot->hva + slot->pages * PAGE_SIZE;
		const unsigned long from = max(range->start & PAGE_MASK, slot->hva);
		/* In this order: the end of everything has no next page. */
		const unsigned long to = PAGE_ALIGN(min(range->end, slot_end));

		if (from < to)
			kvml_ept_change(vm, slot->gfn + ((from - slot->hva) >> PAGE_SHIFT),
					(to - from) >> PAGE_SHIFT, KVML_EPT_ZAP);
	}
	spin_unlock(&vm->ept.lock);
	return 0;
}

static void invalidate_end(struct mmu_notifier *notifier, const struct mmu_notifier_range *range)
{
	struct kvml_vm *vm = container_of(notifier, struct kvml_vm, notifier);

	/* Behind what the invalidation was for. */
	atomic_dec_return_release(&vm->ept.invalidations);
}

/*
 * Nothing is done when the process dies: no thread is left that could enter the guest, and its pages
 * are not ours to keep.
 */
static const struct mmu_notifier_ops notifier_operations = {
	.invalidate_range_start = invalidate_start,
	.invalidate_range_end = invalidate_end,
};

/* ----- Life ----- */

static void free_table(u64 *table)
{
	free_page((unsigned long)table);
}

static void free_vm(struct kvml_vm *vm)
{
	u32 i;

	kvml_eventfds_release(vm);
	/* A callback that another thread is in still looks at the vCPUs. */
	mmu_notifier_unregister(&vm->notifier, vm->mm);
	for (i = 0; i < vm->vcpu_count; i++)
		kvml_vcpu_free(vm->vcpus[i]);
	kvml_ept_free(vm->ept.root, KVML_EPT_ROOT_LEVEL, free_table);
	for (i = 0; i < vm->slot_count; i++)
		kvfree(vm->slots[i].dirty);
	kvfree(rcu_access_pointer(vm->interrupts.routes));
	kvfree(vm);
	preempt_notifier_dec();
}

/* ----- ioctls ----- */

static int enable_capability(struct kvml_vm *vm, const struct kvm_enable_cap *cap)
{
	if (cap->flags || cap->cap != KVM_CAP_SPLIT_IRQCHIP || cap->args[0] > KVML_ROUTES_MAX)
		return -EINVAL;
	/* vCPUs are created with or without a LAPIC, so this comes first, and once. */
	if (vm->split_irqchip || vm->vcpu_count)
		return -EEXIST;
	vm->interrupts.ioapic_pins = cap->args[0];
	vm->split_irqchip = true;
	return 0;
}

/* The largest structure that one of the ioctls takes. */
#define ARGUMENT_MAX	sizeof(struct kvm_enable_cap)

/* What @data is to hold comes from user space, unless @fault says no, or goes there. */
static long command_ioctl(struct file *file, unsigned int command, unsigned long argument,
			  void *data, int fault)
{
	struct kvml_vm *vm = file->private_data;
	const int no_lapic = vm->split_irqchip ? 0 : -EINVAL;
	struct kvm_irq_level *line = data;

	switch (command) {
	case KVM_CHECK_EXTENSION:
		return kvml_check_extension(argument);
	case KVM_CREATE_VCPU:
		return kvml_vcpu_create(file, argument);
	case KVM_SET_USER_MEMORY_REGION:
		return fault ?: kvml_set_memory_region(vm, data);
	case KVM_GET_DIRTY_LOG:
		return fault ?: kvml_get_dirty_log(vm, data);
	case KVM_ENABLE_CAP:
		return fault ?: enable_capability(vm, data);
	case KVM_IRQFD:
		return no_lapic ?: fault ?: kvml_irqfd(vm, data);
	case KVM_IOEVENTFD:
		return fault ?: kvml_ioeventfd(vm, data);
	case KVM_SET_GSI_ROUTING:
		return no_lapic ?: kvml_set_gsi_routing(vm, (void __user *)argument);
	case KVM_SIGNAL_MSI:
		return no_lapic ?: fault ?: kvml_signal_msi(vm, data);
	case KVM_IRQ_LINE:
	case KVM_IRQ_LINE_STATUS:
		if (no_lapic || fault)
			return no_lapic ? -ENXIO : fault;
		/* All routes are messages: raising a line sends one, lowering it means nothing. */
		line->status = line->level ? kvml_signal_gsi(vm, line->irq) : 0;
		return 0;
	case KVM_GET_CLOCK:
		kvml_clock_get(vm, data);
		return 0;
	case KVM_SET_CLOCK:
		return fault ?: kvml_clock_set(vm, data);
	case KVM_SET_TSS_ADDR:
		/* Three pages for processors without unrestricted guest; the module needs none. */
		return argument > U32_MAX - 3 * PAGE_SIZE + 1 ? -EINVAL : 0;
	case KVM_SET_IDENTITY_MAP_ADDR:
		/* As above. */
		return vm->vcpu_count ? -EINVAL : fault;
	default:
		return -ENOTTY;
	}
}

static long vm_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	/* Messages go at once, also while memory changes. */
	const bool locked = command != KVM_SIGNAL_MSI && command != KVM_IRQ_LINE &&
		command != KVM_IRQ_LINE_STATUS;
	struct kvml_vm *vm = file->private_data;
	void __user *user = (void __user *)argument;
	u64 data[ARGUMENT_MAX / sizeof(u64)];
	const size_t bytes = _IOC_SIZE(command);
	long outcome;
	int fault = 0;

	/* Guest memory is that of the process that made the VM. */
	if (vm->mm != current->mm)
		return -EIO;
	/* Who does not know the command does not mind the fault either. */
	if ((_IOC_DIR(command) & _IOC_WRITE) && bytes <= sizeof(data) &&
	    copy_from_user(data, user, bytes))
		fault = -EFAULT;
	if (locked)
		mutex_lock(&vm->lock);
	outcome = command_ioctl(file, command, argument, data, fault);
	if (locked)
		mutex_unlock(&vm->lock);
	if (!outcome && (_IOC_DIR(command) & _IOC_READ) && copy_to_user(user, data, bytes))
		return -EFAULT;
	return outcome;
}

static int vm_release(struct inode *inode, struct file *file)
{
	free_vm(file->private_data);
	return 0;
}

static const struct file_operations vm_operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = vm_ioctl,
	.release = vm_release,
};

int kvml_vm_create(void)
{
	struct kvml_vm *vm = kvzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	int outcome;

	if (!vm)
		return -ENOMEM;
	mutex_init(&vm->lock);
	init_rwsem(&vm->slots_lock);
	spin_lock_init(&vm->ept.lock);
	INIT_LIST_HEAD(&vm->interrupts.irqfds);
	vm->tsc_offset = -kvml_tsc();
	kvml_clock_create(vm);
	vm->ept.root = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	vm->ept.pointer = __pa(vm->ept.root) | kvml_vmx.ept_pointer_bits;
	vm->mm = current->mm;
	vm->notifier.ops = &notifier_operations;
	/* Keeps the mm_struct until the VM ends. */
	outcome = vm->ept.root ? mmu_notifier_register(&vm->notifier, vm->mm) : -ENOMEM;
	if (outcome) {
		free_page((unsigned long)vm->ept.root);
		kvfree(vm);
		return outcome;
	}
	preempt_notifier_inc();
	outcome = anon_inode_getfd("kvm-lite-vm", &vm_operations, vm, O_RDWR | O_CLOEXEC);
	if (outcome < 0)
		free_vm(vm);
	return outcome;
}
