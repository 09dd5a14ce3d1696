/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What each GSI sends. There is neither IOAPIC nor PIC in here, so a GSI has one route at most, and
 * it is a message; user space, which owns the IOAPIC, turns its pins into such routes. Pure: gsi.c
 * allocates and publishes the table.
 */
#ifndef KVML_IRQ_ROUTING_H
#define KVML_IRQ_ROUTING_H

#include "lapic_state.h"

struct kvm_irq_routing_entry;

/* GSIs 0 to 4095, as many as KVM's table has routes. */
#define KVML_ROUTES_MAX	4096u

/*
 * What an MSI (SDM volume 3, "Message Signalled Interrupts") sends to LAPICs: nothing if its address
 * is not theirs. The upper half of the address means nothing to them.
 */
struct kvml_apic_message kvml_message_of_msi(u32 address, u32 data);
/* How many GSIs the table has to have for all of @entries that can be in one. */
u32 kvml_routes_gsis(const struct kvm_irq_routing_entry *entries, u32 count);
/*
 * Fills the table of @gsis messages. -EINVAL: two routes of one GSI, one beyond the table, other kinds
 * or flags. A message that reaches no LAPIC is no route.
 */
int kvml_routes_fill(struct kvml_apic_message *messages, u32 gsis,
		     const struct kvm_irq_routing_entry *entries, u32 count);

#endif /* KVML_IRQ_ROUTING_H */
