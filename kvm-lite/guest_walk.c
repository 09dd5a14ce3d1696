// SPDX-License-Identifier: GPL-2.0
#include "guest_walk.h"

#define ENTRY_ADDRESS	GENMASK_ULL(51, 12)
#define PRESENT		BIT_ULL(0)
#define WRITABLE	BIT_ULL(1)
#define USER		BIT_ULL(2)
#define LARGE		BIT_ULL(7)
#define NO_EXECUTE	BIT_ULL(63)

/* The ways to cut an address, by the number of levels. */
enum { LEVELS_32 = 2, LEVELS_PAE = 3, LEVELS_64 = 4 };

static int levels_of(const struct kvml_paging *paging)
{
	if (paging->long_mode)
		return LEVELS_64;
	return paging->pae ? LEVELS_PAE : LEVELS_32;
}

/* May an access like this pass @entry? */
static bool allowed(const struct kvml_paging *paging, u32 access, u64 entry)
{
	const bool user = access & KVML_ACCESS_USER;

	if ((access & KVML_ACCESS_WRITE) && !(entry & WRITABLE) &&
	    (user || paging->write_protect))
		return false;
	if (user && !(entry & USER))
		return false;
	/* Entries of 32-bit paging have no such bit, and end before it. */
	return !((access & KVML_ACCESS_FETCH) && (entry & NO_EXECUTE));
}

static bool is_page(const struct kvml_paging *paging, int levels, int level, u64 entry)
{
	if (level == 1)
		return true;
	if (!(entry & LARGE))
		return false;
	if (level == 2)
		return levels != LEVELS_32 || paging->large;
	return level == 3 && levels == LEVELS_64;
}

/* The address in a leaf; of 4 MiB pages, bits 39:32 stand in 20:13 (PSE-36). */
static u64 page_address(int levels, int level, u64 entry)
{
	if (levels == LEVELS_32 && level == 2)
		return (entry & GENMASK_ULL(31, 22)) | (entry & GENMASK_ULL(20, 13)) << 19;
	return entry & ENTRY_ADDRESS;
}

int kvml_guest_walk(const struct kvml_paging *paging, u64 linear, u32 access, u64 *gpa, u32 *error)
{
	const int levels = levels_of(paging);
	const u32 bits = levels == LEVELS_32 ? 10 : 9;
	const u32 size = levels == LEVELS_32 ? 4 : 8;
	u64 table = paging->cr3 & (levels == LEVELS_PAE ? 0xffffffe0u : ENTRY_ADDRESS);
	int level;

	/* Outside 64-bit code addresses wrap at 4 GiB. */
	if (!paging->long_mode)
		linear = (u32)linear;
	*gpa = linear;
	*error = 0;
	for (level = paging->enabled ? levels : 0; level > 0; level--) {
		const u32 shift = 12 + bits * (level - 1);
		const u64 offset = linear & ((1ULL << shift) - 1);
		const u32 index = (linear >> shift) & ((1u << bits) - 1);
		u64 entry = 0;

		*error = access;
		if (paging->read(paging->context, table + index * size, &entry, size) ||
		    !(entry & PRESENT))
			return -EFAULT;
		/* The top entries of PAE paging carry no permissions. */
		*error = access | KVML_FAULT_PRESENT;
		if (!(levels == LEVELS_PAE && level == 3) && !allowed(paging, access, entry))
			return -EFAULT;
		table = entry & ENTRY_ADDRESS;
		if (is_page(paging, levels, level, entry)) {
			*gpa = (page_address(levels, level, entry) & ~((1ULL << shift) - 1)) | offset;
			break;
		}
	}
	return 0;
}
