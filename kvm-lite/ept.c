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

/* A fault that goes on where the last one ended maps up to so many pages that the process has. */
#define AHEAD_PAGES	16u

int kvml_ept_create(struct kvml_vm *vm)
{
	vm->ept.root = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!vm->ept.root)
		return -ENOMEM;
	vm->ept.pointer = __pa(vm->ept.root) | kvml_vmx.ept_memory;
	return 0;
}

static void free_table(u64 *table)
{
	free_page((unsigned long)table);
}

void kvml_ept_destroy(struct kvml_vm *vm)
{
	kvml_ept_free(vm->ept.root, KVML_EPT_ROOT_LEVEL, free_table);
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

/* ----- Faults ----- */

struct fault {
	u64 gfn;
	unsigned long hva;
	bool write;
	bool execute;
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
	bool large;
	pgd_t pgd;
	p4d_t p4d;
	pud_t pud;
	pmd_t pmd;

	/* Interrupts off keep the tables themselves alive (fast GUP does the same). */
	local_irq_save(flags);
	pgd = READ_ONCE(*pgd_offset(vm->mm, hva));
	p4d = pgd_none(pgd) ? __p4d(0) : READ_ONCE(*p4d_offset(&pgd, hva));
	pud = p4d_present(p4d) ? READ_ONCE(*pud_offset(&p4d, hva)) : __pud(0);
	large = pud_present(pud) && pud_leaf(pud);
	if (pud_present(pud) && !large) {
		pmd = READ_ONCE(*pmd_offset(&pud, hva));
		large = pmd_present(pmd) && pmd_leaf(pmd);
	}
	local_irq_restore(flags);
	return large;
}

static bool can_map_large(struct kvml_vm *vm, const struct kvml_memslot *slot,
			  const struct fault *fault)
{
	const u64 first = fault->gfn & ~(u64)(KVML_EPT_LARGE_PAGES - 1);

	if (!kvml_vmx.large_pages || fault->logged || (fault->execute && kvml_vmx.small_code))
		return false;
	if (first < slot->gfn || first + KVML_EPT_LARGE_PAGES > slot->gfn + slot->pages)
		return false;
	/* Guest and process have to agree on where 2 MiB begin. */
	if ((slot->hva >> PAGE_SHIFT ^ slot->gfn) & (KVML_EPT_LARGE_PAGES - 1))
		return false;
	return host_page_is_large(vm, fault->hva);
}

/* Of a fault's pages, the one at @index. */
static u64 leaf_of(const struct fault *fault, u32 index, int level)
{
	const bool writable = fault->writable && (!fault->logged || fault->write);

	const u64 leaf = kvml_ept_leaf(page_to_phys(fault->pages[index]), level, writable);

	return level > KVML_EPT_LEAF_LEVEL && kvml_vmx.small_code ? leaf & ~KVML_EPT_EXECUTE : leaf;
}

/* ept.lock held. False: a table is missing, fault->spare is to be filled. */
static bool map_pages(struct kvml_vm *vm, struct kvml_memslot *slot, struct fault *fault)
{
	const int level = can_map_large(vm, slot, fault) ? KVML_EPT_LARGE_LEVEL :
		KVML_EPT_LEAF_LEVEL;
	struct kvml_ept_mapping map = {
		.gfn = fault->gfn,
		.level = level,
		.leaf = leaf_of(fault, 0, level),
		.spare = fault->spare,
	};
	u64 *entry = kvml_ept_map(vm->ept.root, &map);
	u32 i;

	fault->spare = map.spare;
	if (entry && fault->logged && fault->write)
		__set_bit(fault->gfn - slot->gfn, slot->dirty);
	for (i = 1; entry && level == KVML_EPT_LEAF_LEVEL && i < fault->count; i++) {
		if (!entry[i])
			WRITE_ONCE(entry[i], leaf_of(fault, i, level));
	}
	if (map.flush)
		kvml_ept_flush(vm);
	free_page((unsigned long)map.unused);
	return entry;
}

/* How many pages from the faulting one on may be mapped with it: of its slot and its table. */
static u32 pages_ahead(const struct kvml_vcpu *vcpu, const struct kvml_memslot *slot,
		       const struct fault *fault)
{
	const u64 in_slot = slot->gfn + slot->pages - fault->gfn;
	const u32 in_table = KVML_EPT_ENTRIES -
		kvml_ept_index(fault->gfn, KVML_EPT_LEAF_LEVEL);

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

int kvml_ept_fault(struct kvml_vcpu *vcpu, u64 gpa, u64 violation)
{
	struct kvml_vm *vm = vcpu->vm;
	struct fault fault = {
		.gfn = gpa >> PAGE_SHIFT,
		.write = violation & EPT_VIOLATION_ACC_WRITE,
		.execute = violation & EPT_VIOLATION_ACC_INSTR,
	};
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
