/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The extended page tables as a data structure (SDM volume 3, "The Extended Page Table Mechanism"):
 * four levels, leaves of 4 KiB at level 1 and of 2 MiB at level 2. Nothing here locks, allocates or
 * flushes: ept.c calls it with ept.lock held and does what the results ask for. Pure.
 *
 * The processor may set the accessed and dirty flags of an entry (bits 8 and 9) at any moment. Nobody
 * reads them, so a change may lose them; they come back with the next use.
 *
 * Invariant: an entry that is not 0 is a leaf or leads to one table that nobody else leads to.
 */
#ifndef KVML_EPT_WALK_H
#define KVML_EPT_WALK_H

#include "portable.h"

#define KVML_EPT_ENTRIES	512u
#define KVML_EPT_LARGE_PAGES	512u	/* 4 KiB pages in a 2 MiB page */
#define KVML_EPT_LEAF_LEVEL	1
#define KVML_EPT_LARGE_LEVEL	2
#define KVML_EPT_ROOT_LEVEL	4

#define KVML_EPT_READ		BIT_ULL(0)
#define KVML_EPT_WRITE		BIT_ULL(1)
#define KVML_EPT_EXECUTE	BIT_ULL(2)
#define KVML_EPT_ADDRESS	GENMASK_ULL(51, 12)

enum kvml_ept_change {
	KVML_EPT_ZAP,
	KVML_EPT_WRITE_PROTECT,
};

/* The place of @gfn in a table at @level. */
static inline u32 kvml_ept_index(u64 gfn, int level)
{
	return (gfn >> (9 * (level - 1))) & (KVML_EPT_ENTRIES - 1);
}

/* A leaf at @level for the page at @address, which may be any of a 2 MiB page's own. */
u64 kvml_ept_leaf(u64 address, int level, bool writable);

/* A leaf that is to be, and what comes of it. */
struct kvml_ept_mapping {
	u64 gfn;
	int level;
	u64 leaf;	/* of kvml_ept_leaf() */
	u64 *spare;	/* a zeroed table, taken if one is missing */
	bool flush;	/* processors may remember an entry that is gone */
	u64 *unused;	/* a table to be freed after the flush, or null */
};

/*
 * Puts the leaf in its place, instead of what is there; a large leaf around it is split. The entry,
 * whose neighbours up to the end of its table map the pages behind it; null if a table is missing and
 * none is to spare: to be called again with one. What is allowed for the same page already stays so.
 */
u64 *kvml_ept_map(u64 *root, struct kvml_ept_mapping *map);

/* Changes all leaves that map pages of [gfn, gfn + pages); true if one was changed. */
bool kvml_ept_apply(u64 *root, u64 gfn, u64 pages, enum kvml_ept_change change);

/* Hands @table and all tables below it to @release. */
void kvml_ept_free(u64 *table, int level, void (*release)(u64 *table));

#endif /* KVML_EPT_WALK_H */
