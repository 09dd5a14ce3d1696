/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From a GSI or an MSI to a message for LAPICs (SDM volume 3, "Message Signalled Interrupts").
 * Pure: the table is memory of the caller, who publishes it by RCU (gsi.c).
 *
 * kvm-lite has no IOAPIC and no PIC inside, so each GSI has at most one route, and it is an MSI;
 * user space, which owns the IOAPIC, turns its pins into such routes.
 */
#ifndef KVML_IRQ_ROUTING_H
#define KVML_IRQ_ROUTING_H

#include "lapic_state.h"

struct kvm_irq_routing_entry;

/* GSIs 0 to 4095, as many as KVM's table has routes. */
#define KVML_ROUTES_MAX	4096u

/* The upper half of the address means nothing to LAPICs. */
struct kvml_msi {
	u32 address;
	u32 data;
	bool active;
};

/* Indexed by GSI. */
struct kvml_routes {
	u32 count;
	struct kvml_msi msi[];
};

/*
 * How many places a table for @entries needs, up to KVML_ROUTES_MAX, or a negative errno as
 * KVM_SET_GSI_ROUTING gives it: -EINVAL for an unknown flag, a type other than MSI or a GSI that is
 * too large.
 */
int kvml_routes_needed(const struct kvm_irq_routing_entry *entries, u32 entry_count);

/*
 * Fills @routes, zeroed and with room for routes->count places as kvml_routes_needed() said.
 * -EINVAL: two routes for one GSI.
 */
int kvml_routes_fill(struct kvml_routes *routes, const struct kvm_irq_routing_entry *entries,
		     u32 entry_count);

/* The route of @gsi, or null. */
const struct kvml_msi *kvml_routes_find(const struct kvml_routes *routes, u32 gsi);

/* False: the address is not the LAPICs', so nobody hears the message. */
bool kvml_msi_decode(const struct kvml_msi *msi, struct kvml_apic_message *message);

/*
 * Does one of the first @pins GSIs (those of user space's IOAPIC) have a level-triggered route to
 * @vector? Then the end of that interrupt is user space's to know.
 */
bool kvml_routes_ioapic_owns(const struct kvml_routes *routes, u32 pins, u8 vector);

#endif /* KVML_IRQ_ROUTING_H */
