/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From guest-linear to guest-physical addresses, through the guest's own page tables (SDM volume 3,
 * "Paging"): none, 32-bit, PAE and 4-level paging. Needed for MMIO instructions, where the processor
 * has made the same access, and for string I/O, where it has not looked at memory before it left the
 * guest. 5 levels are not offered. Each entry is read once. Pure: what it does to guest memory is left
 * to two functions, of memslot.c or of a test.
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
#define KVML_FAULT_KEY		BIT(5)

#define KVML_EFER_LMA		BIT_ULL(10)
#define KVML_EFER_NXE		BIT_ULL(11)

struct kvml_vm;

struct kvml_paging {
	u64 cr0, cr3, cr4, efer, rflags;
	u64 pdpte;		/* of PAE paging: what the processor has loaded for this GiB */
	u32 pkru;		/* of protection keys */
	u8 physical_bits;	/* up to 52; address bits from there on are reserved */
	struct kvml_vm *vm;
};

/* Copies; the range may cross pages. May sleep. 0 or -EFAULT. */
int kvml_read_guest(struct kvml_vm *vm, u64 gpa, void *data, u32 size);
/* At once, if there is @old: @size, 4 or 8 bytes. May sleep. 0, -EAGAIN: another value, -EFAULT. */
int kvml_replace_guest(struct kvml_vm *vm, u64 gpa, u64 old, u64 value, u32 size);

/*
 * 0 and *@gpa, and the entries are marked accessed and dirty; -EFAULT: not mapped, or not for this
 * @access, and *@error is the #PF error code; -EINVAL: @linear is not canonical, which is #GP;
 * -EAGAIN: another processor changed an entry meanwhile.
 */
int kvml_guest_walk(const struct kvml_paging *paging, u64 linear, u32 access, u64 *gpa, u32 *error);

#endif /* KVML_GUEST_WALK_H */
