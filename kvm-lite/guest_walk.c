// SPDX-License-Identifier: GPL-2.0
#include "guest_walk.h"

#include <asm/processor-flags.h>

#define ENTRY_ADDRESS	GENMASK_ULL(51, 12)
#define PRESENT		BIT_ULL(0)
#define WRITABLE	BIT_ULL(1)
#define USER		BIT_ULL(2)
#define ACCESSED	BIT_ULL(5)
#define DIRTY		BIT_ULL(6)
#define LARGE		BIT_ULL(7)
#define NO_EXECUTE	BIT_ULL(63)
/* In an entry of 32-bit paging for 4 MiB, address bits from 32 on stand here (PSE-36). */
#define HIGH_ADDRESS_32	GENMASK_ULL(20, 13)
/* Of the two bits of each key, either forbids to write, and this one to read, too. */
#define PKRU_DISABLED		3u
#define PKRU_ACCESS_DISABLED	1u

/*
 * Why @access to a page is refused, or 0. @rights: what the entries of all levels allow; NO_EXECUTE
 * is set if code may run. @entry is the page's own.
 */
static u32 refusal(const struct kvml_paging *paging, u32 access, u64 rights, u64 entry)
{
	const bool fetch = access & KVML_ACCESS_FETCH;
	const bool user = access & KVML_ACCESS_USER;
	/* Without WP nothing forbids the supervisor to write. */
	const bool write = (access & KVML_ACCESS_WRITE) && (user || (paging->cr0 & X86_CR0_WP));
	/* SMEP and SMAP keep the supervisor off the user's pages. */
	const bool kept_off = fetch ? paging->cr4 & X86_CR4_SMEP :
		(paging->cr4 & X86_CR4_SMAP) && !(paging->rflags & X86_EFLAGS_AC);
	const u32 key = paging->pkru >> (entry >> 59 & 0xf) * 2;

	/* SDM volume 3, "Protection Keys": PKRU keeps data accesses off the user's pages. */
	if ((paging->efer & KVML_EFER_LMA) && (paging->cr4 & X86_CR4_PKE) && !fetch &&
	    (rights & USER) && (key & (write ? PKRU_DISABLED : PKRU_ACCESS_DISABLED)))
		return KVML_FAULT_PRESENT | KVML_FAULT_KEY;
	if ((fetch && !(rights & NO_EXECUTE)) || (write && !(rights & WRITABLE)) ||
	    (rights & USER ? kept_off && !user : user))
		return KVML_FAULT_PRESENT;
	return 0;
}

int kvml_guest_walk(const struct kvml_paging *paging, u64 linear, u32 access, u64 *gpa, u32 *error)
{
	const bool long_mode = paging->efer & KVML_EFER_LMA;
	const bool wide = long_mode || (paging->cr4 & X86_CR4_PAE);
	const bool no_execute = wide && (paging->efer & KVML_EFER_NXE);
	const u32 bits = wide ? 9 : 10;
	const u32 size = wide ? 8 : 4;
	/* The highest level whose entries may be pages. */
	const int large = long_mode ? 3 : wide || (paging->cr4 & X86_CR4_PSE) ? 2 : 1;
	const u64 beyond = ~0ULL << paging->physical_bits;
	const u64 high = wide ? 0 : HIGH_ADDRESS_32 & ~(beyond >> 19);
	/* What has to be 0 in all present entries. */
	const u64 reserved = !wide ? 0 : (beyond & (long_mode ? ENTRY_ADDRESS : ~NO_EXECUTE)) |
		(no_execute ? 0 : NO_EXECUTE);
	int level = !(paging->cr0 & X86_CR0_PG) ? 0 : long_mode ? 4 : 2;
	u64 table = paging->cr3 & ENTRY_ADDRESS;
	u64 rights = ~0ULL;

	/* Outside 64-bit code addresses wrap at 4 GiB. */
	if (!long_mode)
		linear = (u32)linear;
	else if ((u64)((s64)(linear << 16) >> 16) != linear)
		return -EINVAL;
	*gpa = linear;
	/* That it was code is told only where it makes a difference. */
	*error = access;
	if (!no_execute && !(paging->cr4 & X86_CR4_SMEP))
		*error &= ~(u32)KVML_ACCESS_FETCH;
	/* PAE's top entries carry no rights, and whoever loaded them has looked at their bits. */
	if (wide && level == 2) {
		if (!(paging->pdpte & PRESENT))
			return -EFAULT;
		table = paging->pdpte & ENTRY_ADDRESS;
	}
	for (; level > 0; level--) {
		const u32 shift = 12 + bits * (level - 1);
		const u64 offset = (1ULL << shift) - 1;
		const u64 place = table + ((linear >> shift) & ((1u << bits) - 1)) * size;
		u64 entry = 0, used, wrong;
		u32 fault;
		bool page;

		if (kvml_read_guest(paging->vm, place, &entry, size) || !(entry & PRESENT))
			return -EFAULT;
		page = level == 1 || (level <= large && (entry & LARGE));
		/* Of a large page's own address bits only the lowest, PAT, may be set. */
		wrong = entry & (reserved | (page ? offset & ~(GENMASK_ULL(12, 0) | high) :
					     level == 4 ? LARGE : 0));
		rights &= entry ^ NO_EXECUTE;
		fault = wrong ? KVML_FAULT_PRESENT | KVML_FAULT_RESERVED :
			page ? refusal(paging, access, rights, entry) : 0;
		*error |= fault;
		if (fault)
			return -EFAULT;
		used = entry | ACCESSED | (page && (access & KVML_ACCESS_WRITE) ? DIRTY : 0);
		if (used != entry &&
		    kvml_replace_guest(paging->vm, place, entry, used, size) == -EAGAIN)
			return -EAGAIN;
		table = entry & ENTRY_ADDRESS;
		if (page) {
			table |= level == 2 ? (entry & high) << 19 : 0;
			*gpa = (table & ~offset) | (linear & offset);
			break;
		}
	}
	return 0;
}
