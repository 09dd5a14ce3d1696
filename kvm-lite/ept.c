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
	bool writable;		/* the entry may allow writes */
	bool logged;		/* dirty logging: 4 KiB pages, a write at a time */
	struct page *page;
	u64 *spare[ROOT_LEVEL];	/* tables allocated before the lock is taken */
};

static int take_spares(struct fault *fault)
{
	int i;

	for (i = LEAF_LEVEL; i < ROOT_LEVEL; i++) {
		fault->spare[i] = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
		if (!fault->spare[i])
			return -ENOMEM;
	}
	return 0;
}

static void give_spares_back(struct fault *fault)
{
	int i;

	for (i = LEAF_LEVEL; i < ROOT_LEVEL; i++)
		free_page((unsigned long)fault->spare[i]);
}

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

/* ept.lock held. The table at @level that maps the page, with the tables above it. */
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
			WRITE_ONCE(*entry, __pa(fault->spare[at - 1]) | EPT_ALL);
			fault->spare[at - 1] = NULL;
		}
		table = table_of(*entry);
	}
	return table;
}

/* ept.lock held. */
static void map_page(struct kvml_vm *vm, struct kvml_memslot *slot, struct fault *fault)
{
	const int level = can_map_large(vm, slot, fault) ? 2 : LEAF_LEVEL;
	u64 *entry = &descend(vm, fault, level)[index_at(fault->gfn, level)];
	u64 value = page_to_phys(fault->page) | EPT_READ | EPT_EXECUTE | EPT_WRITE_BACK |
		EPT_IGNORE_PAT;
	const u64 old = *entry;

	if (level == 2)
		value = (value & ~(u64)(LARGE_PAGES * PAGE_SIZE - PAGE_SIZE)) | EPT_LARGE;
	if (fault->writable && (!fault->logged || fault->write))
		value |= EPT_WRITE;
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
}

/* Faults the process's page in. Holds a reference to it until the entry is made. */
static int get_page_of(struct fault *fault, bool read_only_slot)
{
	long got;

	if (fault->write && read_only_slot)
		return -ENOENT;
	got = get_user_pages_fast(fault->hva, 1, fault->write ? FOLL_WRITE : 0, &fault->page);
	if (got != 1)
		return fatal_signal_pending(current) ? -EINTR : -EFAULT;
	fault->writable = fault->write;
	if (!fault->write && !read_only_slot) {
		struct page *writable;

		/* Is it writable already? Then the first write need not fault again. */
		if (get_user_pages_fast_only(fault->hva, 1, FOLL_WRITE, &writable) == 1) {
			put_page(fault->page);
			fault->page = writable;
			fault->writable = true;
		}
	}
	return 0;
}

int kvml_ept_fault(struct kvml_vcpu *vcpu, u64 gpa, bool write)
{
	struct kvml_vm *vm = vcpu->vm;
	struct fault fault = { .gfn = gpa >> PAGE_SHIFT, .write = write };
	struct kvml_memslot *slot;
	unsigned long sequence;
	bool busy;
	int outcome;

	down_read(&vm->slots_lock);
	slot = kvml_find_slot(vm, fault.gfn);
	if (!slot) {
		up_read(&vm->slots_lock);
		return -ENOENT;
	}
	outcome = take_spares(&fault);
	if (outcome)
		goto out;
	fault.hva = slot->hva + (fault.gfn - slot->gfn) * PAGE_SIZE;
	fault.logged = slot->dirty;
	sequence = READ_ONCE(vm->ept.sequence);
	/* The sequence before the page: what is invalidated from here on is noticed below. */
	smp_rmb();
	outcome = get_page_of(&fault, slot->flags & KVM_MEM_READONLY);
	if (outcome)
		goto out;
	spin_lock(&vm->ept.lock);
	/* If the mapping is changing, the guest runs into it once more. */
	busy = vm->ept.invalidations || vm->ept.sequence != sequence;
	if (!busy)
		map_page(vm, slot, &fault);
	spin_unlock(&vm->ept.lock);
	if (fault.writable && !busy)
		SetPageDirty(fault.page);
	put_page(fault.page);
out:
	up_read(&vm->slots_lock);
	give_spares_back(&fault);
	return outcome;
}
