// SPDX-License-Identifier: GPL-2.0
/*
 * CPUID: what the host has and the module can stand behind (KVM_GET_SUPPORTED_CPUID), and the table
 * that user space made of it, which answers the guest.
 */
#include "internal.h"

#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/fpu/xcr.h>
#include <uapi/asm/kvm_para.h>

enum { EAX, EBX, ECX, EDX };

#define SIGNATURE_LEAF	0x40000000u
#define FEATURE_LEAF	0x40000001u
#define OSXSAVE_BIT	27
#define APIC_BIT	9
#define X2APIC_BIT	21

/* Leaf 1. SSE3 PCLMUL SSSE3 FMA CX16 PCID SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE AVX F16C RDRAND */
#define LEAF1_ECX	0x76da3203u
/* x2APIC, TSC deadline and "hypervisor present" are the module's own. */
#define LEAF1_ECX_OWN	(BIT(21) | BIT(24) | BIT(31))
/* FPU to SSE2 without PSN, DS, ACPI, HTT and what follows SSE2 but self-snoop. */
#define LEAF1_EDX	0x0f8bfbffu
/* Leaf 7: FSGSBASE TSC_ADJUST BMI1 AVX2 SMEP BMI2 ERMS INVPCID RDSEED ADX SMAP CLFLUSHOPT CLWB SHA,
 * AVX-512 F DQ IFMA CD BW VL.
 */
#define LEAF7_EBX	(BIT(0) | BIT(1) | BIT(3) | BIT(5) | BIT(7) | BIT(8) | BIT(9) | BIT(10) | \
			 BIT(16) | BIT(17) | BIT(18) | BIT(19) | BIT(20) | BIT(21) | BIT(23) | \
			 BIT(24) | BIT(28) | BIT(29) | BIT(30) | BIT(31))
/* AVX512_VBMI UMIP VBMI2 GFNI VAES VPCLMUL VNNI BITALG VPOPCNTDQ RDPID */
#define LEAF7_ECX	(BIT(1) | BIT(2) | BIT(6) | BIT(8) | BIT(9) | BIT(10) | BIT(11) | BIT(12) | \
			 BIT(14) | BIT(22))
/* AVX512 4VNNIW 4FMAPS, fast short REP MOV, MD_CLEAR, SERIALIZE */
#define LEAF7_EDX	(BIT(2) | BIT(3) | BIT(4) | BIT(10) | BIT(14))
/* Leaf 0xd.1: XSAVEOPT XSAVEC XGETBV(1); XSAVES needs IA32_XSS, which is not offered. */
#define LEAFD1_EAX	0x7u
/* Leaf 0x80000001: LAHF LZCNT PREFETCHW; SYSCALL NX 1G RDTSCP LM */
#define EXTENDED_ECX	(BIT(0) | BIT(5) | BIT(8))
#define EXTENDED_EDX	(BIT(11) | BIT(20) | BIT(26) | BIT(27) | BIT(29))

/* What a leaf has of the host's bits, and what the module adds. Other leaves are as the host's. */
static const struct rule {
	u32 leaf, index;
	u32 keep[4];
	u32 add[4];
} rules[] = {
	/* The processor's number and count in EBX are for user space to fill in. */
	{ 1, 0, { ~0u, 0xff00, LEAF1_ECX, LEAF1_EDX }, { [ECX] = LEAF1_ECX_OWN } },
	/* The LAPIC's timer never stops. */
	{ 6, 0, .add = { [EAX] = BIT(2) } },
	/* TSC_ADJUST is the module's own. */
	{ 7, 0, { 0, LEAF7_EBX, LEAF7_ECX, LEAF7_EDX }, { [EBX] = BIT(1) } },
	{ 0xd, 1, { [EAX] = LEAFD1_EAX } },
	{ 0x80000001, 0, { ~0u, ~0u, EXTENDED_ECX, EXTENDED_EDX } },
	/* Invariant TSC. */
	{ 0x80000007, 0, { [EDX] = BIT(8) } },
	/* Sizes of addresses. */
	{ 0x80000008, 0, { [EAX] = 0xffff } },
};

u64 kvml_supported_xcr0(void)
{
	const u64 offered = XFEATURE_MASK_FP | XFEATURE_MASK_SSE | XFEATURE_MASK_YMM |
		XFEATURE_MASK_OPMASK | XFEATURE_MASK_ZMM_Hi256 | XFEATURE_MASK_Hi16_ZMM;

	if (!boot_cpu_has(X86_FEATURE_XSAVE) || !boot_cpu_has(X86_FEATURE_OSXSAVE))
		return XFEATURE_MASK_FP | XFEATURE_MASK_SSE;
	return xgetbv(XCR_XFEATURE_ENABLED_MASK) & offered;
}

static const struct kvm_cpuid_entry2 *find_leaf(const struct kvm_cpuid_entry2 *entries, u32 count,
						u32 leaf, u32 index)
{
	const struct kvm_cpuid_entry2 *entry;

	for (entry = entries; entry < entries + count; entry++) {
		if (entry->function != leaf)
			continue;
		if (!(entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || entry->index == index)
			return entry;
	}
	return NULL;
}

/* The size of an XSAVE area with what @xcr0 enables. */
static u32 xsave_size(const struct kvm_cpuid_entry2 *entries, u32 count, u64 xcr0)
{
	u32 size = 512 + 64;
	u32 i;

	for (i = 2; i < 63; i++) {
		const struct kvm_cpuid_entry2 *entry;

		if (!(xcr0 & BIT_ULL(i)))
			continue;
		entry = find_leaf(entries, count, 0xd, i);
		if (entry)
			size = max(size, entry->eax + entry->ebx);
	}
	return size;
}

/* ----- KVM_GET_SUPPORTED_CPUID ----- */

/* Has room for more than is ever added: some thirty leaves. */
struct table {
	struct kvm_cpuid_entry2 *entries;
	u32 count;
};

/* What needs an execution control, or the host's use of XSAVE. */
static void hide_unusable(struct kvm_cpuid_entry2 *entry)
{
	if (entry->function == 1 && !boot_cpu_has(X86_FEATURE_OSXSAVE))
		entry->ecx &= ~(u32)(BIT(26) | BIT(28) | BIT(29) | BIT(12));
	if (entry->function == 7 && !(kvml_vmx.secondary & SECONDARY_EXEC_ENABLE_INVPCID))
		entry->ebx &= ~(u32)BIT(10);
	if (kvml_vmx.secondary & SECONDARY_EXEC_ENABLE_RDTSCP)
		return;
	if (entry->function == 7)
		entry->ecx &= ~(u32)BIT(22); /* RDPID */
	if (entry->function == 0x80000001)
		entry->edx &= ~(u32)BIT(27);
}

static struct kvm_cpuid_entry2 *add_host_leaf(struct table *table, u32 leaf, u32 index, bool indexed)
{
	struct kvm_cpuid_entry2 *entry = &table->entries[table->count++];
	u32 *registers = &entry->eax;
	u32 i, reg;

	entry->function = leaf;
	entry->index = index;
	entry->flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
	cpuid_count(leaf, index, &entry->eax, &entry->ebx, &entry->ecx, &entry->edx);
	for (i = 0; i < ARRAY_SIZE(rules); i++) {
		if (rules[i].leaf != leaf || rules[i].index != index)
			continue;
		for (reg = EAX; reg <= EDX; reg++)
			registers[reg] = (registers[reg] & rules[i].keep[reg]) | rules[i].add[reg];
	}
	hide_unusable(entry);
	return entry;
}

static void add_cache_leaves(struct table *table)
{
	u32 i;

	for (i = 0; i < 8; i++) {
		struct kvm_cpuid_entry2 *entry = add_host_leaf(table, 4, i, true);

		if (!(entry->eax & 0x1f))
			break;
		/* Sharing depends on a topology that user space makes. */
		entry->eax &= 0x3fff;
	}
}

static void add_xsave_leaves(struct table *table)
{
	const u64 xcr0 = kvml_supported_xcr0();
	struct kvm_cpuid_entry2 *entry = add_host_leaf(table, 0xd, 0, true);
	u32 i;

	add_host_leaf(table, 0xd, 1, true);
	for (i = 2; i < 63; i++) {
		if (xcr0 & BIT_ULL(i))
			add_host_leaf(table, 0xd, i, true);
	}
	entry->eax = (u32)xcr0;
	entry->edx = xcr0 >> 32;
	entry->ebx = entry->ecx = xsave_size(table->entries, table->count, xcr0);
}

static void add_leaves(struct table *table, u32 first, u32 limit)
{
	const u32 last = min(cpuid_eax(first), limit);
	struct kvm_cpuid_entry2 *entry;
	u32 leaf;

	for (leaf = first; leaf <= last; leaf++) {
		switch (leaf) {
		case 3:
		case 5:
		case 8 ... 0xc:
			break;
		case 4:
			add_cache_leaves(table);
			break;
		case 0xd:
			if (boot_cpu_has(X86_FEATURE_OSXSAVE))
				add_xsave_leaves(table);
			break;
		default:
			entry = add_host_leaf(table, leaf, 0, leaf == 7);
			if (leaf == first)
				entry->eax = last;
		}
	}
}

static void add_kvm_leaves(struct table *table)
{
	const u32 *signature = (const u32 *)KVM_SIGNATURE;

	table->entries[table->count++] = (struct kvm_cpuid_entry2) {
		.function = SIGNATURE_LEAF, .eax = FEATURE_LEAF,
		.ebx = signature[0], .ecx = signature[1], .edx = signature[2],
	};
	table->entries[table->count++] = (struct kvm_cpuid_entry2) {
		.function = FEATURE_LEAF,
		.eax = BIT(KVM_FEATURE_CLOCKSOURCE) | BIT(KVM_FEATURE_NOP_IO_DELAY) |
			BIT(KVM_FEATURE_CLOCKSOURCE2) | BIT(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT),
	};
}

int kvml_supported_cpuid(struct kvm_cpuid2 __user *user)
{
	struct table table = {};
	u32 room;
	int outcome = 0;

	if (get_user(room, &user->nent))
		return -EFAULT;
	table.entries = kcalloc(KVML_CPUID_MAX, sizeof(*table.entries), GFP_KERNEL);
	if (!table.entries)
		return -ENOMEM;
	add_leaves(&table, 0, 0xd);
	add_kvm_leaves(&table);
	add_leaves(&table, 0x80000000, 0x80000008);
	if (room < table.count)
		outcome = -E2BIG;
	else if (put_user(table.count, &user->nent) || put_user(0, &user->padding) ||
		 copy_to_user(user->entries, table.entries, table.count * sizeof(*table.entries)))
		outcome = -EFAULT;
	kfree(table.entries);
	return outcome;
}

/* ----- The vCPU's table ----- */

static const struct kvm_cpuid_entry2 *vcpu_leaf(struct kvml_vcpu *vcpu, u32 leaf, u32 index)
{
	return find_leaf(vcpu->cpuid, vcpu->cpuid_count, leaf, index);
}

void kvml_cpuid(struct kvml_vcpu *vcpu, u32 leaf, u32 index, u32 out[4])
{
	const struct kvm_cpuid_entry2 *entry = vcpu_leaf(vcpu, leaf, index);

	if (!entry) {
		/* Leaves beyond the last answer like the last basic one (SDM volume 2, CPUID). */
		const struct kvm_cpuid_entry2 *zero = vcpu_leaf(vcpu, 0, 0);

		if (zero && leaf > zero->eax && !(leaf & 0xc0000000))
			entry = vcpu_leaf(vcpu, zero->eax, index);
	}
	if (!entry) {
		memset(out, 0, 4 * sizeof(*out));
		return;
	}
	out[EAX] = entry->eax;
	out[EBX] = entry->ebx;
	out[ECX] = entry->ecx;
	out[EDX] = entry->edx;
	if (leaf == 1) {
		out[ECX] &= ~(u32)BIT(OSXSAVE_BIT);
		if (kvml_cr4() & X86_CR4_OSXSAVE)
			out[ECX] |= BIT(OSXSAVE_BIT);
		if (!(kvml_lapic_base(vcpu) & KVML_APIC_BASE_ENABLE))
			out[EDX] &= ~(u32)BIT(APIC_BIT);
	} else if (leaf == 0xd && index == 0) {
		out[EBX] = xsave_size(vcpu->cpuid, vcpu->cpuid_count, vcpu->xcr0);
	}
}

bool kvml_cpuid_has_x2apic(struct kvml_vcpu *vcpu)
{
	const struct kvm_cpuid_entry2 *entry = vcpu_leaf(vcpu, 1, 0);

	return entry && (entry->ecx & BIT(X2APIC_BIT));
}

int kvml_set_cpuid(struct kvml_vcpu *vcpu, struct kvm_cpuid2 __user *user)
{
	struct kvm_cpuid_entry2 *entries = NULL;
	const struct kvm_cpuid_entry2 *sizes;
	struct kvm_cpuid2 header;

	if (copy_from_user(&header, user, sizeof(header)))
		return -EFAULT;
	if (header.nent > KVML_CPUID_MAX)
		return -E2BIG;
	if (header.nent) {
		entries = memdup_user(user->entries, array_size(header.nent, sizeof(*entries)));
		if (IS_ERR(entries))
			return PTR_ERR(entries);
	}
	kfree(vcpu->cpuid);
	vcpu->cpuid = entries;
	vcpu->cpuid_count = header.nent;
	sizes = vcpu_leaf(vcpu, 0x80000008, 0);
	vcpu->physical_bits = boot_cpu_data.x86_phys_bits;
	/* A guest may be told less than the processor has, never more. */
	if (sizes && (sizes->eax & 0xff) >= 32)
		vcpu->physical_bits = min_t(u8, sizes->eax, vcpu->physical_bits);
	return 0;
}

int kvml_get_cpuid(struct kvml_vcpu *vcpu, struct kvm_cpuid2 __user *user)
{
	u32 room;

	if (get_user(room, &user->nent) || put_user(vcpu->cpuid_count, &user->nent))
		return -EFAULT;
	if (room < vcpu->cpuid_count)
		return -E2BIG;
	return copy_to_user(user->entries, vcpu->cpuid, vcpu->cpuid_count * sizeof(*vcpu->cpuid)) ?
		-EFAULT : 0;
}
