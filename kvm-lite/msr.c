// SPDX-License-Identifier: GPL-2.0
/* MSRs that the guest may read and write, and those user space saves; needs the vCPU loaded. */
#include "internal.h"

#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <uapi/asm/kvm_para.h>

/* Where an MSR lives. */
enum home {
	ELSEWHERE,	/* code of its own */
	CONSTANT,	/* nowhere: reads give .place */
	IGNORING,	/* likewise, and writes have no effect */
	IN_PROCESSOR,	/* while the vCPU is loaded */
	IN_VMCS,	/* .place is the field */
	KEPT,		/* .place is the offset in struct kvml_msrs */
	LOADED,		/* likewise, and in the processor while the vCPU is loaded */
};

/* What may be written. */
enum check { ANYTHING, CANONICAL, MEMORY_TYPES, NO_UPPER_HALF, UPPER_HALF_LOST };

/* What a snapshot has to keep beyond registers and LAPIC. */
#define SAVED		.saved = true
#define AT(field)	offsetof(struct kvml_msrs, field)

static const struct known_msr {
	u32 index;
	u8 home;
	u8 check;
	u8 more;	/* how many of the kind follow it */
	bool saved;
	bool hidden;	/* from the guest, which is told that it has no machine-check banks */
	u32 place;
} known[] = {
	{ MSR_IA32_TSC, ELSEWHERE, SAVED },
	{ MSR_IA32_APICBASE, ELSEWHERE, SAVED },
	{ MSR_IA32_TSC_DEADLINE, ELSEWHERE, SAVED },
	{ MSR_KVM_WALL_CLOCK_NEW, ELSEWHERE, SAVED },
	{ MSR_KVM_SYSTEM_TIME_NEW, ELSEWHERE, SAVED },
	{ MSR_KERNEL_GS_BASE, IN_PROCESSOR, CANONICAL, SAVED },
	{ MSR_FS_BASE, IN_VMCS, CANONICAL, .place = GUEST_FS_BASE },
	{ MSR_GS_BASE, IN_VMCS, CANONICAL, .place = GUEST_GS_BASE },
	{ MSR_EFER, IN_VMCS, .place = GUEST_IA32_EFER },
	{ MSR_IA32_CR_PAT, IN_VMCS, MEMORY_TYPES, SAVED, .place = GUEST_IA32_PAT },
	{ MSR_IA32_SYSENTER_CS, IN_VMCS, UPPER_HALF_LOST, SAVED, .place = GUEST_SYSENTER_CS },
	{ MSR_IA32_SYSENTER_ESP, IN_VMCS, CANONICAL, SAVED, .place = GUEST_SYSENTER_ESP },
	{ MSR_IA32_SYSENTER_EIP, IN_VMCS, CANONICAL, SAVED, .place = GUEST_SYSENTER_EIP },
	{ MSR_STAR, LOADED, SAVED, .place = AT(star) },
	{ MSR_LSTAR, LOADED, CANONICAL, SAVED, .place = AT(lstar) },
	{ MSR_SYSCALL_MASK, LOADED, UPPER_HALF_LOST, SAVED, .place = AT(fmask) },
	{ MSR_TSC_AUX, LOADED, NO_UPPER_HALF, SAVED, .place = AT(tsc_aux) },
	/* Intel processors take no SYSCALL from compatibility mode: it is only kept. */
	{ MSR_CSTAR, KEPT, CANONICAL, SAVED, .place = AT(cstar) },
	{ MSR_IA32_TSC_ADJUST, KEPT, SAVED, .place = AT(tsc_adjust) },
	{ MSR_IA32_UCODE_REV, KEPT, .place = AT(microcode) },
	{ MSR_IA32_MCG_STATUS, KEPT, SAVED, .place = AT(mcg_status) },
	/* Some monitors set these unasked. */
	{ MSR_IA32_MCG_CTL, KEPT, .hidden = true, .place = AT(mcg_control) },
	{ MSR_IA32_MC0_CTL, KEPT, .more = KVML_MC_REGISTERS - 1, .hidden = true, .place = AT(mc) },
	{ MSR_MTRRdefType, KEPT, SAVED, .place = AT(mtrr_default) },
	{ MSR_MTRRfix64K_00000, KEPT, .place = AT(mtrr_fixed[0]) },
	{ MSR_MTRRfix16K_80000, KEPT, .more = 1, .place = AT(mtrr_fixed[1]) },
	{ MSR_MTRRfix4K_C0000, KEPT, .more = 7, .place = AT(mtrr_fixed[3]) },
	{ 0x200, KEPT, .more = 15, .place = AT(mtrr_variable) },
	/* Eight variable ranges, fixed ranges, write combining. */
	{ MSR_MTRRcap, CONSTANT, .place = 8 | BIT(8) | BIT(10) },
	/* Locked by the firmware, nothing enabled. */
	{ MSR_IA32_FEAT_CTL, CONSTANT, .place = FEAT_CTL_LOCKED },
	{ MSR_IA32_MCG_CAP, CONSTANT },
	{ MSR_IA32_PLATFORM_ID, CONSTANT },
	{ MSR_SMI_COUNT, CONSTANT },
	/* Fast strings; branch trace and PEBS unavailable. */
	{ MSR_IA32_MISC_ENABLE, IGNORING, SAVED, .place = BIT(0) | BIT(11) | BIT(12) },
};

/* Null: it has code of its own, or is unknown. */
static const struct known_msr *find(u32 index, bool host)
{
	const struct known_msr *msr;

	for (msr = known; msr < known + ARRAY_SIZE(known); msr++) {
		if (index - msr->index <= msr->more && msr->home != ELSEWHERE)
			return msr->hidden && !host ? NULL : msr;
	}
	return NULL;
}

/* Where a KEPT or LOADED one is. The guest chose the index: it is bounded for speculation, too. */
static u64 *place_of(struct kvml_vcpu *vcpu, const struct known_msr *msr, u32 index)
{
	u64 *first = (void *)&vcpu->msr + msr->place;

	return first + array_index_nospec(index - msr->index, msr->more + 1u);
}

static void set_tsc_offset(struct kvml_vcpu *vcpu, u64 offset)
{
	WRITE_ONCE(vcpu->tsc_offset, offset);
	vmwrite(TSC_OFFSET, offset);
	kvml_lapic_tsc_changed(vcpu);
	kvml_clock_tsc_changed(vcpu);
}

void kvml_set_tsc(struct kvml_vcpu *vcpu, u64 value)
{
	const u64 offset = value - rdtsc();
	const s64 distance = offset - vcpu->vm->tsc_offset;

	/*
	 * User space sets the vCPUs one after the other to the same value. Within a second that
	 * means one TSC for all (KVM does likewise), or SMP guests would find theirs unstable.
	 */
	if (abs(distance) < (s64)tsc_khz * 1000)
		set_tsc_offset(vcpu, vcpu->vm->tsc_offset);
	else
		set_tsc_offset(vcpu, vcpu->vm->tsc_offset = offset);
}

/* Each byte is a memory type: 0, 1 or 4 to 7, so bit 1 comes only with bit 2. */
static bool pat_is_valid(u64 value)
{
	return !(value & 0xf8f8f8f8f8f8f8f8) && !(value & ~(value >> 1) & 0x0202020202020202);
}

int kvml_get_msr(struct kvml_vcpu *vcpu, u32 index, u64 *value, bool host)
{
	const struct known_msr *msr;

	if (index >= KVML_X2APIC_MSR_FIRST && index <= KVML_X2APIC_MSR_LAST)
		return kvml_lapic_read_msr(vcpu, index, value);
	switch (index) {
	case MSR_IA32_TSC_DEADLINE:
		*value = kvml_lapic_tsc_deadline(vcpu);
		return 0;
	case MSR_IA32_TSC:
		*value = rdtsc() + vcpu->tsc_offset;
		return 0;
	case MSR_IA32_APICBASE:
		*value = kvml_lapic_base(vcpu);
		return 0;
	}
	msr = find(index, host);
	if (!msr)
		return kvml_clock_read_msr(vcpu, index, value);
	switch (msr->home) {
	case IN_PROCESSOR:
		rdmsrl(index, *value);
		return 0;
	case IN_VMCS:
		*value = vmread(msr->place);
		return 0;
	case KEPT:
	case LOADED:
		*value = *place_of(vcpu, msr, index);
		return 0;
	default:
		*value = msr->place;
		return 0;
	}
}

static bool is_acceptable(enum check check, u64 value)
{
	switch (check) {
	case CANONICAL:
		return __is_canonical_address(value, 48);
	case MEMORY_TYPES:
		return pat_is_valid(value);
	case NO_UPPER_HALF:
		return !(value >> 32);
	default:
		return true;
	}
}

static void set_loaded_msr(u64 *place, u32 index, u64 value)
{
	/* Preempted in between, the host would be given back its own only if the two differ. */
	preempt_disable();
	*place = value;
	if (index != MSR_TSC_AUX || (kvml_vmx.secondary & SECONDARY_EXEC_ENABLE_RDTSCP))
		wrmsrl(index, value);
	preempt_enable();
}

static int set_known_msr(struct kvml_vcpu *vcpu, const struct known_msr *msr, u32 index, u64 value)
{
	if (!is_acceptable(msr->check, value))
		return -EINVAL;
	if (msr->check == UPPER_HALF_LOST)
		value = (u32)value;
	switch (msr->home) {
	case IGNORING:
		return 0;
	case IN_PROCESSOR:
		wrmsrl(index, value);
		return 0;
	case IN_VMCS:
		vmwrite(msr->place, value);
		return 0;
	case KEPT:
		*place_of(vcpu, msr, index) = value;
		return 0;
	case LOADED:
		set_loaded_msr(place_of(vcpu, msr, index), index, value);
		return 0;
	default:
		return -EINVAL;
	}
}

static void adjust_tsc(struct kvml_vcpu *vcpu, u64 value, bool host)
{
	/* The guest moves its TSC by moving this; user space only restores what was. */
	if (!host)
		set_tsc_offset(vcpu, vcpu->tsc_offset + value - vcpu->msr.tsc_adjust);
	vcpu->msr.tsc_adjust = value;
}

static void write_guest_tsc(struct kvml_vcpu *vcpu, u64 value, bool host)
{
	const u64 old = vcpu->tsc_offset;

	if (host) {
		kvml_set_tsc(vcpu, value);
		return;
	}
	set_tsc_offset(vcpu, value - rdtsc());
	vcpu->msr.tsc_adjust += vcpu->tsc_offset - old;
}

int kvml_set_msr(struct kvml_vcpu *vcpu, u32 index, u64 value, bool host)
{
	const struct known_msr *msr;

	if (index >= KVML_X2APIC_MSR_FIRST && index <= KVML_X2APIC_MSR_LAST)
		return kvml_lapic_write_msr(vcpu, index, value);
	switch (index) {
	case MSR_IA32_TSC_DEADLINE:
		kvml_lapic_set_tsc_deadline(vcpu, value);
		return 0;
	case MSR_IA32_TSC:
		write_guest_tsc(vcpu, value, host);
		return 0;
	case MSR_IA32_TSC_ADJUST:
		adjust_tsc(vcpu, value, host);
		return 0;
	case MSR_IA32_APICBASE:
		return kvml_lapic_set_base(vcpu, value, host);
	case MSR_EFER:
		return kvml_set_efer(vcpu, value);
	case MSR_IA32_UCODE_WRITE:
		return 0;
	case MSR_IA32_UCODE_REV:
		/* A guest writes 0 to read the revision; loading microcode has no effect. */
		if (!host)
			return 0;
		break;
	}
	msr = find(index, host);
	return msr ? set_known_msr(vcpu, msr, index, value) : kvml_clock_write_msr(vcpu, index, value);
}

int kvml_msr_list(struct kvm_msr_list __user *user)
{
	u32 indices[ARRAY_SIZE(known)];
	u32 count = 0;
	u32 room, i;

	for (i = 0; i < ARRAY_SIZE(known); i++) {
		if (known[i].saved)
			indices[count++] = known[i].index;
	}
	if (get_user(room, &user->nmsrs) || put_user(count, &user->nmsrs))
		return -EFAULT;
	if (room < count)
		return -E2BIG;
	return copy_to_user(user->indices, indices, count * sizeof(*indices)) ? -EFAULT : 0;
}

/* KVM_GET_MSRS and KVM_SET_MSRS: how many were done before the first that could not be. */
int kvml_msr_transfer(struct kvml_vcpu *vcpu, struct kvm_msrs __user *user, bool write)
{
	struct kvm_msr_entry *entries;
	struct kvm_msrs header;
	size_t bytes;
	u32 i;
	int outcome;

	if (copy_from_user(&header, user, sizeof(header)))
		return -EFAULT;
	if (header.nmsrs > KVML_MSRS_MAX)
		return -E2BIG;
	bytes = array_size(header.nmsrs, sizeof(*entries));
	entries = memdup_user(user->entries, bytes);
	if (IS_ERR(entries))
		return PTR_ERR(entries);
	for (i = 0; i < header.nmsrs; i++) {
		if (write ? kvml_set_msr(vcpu, entries[i].index, entries[i].data, true) :
			    kvml_get_msr(vcpu, entries[i].index, &entries[i].data, true))
			break;
	}
	outcome = i;
	if (!write && copy_to_user(user->entries, entries, bytes))
		outcome = -EFAULT;
	kfree(entries);
	return outcome;
}
