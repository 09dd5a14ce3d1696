// SPDX-License-Identifier: GPL-2.0
/* From GSIs and MSIs to LAPICs: the VM's routing table, published by RCU. */
#include "internal.h"

#include <linux/slab.h>

int kvml_set_gsi_routing(struct kvml_vm *vm, struct kvm_irq_routing __user *user)
{
	struct kvm_irq_routing_entry *entries;
	struct kvm_irq_routing header;
	struct kvml_routes *routes;
	int outcome = -ENOMEM;
	u32 gsis;

	if (copy_from_user(&header, user, sizeof(header)))
		return -EFAULT;
	if (header.nr > KVML_ROUTES_MAX || header.flags)
		return -EINVAL;
	/* Of no entries it makes a pointer that kvfree() knows, too. */
	entries = vmemdup_user(user->entries, array_size(header.nr, sizeof(*entries)));
	if (IS_ERR(entries))
		return PTR_ERR(entries);
	gsis = kvml_routes_gsis(entries, header.nr);
	routes = kvzalloc(struct_size(routes, messages, gsis), GFP_KERNEL_ACCOUNT);
	if (routes) {
		routes->count = gsis;
		outcome = kvml_routes_fill(routes->messages, gsis, entries, header.nr);
	}
	kvfree(entries);
	if (!outcome)
		routes = unrcu_pointer(xchg(&vm->interrupts.routes, RCU_INITIALIZER(routes)));
	/*
	 * The table before, or one that was refused. Without a wait: a guest that programs its IOAPIC
	 * sets two dozen in a row.
	 */
	kvfree_rcu(routes, rcu);
	return outcome;
}

int kvml_signal_msi(struct kvml_vm *vm, const struct kvm_msi *msi)
{
	const struct kvml_apic_message message = kvml_message_of_msi(msi->address_lo, msi->data);

	return msi->flags ? -EINVAL : kvml_send_message(vm, &message, NULL);
}

int kvml_signal_gsi(struct kvml_vm *vm, u32 gsi)
{
	const struct kvml_routes *routes;
	int taken = 0;

	rcu_read_lock();
	routes = rcu_dereference(vm->interrupts.routes);
	if (routes && gsi < routes->count) {
		gsi = array_index_nospec(gsi, routes->count);
		taken = kvml_send_message(vm, &routes->messages[gsi], NULL);
	}
	rcu_read_unlock();
	return taken;
}

bool kvml_ioapic_owns(struct kvml_vm *vm, u8 vector)
{
	const struct kvml_routes *routes;
	bool owns = false;
	u32 pins, i;

	rcu_read_lock();
	routes = rcu_dereference(vm->interrupts.routes);
	pins = routes ? min(routes->count, vm->interrupts.ioapic_pins) : 0;
	for (i = 0; i < pins; i++)
		owns |= routes->messages[i].level_triggered && routes->messages[i].vector == vector;
	rcu_read_unlock();
	return owns;
}
