// SPDX-License-Identifier: GPL-2.0
#include "irq_routing.h"

#include <linux/kvm.h>

#define MSI_ADDRESS_MASK	0xfff00000u
#define MSI_ADDRESS		0xfee00000u
#define MSI_REDIRECTION_HINT	BIT(3)
#define MSI_LOGICAL		BIT(2)
#define MSI_LEVEL		BIT(15)
#define MSI_ASSERT		BIT(14)

int kvml_routes_needed(const struct kvm_irq_routing_entry *entries, u32 entry_count)
{
	u32 needed = 0;
	u32 i;

	if (entry_count > KVML_ROUTES_MAX)
		return -EINVAL;
	for (i = 0; i < entry_count; i++) {
		const struct kvm_irq_routing_entry *entry = &entries[i];

		/* A device id means nothing on x86; KVM lets it pass, too. */
		if (entry->type != KVM_IRQ_ROUTING_MSI || (entry->flags & ~KVM_MSI_VALID_DEVID) ||
		    entry->gsi >= KVML_ROUTES_MAX)
			return -EINVAL;
		if (entry->gsi >= needed)
			needed = entry->gsi + 1;
	}
	return (int)needed;
}

int kvml_routes_fill(struct kvml_routes *routes, const struct kvm_irq_routing_entry *entries,
		     u32 entry_count)
{
	u32 i;

	for (i = 0; i < entry_count; i++) {
		const struct kvm_irq_routing_entry *entry = &entries[i];
		struct kvml_msi *msi;

		if (entry->gsi >= routes->count)
			return -EINVAL;
		msi = &routes->msi[entry->gsi];
		if (msi->active)
			return -EINVAL;
		msi->address_low = entry->u.msi.address_lo;
		msi->address_high = entry->u.msi.address_hi;
		msi->data = entry->u.msi.data;
		msi->active = true;
	}
	return 0;
}

const struct kvml_msi *kvml_routes_find(const struct kvml_routes *routes, u32 gsi)
{
	if (!routes || gsi >= routes->count || !routes->msi[gsi].active)
		return NULL;
	return &routes->msi[gsi];
}

bool kvml_msi_decode(const struct kvml_msi *msi, struct kvml_apic_message *message)
{
	if ((msi->address_low & MSI_ADDRESS_MASK) != MSI_ADDRESS)
		return false;
	message->destination = (msi->address_low >> 12) & 0xff;
	message->vector = msi->data & 0xff;
	message->delivery = (msi->data >> 8) & 7;
	message->shorthand = KVML_APIC_NO_SHORTHAND;
	message->logical = msi->address_low & MSI_LOGICAL;
	message->level_triggered = msi->data & MSI_LEVEL;
	message->deasserted = message->level_triggered && !(msi->data & MSI_ASSERT);
	message->wide = false;
	message->lowest_priority = message->delivery == KVML_APIC_LOWEST_PRIORITY ||
		(msi->address_low & MSI_REDIRECTION_HINT);
	return true;
}

bool kvml_routes_ioapic_owns(const struct kvml_routes *routes, u32 pins, u8 vector)
{
	u32 gsi;

	for (gsi = 0; routes && gsi < routes->count && gsi < pins; gsi++) {
		const struct kvml_msi *msi = &routes->msi[gsi];

		if (msi->active && (msi->data & MSI_LEVEL) && (msi->data & 0xff) == vector)
			return true;
	}
	return false;
}
