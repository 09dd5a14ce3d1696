// SPDX-License-Identifier: GPL-2.0
/* Memory slots: which guest pages there are and where the process keeps them. */
#include "internal.h"

#include <linux/slab.h>
#include <linux/uaccess.h>

#define GFN_LIMIT	(1ULL << (46 - PAGE_SHIFT))	/* what a 4-level EPT and the CPUs reach */
#define SLOT_PAGES_MAX	(1ULL << 31)

struct kvml_memslot *kvml_find_slot(struct kvml_vm *vm, u64 gfn)
{
	u32 low = 0, high = vm->slot_count;

	while (low < high) {
		const u32 middle = (low + high) / 2;
		struct kvml_memslot *slot = &vm->slots[middle];

		if (gfn < slot->gfn)
			high = middle;
		else if (gfn - slot->gfn >= slot->pages)
			low = middle + 1;
		else
			return slot;
	}
	return NULL;
}

bool kvml_gpa_is_memory(struct kvml_vm *vm, u64 gpa)
{
	bool found;

	down_read(&vm->slots_lock);
	found = kvml_find_slot(vm, gpa >> PAGE_SHIFT);
	up_read(&vm->slots_lock);
	return found;
}

static struct kvml_memslot *slot_by_id(struct kvml_vm *vm, u32 id)
{
	u32 i;

	for (i = 0; i < vm->slot_count; i++) {
		if (vm->slots[i].id == id)
			return &vm->slots[i];
	}
	return NULL;
}

static bool overlaps(struct kvml_vm *vm, const struct kvml_memslot *wanted)
{
	u32 i;

	for (i = 0; i < vm->slot_count; i++) {
		const struct kvml_memslot *slot = &vm->slots[i];

		if (slot->id != wanted->id && slot->gfn < wanted->gfn + wanted->pages &&
		    wanted->gfn < slot->gfn + slot->pages)
			return true;
	}
	return false;
}

static int check_region(const struct kvm_userspace_memory_region *region)
{
	if (region->slot >= KVML_SLOTS_MAX ||
	    (region->flags & ~(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY)))
		return -EINVAL;
	if (!PAGE_ALIGNED(region->guest_phys_addr) || !PAGE_ALIGNED(region->memory_size) ||
	    !PAGE_ALIGNED(region->userspace_addr))
		return -EINVAL;
	if (region->memory_size >> PAGE_SHIFT > SLOT_PAGES_MAX ||
	    region->guest_phys_addr + region->memory_size < region->guest_phys_addr ||
	    (region->guest_phys_addr + region->memory_size) >> PAGE_SHIFT > GFN_LIMIT)
		return -EINVAL;
	if (!access_ok((void __user *)region->userspace_addr, region->memory_size))
		return -EINVAL;
	return 0;
}

/* Takes @old out and puts @slot in, where there are such; both locks held by the callee. */
static void replace_slot(struct kvml_vm *vm, struct kvml_memslot *old,
			 const struct kvml_memslot *slot)
{
	u32 i;

	down_write(&vm->slots_lock);
	spin_lock(&vm->ept.lock);
	if (old) {
		if (kvml_ept_apply(vm->ept.root, old->gfn, old->pages, KVML_EPT_ZAP))
			kvml_ept_flush(vm);
		i = old - vm->slots;
		memmove(old, old + 1, (vm->slot_count - i - 1) * sizeof(*old));
		vm->slot_count--;
	}
	if (slot) {
		for (i = vm->slot_count; i > 0 && vm->slots[i - 1].gfn > slot->gfn; i--)
			vm->slots[i] = vm->slots[i - 1];
		vm->slots[i] = *slot;
		vm->slot_count++;
	}
	/* A fault that looked at the old slots starts over. */
	vm->ept.sequence++;
	spin_unlock(&vm->ept.lock);
	up_write(&vm->slots_lock);
}

static int delete_slot(struct kvml_vm *vm, struct kvml_memslot *old)
{
	unsigned long *dirty;

	if (!old)
		return -EINVAL;
	dirty = old->dirty;
	replace_slot(vm, old, NULL);
	kvfree(dirty);
	return 0;
}

/* vm->lock held. */
static int set_slot(struct kvml_vm *vm, struct kvml_memslot *wanted)
{
	struct kvml_memslot *old = slot_by_id(vm, wanted->id);
	unsigned long *old_dirty = old ? old->dirty : NULL;

	/* KVM lets a slot move and change its flags, but not its size or its pages. */
	if (old && (old->pages != wanted->pages || old->hva != wanted->hva ||
		    ((old->flags ^ wanted->flags) & KVM_MEM_READONLY)))
		return -EINVAL;
	if (overlaps(vm, wanted))
		return -EEXIST;
	if (wanted->flags & KVM_MEM_LOG_DIRTY_PAGES) {
		wanted->dirty = kvcalloc(BITS_TO_LONGS(wanted->pages), sizeof(long),
					 GFP_KERNEL_ACCOUNT);
		if (!wanted->dirty)
			return -ENOMEM;
		/* What was written before this moment stays known. */
		if (old_dirty)
			bitmap_copy(wanted->dirty, old_dirty, wanted->pages);
	}
	replace_slot(vm, old, wanted);
	kvfree(old_dirty);
	return 0;
}

int kvml_set_memory_region(struct kvml_vm *vm, const struct kvm_userspace_memory_region *region)
{
	struct kvml_memslot wanted = {
		.id = region->slot,
		.flags = region->flags,
		.gfn = region->guest_phys_addr >> PAGE_SHIFT,
		.pages = region->memory_size >> PAGE_SHIFT,
		.hva = region->userspace_addr,
	};
	int outcome = check_region(region);

	if (outcome)
		return outcome;
	mutex_lock(&vm->lock);
	if (wanted.pages)
		outcome = set_slot(vm, &wanted);
	else
		outcome = delete_slot(vm, slot_by_id(vm, wanted.id));
	mutex_unlock(&vm->lock);
	return outcome;
}

int kvml_get_dirty_log(struct kvml_vm *vm, const struct kvm_dirty_log *log)
{
	struct kvml_memslot *slot;
	unsigned long *copy;
	size_t longs;
	int outcome = 0;

	mutex_lock(&vm->lock);
	slot = slot_by_id(vm, log->slot);
	if (!slot || !slot->dirty) {
		mutex_unlock(&vm->lock);
		return -ENOENT;
	}
	longs = BITS_TO_LONGS(slot->pages);
	copy = kvcalloc(longs, sizeof(long), GFP_KERNEL_ACCOUNT);
	if (!copy) {
		mutex_unlock(&vm->lock);
		return -ENOMEM;
	}
	spin_lock(&vm->ept.lock);
	memcpy(copy, slot->dirty, longs * sizeof(long));
	memset(slot->dirty, 0, longs * sizeof(long));
	/* The next write to each page has to be seen again. */
	if (kvml_ept_apply(vm->ept.root, slot->gfn, slot->pages, KVML_EPT_WRITE_PROTECT))
		kvml_ept_flush(vm);
	vm->ept.sequence++;
	spin_unlock(&vm->ept.lock);
	mutex_unlock(&vm->lock);
	if (copy_to_user(log->dirty_bitmap, copy, longs * sizeof(long)))
		outcome = -EFAULT;
	kvfree(copy);
	return outcome;
}

void kvml_free_slots(struct kvml_vm *vm)
{
	u32 i;

	for (i = 0; i < vm->slot_count; i++)
		kvfree(vm->slots[i].dirty);
}

/* Copies within one page. */
static int copy_page_part(struct kvml_vm *vm, u64 gpa, void *data, u32 size, bool write)
{
	struct kvml_memslot *slot;
	void __user *user;
	u64 page;
	int outcome = -EFAULT;

	down_read(&vm->slots_lock);
	slot = kvml_find_slot(vm, gpa >> PAGE_SHIFT);
	if (!slot || (write && (slot->flags & KVM_MEM_READONLY)))
		goto out;
	page = (gpa >> PAGE_SHIFT) - slot->gfn;
	user = (void __user *)(slot->hva + page * PAGE_SIZE + offset_in_page(gpa));
	if (!write) {
		outcome = copy_from_user(data, user, size) ? -EFAULT : 0;
		goto out;
	}
	outcome = copy_to_user(user, data, size) ? -EFAULT : 0;
	if (slot->dirty) {
		spin_lock(&vm->ept.lock);
		__set_bit(page, slot->dirty);
		spin_unlock(&vm->ept.lock);
	}
out:
	up_read(&vm->slots_lock);
	return outcome;
}

static int copy_guest(struct kvml_vm *vm, u64 gpa, void *data, u32 size, bool write)
{
	while (size) {
		const u32 part = min_t(u32, size, PAGE_SIZE - offset_in_page(gpa));
		const int outcome = copy_page_part(vm, gpa, data, part, write);

		if (outcome)
			return outcome;
		gpa += part;
		data += part;
		size -= part;
	}
	return 0;
}

int kvml_read_guest(struct kvml_vm *vm, u64 gpa, void *data, u32 size)
{
	return copy_guest(vm, gpa, data, size, false);
}

int kvml_write_guest(struct kvml_vm *vm, u64 gpa, const void *data, u32 size)
{
	return copy_guest(vm, gpa, (void *)data, size, true);
}
