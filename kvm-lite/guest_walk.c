// SPDX-License-Identifier: GPL-2.0
/*
 * From guest-linear to guest-physical addresses, through the guest's own page tables (SDM volume 3,
 * "Paging"). Needed only for MMIO instructions and string I/O. Each entry is read once. Supervisor
 * protections (SMAP, protection keys) are the processor's business: it has made the same access.
 */
#include "internal.h"

#include <asm/processor-flags.h>
#include <asm/trap_pf.h>

#define ENTRY_ADDRESS	GENMASK_ULL(51, 12)
#define PRESENT		BIT_ULL(0)
#define WRITABLE	BIT_ULL(1)
#define USER		BIT_ULL(2)
#define LARGE		BIT_ULL(7)
#define NO_EXECUTE	BIT_ULL(63)

struct walk {
	struct kvml_vcpu *vcpu;
	u64 linear;
	u32 access;		/* as in a #PF error code: PF_WRITE and so on */
	u32 error;
	bool long_entries;	/* 8 bytes each: PAE and 64-bit */
};

/* May an access like this pass @entry? */
static bool allowed(const struct walk *walk, u64 entry)
{
	const bool user = walk->access & X86_PF_USER;

	if ((walk->access & X86_PF_WRITE) && !(entry & WRITABLE) &&
	    (user || (kvml_cr0() & X86_CR0_WP)))
		return false;
	if (user && !(entry & USER))
		return false;
	return !((walk->access & X86_PF_INSTR) && walk->long_entries && (entry & NO_EXECUTE));
}

static int read_entry(const struct walk *walk, u64 table, u32 index, u64 *entry)
{
	const u32 size = walk->long_entries ? 8 : 4;

	*entry = 0;
	return kvml_read_guest(walk->vcpu->vm, table + index * size, entry, size);
}

static int walk_tables(struct walk *walk, u64 table, int levels, u64 *gpa)
{
	const u32 bits = walk->long_entries ? 9 : 10;
	int level;

	for (level = levels; level > 0; level--) {
		const u32 shift = 12 + bits * (level - 1);
		const u64 page = (1ULL << shift) - 1;
		u64 entry;

		if (read_entry(walk, table, walk->linear >> shift & ((1u << bits) - 1), &entry) ||
		    !(entry & PRESENT)) {
			walk->error = walk->access;
			return -EFAULT;
		}
		/* The top entries of PAE paging carry no permissions. */
		if (!(levels == 3 && level == 3) && !allowed(walk, entry)) {
			walk->error = walk->access | X86_PF_PROT;
			return -EFAULT;
		}
		if (level == 1 || (level <= 3 && levels != 3 && (entry & LARGE)) ||
		    (levels == 3 && level == 2 && (entry & LARGE))) {
			*gpa = (entry & ENTRY_ADDRESS & ~page) | (walk->linear & page);
			return 0;
		}
		table = entry & ENTRY_ADDRESS;
	}
	return -EFAULT;
}

int kvml_translate(struct kvml_vcpu *vcpu, u64 linear, u32 access, u64 *gpa, u32 *error)
{
	struct walk walk = { .vcpu = vcpu, .linear = linear, .access = access };
	const u64 cr3 = vmread(GUEST_CR3);
	const u64 cr4 = kvml_cr4();
	int outcome;

	if (!(kvml_cr0() & X86_CR0_PG)) {
		*gpa = linear;
		return 0;
	}
	if (kvml_in_long_mode()) {
		walk.long_entries = true;
		outcome = walk_tables(&walk, cr3 & ENTRY_ADDRESS, 4, gpa);
	} else if (cr4 & X86_CR4_PAE) {
		walk.long_entries = true;
		outcome = walk_tables(&walk, cr3 & 0xffffffe0, 3, gpa);
	} else {
		outcome = walk_tables(&walk, cr3 & 0xfffff000, 2, gpa);
	}
	*error = walk.error;
	return outcome;
}

static int copy_linear(struct kvml_vcpu *vcpu, u64 linear, void *data, u32 size, u32 access,
		       bool write)
{
	while (size) {
		const u32 part = min_t(u32, size, PAGE_SIZE - offset_in_page(linear));
		u32 error = 0;
		u64 gpa;

		if (kvml_translate(vcpu, linear, access, &gpa, &error)) {
			kvml_inject_page_fault(vcpu, linear, error);
			return -EFAULT;
		}
		if (write ? kvml_write_guest(vcpu->vm, gpa, data, part) :
			    kvml_read_guest(vcpu->vm, gpa, data, part))
			return -ENXIO;
		linear += part;
		data += part;
		size -= part;
	}
	return 0;
}

int kvml_read_linear(struct kvml_vcpu *vcpu, u64 linear, void *data, u32 size, u32 access)
{
	return copy_linear(vcpu, linear, data, size, access, false);
}

int kvml_write_linear(struct kvml_vcpu *vcpu, u64 linear, const void *data, u32 size)
{
	const u32 access = X86_PF_WRITE | (kvml_cpl() == 3 ? X86_PF_USER : 0);

	return copy_linear(vcpu, linear, (void *)data, size, access, true);
}
