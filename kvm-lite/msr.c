// SPDX-License-Identifier: GPL-2.0
/* MSRs that the guest may read and write, and those user space saves; needs the vCPU loaded. */
#include "internal.h"

#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <uapi/asm/kvm_para.h>

/* What a snapshot has to keep beyond registers and LAPIC. */
static const u32 saved[] = {
	MSR_IA32_TSC, MSR_IA32_APICBASE, MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP,
	MSR_IA32_SYSENTER_EIP, MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SYSCALL_MASK,
	MSR_KERNEL_GS_BASE, MSR_IA32_CR_PAT, MSR_TSC_AUX, MSR_IA32_TSC_ADJUST,
	MSR_IA32_TSC_DEADLINE, MSR_IA32_MISC_ENABLE, MSR_IA32_MCG_STATUS,
	MSR_KVM_WALL_CLOCK_NEW, MSR_KVM_SYSTEM_TIME_NEW,
	MSR_MTRRdefType,
};

/* Bits of IA32_MISC_ENABLE: fast strings; branch trace and PEBS unavailable. */
#define MISC_ENABLE_RESET	(BIT_ULL(0) | BIT_ULL(11) | BIT_ULL(12))

/* An index that the guest chose: also a mispredicted branch stays within the array. */
#define ENTRY(array, index)	(&(array)[array_index_nospec(index, ARRAY_SIZE(array))])

/*
 * Where an MSR is kept that is remembered and otherwise without effect, or null: MTRRs, and the
 * machine-check banks of a monitor that sets them unasked. The guest is told that it has none.
 */
static u64 *remembered(struct kvml_vcpu *vcpu, u32 index, bool host)
{
	switch (index) {
	case MSR_IA32_MCG_CTL:
		return host ? &vcpu->msr.mcg_control : NULL;
	case MSR_IA32_MC0_CTL ... MSR_IA32_MC0_CTL + KVML_MC_REGISTERS - 1:
		return host ? ENTRY(vcpu->msr.mc, index - MSR_IA32_MC0_CTL) : NULL;
	case MSR_MTRRdefType:
		return &vcpu->msr.mtrr_default;
	case MSR_MTRRfix64K_00000:
		return &vcpu->msr.mtrr_fixed[0];
	case MSR_MTRRfix16K_80000:
	case MSR_MTRRfix16K_A0000:
		return ENTRY(vcpu->msr.mtrr_fixed, 1 + index - MSR_MTRRfix16K_80000);
	case MSR_MTRRfix4K_C0000 ... MSR_MTRRfix4K_F8000:
		return ENTRY(vcpu->msr.mtrr_fixed, 3 + index - MSR_MTRRfix4K_C0000);
	case 0x200 ... 0x20f:
		return ENTRY(vcpu->msr.mtrr_variable, index - 0x200);
	default:
		return NULL;
	}
}

static u64 guest_tsc(struct kvml_vcpu *vcpu)
{
	return rdtsc() + vcpu->tsc_offset;
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

static bool pat_is_valid(u64 value)
{
	u32 i;

	for (i = 0; i < 64; i += 8) {
		const u8 type = value >> i;

		if (type > 7 || type == 2 || type == 3)
			return false;
	}
	return true;
}

static int get_vmcs_msr(u32 index, u64 *value)
{
	switch (index) {
	case MSR_IA32_SYSENTER_CS:
		*value = vmread(GUEST_SYSENTER_CS);
		return 0;
	case MSR_IA32_SYSENTER_ESP:
		*value = vmread(GUEST_SYSENTER_ESP);
		return 0;
	case MSR_IA32_SYSENTER_EIP:
		*value = vmread(GUEST_SYSENTER_EIP);
		return 0;
	case MSR_FS_BASE:
		*value = vmread(GUEST_FS_BASE);
		return 0;
	case MSR_GS_BASE:
		*value = vmread(GUEST_GS_BASE);
		return 0;
	case MSR_IA32_CR_PAT:
		*value = vmread(GUEST_IA32_PAT);
		return 0;
	case MSR_EFER:
		*value = vmread(GUEST_IA32_EFER);
		return 0;
	default:
		return -ENOENT;
	}
}

int kvml_get_msr(struct kvml_vcpu *vcpu, u32 index, u64 *value, bool host)
{
	struct kvml_msrs *msr = &vcpu->msr;
	u64 *place = remembered(vcpu, index, host);

	if (place) {
		*value = *place;
		return 0;
	}
	if (index >= KVML_X2APIC_MSR_FIRST && index <= KVML_X2APIC_MSR_LAST)
		return kvml_lapic_read_msr(vcpu, index, value);
	if (kvml_clock_owns_msr(index))
		return kvml_clock_read_msr(vcpu, index, value);
	switch (index) {
	case MSR_IA32_TSC:
		*value = guest_tsc(vcpu);
		return 0;
	case MSR_IA32_APICBASE:
		*value = kvml_lapic_base(vcpu);
		return 0;
	case MSR_IA32_TSC_DEADLINE:
		*value = kvml_lapic_tsc_deadline(vcpu);
		return 0;
	case MSR_STAR:
		*value = msr->star;
		return 0;
	case MSR_LSTAR:
		*value = msr->lstar;
		return 0;
	case MSR_CSTAR:
		*value = msr->cstar;
		return 0;
	case MSR_SYSCALL_MASK:
		*value = msr->fmask;
		return 0;
	case MSR_KERNEL_GS_BASE:
		rdmsrl(MSR_KERNEL_GS_BASE, *value);
		return 0;
	case MSR_TSC_AUX:
		*value = msr->tsc_aux;
		return 0;
	case MSR_IA32_TSC_ADJUST:
		*value = msr->tsc_adjust;
		return 0;
	case MSR_IA32_MISC_ENABLE:
		*value = msr->misc_enable | MISC_ENABLE_RESET;
		return 0;
	case MSR_IA32_MCG_STATUS:
		*value = msr->mcg_status;
		return 0;
	case MSR_IA32_UCODE_REV:
		*value = msr->microcode;
		return 0;
	case MSR_MTRRcap:
		/* Eight variable ranges, fixed ranges, write combining. */
		*value = 8 | BIT(8) | BIT(10);
		return 0;
	case MSR_IA32_FEAT_CTL:
		/* Locked by the firmware, nothing enabled. */
		*value = FEAT_CTL_LOCKED;
		return 0;
	case MSR_IA32_MCG_CAP:
	case MSR_IA32_PLATFORM_ID:
	case MSR_SMI_COUNT:
		*value = 0;
		return 0;
	default:
		return get_vmcs_msr(index, value) ? -EINVAL : 0;
	}
}

/* A register that the processor holds while the vCPU is loaded. */
static void set_loaded_msr(u64 *place, u32 index, u64 value)
{
	/* Preempted in between, the host would be given back its own only if the two differ. */
	preempt_disable();
	*place = value;
	wrmsrl(index, value);
	preempt_enable();
}

static int set_address(u32 field, u64 value)
{
	if (!__is_canonical_address(value, 48))
		return -EINVAL;
	vmwrite(field, value);
	return 0;
}

static int set_vmcs_msr(struct kvml_vcpu *vcpu, u32 index, u64 value)
{
	switch (index) {
	case MSR_IA32_SYSENTER_CS:
		vmwrite(GUEST_SYSENTER_CS, (u32)value);
		return 0;
	case MSR_IA32_SYSENTER_ESP:
		return set_address(GUEST_SYSENTER_ESP, value);
	case MSR_IA32_SYSENTER_EIP:
		return set_address(GUEST_SYSENTER_EIP, value);
	case MSR_FS_BASE:
		return set_address(GUEST_FS_BASE, value);
	case MSR_GS_BASE:
		return set_address(GUEST_GS_BASE, value);
	case MSR_IA32_CR_PAT:
		if (!pat_is_valid(value))
			return -EINVAL;
		vmwrite(GUEST_IA32_PAT, value);
		return 0;
	case MSR_EFER:
		return kvml_set_efer(vcpu, value);
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
	struct kvml_msrs *msr = &vcpu->msr;
	u64 *place = remembered(vcpu, index, host);

	if (place) {
		*place = value;
		return 0;
	}
	if (index >= KVML_X2APIC_MSR_FIRST && index <= KVML_X2APIC_MSR_LAST)
		return kvml_lapic_write_msr(vcpu, index, value);
	if (kvml_clock_owns_msr(index))
		return kvml_clock_write_msr(vcpu, index, value);
	switch (index) {
	case MSR_IA32_TSC:
		write_guest_tsc(vcpu, value, host);
		return 0;
	case MSR_IA32_APICBASE:
		return kvml_lapic_set_base(vcpu, value, host);
	case MSR_IA32_TSC_DEADLINE:
		kvml_lapic_set_tsc_deadline(vcpu, value);
		return 0;
	case MSR_STAR:
		set_loaded_msr(&msr->star, index, value);
		return 0;
	case MSR_LSTAR:
		if (!__is_canonical_address(value, 48))
			return -EINVAL;
		set_loaded_msr(&msr->lstar, index, value);
		return 0;
	case MSR_CSTAR:
		/* Intel processors take no SYSCALL from compatibility mode: it is only kept. */
		if (!__is_canonical_address(value, 48))
			return -EINVAL;
		msr->cstar = value;
		return 0;
	case MSR_SYSCALL_MASK:
		set_loaded_msr(&msr->fmask, index, (u32)value);
		return 0;
	case MSR_KERNEL_GS_BASE:
		if (!__is_canonical_address(value, 48))
			return -EINVAL;
		wrmsrl(MSR_KERNEL_GS_BASE, value);
		return 0;
	case MSR_TSC_AUX:
		if (value >> 32)
			return -EINVAL;
		if (kvml_vmx.secondary & SECONDARY_EXEC_ENABLE_RDTSCP)
			set_loaded_msr(&msr->tsc_aux, index, value);
		else
			msr->tsc_aux = value;
		return 0;
	case MSR_IA32_TSC_ADJUST:
		adjust_tsc(vcpu, value, host);
		return 0;
	case MSR_IA32_MISC_ENABLE:
		msr->misc_enable = value & MSR_IA32_MISC_ENABLE_FAST_STRING;
		return 0;
	case MSR_IA32_MCG_STATUS:
		msr->mcg_status = value;
		return 0;
	case MSR_IA32_UCODE_REV:
		/* A guest writes 0 to read the revision; loading microcode has no effect. */
		if (host)
			msr->microcode = value;
		return 0;
	case MSR_IA32_UCODE_WRITE:
		return 0;
	default:
		return set_vmcs_msr(vcpu, index, value);
	}
}

int kvml_msr_list(struct kvm_msr_list __user *user)
{
	const u32 count = ARRAY_SIZE(saved);
	u32 room;

	if (get_user(room, &user->nmsrs) || put_user(count, &user->nmsrs))
		return -EFAULT;
	if (room < count)
		return -E2BIG;
	return copy_to_user(user->indices, saved, sizeof(saved)) ? -EFAULT : 0;
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
