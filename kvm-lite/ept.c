// SPDX-License-Identifier: GPL-2.0
/*
 * The extended page tables of a VM (SDM volume 3, "The Extended Page Table Mechanism"): four levels,
 * leaves of 4 KiB and 2 MiB, filled when the guest first touches a page and emptied when the
 * process's own mapping changes (mmu notifier). Entries and their tables change under ept.lock only.
 */
#include "internal.h"

#include <linux/pgtable.h>
#include <linux/sched/signal.h>
#include <linux/version.h>

/* A fault that goes on where the last one ended maps up to so many pages that the process has. */
#define AHEAD_PAGES	16u

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
/* There is none: only a thread that dies stops waiting for a page. */
#define FOLL_INTERRUPTIBLE	0
#endif

static void ignore(void *unused)
{
}

/* Waits until no vCPU uses an entry taken away before; ept.lock held. */
static void flush(struct kvml_vm *vm)
{
	/* Pairs with the release in KVM_CREATE_VCPU. */
	const u32 count = smp_load_acquire(&vm->vcpu_count);
	u32 i;

	lockdep_assert_held(&vm->ept.lock);
	/* Full barrier: pairs with the one in run.c between running_cpu and the look at this. */
	atomic64_inc_return(&vm->ept.generation);
	cpumask_clear(&vm->flush_mask);
	for (i = 0; i < count; i++) {
		const int cpu = READ_ONCE(vm->vcpus[i]->running_cpu);

		if (cpu >= 0)
			cpumask_set_cpu(cpu, &vm->flush_mask);
	}
	/* Any interrupt brings a vCPU out; on its way back it sees the generation. */
	smp_call_function_many(&vm->flush_mask, ignore, NULL, true);
}

void kvml_ept_change(struct kvml_vm *vm, u64 gfn, u64 pages, enum kvml_ept_change change)
{
	if (kvml_ept_apply(vm->ept.root, gfn, pages, change))
		flush(vm);
	/* Pairs with the acquire in kvml_ept_fault(). */
	smp_store_release(&vm->ept.sequence, vm->ept.sequence + 1);
}

/* ----- Faults ----- */

struct fault {
	u64 gfn;
	bool write;
	bool execute;
	struct kvml_memslot slot;	/* if it is logged: 4 KiB pages, a write at a time */
	unsigned long hva;
	bool writable;		/* the entries allow writes */
	u32 count;		/* of pages: the one at gfn, and those behind it that are here as well */
	struct page *pages[AHEAD_PAGES];
};

/*
 * Has the process 2 MiB in one piece here, where it has a page? ept.lock held, and no invalidation of
 * that page since: the tables that lead to it stay as they are.
 */
static bool host_page_is_large(struct kvml_vm *vm, unsigned long hva)
{
	p4d_t *p4d = p4d_offset(pgd_offset(vm->mm, hva), hva);
	pud_t pud = READ_ONCE(*pud_offset(p4d, hva));

	return pud_leaf(pud) || pmd_leaf(READ_ONCE(*pmd_offset(&pud, hva)));
}

static bool can_map_large(struct kvml_vm *vm, const struct fault *fault)
{
	const struct kvml_memslot *slot = &fault->slot;
	const u64 first = fault->gfn & ~(u64)(KVML_EPT_LARGE_PAGES - 1);

	if (slot->dirty || (fault->execute && kvml_vmx.small_code))
		return false;
	if (first < slot->gfn || first + KVML_EPT_LARGE_PAGES > slot->gfn + slot->pages)
		return false;
	/* Guest and process have to agree on where 2 MiB begin. */
	if ((slot->hva >> PAGE_SHIFT ^ slot->gfn) & (KVML_EPT_LARGE_PAGES - 1))
		return false;
	return host_page_is_large(vm, fault->hva);
}

/* ept.lock held, the slot is as it was found. Where a table is missing, nothing comes of it. */
static void map_pages(struct kvml_vcpu *vcpu, const struct fault *fault)
{
	struct kvml_vm *vm = vcpu->vm;
	const bool large = can_map_large(vm, fault);
	struct kvml_ept_mapping map = {
		.gfn = fault->gfn,
		.level = large ? KVML_EPT_LARGE_LEVEL : KVML_EPT_LEAF_LEVEL,
		.spare = vcpu->spare_table,
	};
	u64 *entry;
	u32 i;

	map.leaf = kvml_ept_leaf(page_to_phys(fault->pages[0]), map.level, fault->writable);
	if (large && kvml_vmx.small_code)
		map.leaf &= ~KVML_EPT_EXECUTE;
	entry = kvml_ept_map(vm->ept.root, &map);
	vcpu->spare_table = map.spare;
	if (!entry)
		return;
	if (fault->slot.dirty && fault->write)
		__set_bit(fault->gfn - fault->slot.gfn, fault->slot.dirty);
	for (i = 1; !large && i < fault->count; i++) {
		if (!entry[i])
			WRITE_ONCE(entry[i], kvml_ept_leaf(page_to_phys(fault->pages[i]),
							   KVML_EPT_LEAF_LEVEL, fault->writable));
	}
	if (map.flush)
		flush(vm);
	free_page((unsigned long)map.unused);
	/* Not later: once the lock is free, the page can be written back and leave the guest. */
	for (i = 0; fault->writable && i < fault->count; i++)
		SetPageDirty(fault->pages[i]);
	vcpu->next_gfn = fault->gfn + fault->count;
}

/* How many pages from the faulting one on may be mapped with it: of its slot and its table. */
static u32 pages_ahead(const struct kvml_vcpu *vcpu, const struct fault *fault)
{
	const u64 in_slot = fault->slot.gfn + fault->slot.pages - fault->gfn;
	const u32 in_table = KVML_EPT_ENTRIES - kvml_ept_index(fault->gfn, KVML_EPT_LEAF_LEVEL);

	if (fault->gfn != vcpu->next_gfn || fault->slot.dirty)
		return 1;
	return min_t(u64, min(in_table, AHEAD_PAGES), in_slot);
}

/* Pages that the process has already, without a fault of its own; true if the first is there. */
static bool get_present(struct fault *fault, u32 wanted, bool writable)
{
	const int got = get_user_pages_fast_only(fault->hva, wanted, writable ? FOLL_WRITE : 0,
						 fault->pages);

	fault->count = max(got, 0);
	fault->writable = writable && (fault->write || !fault->slot.dirty);
	return got > 0;
}

/* Finds the process's pages, faults the first one in; holds references to them. */
static int get_pages(const struct kvml_vcpu *vcpu, struct fault *fault)
{
	const u32 wanted = pages_ahead(vcpu, fault);

	fault->hva = (unsigned long)kvml_locate(&fault->slot, fault->gfn << PAGE_SHIFT);
	/* Writable even if the guest reads, if they are already: the first write need not fault. */
	if (!(fault->slot.flags & KVM_MEM_READONLY) && get_present(fault, wanted, true))
		return 0;
	if (!fault->write && get_present(fault, wanted, false))
		return 0;
	if (get_user_pages_unlocked(fault->hva, 1, fault->pages, FOLL_INTERRUPTIBLE |
				    (fault->write ? FOLL_WRITE : 0)) != 1)
		return signal_pending(current) ? -EINTR : -EFAULT;
	fault->count = 1;
	fault->writable = fault->write;
	return 0;
}

int kvml_ept_fault(struct kvml_vcpu *vcpu, u64 gpa, u64 violation)
{
	struct kvml_vm *vm = vcpu->vm;
	struct fault fault = {
		.gfn = gpa >> PAGE_SHIFT,
		.write = violation & EPT_VIOLATION_ACC_WRITE,
		.execute = violation & EPT_VIOLATION_ACC_INSTR,
	};
	unsigned long sequence;
	struct kvml_memslot *slot;
	int outcome;
	u32 i;

	/* One that lacks two tables or more, as those at first, is repeated by the guest. */
	if (!vcpu->spare_table)
		vcpu->spare_table = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!vcpu->spare_table)
		return -ENOMEM;
	down_read(&vm->slots_lock);
	/* First of all: what changes from here on, slot or pages, is noticed below. */
	sequence = smp_load_acquire(&vm->ept.sequence);
	slot = kvml_find_slot(vm, gpa, fault.write);
	if (slot)
		fault.slot = *slot;
	/* Not while a page is waited for: user space may want to change a slot before it gives one. */
	up_read(&vm->slots_lock);
	if (!slot)
		return -ENOENT;
	/* What began before is not noticed; the guest runs into it once more, as it does below. */
	if (atomic_read_acquire(&vm->ept.invalidations))
		return 0;
	outcome = get_pages(vcpu, &fault);
	spin_lock(&vm->ept.lock);
	if (vm->ept.sequence != sequence)
		outcome = 0;
	else if (!outcome)
		map_pages(vcpu, &fault);
	spin_unlock(&vm->ept.lock);
	for (i = 0; i < fault.count; i++)
		put_page(fault.pages[i]);
	return outcome;
}
