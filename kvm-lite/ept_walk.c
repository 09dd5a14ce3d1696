// SPDX-License-Identifier: GPL-2.0
#include "ept_walk.h"

#define WRITE_BACK	(6ULL << 3)
#define IGNORE_PAT	BIT_ULL(6)
#define LARGE		BIT_ULL(7)
#define ACCESSED	BIT_ULL(8)
#define DIRTY		BIT_ULL(9)
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

u64 *kvml_ept_descend(u64 *root, u64 gfn, int level, u64 **spare, bool *flush)
{
	u64 *table = root;
	int at;

	for (at = KVML_EPT_ROOT_LEVEL; at > level; at--) {
		u64 *entry = &table[kvml_ept_index(gfn, at)];

		if (*entry && is_leaf(*entry, at)) {
			WRITE_ONCE(*entry, 0);
			*flush = true;
		}
		if (!*entry) {
			if (!*spare)
				return NULL;
			WRITE_ONCE(*entry, kvml_address_of(*spare) | ALL);
			*spare = NULL;
		}
		table = table_of(*entry);
	}
	return table;
}

struct kvml_ept_replaced kvml_ept_set(u64 *entry, int level, u64 leaf)
{
	struct kvml_ept_replaced replaced = { false, NULL, 0 };
	const u64 old = *entry;

	/*
	 * Another vCPU may have been faster, and allowed more. Taking that back would want a flush: a
	 * write that its TLB still allows must not go unlogged.
	 */
	if (!((old ^ leaf) & KVML_EPT_ADDRESS))
		leaf |= old & (KVML_EPT_WRITE | ACCESSED | DIRTY);
	else
		replaced.flush = old;
	WRITE_ONCE(*entry, leaf);
	if (old && !is_leaf(old, level)) {
		replaced.table = table_of(old);
		replaced.level = level - 1;
	}
	return replaced;
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
