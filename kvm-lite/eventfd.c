// SPDX-License-Identifier: GPL-2.0
/*
 * Eventfds as wires: an irqfd injects its GSI when it is signalled, an ioeventfd is signalled by a
 * guest's write. Neither wakes the monitor's vCPU threads. Both hold the eventfd, though not its
 * file, until user space takes them away or the VM goes.
 */
#include "internal.h"

#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/log2.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/version.h>

/* Always by one; before 6.8 one has to say so. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
#define eventfd_signal(eventfd)	eventfd_signal(eventfd, 1)
#endif

/* As many as KVM has places on a bus. */
#define IOEVENTFDS_MAX	1000

struct irqfd {
	struct list_head entry;
	struct kvml_vm *vm;
	struct eventfd_ctx *eventfd;
	u32 gsi;
	wait_queue_entry_t wait;
	poll_table poll;
};

/* The writes that an ioeventfd waits for are those of its arguments. */
struct ioeventfd {
	struct hlist_node node;
	struct rcu_head rcu;
	struct eventfd_ctx *eventfd;
	struct kvm_ioeventfd args;
};

/* ----- irqfd ----- */

/* The eventfd was signalled or closed. It holds its wait queue's lock, interrupts are off. */
static int irqfd_wakeup(wait_queue_entry_t *wait, unsigned int mode, int sync, void *key)
{
	struct irqfd *irqfd = container_of(wait, struct irqfd, wait);
	u64 count;

	if (key_to_poll(key) & EPOLLIN) {
		/* One edge, however often it was signalled; the next signal is a new one. */
		eventfd_ctx_do_read(irqfd->eventfd, &count);
		kvml_signal_gsi(irqfd->vm, irqfd->gsi);
	}
	return 0;
}

static void irqfd_enqueue(struct file *file, wait_queue_head_t *queue, poll_table *poll)
{
	struct irqfd *irqfd = container_of(poll, struct irqfd, poll);

	add_wait_queue(queue, &irqfd->wait);
}

/* No interrupt comes from it after this. */
static void remove_irqfd(struct irqfd *irqfd)
{
	u64 count;

	list_del(&irqfd->entry);
	eventfd_ctx_remove_wait_queue(irqfd->eventfd, &irqfd->wait, &count);
	eventfd_ctx_put(irqfd->eventfd);
	kfree(irqfd);
}

/* An eventfd, here that of @file, has one at the most. A new one takes over the reference. */
static int change_irqfd(struct kvml_vm *vm, const struct kvm_irqfd *args, struct file *file,
			struct eventfd_ctx *eventfd)
{
	struct irqfd *irqfd;
	u32 count = 0;

	list_for_each_entry(irqfd, &vm->interrupts.irqfds, entry) {
		count++;
		if (irqfd->eventfd != eventfd)
			continue;
		if (!args->flags)
			return -EBUSY;
		if (irqfd->gsi == args->gsi)
			remove_irqfd(irqfd);
		return 0;
	}
	if (args->flags)
		return 0;
	if (count >= KVML_ROUTES_MAX)
		return -ENOSPC;
	irqfd = kmalloc(sizeof(*irqfd), GFP_KERNEL_ACCOUNT);
	if (!irqfd)
		return -ENOMEM;
	*irqfd = (struct irqfd) { .vm = vm, .eventfd = eventfd, .gsi = args->gsi };
	list_add_tail(&irqfd->entry, &vm->interrupts.irqfds);
	init_waitqueue_func_entry(&irqfd->wait, irqfd_wakeup);
	init_poll_funcptr(&irqfd->poll, irqfd_enqueue);
	/* From here on irqfd_wakeup() is called. What was signalled before is not lost either. */
	if (vfs_poll(file, &irqfd->poll) & EPOLLIN)
		kvml_signal_gsi(vm, irqfd->gsi);
	return 0;
}

int kvml_irqfd(struct kvml_vm *vm, const struct kvm_irqfd *args)
{
	struct eventfd_ctx *eventfd;
	struct file *file;
	int outcome;

	/* Resampling is for level-triggered pins of an IOAPIC that kvm-lite does not have. */
	if (args->flags & ~KVM_IRQFD_FLAG_DEASSIGN)
		return -EINVAL;
	file = eventfd_fget(args->fd);
	if (IS_ERR(file))
		return PTR_ERR(file);
	eventfd = eventfd_ctx_fileget(file);
	outcome = change_irqfd(vm, args, file, eventfd);
	if (outcome || args->flags)
		eventfd_ctx_put(eventfd);
	fput(file);
	return outcome;
}

/* ----- ioeventfd ----- */

static void free_ioeventfd(struct rcu_head *rcu)
{
	struct ioeventfd *entry = container_of(rcu, struct ioeventfd, rcu);

	eventfd_ctx_put(entry->eventfd);
	kfree(entry);
}

/* Is there a write that @entry waits for and that the rest describes? KVM_IOEVENTFD_FLAG_*. */
static bool overlaps(const struct ioeventfd *entry, u32 flags, u64 address, u32 length, u64 value)
{
	const struct kvm_ioeventfd *args = &entry->args;

	if (args->addr != address || ((args->flags ^ flags) & KVM_IOEVENTFD_FLAG_PIO))
		return false;
	/* Of any length, and of any value then. */
	if (!args->len || !length)
		return true;
	return args->len == length && (args->datamatch == value ||
		!(args->flags & flags & KVM_IOEVENTFD_FLAG_DATAMATCH));
}

/* A new one takes over the reference to @eventfd. */
static int change_ioeventfd(struct kvml_vm *vm, const struct kvm_ioeventfd *args,
			    struct eventfd_ctx *eventfd)
{
	struct kvml_interrupts *interrupts = &vm->interrupts;
	const u32 remove = args->flags & KVM_IOEVENTFD_FLAG_DEASSIGN;
	struct ioeventfd *entry;

	hash_for_each_possible(interrupts->ioeventfds, entry, node, args->addr) {
		if (!overlaps(entry, args->flags, args->addr, args->len, args->datamatch))
			continue;
		if (!remove)
			return -EEXIST;
		if (entry->eventfd != eventfd || entry->args.len != args->len ||
		    (entry->args.flags ^ args->flags) != remove)
			continue;
		hash_del_rcu(&entry->node);
		interrupts->ioeventfd_count--;
		call_rcu(&entry->rcu, free_ioeventfd);
		return 0;
	}
	if (remove)
		return -ENOENT;
	if (interrupts->ioeventfd_count >= IOEVENTFDS_MAX)
		return -ENOSPC;
	entry = kzalloc(sizeof(*entry), GFP_KERNEL_ACCOUNT);
	if (!entry)
		return -ENOMEM;
	entry->eventfd = eventfd;
	entry->args = *args;
	hash_add_rcu(interrupts->ioeventfds, &entry->node, args->addr);
	interrupts->ioeventfd_count++;
	return 0;
}

static bool ioeventfd_is_valid(const struct kvm_ioeventfd *args)
{
	const u32 known = KVM_IOEVENTFD_FLAG_DATAMATCH | KVM_IOEVENTFD_FLAG_PIO |
		KVM_IOEVENTFD_FLAG_DEASSIGN;
	/* Of any length: then there is no value to compare. */
	const bool length_is_valid = args->len ? args->len <= 8 && is_power_of_2(args->len) :
		!(args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH);

	return length_is_valid && !(args->flags & ~known) && args->addr + args->len >= args->addr;
}

int kvml_ioeventfd(struct kvml_vm *vm, const struct kvm_ioeventfd *args)
{
	struct eventfd_ctx *eventfd;
	int outcome;

	if (!ioeventfd_is_valid(args))
		return -EINVAL;
	eventfd = eventfd_ctx_fdget(args->fd);
	if (IS_ERR(eventfd))
		return PTR_ERR(eventfd);
	outcome = change_ioeventfd(vm, args, eventfd);
	if (outcome || (args->flags & KVM_IOEVENTFD_FLAG_DEASSIGN))
		eventfd_ctx_put(eventfd);
	return outcome;
}

bool kvml_ioeventfd_write(struct kvml_vm *vm, u32 flags, u64 address, u32 length, u64 value)
{
	struct ioeventfd *entry;
	bool taken = false;

	rcu_read_lock();
	hash_for_each_possible_rcu(vm->interrupts.ioeventfds, entry, node, address) {
		if (!overlaps(entry, flags | KVM_IOEVENTFD_FLAG_DATAMATCH, address, length, value))
			continue;
		eventfd_signal(entry->eventfd);
		taken = true;
		break;
	}
	rcu_read_unlock();
	return taken;
}

/* ----- The VM goes ----- */

void kvml_eventfds_release(struct kvml_vm *vm)
{
	struct kvml_interrupts *interrupts = &vm->interrupts;
	struct irqfd *irqfd, *next;
	struct ioeventfd *entry;
	struct hlist_node *following;
	int bucket;

	list_for_each_entry_safe(irqfd, next, &interrupts->irqfds, entry)
		remove_irqfd(irqfd);
	/* No vCPU is left that could look at one. */
	hash_for_each_safe(interrupts->ioeventfds, bucket, following, entry, node)
		free_ioeventfd(&entry->rcu);
}
