// SPDX-License-Identifier: GPL-2.0
/* MSRs that the guest may read and write, and those user space saves; needs the vCPU loaded. */
#include "internal.h"

#include <uapi/asm/kvm_para.h>

/* Where an MSR lives, or whose it is. */
enum home {
	X2APIC, SYSTEM_TIME, WALL_CLOCK, TSC, TSC_ADJUST, TSC_DEADLINE, BASE_OF_APIC,
	EXTENDED_FEATURES, XFD,
	NOWHERE,	/* reads give .place, writes have no effect */
	IN_PROCESSOR,	/* while the vCPU is loaded */
	IN_VMCS,	/* .place is the field */
	KEPT,		/* in struct kvml_vcpu, as are all others whose .place is an offset there */
	LOADED,		/* likewise, and in the processor while the vCPU is loaded */
};

/* What may be written. */
enum check {
	ANYTHING, ZERO, NOTHING, CANONICAL, NO_UPPER_HALF, TILES, PAT_TYPES, MTRR_DEFAULT, MTRR_FIXED,
	MTRR_VARIABLE,
};

/* What a snapshot has to keep beyond registers and LAPIC. */
#define SAVED		.saved = true
#define AT(field)	offsetof(struct kvml_vcpu, field)

/* Those that guests write most come first. */
static const struct known_msr {
	u32 index;
	u8 home, check;
	u8 more;	/* how many of the kind follow it */
	bool saved;
	u32 place;
} known[] = {
	{ KVML_X2APIC_MSR_FIRST, X2APIC, .more = KVML_X2APIC_MSR_LAST - KVML_X2APIC_MSR_FIRST },
	{ MSR_IA32_TSC_DEADLINE, TSC_DEADLINE, SAVED, .place = AT(lapic.apic.tsc_deadline) },
	{ MSR_IA32_TSC, TSC, SAVED },
	{ MSR_IA32_TSC_ADJUST, TSC_ADJUST, SAVED, .place = AT(msr.tsc_adjust) },
	{ MSR_IA32_APICBASE, BASE_OF_APIC, SAVED, .place = AT(lapic.apic.base) },
	{ MSR_KVM_WALL_CLOCK, WALL_CLOCK },
	{ MSR_KVM_SYSTEM_TIME, SYSTEM_TIME, .place = AT(clock.system_time_msr) },
	{ MSR_KVM_WALL_CLOCK_NEW, WALL_CLOCK, SAVED },
	{ MSR_KVM_SYSTEM_TIME_NEW, SYSTEM_TIME, SAVED, .place = AT(clock.system_time_msr) },
	{ MSR_KERNEL_GS_BASE, IN_PROCESSOR, CANONICAL, SAVED },
	{ MSR_FS_BASE, IN_VMCS, CANONICAL, .place = GUEST_FS_BASE },
	{ MSR_GS_BASE, IN_VMCS, CANONICAL, .place = GUEST_GS_BASE },
	{ MSR_EFER, EXTENDED_FEATURES, .place = GUEST_IA32_EFER },
	{ MSR_IA32_CR_PAT, IN_VMCS, PAT_TYPES, SAVED, .place = GUEST_IA32_PAT },
	/* The field has 32 bits. */
	{ MSR_IA32_SYSENTER_CS, IN_VMCS, SAVED, .place = GUEST_SYSENTER_CS },
	{ MSR_IA32_SYSENTER_ESP, IN_VMCS, CANONICAL, SAVED, .place = GUEST_SYSENTER_ESP },
	{ MSR_IA32_SYSENTER_EIP, IN_VMCS, CANONICAL, SAVED, .place = GUEST_SYSENTER_EIP },
	{ MSR_STAR, LOADED, SAVED, .place = AT(msr.star) },
	{ MSR_LSTAR, LOADED, CANONICAL, SAVED, .place = AT(msr.lstar) },
	{ MSR_SYSCALL_MASK, LOADED, NO_UPPER_HALF, SAVED, .place = AT(msr.fmask) },
	{ MSR_TSC_AUX, LOADED, NO_UPPER_HALF, SAVED, .place = AT(msr.tsc_aux) },
	/* No state of the supervisor's is offered. */
	{ MSR_IA32_XSS, NOWHERE, ZERO },
	{ MSR_IA32_XFD, XFD, TILES, SAVED },
	{ MSR_IA32_XFD_ERR, KEPT, TILES, SAVED, .place = AT(msr.xfd_err) },
	/* Intel processors take no SYSCALL from compatibility mode: it is only kept. */
	{ MSR_CSTAR, KEPT, CANONICAL, SAVED, .place = AT(msr.cstar) },
	/* A guest writes 0 to read the revision; loading microcode has no effect. */
	{ MSR_IA32_UCODE_REV, NOWHERE },
	{ MSR_IA32_UCODE_WRITE, NOWHERE },
	{ MSR_IA32_MCG_STATUS, KEPT, SAVED, .place = AT(msr.mcg_status) },
	/* The guest is told of no banks, but some monitors set these unasked. */
	{ MSR_IA32_MCG_CTL, KEPT, .place = AT(msr.mcg_control) },
	{ MSR_IA32_MC0_CTL, KEPT, .more = KVML_MC_REGISTERS - 1, .place = AT(msr.mc) },
	{ MSR_MTRRdefType, KEPT, MTRR_DEFAULT, SAVED, .place = AT(msr.mtrr_default) },
	{ MSR_MTRRfix64K_00000, KEPT, MTRR_FIXED, SAVED, .place = AT(msr.mtrr_fixed[0]) },
	{ MSR_MTRRfix16K_80000, KEPT, MTRR_FIXED, .more = 1, SAVED, .place = AT(msr.mtrr_fixed[1]) },
	{ MSR_MTRRfix4K_C0000, KEPT, MTRR_FIXED, .more = 7, SAVED, .place = AT(msr.mtrr_fixed[3]) },
	{ 0x200, KEPT, MTRR_VARIABLE, .more = 15, SAVED, .place = AT(msr.mtrr_variable) },
	/* Eight variable ranges, fixed ranges, write combining. */
	{ MSR_MTRRcap, NOWHERE, NOTHING, .place = 8 | BIT(8) | BIT(10) },
	/* Locked by the firmware, nothing enabled. */
	{ MSR_IA32_FEAT_CTL, NOWHERE, NOTHING, .place = FEAT_CTL_LOCKED },
	{ MSR_IA32_MCG_CAP, NOWHERE, NOTHING },
	{ MSR_IA32_PLATFORM_ID, NOWHERE, NOTHING },
	{ MSR_SMI_COUNT, NOWHERE, NOTHING },
	/* Fast strings; branch trace and PEBS unavailable. */
	{ MSR_IA32_MISC_ENABLE, NOWHERE, SAVED, .place = BIT(0) | BIT(11) | BIT(12) },
};

static const struct known_msr *find(u32 index)
{
	const struct known_msr *msr;

	for (msr = known; msr < known + ARRAY_SIZE(known); msr++) {
		if (index - msr->index <= msr->more)
			return msr;
	}
	return NULL;
}

/* Where the vCPU's structure holds one. The guest chose the index: bounded for speculation, too. */
static u64 *place_of(struct kvml_vcpu *vcpu, const struct known_msr *msr, u32 index)
{
	u64 *first = (void *)vcpu + msr->place;

	return first + array_index_nospec(index - msr->index, msr->more + 1u);
}

int kvml_get_msr(struct kvml_vcpu *vcpu, u32 index, u64 *value)
{
	const struct known_msr *msr = find(index);

	if (!msr)
		return -EINVAL;
	switch (msr->home) {
	case X2APIC:
		return kvml_apic_msr_read(&vcpu->lapic.apic, index, value);
	case WALL_CLOCK:
		*value = vcpu->vm->wall_clock_msr;
		break;
	case TSC:
		*value = kvml_tsc() + vcpu->tsc_offset;
		break;
	case IN_PROCESSOR:
		rdmsrl(index, *value);
		break;
	case EXTENDED_FEATURES:
	case IN_VMCS:
		*value = vmread(msr->place);
		break;
	case XFD:
		*value = vcpu->fpu.fpstate->xfd;
		break;
	case NOWHERE:
		*value = msr->place;
		break;
	default:
		*value = *place_of(vcpu, msr, index);
		break;
	}
	return 0;
}

/*
 * Each byte is a memory type: 0, 1 or 4 to 7, so bit 1 comes only with bit 2. Without @pat not 7
 * (uncached unless an MTRR says otherwise), so bit 0 comes only without bit 1.
 */
static bool are_memory_types(u64 value, bool pat)
{
	return !(value & 0xf8f8f8f8f8f8f8f8) && !(value & ~(value >> 1) & 0x0202020202020202) &&
		(pat || !(value & (value >> 1) & 0x0101010101010101));
}

static bool is_acceptable(struct kvml_vcpu *vcpu, const struct known_msr *msr, u32 index, u64 value)
{
	switch (msr->check) {
	case ZERO:
		return !value;
	case NOTHING:
		return false;
	case TILES:
		return !(value & (~(u64)XFEATURE_MASK_XTILE_DATA | vcpu->xcr0_reserved));
	case CANONICAL:
		return __is_canonical_address(value, 48);
	case NO_UPPER_HALF:
		return !(value >> 32);
	case PAT_TYPES:
		return are_memory_types(value, true);
	case MTRR_DEFAULT:
		return are_memory_types((u8)value, false) && !(value & ~0xcffULL);
	case MTRR_FIXED:
		return are_memory_types(value, false);
	case MTRR_VARIABLE:
		if (value >> vcpu->physical_bits)
			return false;
		/* Bases and masks take turns. */
		return index & 1 ? !(value & 0x7ff) :
				   are_memory_types((u8)value, false) && !(value & 0xf00);
	default:
		return true;
	}
}

static void set_tsc_offset(struct kvml_vcpu *vcpu, u64 offset)
{
	WRITE_ONCE(vcpu->tsc_offset, offset);
	vmwrite(TSC_OFFSET, offset + kvml_vmx.tsc_lost);
	/* A TSC deadline now lies elsewhere in time. */
	kvml_apic_timer_changed(&vcpu->lapic.apic);
	/* The guest's kvmclock page, too; the others' pages say whether all have one TSC. */
	atomic_inc_return(&vcpu->vm->clock.generation);
}

static void write_tsc(struct kvml_vcpu *vcpu, u64 value, bool host)
{
	const u64 second = tsc_khz * 1000ULL;
	struct kvml_vm *vm = vcpu->vm;
	u64 offset = value - kvml_tsc();

	if (host) {
		/*
		 * User space sets the vCPUs one after the other to the same value. Within a second
		 * that means one TSC for all (KVM does likewise), or SMP guests would find theirs
		 * unstable.
		 */
		mutex_lock(&vm->lock);
		if (offset - vm->tsc_offset + second >= 2 * second)
			vm->tsc_offset = offset;
		offset = vm->tsc_offset;
		mutex_unlock(&vm->lock);
	} else {
		vcpu->msr.tsc_adjust += offset - vcpu->tsc_offset;
	}
	set_tsc_offset(vcpu, offset);
}

int kvml_set_msr(struct kvml_vcpu *vcpu, u32 index, u64 value, bool host)
{
	const struct known_msr *msr = find(index);
	struct kvml_apic *apic = &vcpu->lapic.apic;

	if (!msr || !is_acceptable(vcpu, msr, index, value))
		return -EINVAL;
	switch (msr->home) {
	case X2APIC:
		return kvml_apic_msr_write(apic, index, value);
	case WALL_CLOCK:
		kvml_clock_write_wall(vcpu->vm, value);
		break;
	case BASE_OF_APIC:
		if (host)
			return kvml_apic_restore_base(apic, value, vcpu->physical_bits);
		return value & vcpu->apic_base_reserved ? -EINVAL :
			kvml_apic_write_base(apic, value, vcpu->physical_bits);
	case EXTENDED_FEATURES:
		return kvml_set_efer(vcpu, value);
	case TSC:
		write_tsc(vcpu, value, host);
		break;
	case TSC_ADJUST:
		/* The guest moves its TSC by moving this; user space only restores what was. */
		if (!host)
			set_tsc_offset(vcpu, vcpu->tsc_offset + value - vcpu->msr.tsc_adjust);
		vcpu->msr.tsc_adjust = value;
		break;
	case TSC_DEADLINE:
		kvml_apic_write_tsc_deadline(apic, value);
		break;
	case IN_PROCESSOR:
		wrmsrl(index, value);
		break;
	case IN_VMCS:
		vmwrite(msr->place, value);
		break;
	case XFD:
		/* The host must never load what is forbidden now, which is lost instead. */
		fpregs_lock();
		vcpu->fpu.fpstate->regs.xsave.header.xfeatures &= ~value;
		fpu_update_guest_xfd(&vcpu->fpu, value);
		fpregs_unlock();
		break;
	case LOADED:
		/* Preempted in between, the host would get back its own only if the two differ. */
		preempt_disable();
		*place_of(vcpu, msr, index) = value;
		wrmsrl(index, value);
		preempt_enable();
		break;
	case SYSTEM_TIME:
		vcpu->clock.generation = 0;
		fallthrough;
	case KEPT:
		*place_of(vcpu, msr, index) = value;
		break;
	}
	return 0;
}

int kvml_msr_list(struct kvm_msr_list __user *user)
{
	const bool tiles = kvml_supported_xcr0() & XFEATURE_MASK_XTILE_DATA;
	const struct known_msr *msr;
	u32 room, count = 0, i;

	if (get_user(room, &user->nmsrs))
		return -EFAULT;
	for (msr = known; msr < known + ARRAY_SIZE(known); msr++) {
		if (!msr->saved || (msr->check == TILES && !tiles))
			continue;
		for (i = 0; i <= msr->more; i++, count++) {
			if (count < room && put_user(msr->index + i, &user->indices[count]))
				return -EFAULT;
		}
	}
	if (put_user(count, &user->nmsrs))
		return -EFAULT;
	return room < count ? -E2BIG : 0;
}

/* KVM_GET_MSRS and KVM_SET_MSRS: how many were done before the first that could not be. */
int kvml_msr_transfer(struct kvml_vcpu *vcpu, struct kvm_msrs __user *user, bool write)
{
	struct kvm_msr_entry entry;
	u32 count, i;

	if (get_user(count, &user->nmsrs))
		return -EFAULT;
	if (count > KVML_MSRS_MAX)
		return -E2BIG;
	for (i = 0; i < count; i++) {
		if (copy_from_user(&entry, &user->entries[i], sizeof(entry)))
			return -EFAULT;
		if (write ? kvml_set_msr(vcpu, entry.index, entry.data, true) :
			    kvml_get_msr(vcpu, entry.index, &entry.data))
			break;
		if (!write && put_user(entry.data, &user->entries[i].data))
			return -EFAULT;
	}
	return i;
}
