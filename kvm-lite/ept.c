// SPDX-License-Identifier: GPL-2.0
/*
 * The extended page tables of a VM (SDM volume 3, "The Extended Page Table Mechanism"): four levels,
 * leaves of 4 KiB and 2 MiB, filled when the guest first touches a page and emptied when the
 * process's own mapping changes (mmu notifier). Entries and their tables change under ept.lock only.
 */
#include "internal.h"

#include <linux/pgtable.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#define EPT_READ	BIT_ULL(0)
#define EPT_WRITE	BIT_ULL(1)
#define EPT_EXECUTE	BIT_ULL(2)
#define EPT_ALL		(EPT_READ | EPT_WRITE | EPT_EXECUTE)
#define EPT_WRITE_BACK	(6ULL << 3)
#define EPT_IGNORE_PAT	BIT_ULL(6)
#define EPT_LARGE	BIT_ULL(7)
#define EPT_ADDRESS	GENMASK_ULL(51, 12)
#define ENTRIES		512u
#define LARGE_PAGES	512u	/* 4 KiB pages in a 2 MiB page */
#define LEAF_LEVEL	1
#define ROOT_LEVEL	4
/* A fault that goes on where the last one ended maps up to so many pages that the process has. */
#define AHEAD_PAGES	16u

static u32 index_at(u64 gfn, int level)
{
	return (gfn >> (9 * (level - 1))) & (ENTRIES - 1);
}

static bool is_leaf(u64 entry, int level)
{
	return level == LEAF_LEVEL || (entry & EPT_LARGE);
}

static u64 *table_of(u64 entry)
{
	return __va(entry & EPT_ADDRESS);
}

int kvml_ept_create(struct kvml_vm *vm)
{
	vm->ept.root = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!vm->ept.root)
		return -ENOMEM;
	vm->ept.pointer = __pa(vm->ept.root) | kvml_vmx.ept_memory;
	return 0;
}

static void free_table(u64 *table, int level)
{
	u32 i;

	for (i = 0; level > LEAF_LEVEL && i < ENTRIES; i++) {
		if (table[i] && !is_leaf(table[i], level))
			free_table(table_of(table[i]), level - 1);
	}
	free_page((unsigned long)table);
}

void kvml_ept_destroy(struct kvml_vm *vm)
{
	free_table(vm->ept.root, ROOT_LEVEL);
}

static void ignore(void *unused)
{
}

void kvml_ept_flush(struct kvml_vm *vm)
{
	/* Pairs with the release in KVM_CREATE_VCPU. */
	const u32 count = smp_load_acquire(&vm->vcpu_count);
	u32 i;

	lockdep_assert_held(&vm->ept.lock);
	/* Full barrier: pairs with the one in run.c between IN_GUEST and the look at this. */
	atomic64_inc_return(&vm->ept.generation);
	cpumask_clear(&vm->flush_mask);
	for (i = 0; i < count; i++) {
		struct kvml_vcpu *vcpu = vm->vcpus[i];

		if (READ_ONCE(vcpu->mode) == KVML_IN_GUEST)
			cpumask_set_cpu(READ_ONCE(vcpu->running_cpu), &vm->flush_mask);
	}
	/* Any interrupt brings a vCPU out; on its way back it sees the generation. */
	smp_call_function_many(&vm->flush_mask, ignore, NULL, true);
}

/* Calls @change on each leaf of [gfn, end) in @table; true if one changed. */
static bool change_leaves(u64 *table, int level, u64 gfn, u64 end, u64 (*change)(u64 entry))
{
	const u64 span = 1ULL << (9 * (level - 1));
	bool changed = false;

	while (gfn < end) {
		u64 *entry = &table[index_at(gfn, level)];
		const u64 next = min(end, (gfn | (span - 1)) + 1);

		if (*entry && is_leaf(*entry, level)) {
			const u64 value = change(*entry);

			changed |= value != *entry;
			WRITE_ONCE(*entry, value);
		} else if (*entry) {
			changed |= change_leaves(table_of(*entry), level - 1, gfn, next, change);
		}
		gfn = next;
	}
	return changed;
}

static u64 no_entry(u64 entry)
{
	return 0;
}

static u64 without_write(u64 entry)
{
	return entry & ~EPT_WRITE;
}

bool kvml_ept_zap(struct kvml_vm *vm, u64 gfn, u64 pages)
{
	lockdep_assert_held(&vm->ept.lock);
	return change_leaves(vm->ept.root, ROOT_LEVEL, gfn, gfn + pages, no_entry);
}

bool kvml_ept_write_protect(struct kvml_vm *vm, u64 gfn, u64 pages)
{
	lockdep_assert_held(&vm->ept.lock);
	return change_leaves(vm->ept.root, ROOT_LEVEL, gfn, gfn + pages, without_write);
}

/* ----- Faults ----- */

struct fault {
	u64 gfn;
	unsigned long hva;
	bool write;
	bool writable;		/* the entries may allow writes */
	bool logged;		/* dirty logging: 4 KiB pages, a write at a time */
	u32 count;		/* of pages: the one at gfn, and those behind it that are here as well */
	u32 wanted;		/* how many at the most */
	struct page *pages[AHEAD_PAGES];
	u64 *spare;		/* a table, allocated while the lock was not held */
};

/* Has the process 2 MiB in one piece here? ept.lock held, no invalidation under way. */
static bool host_page_is_large(struct kvml_vm *vm, unsigned long hva)
{
	unsigned long flags;
	bool large = false;
	pgd_t pgd;
	p4d_t p4d;
	pud_t pud;
	pmd_t pmd;

	/* Interrupts off keep the tables themselves alive (fast GUP does the same). */
	local_irq_save(flags);
	pgd = READ_ONCE(*pgd_offset(vm->mm, hva));
	if (pgd_none(pgd))
		goto out;
	p4d = READ_ONCE(*p4d_offset(&pgd, hva));
	if (p4d_none(p4d) || !p4d_present(p4d))
		goto out;
	pud = READ_ONCE(*pud_offset(&p4d, hva));
	if (pud_none(pud) || !pud_present(pud))
		goto out;
	if (pud_leaf(pud)) {
		large = true;
		goto out;
	}
	pmd = READ_ONCE(*pmd_offset(&pud, hva));
	large = pmd_present(pmd) && pmd_leaf(pmd);
out:
	local_irq_restore(flags);
	return large;
}

static bool can_map_large(struct kvml_vm *vm, const struct kvml_memslot *slot,
			  const struct fault *fault)
{
	const u64 first = fault->gfn & ~(u64)(LARGE_PAGES - 1);

	if (!kvml_vmx.large_pages || fault->logged)
		return false;
	if (first < slot->gfn || first + LARGE_PAGES > slot->gfn + slot->pages)
		return false;
	/* Guest and process have to agree on where 2 MiB begin. */
	if ((slot->hva >> PAGE_SHIFT ^ slot->gfn) & (LARGE_PAGES - 1))
		return false;
	return host_page_is_large(vm, fault->hva);
}

/*
 * ept.lock held. The table at @level that maps the page, with the tables above it. Null if one of
 * them is missing and there is no spare one.
 */
static u64 *descend(struct kvml_vm *vm, struct fault *fault, int level)
{
	u64 *table = vm->ept.root;
	int at;

	for (at = ROOT_LEVEL; at > level; at--) {
		u64 *entry = &table[index_at(fault->gfn, at)];

		/* A 2 MiB leaf that is in the way no longer holds. */
		if (*entry && is_leaf(*entry, at)) {
			WRITE_ONCE(*entry, 0);
			kvml_ept_flush(vm);
		}
		if (!*entry) {
			if (!fault->spare)
				return NULL;
			WRITE_ONCE(*entry, __pa(fault->spare) | EPT_ALL);
			fault->spare = NULL;
		}
		table = table_of(*entry);
	}
	return table;
}

static u64 entry_value(const struct fault *fault, u32 page)
{
	u64 value = page_to_phys(fault->pages[page]) | EPT_READ | EPT_EXECUTE | EPT_WRITE_BACK |
		EPT_IGNORE_PAT;

	if (fault->writable && (!fault->logged || fault->write))
		value |= EPT_WRITE;
	return value;
}

/* ept.lock held. False: a table is missing, fault->spare is to be filled. */
static bool map_pages(struct kvml_vm *vm, struct kvml_memslot *slot, struct fault *fault)
{
	const int level = can_map_large(vm, slot, fault) ? 2 : LEAF_LEVEL;
	u64 *table = descend(vm, fault, level);
	u64 value = entry_value(fault, 0);
	u64 *entry;
	u64 old;
	u32 i;

	if (!table)
		return false;
	entry = &table[index_at(fault->gfn, level)];
	old = *entry;
	if (level == 2)
		value = (value & ~(u64)(LARGE_PAGES * PAGE_SIZE - PAGE_SIZE)) | EPT_LARGE;
	if (fault->logged && fault->write)
		__set_bit(fault->gfn - slot->gfn, slot->dirty);
	/* Another vCPU may have been faster, and allowed more. */
	if ((old & ~EPT_WRITE) == (value & ~EPT_WRITE))
		value |= old & EPT_WRITE;
	WRITE_ONCE(*entry, value);
	if (old && (old & EPT_ADDRESS) != (value & EPT_ADDRESS)) {
		kvml_ept_flush(vm);
		if (!is_leaf(old, level))
			free_table(table_of(old), level - 1);
	}
	for (i = 1; level == LEAF_LEVEL && i < fault->count; i++) {
		if (!entry[i])
			WRITE_ONCE(entry[i], entry_value(fault, i));
	}
	return true;
}

/* How many pages from the faulting one on may be mapped with it: of its slot and its table. */
static u32 pages_ahead(const struct kvml_vcpu *vcpu, const struct kvml_memslot *slot,
		       const struct fault *fault)
{
	const u64 in_slot = slot->gfn + slot->pages - fault->gfn;
	const u32 in_table = ENTRIES - index_at(fault->gfn, LEAF_LEVEL);

	if (fault->gfn != vcpu->next_gfn || fault->logged)
		return 1;
	return min_t(u64, min(in_table, AHEAD_PAGES), in_slot);
}

/* Pages that the process has already, without a fault of its own; true if the first is there. */
static bool get_present(struct fault *fault, u32 wanted, bool writable)
{
	const int got = get_user_pages_fast_only(fault->hva, wanted, writable ? FOLL_WRITE : 0,
						 fault->pages);

	if (got <= 0)
		return false;
	fault->count = got;
	fault->writable = writable;
	return true;
}

/* Finds the process's pages, faults the first one in; holds references to them. */
static int get_pages(struct fault *fault, const struct kvml_memslot *slot)
{
	const bool read_only = slot->flags & KVM_MEM_READONLY;

	if (fault->write && read_only)
		return -ENOENT;
	/* Writable even if the guest reads, if they are already: the first write need not fault. */
	if (!read_only && get_present(fault, fault->wanted, true))
		return 0;
	if (!fault->write && get_present(fault, fault->wanted, false))
		return 0;
	if (get_user_pages_fast(fault->hva, 1, fault->write ? FOLL_WRITE : 0, fault->pages) != 1)
		return fatal_signal_pending(current) ? -EINTR : -EFAULT;
	fault->count = 1;
	fault->writable = fault->write;
	/* A read may have made it a page of the process's own, not the zero page or a shared one. */
	if (!fault->write && !read_only) {
		struct page *page = fault->pages[0];

		if (get_present(fault, 1, true))
			put_page(page);
	}
	return 0;
}

static void put_pages(struct fault *fault, bool mapped)
{
	u32 i;

	for (i = 0; i < fault->count; i++) {
		if (mapped && fault->writable)
			SetPageDirty(fault->pages[i]);
		put_page(fault->pages[i]);
	}
}

/* One attempt: 0 or a reason to fail; -EAGAIN: fault->spare has to be filled. slots_lock held. */
static int try_to_map(struct kvml_vm *vm, struct kvml_memslot *slot, struct fault *fault)
{
	const unsigned long sequence = READ_ONCE(vm->ept.sequence);
	bool complete = true;
	bool busy;
	int outcome;

	/* The sequence before the pages: what is invalidated from here on is noticed below. */
	smp_rmb();
	outcome = get_pages(fault, slot);
	if (outcome)
		return outcome;
	spin_lock(&vm->ept.lock);
	/* If the mapping is changing, the guest runs into it once more. */
	busy = vm->ept.invalidations || vm->ept.sequence != sequence;
	if (!busy)
		complete = map_pages(vm, slot, fault);
	spin_unlock(&vm->ept.lock);
	put_pages(fault, !busy && complete);
	return complete ? 0 : -EAGAIN;
}

int kvml_ept_fault(struct kvml_vcpu *vcpu, u64 gpa, bool write)
{
	struct kvml_vm *vm = vcpu->vm;
	struct fault fault = { .gfn = gpa >> PAGE_SHIFT, .write = write };
	struct kvml_memslot *slot;
	int outcome = -ENOENT;

	down_read(&vm->slots_lock);
	slot = kvml_find_slot(vm, fault.gfn);
	if (!slot)
		goto out;
	fault.hva = slot->hva + (fault.gfn - slot->gfn) * PAGE_SIZE;
	fault.logged = slot->dirty;
	fault.wanted = pages_ahead(vcpu, slot, &fault);
	/* Nearly always the tables are there; else each round adds one, from the root down. */
	while ((outcome = try_to_map(vm, slot, &fault)) == -EAGAIN) {
		fault.spare = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
		if (!fault.spare) {
			outcome = -ENOMEM;
			break;
		}
	}
	free_page((unsigned long)fault.spare);
	vcpu->next_gfn = fault.gfn + fault.count;
out:
	up_read(&vm->slots_lock);
	return outcome;
}
