/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From guest-linear to guest-physical addresses, through the guest's own page tables (SDM volume 3,
 * "Paging"): none, 32-bit, PAE and 4-level paging. Needed only for MMIO instructions and string I/O.
 * Each entry is read once. Supervisor protections (SMAP, protection keys) are the processor's
 * business: it has made the same access. Pure.
 */
#ifndef KVML_GUEST_WALK_H
#define KVML_GUEST_WALK_H

#include "portable.h"

/* Bits of an access, and of the #PF error code that it fails with. */
#define KVML_FAULT_PRESENT	BIT(0)
#define KVML_ACCESS_WRITE	BIT(1)
#define KVML_ACCESS_USER	BIT(2)
#define KVML_ACCESS_FETCH	BIT(4)

struct kvml_paging {
	bool enabled;		/* CR0.PG */
	bool write_protect;	/* CR0.WP */
	bool long_mode;		/* EFER.LMA */
	bool pae;		/* CR4.PAE */
	bool large;		/* CR4.PSE, of 32-bit paging */
	u64 cr3;
	/* Reads @size bytes of guest memory, 4 or 8, that do not cross a page. 0 or negative. */
	int (*read)(void *context, u64 gpa, void *data, u32 size);
	void *context;
};

/* 0 and *@gpa; -EFAULT: not mapped, or not for this @access, and *@error is the #PF error code. */
int kvml_guest_walk(const struct kvml_paging *paging, u64 linear, u32 access, u64 *gpa, u32 *error);

#endif /* KVML_GUEST_WALK_H */
