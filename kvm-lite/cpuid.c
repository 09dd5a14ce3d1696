// SPDX-License-Identifier: GPL-2.0
/*
 * CPUID: what the host has and the module can stand behind (KVM_GET_SUPPORTED_CPUID), and the table
 * that user space made of it, which answers the guest and says what its registers may hold.
 */
#include "internal.h"

#include <linux/slab.h>
#include <asm/fpu/xcr.h>
#include <uapi/asm/kvm_para.h>

enum { EAX, EBX, ECX, EDX, REGISTERS };

#define ALL		{ ~0u, ~0u, ~0u, ~0u }

#define XSAVE_LEAF	0xdu
#define TILES_LEAF	0x1eu
#define FEATURE_LEAF	0x40000001u
#define KVM_FEATURES	(BIT(KVM_FEATURE_CLOCKSOURCE) | BIT(KVM_FEATURE_NOP_IO_DELAY) | \
			 BIT(KVM_FEATURE_CLOCKSOURCE2) | BIT(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT))

/* The leaves that are offered: what they have of the host's bits, and what the module adds. */
static const struct rule {
	u32 leaf;
	u8 first, last;		/* indices */
	bool indexed;
	u32 keep[REGISTERS], add[REGISTERS];
	u32 most;		/* if not 0, of leaves or indices that EAX counts */
} rules[] = {
	{ 0, .keep = ALL, .most = TILES_LEAF },
	/*
	 * The processor's number and count in EBX are for user space to fill in.
	 * ECX: SSE3 PCLMUL SSSE3 FMA CX16 PCID SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE AVX F16C RDRAND;
	 * x2APIC, TSC deadline and "hypervisor present" are the module's own.
	 * EDX: FPU to SSE2 without PSN, DS, ACPI, HTT and what follows SSE2 but self-snoop.
	 */
	{ 1, .keep = { ~0u, 0xff00, 0x76da3203, 0x0f8bfbff },
	     .add = { [ECX] = BIT(21) | BIT(24) | BIT(31) } },
	{ 2, .keep = ALL },
	/* Caches. Who shares them depends on a topology that user space makes. */
	{ 4, 0, 7, true, { 0x3fff, ~0u, ~0u, ~0u } },
	/* The LAPIC's timer never stops. */
	{ 6, .add = { [EAX] = BIT(2) } },
	/*
	 * EBX: FSGSBASE BMI1 AVX2 SMEP BMI2 ERMS INVPCID AVX512F AVX512DQ RDSEED ADX SMAP AVX512IFMA
	 * CLFLUSHOPT CLWB AVX512CD SHA AVX512BW AVX512VL; TSC_ADJUST is the module's own.
	 * ECX: AVX512_VBMI PKU UMIP VBMI2 GFNI VAES VPCLMUL VNNI BITALG VPOPCNTDQ RDPID
	 * EDX: AVX512 4VNNIW 4FMAPS, fast short REP MOV, AVX512_VP2INTERSECT, MD_CLEAR, SERIALIZE,
	 * AMX_BF16, AVX512_FP16, AMX_TILE, AMX_INT8
	 */
	{ 7, 0, 0, true, { ~0u, 0xf1bf07ab, 0x00405f4e, 0x03c0451c }, { [EBX] = BIT(1) }, 1 },
	/* AVX_VNNI, AVX512_BF16, fast zero-length and short REP, AMX_FP16, AVX_IFMA */
	{ 7, 1, 1, true, { 0x00a01c30 } },
	/* XSAVE: sizes, its features, and the place of each component. */
	{ XSAVE_LEAF, 0, 0, true },
	/* XSAVEOPT XSAVEC XGETBV(1) XSAVES XFD */
	{ XSAVE_LEAF, 1, 1, true, { [EAX] = 0x1f } },
	{ XSAVE_LEAF, 2, 31, true, ALL },
	/* Tiles: their palettes, and what multiplies them. */
	{ 0x1d, 0, 1, true, ALL }, { TILES_LEAF, 0, 0, true, ALL },
	{ 0x40000000, .add = { FEATURE_LEAF, 0x4b4d564b, 0x564b4d56, 0x4d } },
	{ FEATURE_LEAF, .add = { KVM_FEATURES } },
	{ 0x80000000, .keep = ALL, .most = 0x80000008 },
	/* LAHF LZCNT PREFETCHW; SYSCALL NX 1G RDTSCP LM */
	{ 0x80000001, .keep = { ~0u, ~0u, 0x00000121, 0x2c100800 } },
	/* The processor's name. */
	{ 0x80000002, .keep = ALL }, { 0x80000003, .keep = ALL }, { 0x80000004, .keep = ALL },
	/* Its second-level cache. */
	{ 0x80000006, .keep = ALL },
	/* Invariant TSC. */
	{ 0x80000007, .keep = { [EDX] = BIT(8) } },
	/* Sizes of addresses. */
	{ 0x80000008, .keep = { [EAX] = 0xffff } },
};

/* Features that depend on more than the processor, and those that registers depend on. */
static const struct feature {
	u32 leaf, index, reg, bits;
	/* A part of XCR0 or a secondary control without which the host cannot offer it. */
	u64 xcr0;
	u32 control;
	/* Bits of registers that a guest may set only if its CPUID has the feature. */
	u32 cr4, efer, apic_base;
} features[] = {
	{ 1, 0, ECX, BIT(17), .cr4 = X86_CR4_PCIDE },
	{ 1, 0, ECX, BIT(21), .apic_base = KVML_APIC_BASE_X2APIC },
	{ 1, 0, ECX, BIT(26), .cr4 = X86_CR4_OSXSAVE },
	{ 7, 0, EBX, BIT(0), .cr4 = X86_CR4_FSGSBASE },
	{ 7, 0, EBX, BIT(7), .cr4 = X86_CR4_SMEP },
	/* INVPCID */
	{ 7, 0, EBX, BIT(10), .control = SECONDARY_EXEC_ENABLE_INVPCID },
	{ 7, 0, EBX, BIT(20), .cr4 = X86_CR4_SMAP },
	{ 7, 0, ECX, BIT(2), .cr4 = X86_CR4_UMIP },
	{ 7, 0, ECX, BIT(3), XFEATURE_MASK_PKRU, .cr4 = X86_CR4_PKE },
	/* AMX_BF16 AMX_TILE AMX_INT8 */
	{ 7, 0, EDX, 0x03400000, XFEATURE_MASK_XTILE_DATA },
	/* AMX_FP16 */
	{ 7, 1, EAX, BIT(21), XFEATURE_MASK_XTILE_DATA },
	/* XSAVES, XFD */
	{ XSAVE_LEAF, 1, EAX, BIT(3), .control = KVML_SECONDARY_XSAVES },
	{ XSAVE_LEAF, 1, EAX, BIT(4), XFEATURE_MASK_XTILE_DATA },
	{ 0x80000001, 0, EDX, BIT(11), .efer = EFER_SCE },
	{ 0x80000001, 0, EDX, BIT(20), .efer = EFER_NX },
	{ 0x80000001, 0, EDX, BIT(29), .efer = EFER_LME },
};

u64 kvml_offered_xcr0(void)
{
	/* Kernels without keys may have PKRU in their XCR0, and cannot touch it all the same. */
	const u64 known = XFEATURE_MASK_FP | XFEATURE_MASK_SSE | XFEATURE_MASK_YMM |
		XFEATURE_MASK_AVX512 | XFEATURE_MASK_XTILE |
		(boot_cpu_has(X86_FEATURE_OSPKE) ? XFEATURE_MASK_PKRU : 0);

	return xgetbv(XCR_XFEATURE_ENABLED_MASK) & known;
}

u64 kvml_supported_xcr0(void)
{
	const u64 offered = kvml_offered_xcr0();

	return xstate_get_guest_group_perm() & XFEATURE_MASK_XTILE_DATA ? offered :
		offered & ~(u64)XFEATURE_MASK_XTILE;
}

static struct kvm_cpuid_entry2 *find_leaf(struct kvm_cpuid_entry2 *entries, u32 count, u32 leaf,
					  u32 index)
{
	struct kvm_cpuid_entry2 *entry;

	for (entry = entries; entry < entries + count; entry++) {
		if (entry->function == leaf &&
		    (entry->index == index || !(entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))
			return entry;
	}
	return NULL;
}

/* The size of an XSAVE area with what @xcr0 enables; SDM volume 1, "XSAVE Area". */
static u32 xsave_size(struct kvm_cpuid_entry2 *entries, u32 count, u64 xcr0, bool compacted)
{
	u32 size = 512 + 64, i;

	for (i = 2; i < 63; i++) {
		const struct kvm_cpuid_entry2 *entry =
			xcr0 & BIT_ULL(i) ? find_leaf(entries, count, XSAVE_LEAF, i) : NULL;

		if (entry && compacted)
			size = (entry->ecx & BIT(1) ? ALIGN(size, 64) : size) + entry->eax;
		else if (entry)
			size = max(size, entry->eax + entry->ebx);
	}
	return size;
}

/* Gives user space a table, if that has room. */
static int give(struct kvm_cpuid2 __user *user, const struct kvm_cpuid_entry2 *entries, u32 count)
{
	u32 room;

	if (get_user(room, &user->nent) || put_user(count, &user->nent))
		return -EFAULT;
	if (room < count)
		return -E2BIG;
	return copy_to_user(user->entries, entries, count * sizeof(*entries)) ? -EFAULT : 0;
}

/* ----- KVM_GET_SUPPORTED_CPUID ----- */

static void fill(struct kvm_cpuid_entry2 *entry, const struct rule *rule, u32 index, u64 xcr0)
{
	const u32 last = rule->leaf & BIT(31) ? boot_cpu_data.extended_cpuid_level :
		boot_cpu_data.cpuid_level;
	u32 *registers = &entry->eax;
	const struct feature *feature;
	u32 reg;

	entry->function = rule->leaf;
	entry->index = index;
	entry->flags = rule->indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
	if (rule->leaf <= last)
		cpuid_count(rule->leaf, index, &entry->eax, &entry->ebx, &entry->ecx, &entry->edx);
	for (reg = EAX; reg < REGISTERS; reg++)
		registers[reg] = (registers[reg] & rule->keep[reg]) | rule->add[reg];
	if (rule->most)
		entry->eax = min(entry->eax, rule->most);
	if (rule->leaf == 0 && !(xcr0 & XFEATURE_MASK_XTILE_DATA))
		entry->eax = min(entry->eax, XSAVE_LEAF);
	for (feature = features; feature < features + ARRAY_SIZE(features); feature++) {
		const bool held = !(feature->xcr0 & ~xcr0) &&
			!(feature->control & ~kvml_vmx.secondary);

		if (!held && rule->leaf == feature->leaf && index == feature->index)
			registers[feature->reg] &= ~feature->bits;
	}
}

int kvml_supported_cpuid(struct kvm_cpuid2 __user *user)
{
	const u64 xcr0 = kvml_supported_xcr0();
	struct kvm_cpuid_entry2 *entries, *entry;
	const struct rule *rule;
	u32 count = 0, index;
	int outcome;

	/* More than the rules can make. */
	entries = kcalloc(KVML_CPUID_MAX, sizeof(*entries), GFP_KERNEL);
	if (!entries)
		return -ENOMEM;
	for (rule = rules; rule < rules + ARRAY_SIZE(rules); rule++) {
		for (index = rule->first; index <= rule->last; index++) {
			if (rule->leaf != XSAVE_LEAF || index <= 1 || (xcr0 & BIT_ULL(index)))
				fill(&entries[count++], rule, index, xcr0);
		}
	}
	entry = find_leaf(entries, count, XSAVE_LEAF, 0);
	entry->eax = xcr0;
	entry->ebx = xsave_size(entries, count, xcr0, false);
	entry->ecx = entry->ebx;
	entry[1].ebx = xsave_size(entries, count, xcr0, true);
	outcome = give(user, entries, count);
	kfree(entries);
	return outcome;
}

/* ----- The vCPU's table ----- */

static struct kvm_cpuid_entry2 *vcpu_leaf(struct kvml_vcpu *vcpu, u32 leaf, u32 index)
{
	return find_leaf(vcpu->cpuid, vcpu->cpuid_count, leaf, index);
}

void kvml_cpuid(struct kvml_vcpu *vcpu)
{
	static const struct kvm_cpuid_entry2 unknown;
	const u32 leaf = vcpu->regs[0], index = vcpu->regs[1];
	const struct kvm_cpuid_entry2 *entry = vcpu_leaf(vcpu, leaf, index);

	if (!entry) {
		/* Leaves beyond the last answer like the last basic one (SDM volume 2, CPUID). */
		const struct kvm_cpuid_entry2 *zero = vcpu_leaf(vcpu, 0, 0);

		if (zero && leaf > zero->eax && !(leaf & 0xc0000000))
			entry = vcpu_leaf(vcpu, zero->eax, index);
		entry = entry ?: &unknown;
	}
	vcpu->regs[0] = entry->eax;
	vcpu->regs[1] = entry->ecx;
	vcpu->regs[2] = entry->edx;
	vcpu->regs[3] = entry->ebx;
	/* What changes while the guest runs. The kernel numbers features by words of 32. */
	if (leaf == 1) {
		__assign_bit(X86_FEATURE_OSXSAVE & 31, &vcpu->regs[1],
			     kvml_cr4() & X86_CR4_OSXSAVE);
		if (!kvml_apic_hardware_enabled(&vcpu->lapic.apic))
			__clear_bit(X86_FEATURE_APIC & 31, &vcpu->regs[2]);
	} else if (leaf == 7 && index == 0) {
		__assign_bit(X86_FEATURE_OSPKE & 31, &vcpu->regs[1], kvml_cr4() & X86_CR4_PKE);
	} else if (leaf == XSAVE_LEAF && index <= 1) {
		vcpu->regs[3] = xsave_size(vcpu->cpuid, vcpu->cpuid_count, vcpu->xcr0, index);
	}
}

/* What the guest's registers may hold: computed here, since each write of one asks. */
static void limit_registers(struct kvml_vcpu *vcpu)
{
	const struct kvm_cpuid_entry2 *xsave = vcpu_leaf(vcpu, XSAVE_LEAF, 0);
	const struct kvm_cpuid_entry2 *sizes = vcpu_leaf(vcpu, 0x80000008, 0);
	const struct feature *feature;

	vcpu->cr4_reserved = 0;
	vcpu->efer_reserved = 0;
	vcpu->apic_base_reserved = 0;
	for (feature = features; feature < features + ARRAY_SIZE(features); feature++) {
		const struct kvm_cpuid_entry2 *entry =
			vcpu_leaf(vcpu, feature->leaf, feature->index);

		if (entry && ((&entry->eax)[feature->reg] & feature->bits))
			continue;
		vcpu->cr4_reserved |= feature->cr4;
		vcpu->efer_reserved |= feature->efer;
		vcpu->apic_base_reserved |= feature->apic_base;
	}
	vcpu->xcr0_reserved = ~(xsave ? (u64)xsave->edx << 32 | xsave->eax : XFEATURE_MASK_FP);
	vcpu->physical_bits = boot_cpu_data.x86_phys_bits;
	/* A guest may be told less than the processor has, never more. */
	if (sizes && (sizes->eax & 0xff) >= 32)
		vcpu->physical_bits = min_t(u8, sizes->eax, vcpu->physical_bits);
}

int kvml_set_cpuid(struct kvml_vcpu *vcpu, struct kvm_cpuid2 __user *user)
{
	struct kvm_cpuid_entry2 *entries, *xsave;
	struct kvm_cpuid2 header;
	int outcome;

	if (copy_from_user(&header, user, sizeof(header)))
		return -EFAULT;
	if (header.nent > KVML_CPUID_MAX)
		return -E2BIG;
	entries = memdup_user(user->entries, array_size(header.nent, sizeof(*entries)));
	if (IS_ERR(entries))
		return PTR_ERR(entries);
	/* Tiles are large: there is room for them only from here on, and if the process may. */
	xsave = find_leaf(entries, header.nent, XSAVE_LEAF, 0);
	outcome = fpu_enable_guest_xfd_features(&vcpu->fpu, xsave ? xsave->eax &
						XFEATURE_MASK_XTILE_DATA : 0);
	if (!outcome) {
		swap(vcpu->cpuid, entries);
		vcpu->cpuid_count = header.nent;
		limit_registers(vcpu);
	}
	kfree(entries);
	return outcome;
}

int kvml_get_cpuid(struct kvml_vcpu *vcpu, struct kvm_cpuid2 __user *user)
{
	return give(user, vcpu->cpuid, vcpu->cpuid_count);
}
