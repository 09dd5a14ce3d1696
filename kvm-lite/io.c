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

static enum kvml_next emulation_failed(struct kvml_vcpu *vcpu)
{
	vcpu->run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	vcpu->run->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
	vcpu->run->internal.ndata = 1;
	vcpu->run->internal.data[0] = vmread(GUEST_RIP);
	return KVML_TO_USER;
}

/* ----- Guest-linear memory ----- */

static int read_entry(void *context, u64 gpa, void *data, u32 size)
{
	return kvml_read_guest(context, gpa, data, size);
}

/*
 * Copies through the guest's page tables, as the guest itself would at its privilege level; without
 * @data it only looks whether it could. -EFAULT: it may not, and #PF or #GP is injected; -ENXIO:
 * there is no memory.
 */
static int copy_linear(struct kvml_vcpu *vcpu, u64 linear, void *data, u32 size, u32 access)
{
	const struct kvml_paging paging = {
		.cr0 = kvml_cr0(),
		.cr3 = vmread(GUEST_CR3),
		.cr4 = kvml_cr4(),
		.efer = vmread(GUEST_IA32_EFER),
		.rflags = vmread(GUEST_RFLAGS),
		/* As the processor walks, whatever the guest is told. */
		.physical_bits = boot_cpu_data.x86_phys_bits,
		.read = read_entry,
		.context = vcpu->vm,
	};
	const u64 reach = kvml_in_64bit_code() ? U64_MAX : U32_MAX;
	u32 part;

	access |= kvml_cpl() == 3 ? KVML_ACCESS_USER : 0;
	for (; size; size -= part, linear += part) {
		u32 error;
		u64 gpa;
		int outcome;

		linear &= reach;
		part = min_t(u32, size, PAGE_SIZE - offset_in_page(linear));
		outcome = kvml_guest_walk(&paging, linear, access, &gpa, &error);
		if (outcome == -EFAULT)
			kvml_inject_page_fault(vcpu, linear, error);
		else if (outcome)
			kvml_inject_exception(vcpu, X86_TRAP_GP, 0);
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

/* ----- Ports: SDM volume 3, "Exit Qualification for I/O Instructions" ----- */

#define PORT_IN		BIT(3)
#define PORT_STRING	BIT(4)
#define PORT_REPEAT	BIT(5)

static enum kvml_next port_to_user(struct kvml_vcpu *vcpu, u32 qualification, u32 count)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = qualification & PORT_IN ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT;
	run->io.size = vcpu->io.size;
	run->io.port = qualification >> 16;
	run->io.count = count;
	run->io.data_offset = KVML_PIO_OFFSET;
	return KVML_TO_USER;
}

static unsigned long *string_index(struct kvml_vcpu *vcpu, u32 qualification)
{
	return &vcpu->regs[qualification & PORT_IN ? RDI : RSI];
}

/* Moves a string's registers over its elements, and on behind the instruction at its end. */
static void advance_string(struct kvml_vcpu *vcpu, u32 qualification)
{
	const struct kvml_io *io = &vcpu->io;
	const s64 bytes = (s64)io->count * io->size;
	unsigned long *index = string_index(vcpu, qualification);
	u64 left = 0;

	*index = kvml_register_merge(*index, vmread(GUEST_RFLAGS) & X86_EFLAGS_DF ?
				     *index - bytes : *index + bytes, io->address_size);
	if (qualification & PORT_REPEAT) {
		left = kvml_low_bytes(vcpu->regs[RCX] - io->count, io->address_size);
		vcpu->regs[RCX] = kvml_register_merge(vcpu->regs[RCX], left, io->address_size);
	}
	if (!left)
		kvml_skip_instruction(vcpu);
}

/* How many elements go at once: upwards a page's worth, and not over the end of the registers. */
static u32 string_count(struct kvml_vcpu *vcpu, u32 qualification)
{
	const struct kvml_io *io = &vcpu->io;
	const u64 index = *string_index(vcpu, qualification);
	u64 most = 1;

	if (!(qualification & PORT_REPEAT))
		return 1;
	if (!(vmread(GUEST_RFLAGS) & X86_EFLAGS_DF))
		most += min_t(u64, kvml_low_bytes(~index, io->address_size), PAGE_SIZE - 1) /
			io->size;
	return min(kvml_low_bytes(vcpu->regs[RCX], io->address_size), most);
}

static enum kvml_next handle_string(struct kvml_vcpu *vcpu, u32 qualification)
{
	struct kvml_io *io = &vcpu->io;
	const bool in = qualification & PORT_IN;
	int outcome;

	io->address = vmread(GUEST_LINEAR_ADDRESS);
	io->address_size = 2 << ((vmread(VMX_INSTRUCTION_INFO) >> 7) & 3);
	io->count = string_count(vcpu, qualification);
	if (!io->count) {
		kvml_skip_instruction(vcpu);
		return KVML_RESUME;
	}
	/* A fault of INS has to come before the device gives data that then had nowhere to go. */
	outcome = copy_linear(vcpu, io->address, in ? NULL : vcpu->pio, io->size * io->count,
			      in ? KVML_ACCESS_WRITE : 0);
	if (outcome == -EFAULT)
		return KVML_RESUME;
	if (outcome)
		return emulation_failed(vcpu);
	if (in)
		io->kind = KVML_IO_STRING_IN;
	else
		advance_string(vcpu, qualification);
	return port_to_user(vcpu, qualification, io->count);
}

enum kvml_next kvml_handle_port(struct kvml_vcpu *vcpu)
{
	const u32 qualification = vmread(EXIT_QUALIFICATION);
	u64 value;

	vcpu->io.size = (qualification & 7) + 1;
	if (qualification & PORT_STRING)
		return handle_string(vcpu, qualification);
	if (qualification & PORT_IN) {
		vcpu->io.kind = KVML_IO_PORT_IN;
		return port_to_user(vcpu, qualification, 1);
	}
	value = kvml_low_bytes(vcpu->regs[RAX], vcpu->io.size);
	kvml_skip_instruction(vcpu);
	if (kvml_ioeventfd_write(vcpu->vm, KVML_BUS_PIO, qualification >> 16, vcpu->io.size, value))
		return KVML_RESUME;
	memcpy(vcpu->pio, &value, vcpu->io.size);
	return port_to_user(vcpu, qualification, 1);
}

/* ----- MMIO ----- */

static enum kvml_code_size code_size(void)
{
	if (kvml_in_64bit_code())
		return KVML_CODE_64;
	return vmread(GUEST_CS_AR_BYTES) & BIT(14) ? KVML_CODE_32 : KVML_CODE_16;
}

/* 0; -EFAULT: a fault is on its way to the guest; else not an instruction we know. */
static int decode(struct kvml_vcpu *vcpu, struct kvml_mmio *mmio)
{
	const enum kvml_code_size code = code_size();
	const u64 base = code == KVML_CODE_64 ? 0 : vmread(GUEST_CS_BASE);
	const u64 linear = base + vmread(GUEST_RIP);
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
static void finish_mmio(struct kvml_vcpu *vcpu, const struct kvml_mmio *mmio, u64 data)
{
	if (!mmio->write)
		kvml_set_reg(vcpu, mmio->reg,
			     kvml_mmio_merge(mmio, kvml_reg(vcpu, mmio->reg), data));
	kvml_advance_rip(vcpu, mmio->length);
}

static enum kvml_next handle_mmio(struct kvml_vcpu *vcpu, u64 gpa)
{
	struct kvm_run *run = vcpu->run;
	struct kvml_mmio mmio;
	u64 value = 0;
	const int outcome = decode(vcpu, &mmio);

	if (outcome == -EFAULT)
		return KVML_RESUME;
	/* An access over the end of the page would need two; no driver makes one. */
	if (outcome || offset_in_page(gpa) + mmio.size > PAGE_SIZE)
		return emulation_failed(vcpu);
	if (mmio.write) {
		value = mmio.immediate ? mmio.value : kvml_reg(vcpu, mmio.reg);
		value = kvml_low_bytes(value >> (mmio.high_byte ? 8 : 0), mmio.size);
	}
	if ((vcpu->vm->split_irqchip &&
	     kvml_lapic_mmio(vcpu, gpa, mmio.write, mmio.size, &value)) ||
	    (mmio.write &&
	     kvml_ioeventfd_write(vcpu->vm, KVML_BUS_MMIO, gpa, mmio.size, value))) {
		finish_mmio(vcpu, &mmio, value);
		return KVML_RESUME;
	}
	if (mmio.write) {
		finish_mmio(vcpu, &mmio, 0);
	} else {
		vcpu->io.kind = KVML_IO_MMIO_READ;
		vcpu->io.mmio = mmio;
	}
	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.phys_addr = gpa;
	run->mmio.len = mmio.size;
	run->mmio.is_write = mmio.write;
	memcpy(run->mmio.data, &value, sizeof(value));
	return KVML_TO_USER;
}

/* SDM volume 3, "Exit Qualification for EPT Violations". */
enum kvml_next kvml_handle_ept_violation(struct kvml_vcpu *vcpu)
{
	const u64 qualification = vmread(EXIT_QUALIFICATION);
	const u64 gpa = vmread(GUEST_PHYSICAL_ADDRESS);
	const bool vectoring = vmread(IDT_VECTORING_INFO_FIELD) & VECTORING_INFO_VALID_MASK;
	int outcome;

	/* An IRET that faulted had unblocked NMIs already. */
	if ((qualification & BIT(12)) && !vectoring)
		vmx_set_bits(GUEST_INTERRUPTIBILITY_INFO, GUEST_INTR_STATE_NMI);
	outcome = kvml_ept_fault(vcpu, gpa, qualification);
	switch (outcome) {
	case 0:
	case -EINTR:
		return KVML_RESUME;
	case -ENOENT:
		/* Neither code nor page tables nor stacks of exceptions live in devices. */
		if ((qualification & BIT(2)) || !(qualification & BIT(8)) || vectoring)
			return emulation_failed(vcpu);
		return handle_mmio(vcpu, gpa);
	default:
		vcpu->error = outcome;
		return KVML_TO_USER;
	}
}

/* ----- The answer of user space ----- */

int kvml_complete_io(struct kvml_vcpu *vcpu)
{
	struct kvml_io *io = &vcpu->io;
	const enum kvml_io_kind kind = io->kind;
	u64 value = 0;
	int outcome;

	io->kind = KVML_IO_NONE;
	switch (kind) {
	case KVML_IO_PORT_IN:
		memcpy(&value, vcpu->pio, io->size);
		vcpu->regs[RAX] = kvml_register_merge(vcpu->regs[RAX], value, io->size);
		kvml_skip_instruction(vcpu);
		return 0;
	case KVML_IO_STRING_IN:
		outcome = copy_linear(vcpu, io->address, vcpu->pio, io->size * io->count,
				      KVML_ACCESS_WRITE);
		if (!outcome)
			advance_string(vcpu, vmread(EXIT_QUALIFICATION));
		/* A page fault goes to the guest, which repeats the instruction. */
		return outcome == -ENXIO ? -EFAULT : 0;
	case KVML_IO_MMIO_READ:
		memcpy(&value, vcpu->run->mmio.data, io->mmio.size);
		finish_mmio(vcpu, &io->mmio, value);
		return 0;
	default:
		return 0;
	}
}
