// SPDX-License-Identifier: GPL-2.0
/*
 * Port I/O and MMIO: to the LAPIC, to an ioeventfd, or to user space through kvm_run. Writes are
 * complete when KVM_RUN returns; reads are completed by the next KVM_RUN, immediate_exit or not.
 */
#include "internal.h"

#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#define RAX	0
#define RCX	1
#define RSI	6
#define RDI	7
/* In the order of the VMCS, and of VMX_INSTRUCTION_INFO. */
#define SEGMENT_ES	0
#define SEGMENT_SS	2

static int emulation_failed(struct kvml_vcpu *vcpu)
{
	return kvml_internal_error(vcpu, KVM_INTERNAL_ERROR_EMULATION, vmread(GUEST_RIP));
}

/* ----- Guest-linear memory ----- */

/*
 * Copies through the guest's page tables, as the guest itself would at its privilege level; without
 * @data it only looks whether it could. -EFAULT: the guest goes on instead, with a fault or with the
 * same instruction; -ENXIO: there is no memory.
 */
static int copy_linear(struct kvml_vcpu *vcpu, u64 linear, void *data, u32 size, u32 access)
{
	struct kvml_paging paging = {
		.cr0 = kvml_cr0(),
		.cr3 = vmread(GUEST_CR3),
		.cr4 = kvml_cr4(),
		.efer = vmread(GUEST_IA32_EFER),
		.rflags = vmread(GUEST_RFLAGS),
		.pkru = vcpu->pkru,
		/* As the processor walks, whatever the guest is told. */
		.physical_bits = boot_cpu_data.x86_phys_bits,
		.vm = vcpu->vm,
	};
	u32 part;

	access |= kvml_cpl() == 3 ? KVML_ACCESS_USER : 0;
	for (; size; size -= part, linear += part) {
		u32 error;
		u64 gpa;
		int outcome;

		linear = kvml_truncate(linear);
		if (!(paging.efer & KVML_EFER_LMA))
			paging.pdpte = vmread(GUEST_PDPTR0 + 2 * (linear >> 30));
		part = min_t(u32, size, PAGE_SIZE - offset_in_page(linear));
		outcome = kvml_guest_walk(&paging, linear, access, &gpa, &error);
		if (outcome == -EFAULT) {
			vcpu->cr2 = linear;
			kvml_inject_exception(vcpu, X86_TRAP_PF, error);
		} else if (outcome == -EINVAL) {
			kvml_inject_exception(vcpu, X86_TRAP_GP, 0);
		}
		if (outcome)
			return -EFAULT;
		if (!data)
			continue;
		if (access & KVML_ACCESS_WRITE ? kvml_write_guest(vcpu->vm, gpa, data, part) :
						 kvml_read_guest(vcpu->vm, gpa, data, part))
			return -ENXIO;
		data += part;
	}
	return 0;
}

/* SDM volume 3, "Limit Checking" and "Type Checking", which 64-bit code does without. */
static bool segment_allows(u32 segment, bool write, u64 offset, u32 size)
{
	const u32 access = vmread(GUEST_ES_AR_BYTES + 2 * segment);
	const u64 limit = vmread(GUEST_ES_LIMIT + 2 * segment);
	const u64 last = offset + size - 1;
	const bool code = access & VMX_AR_TYPE_CODE_MASK;

	/* Bit 1 says that data may be written, or code read. */
	if ((access & VMX_AR_UNUSABLE_MASK) || (write && code) ||
	    ((write || code) && !(access & BIT(1))))
		return false;
	/* Data that expands down lies above the limit. */
	if (!code && (access & BIT(2)))
		return offset > limit && last <= (access & VMX_AR_DB_MASK ? U32_MAX : U16_MAX);
	return last <= limit;
}

/* ----- Ports: SDM volume 3, "Exit Qualification for I/O Instructions" ----- */

#define PORT_IN		BIT(3)
#define PORT_STRING	BIT(4)
#define PORT_REPEAT	BIT(5)

static int port_to_user(struct kvml_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct kvml_io *io = &vcpu->io;
	const bool in = io->port & PORT_IN;

	io->kind = in ? KVML_IO_PORT_IN : KVML_IO_NONE;
	run->io.direction = in ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT;
	run->io.size = io->size;
	run->io.port = io->port >> 16;
	run->io.count = io->count;
	run->io.data_offset = KVML_PIO_OFFSET;
	return kvml_to_user(vcpu, KVM_EXIT_IO);
}

/* Moves a string's registers over its elements, and on behind the instruction at its end. */
static void advance_string(struct kvml_vcpu *vcpu)
{
	const struct kvml_io *io = &vcpu->io;
	const u64 bytes = io->count * io->size;
	const u64 moved = vmread(GUEST_RFLAGS) & X86_EFLAGS_DF ? -bytes : bytes;
	unsigned long *counter = &vcpu->regs[RCX];

	*io->index = kvml_register_merge(*io->index, *io->index + moved, io->address_size);
	if (io->port & PORT_REPEAT) {
		*counter = kvml_register_merge(*counter, *counter - io->count, io->address_size);
		if (kvml_low_bytes(*counter, io->address_size))
			return;
	}
	kvml_skip_instruction(vcpu);
}

/* How many elements go at once: upwards within a page, and not over the end of the registers. */
static u32 string_count(struct kvml_vcpu *vcpu)
{
	const struct kvml_io *io = &vcpu->io;
	const bool down = vmread(GUEST_RFLAGS) & X86_EFLAGS_DF;
	const u64 room = min(kvml_low_bytes(~*io->index, io->address_size),
			     (u64)~io->address % PAGE_SIZE) + 1;

	if (!(io->port & PORT_REPEAT))
		return 1;
	return min(kvml_low_bytes(vcpu->regs[RCX], io->address_size),
		   down || room < io->size ? 1 : room / io->size);
}

static int handle_string(struct kvml_vcpu *vcpu)
{
	struct kvml_io *io = &vcpu->io;
	const bool in = io->port & PORT_IN;
	const u32 info = vmread(VMX_INSTRUCTION_INFO);
	const u32 segment = in ? SEGMENT_ES : (info >> 15) & 7;
	u64 offset;
	int outcome;

	io->address = vmread(GUEST_LINEAR_ADDRESS);
	io->address_size = 2 << ((info >> 7) & 3);
	io->index = &vcpu->regs[in ? RDI : RSI];
	io->count = string_count(vcpu);
	if (!io->count) {
		kvml_skip_instruction(vcpu);
		return KVML_RESUME;
	}
	offset = kvml_low_bytes(*io->index, io->address_size);
	if (!kvml_in_64bit_code() && !segment_allows(segment, in, offset, io->size * io->count)) {
		/* What fits comes before the fault. */
		io->count = 1;
		if (!segment_allows(segment, in, offset, io->size))
			return kvml_inject_exception(vcpu, segment == SEGMENT_SS ? X86_TRAP_SS :
						     X86_TRAP_GP, 0);
	}
	/* A fault of INS has to come before the device gives data that then had nowhere to go. */
	outcome = copy_linear(vcpu, io->address, in ? NULL : vcpu->pio, io->size * io->count,
			      in ? KVML_ACCESS_WRITE : 0);
	if (outcome == -EFAULT)
		return KVML_RESUME;
	if (outcome)
		return emulation_failed(vcpu);
	if (!in)
		advance_string(vcpu);
	return port_to_user(vcpu);
}

int kvml_handle_port(struct kvml_vcpu *vcpu)
{
	const u32 port = vmread(EXIT_QUALIFICATION);
	struct kvml_io *io = &vcpu->io;
	u64 value;

	io->port = port;
	io->size = (port & 7) + 1;
	io->count = 1;
	if (port & PORT_STRING)
		return handle_string(vcpu);
	if (port & PORT_IN)
		return port_to_user(vcpu);
	value = kvml_low_bytes(vcpu->regs[RAX], io->size);
	kvml_skip_instruction(vcpu);
	if (kvml_ioeventfd_write(vcpu->vm, KVM_IOEVENTFD_FLAG_PIO, port >> 16, io->size, value))
		return KVML_RESUME;
	memcpy(vcpu->pio, &value, io->size);
	return port_to_user(vcpu);
}

/* ----- MMIO ----- */

/* 0; -EFAULT: the guest goes on instead; else not an instruction we know. */
static int decode(struct kvml_vcpu *vcpu, struct kvml_mmio *mmio)
{
	const bool long_code = kvml_in_64bit_code();
	const enum kvml_code_size code = long_code ? KVML_CODE_64 :
		vmread(GUEST_CS_AR_BYTES) & VMX_AR_DB_MASK ? KVML_CODE_32 : KVML_CODE_16;
	const u64 linear = vmread(GUEST_RIP) + (long_code ? 0 : vmread(GUEST_CS_BASE));
	u8 bytes[KVML_INSTRUCTION_MAX];
	u32 count = 0;
	int outcome;

	/* The next page is touched only if the instruction reaches into it. */
	do {
		const u32 part = min_t(u32, sizeof(bytes) - count,
				       PAGE_SIZE - offset_in_page(linear + count));

		outcome = copy_linear(vcpu, linear + count, bytes + count, part, KVML_ACCESS_FETCH);
		if (outcome)
			return outcome;
		count += part;
		outcome = kvml_mmio_decode(bytes, count, code, mmio);
	} while (outcome == -ENODATA);
	return outcome;
}

/* @data: what a read brought. */
static void finish_mmio(struct kvml_vcpu *vcpu, u64 data)
{
	const struct kvml_mmio *mmio = &vcpu->io.mmio;

	if (!mmio->write)
		kvml_set_reg(vcpu, mmio->reg,
			     kvml_mmio_merge(mmio, kvml_reg(vcpu, mmio->reg), data));
	kvml_advance_rip(vcpu, mmio->length);
}

static int handle_mmio(struct kvml_vcpu *vcpu, u64 gpa, bool write)
{
	struct kvml_mmio *mmio = &vcpu->io.mmio;
	struct kvm_run *run = vcpu->run;
	const int outcome = decode(vcpu, mmio);
	u64 value = 0;
	bool served;

	/* Another vCPU may have changed the code: what the processor allowed was the other kind. */
	if (outcome == -EFAULT || (!outcome && mmio->write != write))
		return KVML_RESUME;
	/* An access over the end of the page would need two; no driver makes one. */
	if (outcome || offset_in_page(gpa) + mmio->size > PAGE_SIZE)
		return emulation_failed(vcpu);
	if (mmio->write) {
		value = mmio->immediate ? mmio->value : kvml_reg(vcpu, mmio->reg);
		value = kvml_low_bytes(value >> (mmio->high_byte ? 8 : 0), mmio->size);
	}
	served = (vcpu->vm->split_irqchip &&
		  kvml_lapic_mmio(vcpu, gpa, mmio->write, mmio->size, &value)) ||
		 (mmio->write &&
		  kvml_ioeventfd_write(vcpu->vm, 0, gpa, mmio->size, value));
	if (served || mmio->write)
		finish_mmio(vcpu, value);
	else
		vcpu->io.kind = KVML_IO_MMIO_READ;
	if (served)
		return KVML_RESUME;
	run->mmio.phys_addr = gpa;
	run->mmio.len = mmio->size;
	run->mmio.is_write = mmio->write;
	memcpy(run->mmio.data, &value, sizeof(value));
	return kvml_to_user(vcpu, KVM_EXIT_MMIO);
}

/* SDM volume 3, "Exit Qualification for EPT Violations". */
int kvml_handle_ept_violation(struct kvml_vcpu *vcpu)
{
	const u64 qualification = vmread(EXIT_QUALIFICATION);
	const u64 gpa = vmread(GUEST_PHYSICAL_ADDRESS);
	const bool vectoring = vmread(IDT_VECTORING_INFO_FIELD) & VECTORING_INFO_VALID_MASK;
	int outcome;

	kvml_restore_nmi_blocking(qualification & BIT(12));
	outcome = kvml_ept_fault(vcpu, gpa, qualification);
	if (!outcome || outcome == -EINTR)
		return KVML_RESUME;
	if (outcome != -ENOENT)
		return outcome;
	/* Neither code nor page tables nor stacks of exceptions live in devices. */
	if ((qualification & BIT(2)) || !(qualification & BIT(8)) || vectoring)
		return emulation_failed(vcpu);
	return handle_mmio(vcpu, gpa, qualification & EPT_VIOLATION_ACC_WRITE);
}

/* ----- The answer of user space ----- */

int kvml_complete_io(struct kvml_vcpu *vcpu)
{
	struct kvml_io *io = &vcpu->io;
	const enum kvml_io_kind kind = io->kind;
	int outcome = 0;
	u64 value = 0;

	io->kind = KVML_IO_NONE;
	if (kind == KVML_IO_MMIO_READ) {
		memcpy(&value, vcpu->run->mmio.data, io->mmio.size);
		finish_mmio(vcpu, value);
	} else if (kind == KVML_IO_PORT_IN && (io->port & PORT_STRING)) {
		outcome = copy_linear(vcpu, io->address, vcpu->pio, io->size * io->count,
				      KVML_ACCESS_WRITE);
		if (!outcome)
			advance_string(vcpu);
	} else if (kind == KVML_IO_PORT_IN) {
		memcpy(&value, vcpu->pio, io->size);
		vcpu->regs[RAX] = kvml_register_merge(vcpu->regs[RAX], value, io->size);
		kvml_skip_instruction(vcpu);
	}
	/* A page fault goes to the guest, which repeats the instruction. */
	return outcome == -ENXIO ? -EFAULT : 0;
}
