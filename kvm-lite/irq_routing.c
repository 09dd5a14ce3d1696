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
		msi = &routes->msi[array_index_nospec(entry->gsi, routes->count)];
		if (msi->active)
			return -EINVAL;
		msi->address = entry->u.msi.address_lo;
		msi->data = entry->u.msi.data;
		msi->active = true;
	}
	return 0;
}

const struct kvml_msi *kvml_routes_find(const struct kvml_routes *routes, u32 gsi)
{
	const struct kvml_msi *msi;

	if (!routes || gsi >= routes->count)
		return NULL;
	msi = &routes->msi[array_index_nospec(gsi, routes->count)];
	return msi->active ? msi : NULL;
}

bool kvml_msi_decode(const struct kvml_msi *msi, struct kvml_apic_message *message)
{
	const bool level = msi->data & MSI_LEVEL;
	const u8 delivery = (msi->data >> 8) & 7;

	if ((msi->address & MSI_ADDRESS_MASK) != MSI_ADDRESS)
		return false;
	*message = (struct kvml_apic_message) {
		.destination = (msi->address >> 12) & 0xff,
		.vector = msi->data & 0xff,
		.delivery = delivery,
		.logical = msi->address & MSI_LOGICAL,
		.level_triggered = level,
		.deasserted = level && !(msi->data & MSI_ASSERT),
		.lowest_priority = delivery == KVML_APIC_LOWEST_PRIORITY ||
			(msi->address & MSI_REDIRECTION_HINT),
	};
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
