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

static enum kvml_code_size code_size(void)
{
	const u32 access = vmread(GUEST_CS_AR_BYTES);

	if (kvml_in_long_mode() && (access & BIT(13)))
		return KVML_CODE_64;
	return access & BIT(14) ? KVML_CODE_32 : KVML_CODE_16;
}

/*
 * Copies through the guest's page tables, as the guest itself would at its privilege level. -EFAULT:
 * it may not, and #PF or #GP is injected; -ENXIO: there is no memory.
 */
static int copy_linear(struct kvml_vcpu *vcpu, u64 linear, void *data, u32 size, u32 access)
{
	const struct kvml_paging paging = {
		.cr0 = kvml_cr0(),
		.cr3 = vmread(GUEST_CR3),
		.cr4 = kvml_cr4(),
		.efer = vmread(GUEST_IA32_EFER),
		.rflags = vmread(GUEST_RFLAGS),
		.physical_bits = boot_cpu_data.x86_phys_bits,
		.read = read_entry,
		.context = vcpu->vm,
	};
	const u64 reach = code_size() == KVML_CODE_64 ? U64_MAX : U32_MAX;
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
			kvml_inject_exception_error(vcpu, X86_TRAP_GP, 0);
		if (outcome)
			return -EFAULT;
		if (access & KVML_ACCESS_WRITE ? kvml_write_guest(vcpu->vm, gpa, data, part) :
						 kvml_read_guest(vcpu->vm, gpa, data, part))
			return -ENXIO;
		data += part;
	}
	return 0;
}

/* ----- Ports ----- */

static enum kvml_next port_to_user(struct kvml_vcpu *vcpu, bool in, u16 port, u32 count)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = in ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT;
	run->io.size = vcpu->io.size;
	run->io.port = port;
	run->io.count = count;
	run->io.data_offset = KVML_PIO_OFFSET;
	return KVML_TO_USER;
}

/* Moves a string's registers over @count elements, and on behind the instruction at its end. */
static void advance_string(struct kvml_vcpu *vcpu, u32 index_reg, u32 count, bool repeat)
{
	const u64 mask = vcpu->io.address_mask;
	const s64 step = vmread(GUEST_RFLAGS) & X86_EFLAGS_DF ? -(s64)vcpu->io.size : vcpu->io.size;
	const u64 index = vcpu->regs[index_reg];
	u64 left = 0;

	/* A 32-bit register written clears the upper half, a 16-bit one leaves the rest. */
	vcpu->regs[index_reg] = ((index + step * count) & mask) |
		(mask == 0xffff ? index & ~mask : 0);
	if (repeat) {
		const u64 old = vcpu->regs[RCX];

		left = ((old & mask) - count) & mask;
		vcpu->regs[RCX] = left | (mask == 0xffff ? old & ~mask : 0);
	}
	if (!left)
		kvml_skip_instruction(vcpu);
}

/* SDM volume 3, "Format of the VM-Exit Instruction-Information Field as Used for INS and OUTS". */
static u64 string_address_mask(void)
{
	switch ((vmread(VMX_INSTRUCTION_INFO) >> 7) & 7) {
	case 0:
		return 0xffff;
	case 1:
		return 0xffffffff;
	default:
		return ~0ULL;
	}
}

static enum kvml_next handle_string(struct kvml_vcpu *vcpu, u64 qualification)
{
	struct kvml_io *io = &vcpu->io;
	const bool in = qualification & BIT(3);
	const bool repeat = qualification & BIT(5);
	const u16 port = qualification >> 16;
	u64 count = 1;
	int outcome;

	io->address = vmread(GUEST_LINEAR_ADDRESS);
	io->address_mask = string_address_mask();
	if (repeat)
		count = min_t(u64, vcpu->regs[RCX] & io->address_mask, PAGE_SIZE / io->size);
	/* Downwards, one element at a time. */
	if (repeat && (vmread(GUEST_RFLAGS) & X86_EFLAGS_DF))
		count = min_t(u64, count, 1);
	if (!count) {
		kvml_skip_instruction(vcpu);
		return KVML_RESUME;
	}
	io->count = count;
	if (in) {
		io->kind = KVML_IO_STRING_IN;
		return port_to_user(vcpu, true, port, count);
	}
	outcome = copy_linear(vcpu, io->address, vcpu->pio, io->size * count, 0);
	if (outcome == -EFAULT)
		return KVML_RESUME;
	if (outcome)
		return emulation_failed(vcpu);
	advance_string(vcpu, RSI, count, repeat);
	return port_to_user(vcpu, false, port, count);
}

/* SDM volume 3, "Exit Qualification for I/O Instructions". */
enum kvml_next kvml_handle_port(struct kvml_vcpu *vcpu)
{
	const u64 qualification = vmread(EXIT_QUALIFICATION);
	const u16 port = qualification >> 16;
	u64 value;

	vcpu->io.size = (qualification & 7) + 1;
	if (qualification & BIT(4))
		return handle_string(vcpu, qualification);
	if (qualification & BIT(3)) {
		vcpu->io.kind = KVML_IO_PORT_IN;
		return port_to_user(vcpu, true, port, 1);
	}
	value = kvml_low_bytes(vcpu->regs[RAX], vcpu->io.size);
	kvml_skip_instruction(vcpu);
	if (kvml_ioeventfd_write(vcpu->vm, KVML_BUS_PIO, port, vcpu->io.size, value))
		return KVML_RESUME;
	memcpy(vcpu->pio, &value, vcpu->io.size);
	return port_to_user(vcpu, false, port, 1);
}

/* ----- MMIO ----- */

/* 0; -EAGAIN: a fault is on its way to the guest; -EINVAL: not an instruction we know. */
static int decode(struct kvml_vcpu *vcpu, struct kvml_mmio *mmio)
{
	const enum kvml_code_size code = code_size();
	u8 bytes[KVML_INSTRUCTION_MAX];
	u64 linear = vmread(GUEST_RIP);
	u32 count;
	int outcome;

	if (code != KVML_CODE_64)
		linear = (u32)(linear + vmread(GUEST_CS_BASE));
	/* The next page is touched only if the instruction reaches into it. */
	count = min_t(u32, sizeof(bytes), PAGE_SIZE - offset_in_page(linear));
	outcome = copy_linear(vcpu, linear, bytes, count, KVML_ACCESS_FETCH);
	if (!outcome)
		outcome = kvml_mmio_decode(bytes, count, code, mmio);
	if (outcome == -ENODATA) {
		outcome = copy_linear(vcpu, linear + count, bytes + count, sizeof(bytes) - count,
				      KVML_ACCESS_FETCH);
		if (!outcome)
			outcome = kvml_mmio_decode(bytes, sizeof(bytes), code, mmio);
	}
	return outcome == -EFAULT ? -EAGAIN : outcome;
}

static void skip_decoded(struct kvml_vcpu *vcpu, const struct kvml_mmio *mmio)
{
	/* EPT violations report no instruction length. */
	u64 rip = vmread(GUEST_RIP) + mmio->length;
	const u32 blocked = vmread(GUEST_INTERRUPTIBILITY_INFO);

	if (code_size() != KVML_CODE_64)
		rip = (u32)rip;
	vmwrite(GUEST_RIP, rip);
	if (blocked & (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS))
		vmwrite(GUEST_INTERRUPTIBILITY_INFO,
			blocked & ~(u32)(GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS));
}

static u64 value_written(struct kvml_vcpu *vcpu, const struct kvml_mmio *mmio)
{
	u64 value = mmio->value;

	if (!mmio->immediate)
		value = kvml_reg(vcpu, mmio->reg) >> (mmio->high_byte ? 8 : 0);
	return kvml_low_bytes(value, mmio->size);
}

static void finish_read(struct kvml_vcpu *vcpu, const struct kvml_mmio *mmio, u64 data)
{
	kvml_set_reg(vcpu, mmio->reg, kvml_mmio_merge(mmio, kvml_reg(vcpu, mmio->reg), data));
	skip_decoded(vcpu, mmio);
}

static enum kvml_next mmio_to_user(struct kvml_vcpu *vcpu, const struct kvml_mmio *mmio, u64 gpa,
				   u64 value)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.phys_addr = gpa;
	run->mmio.len = mmio->size;
	run->mmio.is_write = mmio->write;
	memcpy(run->mmio.data, &value, sizeof(value));
	return KVML_TO_USER;
}

static enum kvml_next handle_mmio(struct kvml_vcpu *vcpu, u64 gpa)
{
	struct kvml_mmio mmio;
	u64 value = 0;
	const int outcome = decode(vcpu, &mmio);

	if (outcome == -EAGAIN)
		return KVML_RESUME;
	/* An access over the end of the page would need two; no driver makes one. */
	if (outcome || offset_in_page(gpa) + mmio.size > PAGE_SIZE)
		return emulation_failed(vcpu);
	if (mmio.write)
		value = value_written(vcpu, &mmio);
	if (vcpu->vm->split_irqchip && kvml_lapic_mmio(vcpu, gpa, mmio.write, mmio.size, &value)) {
		if (mmio.write)
			skip_decoded(vcpu, &mmio);
		else
			finish_read(vcpu, &mmio, value);
		return KVML_RESUME;
	}
	if (!mmio.write) {
		vcpu->io.kind = KVML_IO_MMIO_READ;
		vcpu->io.mmio = mmio;
		return mmio_to_user(vcpu, &mmio, gpa, 0);
	}
	skip_decoded(vcpu, &mmio);
	if (kvml_ioeventfd_write(vcpu->vm, KVML_BUS_MMIO, gpa, mmio.size, value))
		return KVML_RESUME;
	return mmio_to_user(vcpu, &mmio, gpa, value);
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
	outcome = kvml_ept_fault(vcpu, gpa, qualification & BIT(1));
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

static int complete_string(struct kvml_vcpu *vcpu)
{
	const bool repeat = vmread(EXIT_QUALIFICATION) & BIT(5);
	const int outcome = copy_linear(vcpu, vcpu->io.address, vcpu->pio,
					vcpu->io.size * vcpu->io.count, KVML_ACCESS_WRITE);

	/* A page fault goes to the guest, which repeats the instruction. */
	if (outcome == -EFAULT)
		return 0;
	if (outcome)
		return -EFAULT;
	advance_string(vcpu, RDI, vcpu->io.count, repeat);
	return 0;
}

int kvml_complete_io(struct kvml_vcpu *vcpu)
{
	const enum kvml_io_kind kind = vcpu->io.kind;
	u64 value = 0;

	vcpu->io.kind = KVML_IO_NONE;
	switch (kind) {
	case KVML_IO_PORT_IN:
		memcpy(&value, vcpu->pio, vcpu->io.size);
		/* As a register write of that size: 4 bytes clear the upper half. */
		if (vcpu->io.size == 4)
			vcpu->regs[RAX] = value;
		else
			memcpy(&vcpu->regs[RAX], &value, vcpu->io.size);
		kvml_skip_instruction(vcpu);
		return 0;
	case KVML_IO_STRING_IN:
		return complete_string(vcpu);
	case KVML_IO_MMIO_READ:
		memcpy(&value, vcpu->run->mmio.data, vcpu->io.mmio.size);
		finish_read(vcpu, &vcpu->io.mmio, value);
		return 0;
	default:
		return 0;
	}
}
