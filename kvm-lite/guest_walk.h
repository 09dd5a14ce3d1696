/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From guest-linear to guest-physical addresses, through the guest's own page tables (SDM volume 3,
 * "Paging"): none, 32-bit, PAE and 4-level paging. Needed for MMIO instructions, where the processor
 * has made the same access, and for string I/O, where it has not looked at memory before it left the
 * guest. Protection keys and 5 levels are not offered. Each entry is read once. Pure.
 */
#ifndef KVML_GUEST_WALK_H
#define KVML_GUEST_WALK_H

#include "portable.h"

/* Bits of an access, and of the #PF error code that it fails with. */
#define KVML_FAULT_PRESENT	BIT(0)
#define KVML_ACCESS_WRITE	BIT(1)
#define KVML_ACCESS_USER	BIT(2)
#define KVML_FAULT_RESERVED	BIT(3)
#define KVML_ACCESS_FETCH	BIT(4)

#define KVML_EFER_LMA		BIT_ULL(10)
#define KVML_EFER_NXE		BIT_ULL(11)

struct kvml_paging {
	u64 cr0, cr3, cr4, efer, rflags;
	u8 physical_bits;	/* up to 52; address bits from there on are reserved */
	/* Reads @size bytes of guest memory, 4 or 8, that do not cross a page. 0 or negative. */
	int (*read)(void *context, u64 gpa, void *data, u32 size);
	void *context;
};

/*
 * 0 and *@gpa; -EFAULT: not mapped, or not for this @access, and *@error is the #PF error code;
 * -EINVAL: @linear is not canonical, which is #GP.
 */
int kvml_guest_walk(const struct kvml_paging *paging, u64 linear, u32 access, u64 *gpa, u32 *error);

#endif /* KVML_GUEST_WALK_H */
