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
#define LEAF7_EBX_INVPCID	BIT(10)
#define LEAF7_EBX_TSC_ADJUST	BIT(1)
/* AVX512_VBMI UMIP VBMI2 GFNI VAES VPCLMUL VNNI BITALG VPOPCNTDQ RDPID */
#define LEAF7_ECX	(BIT(1) | BIT(2) | BIT(6) | BIT(8) | BIT(9) | BIT(10) | BIT(11) | BIT(12) | \
			 BIT(14) | BIT(22))
#define LEAF7_ECX_RDPID	BIT(22)
/* AVX512 4VNNIW 4FMAPS, fast short REP MOV, MD_CLEAR, SERIALIZE */
#define LEAF7_EDX	(BIT(2) | BIT(3) | BIT(4) | BIT(10) | BIT(14))
/* Leaf 0xd.1: XSAVEOPT XSAVEC XGETBV(1); XSAVES needs IA32_XSS, which is not offered. */
#define LEAFD1_EAX	0x7u
/* Leaf 0x80000001: LAHF LZCNT PREFETCHW; SYSCALL NX 1G RDTSCP LM */
#define EXTENDED_ECX	(BIT(0) | BIT(5) | BIT(8))
#define EXTENDED_EDX	(BIT(11) | BIT(20) | BIT(26) | BIT(27) | BIT(29))
#define EXTENDED_EDX_RDTSCP	BIT(27)
#define INVARIANT_TSC	BIT(8)

u64 kvml_supported_xcr0(void)
{
	const u64 offered = XFEATURE_MASK_FP | XFEATURE_MASK_SSE | XFEATURE_MASK_YMM |
		XFEATURE_MASK_OPMASK | XFEATURE_MASK_ZMM_Hi256 | XFEATURE_MASK_Hi16_ZMM;

	if (!boot_cpu_has(X86_FEATURE_XSAVE) || !boot_cpu_has(X86_FEATURE_OSXSAVE))
		return XFEATURE_MASK_FP | XFEATURE_MASK_SSE;
	return xgetbv(XCR_XFEATURE_ENABLED_MASK) & offered;
}

/* ----- KVM_GET_SUPPORTED_CPUID ----- */

struct table {
	struct kvm_cpuid_entry2 *entries;
	u32 count;
};

static struct kvm_cpuid_entry2 *add_host_leaf(struct table *table, u32 leaf, u32 index, bool indexed)
{
	struct kvm_cpuid_entry2 *entry;

	if (table->count >= KVML_CPUID_MAX)
		return NULL;
	entry = &table->entries[table->count++];
	entry->function = leaf;
	entry->index = index;
	entry->flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
	cpuid_count(leaf, index, &entry->eax, &entry->ebx, &entry->ecx, &entry->edx);
	return entry;
}

static void filter_leaf1(struct kvm_cpuid_entry2 *entry)
{
	if (!boot_cpu_has(X86_FEATURE_OSXSAVE))
		entry->ecx &= ~(u32)(BIT(26) | BIT(28) | BIT(29) | BIT(12));
	entry->ecx = (entry->ecx & LEAF1_ECX) | LEAF1_ECX_OWN;
	entry->edx &= LEAF1_EDX;
	/* The processor's number and count are for user space to fill in. */
	entry->ebx &= 0xff00;
}

static void filter_leaf7(struct kvm_cpuid_entry2 *entry)
{
	u32 ebx = LEAF7_EBX, ecx = LEAF7_ECX;

	if (!(kvml_vmx.secondary & SECONDARY_EXEC_ENABLE_INVPCID))
		ebx &= ~(u32)LEAF7_EBX_INVPCID;
	if (!(kvml_vmx.secondary & SECONDARY_EXEC_ENABLE_RDTSCP))
		ecx &= ~(u32)LEAF7_ECX_RDPID;
	entry->eax = 0;
	entry->ebx = (entry->ebx & ebx) | LEAF7_EBX_TSC_ADJUST;
	entry->ecx &= ecx;
	entry->edx &= LEAF7_EDX;
}

static void add_xsave_leaves(struct table *table)
{
	const u64 xcr0 = kvml_supported_xcr0();
	struct kvm_cpuid_entry2 *entry = add_host_leaf(table, 0xd, 0, true);
	u32 size = 512 + 64;
	u32 i;

	if (!entry)
		return;
	entry->eax = (u32)xcr0;
	entry->edx = xcr0 >> 32;
	for (i = 2; i < 63; i++) {
		u32 a, b, c, d;

		if (!(xcr0 & BIT_ULL(i)))
			continue;
		cpuid_count(0xd, i, &a, &b, &c, &d);
		size = max(size, a + b);
	}
	entry->ebx = size;
	entry->ecx = size;
	entry = add_host_leaf(table, 0xd, 1, true);
	if (entry) {
		entry->eax &= LEAFD1_EAX;
		entry->ebx = entry->ecx = entry->edx = 0;
	}
	for (i = 2; i < 63; i++) {
		if (xcr0 & BIT_ULL(i))
			add_host_leaf(table, 0xd, i, true);
	}
}

static void add_basic_leaves(struct table *table)
{
	const u32 last = min(cpuid_eax(0), 0xdu);
	struct kvm_cpuid_entry2 *entry;
	u32 i;

	entry = add_host_leaf(table, 0, 0, false);
	if (entry)
		entry->eax = last;
	entry = add_host_leaf(table, 1, 0, false);
	if (entry)
		filter_leaf1(entry);
	if (last >= 2)
		add_host_leaf(table, 2, 0, false);
	for (i = 0; last >= 4 && i < 8; i++) {
		entry = add_host_leaf(table, 4, i, true);
		if (!entry || !(entry->eax & 0x1f))
			break;
		/* Sharing depends on a topology that user space makes. */
		entry->eax &= 0x3fff;
	}
	if (last >= 6) {
		entry = add_host_leaf(table, 6, 0, false);
		if (entry) {
			/* The LAPIC's timer never stops. */
			entry->eax = BIT(2);
			entry->ebx = entry->ecx = entry->edx = 0;
		}
	}
	if (last >= 7) {
		entry = add_host_leaf(table, 7, 0, true);
		if (entry)
			filter_leaf7(entry);
	}
	if (last >= 0xd && boot_cpu_has(X86_FEATURE_OSXSAVE))
		add_xsave_leaves(table);
}

static void add_extended_leaves(struct table *table)
{
	const u32 last = min(cpuid_eax(0x80000000), 0x80000008u);
	u32 leaf;

	for (leaf = 0x80000000; leaf <= last; leaf++) {
		struct kvm_cpuid_entry2 *entry = add_host_leaf(table, leaf, 0, false);

		if (!entry)
			return;
		if (leaf == 0x80000000) {
			entry->eax = last;
		} else if (leaf == 0x80000001) {
			entry->ecx &= EXTENDED_ECX;
			entry->edx &= EXTENDED_EDX;
			if (!(kvml_vmx.secondary & SECONDARY_EXEC_ENABLE_RDTSCP))
				entry->edx &= ~(u32)EXTENDED_EDX_RDTSCP;
		} else if (leaf == 0x80000007) {
			entry->eax = entry->ebx = entry->ecx = 0;
			entry->edx &= INVARIANT_TSC;
		} else if (leaf == 0x80000008) {
			entry->eax &= 0xffff;
			entry->ebx = entry->ecx = entry->edx = 0;
		}
	}
}

static void add_kvm_leaves(struct table *table)
{
	static const char signature[12] = "KVMKVMKVM\0\0";
	struct kvm_cpuid_entry2 *entry;

	if (table->count + 2 > KVML_CPUID_MAX)
		return;
	entry = &table->entries[table->count++];
	entry->function = SIGNATURE_LEAF;
	entry->eax = FEATURE_LEAF;
	memcpy(&entry->ebx, signature, 4);
	memcpy(&entry->ecx, signature + 4, 4);
	memcpy(&entry->edx, signature + 8, 4);
	entry = &table->entries[table->count++];
	entry->function = FEATURE_LEAF;
	entry->eax = BIT(KVM_FEATURE_CLOCKSOURCE) | BIT(KVM_FEATURE_NOP_IO_DELAY) |
		BIT(KVM_FEATURE_CLOCKSOURCE2) | BIT(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT);
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
	add_basic_leaves(&table);
	add_kvm_leaves(&table);
	add_extended_leaves(&table);
	if (room < table.count)
		outcome = -E2BIG;
	else if (put_user(table.count, &user->nent) || put_user(0, &user->padding) ||
		 copy_to_user(user->entries, table.entries, table.count * sizeof(*table.entries)))
		outcome = -EFAULT;
	kfree(table.entries);
	return outcome;
}

/* ----- The vCPU's table ----- */

static const struct kvm_cpuid_entry2 *find_leaf(struct kvml_vcpu *vcpu, u32 leaf, u32 index)
{
	u32 i;

	for (i = 0; i < vcpu->cpuid_count; i++) {
		const struct kvm_cpuid_entry2 *entry = &vcpu->cpuid[i];

		if (entry->function != leaf)
			continue;
		if (!(entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || entry->index == index)
			return entry;
	}
	return NULL;
}

/* The size of an XSAVE area with what XCR0 enables now. */
static u32 xsave_size(struct kvml_vcpu *vcpu)
{
	u32 size = 512 + 64;
	u32 i;

	for (i = 2; i < 63; i++) {
		const struct kvm_cpuid_entry2 *entry;

		if (!(vcpu->xcr0 & BIT_ULL(i)))
			continue;
		entry = find_leaf(vcpu, 0xd, i);
		if (entry)
			size = max(size, entry->eax + entry->ebx);
	}
	return size;
}

void kvml_cpuid(struct kvml_vcpu *vcpu, u32 leaf, u32 index, u32 out[4])
{
	const struct kvm_cpuid_entry2 *entry = find_leaf(vcpu, leaf, index);

	if (!entry) {
		/* Leaves beyond the last answer like the last basic one (SDM volume 2, CPUID). */
		const struct kvm_cpuid_entry2 *zero = find_leaf(vcpu, 0, 0);

		if (zero && leaf > zero->eax && !(leaf & 0xc0000000))
			entry = find_leaf(vcpu, zero->eax, index);
	}
	memset(out, 0, 4 * sizeof(*out));
	if (!entry)
		return;
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
		out[EBX] = xsave_size(vcpu);
	}
}

bool kvml_cpuid_has(struct kvml_vcpu *vcpu, u32 leaf, u32 index, u32 reg, u32 bit)
{
	const struct kvm_cpuid_entry2 *entry = find_leaf(vcpu, leaf, index);
	const u32 *registers = entry ? &entry->eax : NULL;

	return registers && (registers[reg] & BIT(bit));
}

bool kvml_cpuid_has_x2apic(struct kvml_vcpu *vcpu)
{
	return kvml_cpuid_has(vcpu, 1, 0, ECX, X2APIC_BIT);
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
	sizes = find_leaf(vcpu, 0x80000008, 0);
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
