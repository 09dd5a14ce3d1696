// SPDX-License-Identifier: GPL-2.0
/* A vCPU's registers, the rules for what they may hold, and reset; all functions need it loaded. */
#include "internal.h"

#include <asm/debugreg.h>
#include <asm/processor-flags.h>
#include <asm/tlbflush.h>

/* The guest changes these without an exit. */
#define CR0_OWNED	(X86_CR0_TS | X86_CR0_MP | X86_CR0_EM | X86_CR0_WP | X86_CR0_AM)
#define CR4_OWNED	(X86_CR4_TSD | X86_CR4_DE | X86_CR4_PCE | X86_CR4_OSFXSR | \
			 X86_CR4_OSXMMEXCPT | X86_CR4_PGE)
#define CR0_KNOWN	(X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | \
			 X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | \
			 X86_CR0_PG)
/* What the module can stand behind, of what the processor has: no nesting, 4 levels. */
#define CR4_OFFERED	(X86_CR4_VME | X86_CR4_PVI | X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE | \
			 X86_CR4_PAE | X86_CR4_MCE | X86_CR4_PGE | X86_CR4_PCE | \
			 X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_UMIP | \
			 X86_CR4_FSGSBASE | X86_CR4_PCIDE | X86_CR4_OSXSAVE | X86_CR4_SMEP | \
			 X86_CR4_SMAP | X86_CR4_PKE)
#define EFER_OFFERED	(EFER_SCE | EFER_LME | EFER_LMA | EFER_NX)
#define RSP_INDEX	4
/* Bit 10 of DR7 is 1 always. */
#define DR7_FIXED	0x400u
#define SEGMENT_UNUSABLE	BIT(16)

/* Order of the segment fields in the VMCS. */
enum segment { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR };

u64 kvml_reg(struct kvml_vcpu *vcpu, u32 index)
{
	return index == RSP_INDEX ? vmread(GUEST_RSP) : vcpu->regs[index & 15];
}

void kvml_set_reg(struct kvml_vcpu *vcpu, u32 index, u64 value)
{
	if (index == RSP_INDEX)
		vmwrite(GUEST_RSP, value);
	else
		vcpu->regs[index & 15] = value;
}

u64 kvml_cr0(void)
{
	return (vmread(GUEST_CR0) & CR0_OWNED) | (vmread(CR0_READ_SHADOW) & ~CR0_OWNED);
}

u64 kvml_cr4(void)
{
	return (vmread(GUEST_CR4) & CR4_OWNED) | (vmread(CR4_READ_SHADOW) & ~CR4_OWNED);
}

bool kvml_in_64bit_code(void)
{
	return (vmread(GUEST_CS_AR_BYTES) & BIT(13)) && (vmread(GUEST_IA32_EFER) & EFER_LMA);
}

u32 kvml_cpl(void)
{
	/* DPL of SS is CPL in every mode (SDM volume 3, "Guest Register State"). */
	return (vmread(GUEST_SS_AR_BYTES) >> 5) & 3;
}

/* ----- Control registers ----- */

static void write_efer(u64 efer)
{
	const u32 mode = efer & EFER_LMA ? VM_ENTRY_IA32E_MODE : 0;

	vmwrite(GUEST_IA32_EFER, efer);
	vmwrite(VM_ENTRY_CONTROLS, kvml_vmx.entry | mode);
}

int kvml_set_efer(struct kvml_vcpu *vcpu, u64 value)
{
	const u64 old = vmread(GUEST_IA32_EFER);

	if (value & (~EFER_OFFERED | vcpu->efer_reserved))
		return -EINVAL;
	/* LME cannot change under paging; LMA is not the guest's to write. */
	if ((kvml_cr0() & X86_CR0_PG) && ((old ^ value) & EFER_LME))
		return -EINVAL;
	write_efer((value & ~EFER_LMA) | (old & EFER_LMA));
	vcpu->flush_vpid = true;
	return 0;
}

/*
 * Before control registers change: -EINVAL, and they must not. SDM volume 3, "PDPTE Registers" and
 * "Operations that Invalidate TLBs and Paging-Structure Caches".
 */
static int change_paging(struct kvml_vcpu *vcpu, u64 cr0, u64 cr4)
{
	const u64 reserved = GENMASK_ULL(2, 1) | GENMASK_ULL(8, 5) |
		~0ULL << boot_cpu_data.x86_phys_bits;
	u64 entries[4];
	u32 i;

	vcpu->flush_vpid = true;
	if (!(cr0 & X86_CR0_PG) || !(cr4 & X86_CR4_PAE) ||
	    (vmread(GUEST_IA32_EFER) & EFER_LME))
		return 0;
	/* PAE paging without long mode: the processor wants the four top entries in the VMCS. */
	if (kvml_read_guest(vcpu->vm, vmread(GUEST_CR3) & 0xffffffe0, entries, sizeof(entries)))
		return -EINVAL;
	for (i = 0; i < ARRAY_SIZE(entries); i++) {
		if ((entries[i] & 1) && (entries[i] & reserved))
			return -EINVAL;
	}
	for (i = 0; i < ARRAY_SIZE(entries); i++)
		vmwrite(GUEST_PDPTR0 + 2 * i, entries[i]);
	return 0;
}

static void write_guest_cr0(u64 value)
{
	/* Unrestricted guest: PE and PG are the guest's, whatever the fixed bits say. */
	const u64 fixed = kvml_vmx.cr0_fixed0 & ~(X86_CR0_PE | X86_CR0_PG);

	vmwrite(CR0_GUEST_HOST_MASK, ~CR0_OWNED);
	vmwrite(CR0_READ_SHADOW, value | X86_CR0_ET);
	/* Caching is the host's to decide. */
	vmwrite(GUEST_CR0, (value & ~(X86_CR0_CD | X86_CR0_NW) & kvml_vmx.cr0_fixed1) | fixed |
		X86_CR0_ET);
}

static bool cr0_is_valid(u64 value)
{
	/* The processor ignores unknown bits of the lower half and refuses those of the upper. */
	if (value >> 32)
		return false;
	if ((value & X86_CR0_PG) && !(value & X86_CR0_PE))
		return false;
	return !(value & X86_CR0_NW) || (value & X86_CR0_CD);
}

int kvml_set_cr0(struct kvml_vcpu *vcpu, u64 value)
{
	const u64 efer = vmread(GUEST_IA32_EFER);
	const u64 changed = kvml_cr0() ^ value;

	if (!cr0_is_valid(value))
		return -EINVAL;
	value &= CR0_KNOWN;
	if ((changed & (X86_CR0_PG | X86_CR0_CD | X86_CR0_NW)) &&
	    change_paging(vcpu, value, kvml_cr4()))
		return -EINVAL;
	if ((changed & value & X86_CR0_PG) && (efer & EFER_LME)) {
		if (!(kvml_cr4() & X86_CR4_PAE) || (vmread(GUEST_CS_AR_BYTES) & BIT(13)))
			return -EINVAL;
		/* The entry check wants a 64-bit busy TSS, which the processor would make of it. */
		vmwrite(GUEST_TR_AR_BYTES, (vmread(GUEST_TR_AR_BYTES) & ~0xfUL) | 11);
		write_efer(efer | EFER_LMA);
	} else if ((changed & ~value & X86_CR0_PG) && (efer & EFER_LMA)) {
		if ((vmread(GUEST_CS_AR_BYTES) & BIT(13)) || (kvml_cr4() & X86_CR4_PCIDE))
			return -EINVAL;
		write_efer(efer & ~EFER_LMA);
	}
	write_guest_cr0(value);
	return 0;
}

static bool cr4_is_valid(struct kvml_vcpu *vcpu, u64 value)
{
	return !(value & (~(CR4_OFFERED & kvml_vmx.cr4_fixed1) | vcpu->cr4_reserved));
}

static void write_guest_cr4(u64 value)
{
	vmwrite(CR4_GUEST_HOST_MASK, ~CR4_OWNED);
	vmwrite(CR4_READ_SHADOW, value);
	/* A machine check would end the host on a processor that has them off. */
	vmwrite(GUEST_CR4, (value & ~X86_CR4_MCE) | (cr4_read_shadow() & X86_CR4_MCE) |
		kvml_vmx.cr4_fixed0);
}

int kvml_set_cr4(struct kvml_vcpu *vcpu, u64 value)
{
	const bool long_mode = vmread(GUEST_IA32_EFER) & EFER_LMA;
	const u64 changed = kvml_cr4() ^ value;

	if (!cr4_is_valid(vcpu, value) || (long_mode && !(value & X86_CR4_PAE)))
		return -EINVAL;
	if ((changed & value & X86_CR4_PCIDE) && (!long_mode || (vmread(GUEST_CR3) & 0xfff)))
		return -EINVAL;
	if ((changed & (X86_CR4_PAE | X86_CR4_PSE | X86_CR4_PGE | X86_CR4_SMEP |
			X86_CR4_PCIDE)) &&
	    change_paging(vcpu, kvml_cr0(), value))
		return -EINVAL;
	write_guest_cr4(value);
	return 0;
}

int kvml_set_xcr0(struct kvml_vcpu *vcpu, u64 value)
{
	const u64 avx512 = value & XFEATURE_MASK_AVX512;
	const u64 tiles = value & XFEATURE_MASK_XTILE;

	if ((value & (~kvml_supported_xcr0() | vcpu->xcr0_reserved)) || !(value & XFEATURE_MASK_FP))
		return -EINVAL;
	if ((value & XFEATURE_MASK_YMM) && !(value & XFEATURE_MASK_SSE))
		return -EINVAL;
	if (avx512 && (avx512 != XFEATURE_MASK_AVX512 || !(value & XFEATURE_MASK_YMM)))
		return -EINVAL;
	if (tiles && tiles != XFEATURE_MASK_XTILE)
		return -EINVAL;
	vcpu->xcr0 = value;
	return 0;
}

void kvml_set_dr(struct kvml_vcpu *vcpu, u32 number, u64 value)
{
	if (number == 6)
		value = (value & 0xe00f) | DR6_RESERVED;
	if (number == 7) {
		value = (value & 0xffff2bff) | DR7_FIXED;
		vmwrite(GUEST_DR7, value);
	}
	vcpu->dr[number] = value;
}

/* ----- KVM_GET_SREGS, KVM_SET_SREGS ----- */

/* What struct kvm_sregs begins with. */
static const enum segment sregs_order[] = {
	SEG_CS, SEG_DS, SEG_ES, SEG_FS, SEG_GS, SEG_SS, SEG_TR, SEG_LDTR,
};

static void get_segment(enum segment which, struct kvm_segment *segment)
{
	const u32 access = vmread(GUEST_ES_AR_BYTES + 2 * which);

	*segment = (struct kvm_segment) {
		.base = vmread(GUEST_ES_BASE + 2 * which),
		.limit = vmread(GUEST_ES_LIMIT + 2 * which),
		.selector = vmread(GUEST_ES_SELECTOR + 2 * which),
		.type = access & 15,
		.s = (access >> 4) & 1,
		.dpl = (access >> 5) & 3,
		.present = !(access & SEGMENT_UNUSABLE),
		.avl = (access >> 12) & 1,
		.l = (access >> 13) & 1,
		.db = (access >> 14) & 1,
		.g = (access >> 15) & 1,
		.unusable = !!(access & SEGMENT_UNUSABLE),
	};
}

static void set_segment(enum segment which, const struct kvm_segment *segment)
{
	u32 access = (segment->type & 15) | (segment->s & 1) << 4 | (segment->dpl & 3) << 5 |
		(segment->present & 1) << 7 | (segment->avl & 1) << 12 | (segment->l & 1) << 13 |
		(segment->db & 1) << 14 | (segment->g & 1) << 15;

	if (segment->unusable || !segment->present)
		access = SEGMENT_UNUSABLE;
	vmwrite(GUEST_ES_BASE + 2 * which, segment->base);
	vmwrite(GUEST_ES_LIMIT + 2 * which, segment->limit);
	vmwrite(GUEST_ES_SELECTOR + 2 * which, segment->selector);
	/* The entry wants segments that were used to be marked accessed. */
	if (!(access & SEGMENT_UNUSABLE) && which < SEG_LDTR)
		access |= 1;
	vmwrite(GUEST_ES_AR_BYTES + 2 * which, access);
}

void kvml_get_sregs(struct kvml_vcpu *vcpu, struct kvm_sregs *sregs)
{
	struct kvm_segment *segments = (struct kvm_segment *)sregs;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(sregs_order); i++)
		get_segment(sregs_order[i], &segments[i]);
	sregs->gdt.base = vmread(GUEST_GDTR_BASE);
	sregs->gdt.limit = vmread(GUEST_GDTR_LIMIT);
	sregs->idt.base = vmread(GUEST_IDTR_BASE);
	sregs->idt.limit = vmread(GUEST_IDTR_LIMIT);
	sregs->cr0 = kvml_cr0();
	sregs->cr2 = vcpu->cr2;
	sregs->cr3 = vmread(GUEST_CR3);
	sregs->cr4 = kvml_cr4();
	sregs->cr8 = kvml_apic_cr8(&vcpu->lapic.apic);
	sregs->efer = vmread(GUEST_IA32_EFER);
	sregs->apic_base = vcpu->lapic.apic.base;
	if (vcpu->events.interrupt)
		__set_bit(vcpu->events.interrupt & INTR_INFO_VECTOR_MASK,
			  (unsigned long *)sregs->interrupt_bitmap);
}

/* As the VM entry checks it: 32 bits for CS and what data is in, a whole address for the others. */
static bool base_is_valid(enum segment which, const struct kvm_segment *segment)
{
	if (which > SEG_DS)
		return __is_canonical_address(segment->base, 48);
	return segment->unusable || !segment->present || !(segment->base >> 32);
}

static bool sregs_are_valid(struct kvml_vcpu *vcpu, const struct kvm_sregs *sregs)
{
	const struct kvm_segment *segments = (const struct kvm_segment *)sregs;
	const bool long_mode = sregs->efer & EFER_LMA;
	u32 i;

	if (!cr0_is_valid(sregs->cr0) || !cr4_is_valid(vcpu, sregs->cr4) ||
	    (sregs->efer & ~EFER_OFFERED) || sregs->cr8 > 15)
		return false;
	if (long_mode != ((sregs->efer & EFER_LME) && (sregs->cr0 & X86_CR0_PG)) ||
	    (long_mode && !(sregs->cr4 & X86_CR4_PAE)))
		return false;
	if ((!long_mode && ((sregs->cr4 & X86_CR4_PCIDE) || sregs->cs.l)) ||
	    (sregs->cs.l && sregs->cs.db))
		return false;
	for (i = 0; i < ARRAY_SIZE(sregs_order); i++) {
		if (!base_is_valid(sregs_order[i], &segments[i]))
			return false;
	}
	if (!__is_canonical_address(sregs->gdt.base, 48) ||
	    !__is_canonical_address(sregs->idt.base, 48))
		return false;
	/* PCID bits aside, CR3 holds a physical address. */
	return !((sregs->cr3 & ~BIT_ULL(63)) >> vcpu->physical_bits);
}

int kvml_set_sregs(struct kvml_vcpu *vcpu, const struct kvm_sregs *sregs)
{
	const struct kvm_segment *segments = (const struct kvm_segment *)sregs;
	u32 i, vector;
	int outcome;

	BUILD_BUG_ON(offsetof(struct kvm_sregs, ldt) != 7 * sizeof(*segments));
	if (!sregs_are_valid(vcpu, sregs))
		return -EINVAL;
	outcome = kvml_apic_restore_base(&vcpu->lapic.apic, sregs->apic_base, vcpu->physical_bits);
	if (outcome)
		return outcome;
	write_efer(sregs->efer);
	write_guest_cr4(sregs->cr4);
	write_guest_cr0(sregs->cr0 & CR0_KNOWN);
	vmwrite(GUEST_CR3, sregs->cr3 & ~BIT_ULL(63));
	vcpu->cr2 = sregs->cr2;
	kvml_apic_set_cr8(&vcpu->lapic.apic, sregs->cr8);
	for (i = 0; i < ARRAY_SIZE(sregs_order); i++)
		set_segment(sregs_order[i], &segments[i]);
	vmwrite(GUEST_GDTR_BASE, sregs->gdt.base);
	vmwrite(GUEST_GDTR_LIMIT, sregs->gdt.limit);
	vmwrite(GUEST_IDTR_BASE, sregs->idt.base);
	vmwrite(GUEST_IDTR_LIMIT, sregs->idt.limit);
	/* As with KVM: entries that the guest itself could not load stay those of before. */
	change_paging(vcpu, sregs->cr0, sregs->cr4);
	vector = find_last_bit((const unsigned long *)sregs->interrupt_bitmap, 256);
	if (vector < 256)
		vcpu->events.interrupt = KVML_INTERRUPT | vector;
	return 0;
}

/* ----- Reset ----- */

/* SDM volume 3, "Processor State After Reset", the part that INIT shares. */
static const struct {
	u16 field;
	u16 value;
} reset_values[] = {
	{ GUEST_RIP, 0xfff0 }, { GUEST_RSP, 0 }, { GUEST_RFLAGS, X86_EFLAGS_FIXED },
	{ GUEST_GDTR_BASE, 0 }, { GUEST_GDTR_LIMIT, 0xffff },
	{ GUEST_IDTR_BASE, 0 }, { GUEST_IDTR_LIMIT, 0xffff }, { GUEST_CR3, 0 },
	{ GUEST_SYSENTER_CS, 0 }, { GUEST_SYSENTER_ESP, 0 }, { GUEST_SYSENTER_EIP, 0 },
	{ GUEST_IA32_DEBUGCTL, 0 }, { GUEST_PENDING_DBG_EXCEPTIONS, 0 },
	{ GUEST_INTERRUPTIBILITY_INFO, 0 }, { GUEST_ACTIVITY_STATE, GUEST_ACTIVITY_ACTIVE },
};

static void reset_segments(void)
{
	static const u8 access[] = { 0x93, 0x9b, 0x93, 0x93, 0x93, 0x93, 0x82, 0x8b };
	u32 i;

	for (i = 0; i < ARRAY_SIZE(access); i++) {
		vmwrite(GUEST_ES_SELECTOR + 2 * i, i == SEG_CS ? 0xf000 : 0);
		vmwrite(GUEST_ES_BASE + 2 * i, i == SEG_CS ? 0xffff0000 : 0);
		vmwrite(GUEST_ES_LIMIT + 2 * i, 0xffff);
		vmwrite(GUEST_ES_AR_BYTES + 2 * i, access[i]);
	}
}

void kvml_vcpu_init(struct kvml_vcpu *vcpu)
{
	u32 i;

	memset(&vcpu->events, 0, sizeof(vcpu->events));
	vcpu->io.kind = KVML_IO_NONE;
	memset(vcpu->regs, 0, sizeof(vcpu->regs));
	/* RDX: family, model and stepping, as CPUID tells them. */
	vcpu->regs[2] = 0x600;
	vcpu->cr2 = 0;
	memset(vcpu->dr, 0, sizeof(vcpu->dr));
	kvml_set_dr(vcpu, 6, 0);
	kvml_set_dr(vcpu, 7, 0);
	reset_segments();
	for (i = 0; i < ARRAY_SIZE(reset_values); i++)
		vmwrite(reset_values[i].field, reset_values[i].value);
	write_efer(0);
	write_guest_cr4(0);
	write_guest_cr0(X86_CR0_NW | X86_CR0_CD);
	vcpu->flush_vpid = true;
}
