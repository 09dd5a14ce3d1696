// SPDX-License-Identifier: GPL-2.0
/* Memory slots: which guest pages there are and where the process keeps them. */
#include "internal.h"

#include <linux/slab.h>

#define GFN_LIMIT	(1ULL << (46 - PAGE_SHIFT))	/* what a 4-level EPT and the CPUs reach */
#define SLOT_PAGES_MAX	(1ULL << 31)

struct kvml_memslot *kvml_find_slot(struct kvml_vm *vm, u64 gpa, bool write)
{
	u32 id;

	for (id = 0; id < vm->slot_count; id++) {
		struct kvml_memslot *slot = &vm->slots[id];

		/* Below the slot the difference is huge; a slot that is not there has no pages. */
		if ((gpa >> PAGE_SHIFT) - slot->gfn < slot->pages)
			return write && (slot->flags & KVM_MEM_READONLY) ? NULL : slot;
	}
	return NULL;
}

static bool overlaps(struct kvml_vm *vm, u32 wanted_id, const struct kvml_memslot *wanted)
{
	u32 id;

	for (id = 0; id < vm->slot_count; id++) {
		const struct kvml_memslot *slot = &vm->slots[id];

		if (id != wanted_id && slot->gfn < wanted->gfn + wanted->pages &&
		    wanted->gfn < slot->gfn + slot->pages)
			return true;
	}
	return false;
}

static bool region_is_valid(const struct kvm_userspace_memory_region *region)
{
	const u64 end = region->guest_phys_addr + region->memory_size;

	return region->slot < KVML_SLOTS_MAX &&
	       !(region->flags & ~(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY)) &&
	       PAGE_ALIGNED(region->guest_phys_addr | region->memory_size |
			    region->userspace_addr) &&
	       region->memory_size >> PAGE_SHIFT <= SLOT_PAGES_MAX &&
	       end >= region->guest_phys_addr && end >> PAGE_SHIFT <= GFN_LIMIT &&
	       access_ok((void __user *)region->userspace_addr, region->memory_size);
}

int kvml_set_memory_region(struct kvml_vm *vm, const struct kvm_userspace_memory_region *region)
{
	struct kvml_memslot wanted = {};
	unsigned long *old_dirty;
	struct kvml_memslot *slot;

	if (!region_is_valid(region))
		return -EINVAL;
	slot = &vm->slots[array_index_nospec(region->slot, KVML_SLOTS_MAX)];
	old_dirty = slot->dirty;
	/* Without pages the slot goes. */
	if (region->memory_size) {
		wanted.flags = region->flags;
		wanted.gfn = region->guest_phys_addr >> PAGE_SHIFT;
		wanted.pages = region->memory_size >> PAGE_SHIFT;
		wanted.hva = region->userspace_addr;
	} else if (!slot->pages) {
		return -EINVAL;
	}
	/* KVM lets a slot move and change its flags, but not its size or its pages. */
	if (slot->pages && wanted.pages &&
	    (slot->pages != wanted.pages || slot->hva != wanted.hva ||
	     ((slot->flags ^ wanted.flags) & KVM_MEM_READONLY)))
		return -EINVAL;
	if (overlaps(vm, region->slot, &wanted))
		return -EEXIST;
	if (wanted.flags & KVM_MEM_LOG_DIRTY_PAGES) {
		/* What was written before this moment stays known. */
		wanted.dirty = old_dirty ?: kvcalloc(BITS_TO_LONGS(wanted.pages), sizeof(long),
						     GFP_KERNEL_ACCOUNT);
		if (!wanted.dirty)
			return -ENOMEM;
	}
	down_write(&vm->slots_lock);
	spin_lock(&vm->ept.lock);
	kvml_ept_change(vm, slot->gfn, slot->pages, KVML_EPT_ZAP);
	*slot = wanted;
	vm->slot_count = max(vm->slot_count, region->slot + 1);
	spin_unlock(&vm->ept.lock);
	up_write(&vm->slots_lock);
	if (old_dirty != wanted.dirty)
		kvfree(old_dirty);
	return 0;
}

/* Gives the slot's log to user space and starts a new one. */
int kvml_get_dirty_log(struct kvml_vm *vm, const struct kvm_dirty_log *wanted)
{
	struct kvml_memslot *slot;
	unsigned long *log;
	size_t bytes;
	int outcome;

	slot = &vm->slots[array_index_nospec(wanted->slot, KVML_SLOTS_MAX)];
	if (wanted->slot >= KVML_SLOTS_MAX || !slot->dirty)
		return -ENOENT;
	bytes = BITS_TO_LONGS(slot->pages) * sizeof(long);
	log = kvzalloc(bytes, GFP_KERNEL_ACCOUNT);
	if (!log)
		return -ENOMEM;
	spin_lock(&vm->ept.lock);
	swap(log, slot->dirty);
	/* The next write to each page has to be seen again. */
	kvml_ept_change(vm, slot->gfn, slot->pages, KVML_EPT_WRITE_PROTECT);
	spin_unlock(&vm->ept.lock);
	outcome = copy_to_user(wanted->dirty_bitmap, log, bytes) ? -EFAULT : 0;
	kvfree(log);
	return outcome;
}

void __user *kvml_locate(const struct kvml_memslot *slot, u64 gpa)
{
	/* A guest could teach the processor to guess that memory beside the slot is in it. */
	const u64 page = array_index_nospec((gpa >> PAGE_SHIFT) - slot->gfn, slot->pages);

	return (void __user *)slot->hva + page * PAGE_SIZE + offset_in_page(gpa);
}

/* slots_lock held. */
static void mark_dirty(struct kvml_vm *vm, struct kvml_memslot *slot, u64 gpa)
{
	if (!slot->dirty)
		return;
	spin_lock(&vm->ept.lock);
	__set_bit((gpa >> PAGE_SHIFT) - slot->gfn, slot->dirty);
	spin_unlock(&vm->ept.lock);
}

static int copy_guest(struct kvml_vm *vm, u64 gpa, void *data, u32 size, bool write)
{
	unsigned long left = 0;
	u32 part;

	down_read(&vm->slots_lock);
	for (; size && !left; gpa += part, data += part, size -= part) {
		struct kvml_memslot *slot = kvml_find_slot(vm, gpa, write);

		part = min_t(u32, size, PAGE_SIZE - offset_in_page(gpa));
		left = part;
		if (slot && write) {
			left = copy_to_user(kvml_locate(slot, gpa), data, part);
			mark_dirty(vm, slot, gpa);
		} else if (slot) {
			left = copy_from_user(data, kvml_locate(slot, gpa), part);
		}
	}
	up_read(&vm->slots_lock);
	return left ? -EFAULT : 0;
}

int kvml_read_guest(struct kvml_vm *vm, u64 gpa, void *data, u32 size)
{
	return copy_guest(vm, gpa, data, size, false);
}

int kvml_write_guest(struct kvml_vm *vm, u64 gpa, const void *data, u32 size)
{
	return copy_guest(vm, gpa, (void *)data, size, true);
}

int kvml_replace_guest(struct kvml_vm *vm, u64 gpa, u64 old, u64 value, u32 size)
{
	u32 old_half = old;
	struct kvml_memslot *slot;
	int outcome = -EFAULT;

	down_read(&vm->slots_lock);
	slot = kvml_find_slot(vm, gpa, true);
	if (slot && size == sizeof(u64))
		outcome = __try_cmpxchg_user((u64 __user *)kvml_locate(slot, gpa), &old, value, wide);
	else if (slot)
		outcome = __try_cmpxchg_user((u32 __user *)kvml_locate(slot, gpa), &old_half, value,
					     narrow);
	if (!outcome)
		mark_dirty(vm, slot, gpa);
	up_read(&vm->slots_lock);
	return outcome > 0 ? -EAGAIN : outcome;
}
