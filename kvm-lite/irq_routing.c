// SPDX-License-Identifier: GPL-2.0
#include "irq_routing.h"

#include <linux/kvm.h>

#define MSI_REDIRECTION_HINT	BIT(3)
#define MSI_LOGICAL		BIT(2)
#define MSI_LEVEL		BIT(15)
#define MSI_ASSERT		BIT(14)

struct kvml_apic_message kvml_message_of_msi(u32 address, u32 data)
{
	const bool ours = address >> 20 == 0xfee;
	const u8 delivery = ours ? (data >> 8) & 7 : KVML_APIC_NOWHERE;

	return (struct kvml_apic_message) {
		.destination = (address >> 12) & 0xff, .logical = address & MSI_LOGICAL,
		.vector = data & 0xff, .delivery = delivery,
		.level_triggered = data & MSI_LEVEL,
		.deasserted = (data & MSI_LEVEL) && !(data & MSI_ASSERT),
		.lowest_priority = delivery == KVML_APIC_LOWEST_PRIORITY ||
			(address & MSI_REDIRECTION_HINT),
	};
}

u32 kvml_routes_gsis(const struct kvm_irq_routing_entry *entries, u32 count)
{
	u32 gsis = 0, i;

	for (i = 0; i < count; i++) {
		if (entries[i].gsi >= gsis && entries[i].gsi < KVML_ROUTES_MAX)
			gsis = entries[i].gsi + 1;
	}
	return gsis;
}

int kvml_routes_fill(struct kvml_apic_message *messages, u32 gsis,
		     const struct kvm_irq_routing_entry *entries, u32 count)
{
	u32 i;

	for (i = 0; i < gsis; i++)
		messages[i].delivery = KVML_APIC_NOWHERE;
	for (i = 0; i < count; i++) {
		struct kvml_apic_message *message;

		/* A device id means nothing on x86; KVM lets it pass, too. */
		if (entries[i].type != KVM_IRQ_ROUTING_MSI || entries[i].gsi >= gsis ||
		    (entries[i].flags & ~KVM_MSI_VALID_DEVID))
			return -EINVAL;
		message = &messages[array_index_nospec(entries[i].gsi, gsis)];
		if (message->delivery != KVML_APIC_NOWHERE)
			return -EINVAL;
		*message = kvml_message_of_msi(entries[i].u.msi.address_lo, entries[i].u.msi.data);
	}
	return 0;
}
