// SPDX-License-Identifier: GPL-2.0
/* From GSIs and MSIs to LAPICs: the VM's routing table, published by RCU. */
#include "internal.h"

#include <linux/slab.h>
#include <linux/uaccess.h>

void kvml_interrupts_create(struct kvml_vm *vm)
{
	struct kvml_interrupts *interrupts = &vm->interrupts;

	mutex_init(&interrupts->lock);
	spin_lock_init(&interrupts->irqfd_lock);
	INIT_LIST_HEAD(&interrupts->irqfds);
	hash_init(interrupts->ioeventfds);
}

static void publish_routes(struct kvml_vm *vm, struct kvml_route_table *table)
{
	struct kvml_route_table *old;

	mutex_lock(&vm->interrupts.lock);
	old = rcu_replace_pointer(vm->interrupts.routes, table,
				  lockdep_is_held(&vm->interrupts.lock));
	mutex_unlock(&vm->interrupts.lock);
	/* Without a wait: a guest that programs its IOAPIC sets two dozen tables in a row. */
	if (old)
		kvfree_rcu(old, rcu);
}

void kvml_interrupts_destroy(struct kvml_vm *vm)
{
	kvml_eventfds_release(vm);
	publish_routes(vm, NULL);
	mutex_destroy(&vm->interrupts.lock);
}

static struct kvml_route_table *build_routes(const struct kvm_irq_routing_entry *entries, u32 count)
{
	struct kvml_route_table *table;
	const int needed = kvml_routes_needed(entries, count);
	int outcome;

	if (needed < 0)
		return ERR_PTR(needed);
	table = kvzalloc(struct_size(table, routes.msi, needed), GFP_KERNEL_ACCOUNT);
	if (!table)
		return ERR_PTR(-ENOMEM);
	table->routes.count = needed;
	outcome = kvml_routes_fill(&table->routes, entries, count);
	if (outcome) {
		kvfree(table);
		return ERR_PTR(outcome);
	}
	return table;
}

int kvml_set_gsi_routing(struct kvml_vm *vm, void __user *argument)
{
	struct kvm_irq_routing __user *user = argument;
	struct kvm_irq_routing_entry *entries;
	struct kvm_irq_routing header;
	struct kvml_route_table *table;

	if (copy_from_user(&header, user, sizeof(header)))
		return -EFAULT;
	if (header.nr > KVML_ROUTES_MAX || header.flags)
		return -EINVAL;
	/* Of no entries it makes a pointer that kvfree() knows, too. */
	entries = vmemdup_user(user->entries, array_size(header.nr, sizeof(*entries)));
	if (IS_ERR(entries))
		return PTR_ERR(entries);
	table = build_routes(entries, header.nr);
	kvfree(entries);
	if (IS_ERR(table))
		return PTR_ERR(table);
	publish_routes(vm, table);
	return 0;
}

/* The caller holds RCU for as long as it looks at what comes back, which may be null. */
static const struct kvml_routes *current_routes(struct kvml_vm *vm)
{
	const struct kvml_route_table *table = rcu_dereference(vm->interrupts.routes);

	return table ? &table->routes : NULL;
}

int kvml_signal_msi(struct kvml_vm *vm, const struct kvm_msi *msi)
{
	const struct kvml_msi route = { .address = msi->address_lo, .data = msi->data };
	struct kvml_apic_message message;

	if (msi->flags)
		return -EINVAL;
	return kvml_msi_decode(&route, &message) ? kvml_send_message(vm, &message, NULL) : 0;
}

int kvml_signal_gsi(struct kvml_vm *vm, u32 gsi)
{
	struct kvml_apic_message message;
	const struct kvml_msi *msi;
	bool found;

	rcu_read_lock();
	msi = kvml_routes_find(current_routes(vm), gsi);
	found = msi && kvml_msi_decode(msi, &message);
	rcu_read_unlock();
	return found ? kvml_send_message(vm, &message, NULL) : 0;
}

bool kvml_ioapic_owns(struct kvml_vm *vm, u8 vector)
{
	bool owns;

	rcu_read_lock();
	owns = kvml_routes_ioapic_owns(current_routes(vm), vm->interrupts.ioapic_pins, vector);
	rcu_read_unlock();
	return owns;
}
