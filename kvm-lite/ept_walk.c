// SPDX-License-Identifier: GPL-2.0
#include "ept_walk.h"

#define WRITE_BACK	(6ULL << 3)
#define IGNORE_PAT	BIT_ULL(6)
#define LARGE		BIT_ULL(7)
#define ALL		(KVML_EPT_READ | KVML_EPT_WRITE | KVML_EPT_EXECUTE)
#define LARGE_ADDRESS	GENMASK_ULL(51, 21)

static bool is_leaf(u64 entry, int level)
{
	return level == KVML_EPT_LEAF_LEVEL || (entry & LARGE);
}

static u64 *table_of(u64 entry)
{
	return kvml_pointer_to(entry & KVML_EPT_ADDRESS);
}

u64 kvml_ept_leaf(u64 address, int level, bool writable)
{
	const u64 bits = KVML_EPT_READ | KVML_EPT_EXECUTE | WRITE_BACK | IGNORE_PAT |
		(writable ? KVML_EPT_WRITE : 0);

	if (level == KVML_EPT_LARGE_LEVEL)
		return (address & LARGE_ADDRESS) | bits | LARGE;
	return (address & KVML_EPT_ADDRESS) | bits;
}

/* Small leaves in place of a large one: writable if it was, and to be executed. */
static void split(u64 *table, u64 large)
{
	u64 i;

	for (i = 0; i < KVML_EPT_ENTRIES; i++)
		table[i] = kvml_ept_leaf((large & LARGE_ADDRESS) + (i << 12), KVML_EPT_LEAF_LEVEL,
					 large & KVML_EPT_WRITE);
}

u64 *kvml_ept_map(u64 *root, struct kvml_ept_mapping *map)
{
	u64 *entry = &root[kvml_ept_index(map->gfn, KVML_EPT_ROOT_LEVEL)];
	u64 leaf = map->leaf;
	int level;

	for (level = KVML_EPT_ROOT_LEVEL; level > map->level; level--) {
		const bool large = *entry && is_leaf(*entry, level);

		if (!*entry || large) {
			if (!map->spare)
				return NULL;
			if (large)
				split(map->spare, *entry);
			map->flush |= large;
			/* Other processors walk these: first what is in the table. */
			smp_store_release(entry, kvml_address_of(map->spare) | ALL);
			map->spare = NULL;
		}
		entry = &table_of(*entry)[kvml_ept_index(map->gfn, level - 1)];
	}
	/*
	 * Another vCPU may have been faster, and allowed more. Taking that back would want a flush: a
	 * write that its TLB still allows must not go unlogged.
	 */
	if (!((*entry ^ leaf) & KVML_EPT_ADDRESS))
		leaf |= *entry & KVML_EPT_WRITE;
	else
		map->flush |= *entry != 0;
	/* In the place of a large leaf there can only be a table of small ones. */
	if (*entry && !is_leaf(*entry, level))
		map->unused = table_of(*entry);
	WRITE_ONCE(*entry, leaf);
	return entry;
}

static bool change_leaves(u64 *table, int level, u64 gfn, u64 end, u64 kept)
{
	const u64 span = 1ULL << (9 * (level - 1));
	bool changed = false;

	while (gfn < end) {
		u64 *entry = &table[kvml_ept_index(gfn, level)];
		const u64 behind = (gfn | (span - 1)) + 1;
		const u64 next = behind < end ? behind : end;

		if (*entry && is_leaf(*entry, level)) {
			changed |= *entry & ~kept;
			WRITE_ONCE(*entry, *entry & kept);
		} else if (*entry) {
			changed |= change_leaves(table_of(*entry), level - 1, gfn, next, kept);
		}
		gfn = next;
	}
	return changed;
}

bool kvml_ept_apply(u64 *root, u64 gfn, u64 pages, enum kvml_ept_change change)
{
	return change_leaves(root, KVML_EPT_ROOT_LEVEL, gfn, gfn + pages,
			     change == KVML_EPT_ZAP ? 0 : ~KVML_EPT_WRITE);
}

void kvml_ept_free(u64 *table, int level, void (*release)(u64 *table))
{
	u32 i;

	for (i = 0; level > KVML_EPT_LEAF_LEVEL && i < KVML_EPT_ENTRIES; i++) {
		if (table[i] && !is_leaf(table[i], level))
			kvml_ept_free(table_of(table[i]), level - 1, release);
	}
	release(table);
}
