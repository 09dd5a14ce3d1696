// SPDX-License-Identifier: GPL-2.0
#include "mmio_decode.h"

#define REX_W	8
#define REX_R	4

struct decoder {
	const u8 *bytes;
	u32 count, at;
	enum kvml_code_size code;
	u8 operand_size;	/* 2 or 4; REX.W makes it 8 */
	u8 address_size;	/* 2, 4 or 8 */
	u8 rex;			/* 0: none */
};

/* Zeros behind the end: that it was passed shows in the place reached, once all is decoded. */
static u8 next_byte(struct decoder *in)
{
	const u32 at = in->at++;

	return at < in->count ? in->bytes[at] : 0;
}

/* Gives the first byte of the opcode. LOCK and REP make no sense with MOV and count as such. */
static u8 skip_prefixes(struct decoder *in)
{
	in->operand_size = in->code == KVML_CODE_16 ? 2 : 4;
	in->address_size = in->code;
	for (;;) {
		const u8 byte = next_byte(in);
		const bool rex = in->code == KVML_CODE_64 && (byte & 0xf0) == 0x40;

		if (byte == 0x66)
			in->operand_size = in->code == KVML_CODE_16 ? 4 : 2;
		else if (byte == 0x67)
			in->address_size = in->code == KVML_CODE_32 ? 2 : 4;
		/* Nor a segment: ES, CS, SS and DS stand in two bits, FS and GS came later. */
		else if (!rex && (byte & 0xe7) != 0x26 && (byte & 0xfe) != 0x64)
			return byte;
		/* A REX that is not the last prefix counts for nothing. */
		in->rex = rex ? byte : 0;
	}
}

/* Skips SIB and displacement; the processor has told the address already. */
static void skip_address(struct decoder *in, u8 modrm)
{
	const u8 mode = modrm >> 6;
	u8 base = modrm & 7;

	if (in->address_size == 2) {
		in->at += mode == 0 && base == 6 ? 2 : mode;
		return;
	}
	if (base == 4)
		base = next_byte(in) & 7;
	if (mode == 1)
		in->at += 1;
	else if (mode == 2 || base == 5)
		in->at += 4;
}

/* MOV has no 64-bit immediate to memory: 32 bits are sign-extended. */
static u64 read_immediate(struct decoder *in, u8 size)
{
	u32 value = 0, i;

	for (i = 0; i < size && i < sizeof(value); i++)
		value |= (u32)next_byte(in) << (8 * i);
	return kvml_low_bytes((u64)(s64)(s32)value, size);
}

static int decode(struct decoder *in, struct kvml_mmio *mmio)
{
	u8 opcode = skip_prefixes(in);
	const u8 operand = in->rex & REX_W ? 8 : in->operand_size;
	u8 modrm;

	mmio->size = opcode & 1 ? operand : 1;
	mmio->reg_size = mmio->size;
	switch (opcode) {
	case 0x88 ... 0x8b:
		mmio->write = !(opcode & 2);
		break;
	case 0xa0 ... 0xa3:	/* AL..RAX and an address that stands in the instruction */
		mmio->write = opcode & 2;
		in->at += in->address_size;
		return 0;
	case 0xc6 ... 0xc7:
		mmio->write = true;
		mmio->immediate = true;
		break;
	case 0x63:	/* MOVSXD; outside 64-bit code it is ARPL */
		if (in->code != KVML_CODE_64)
			return -EINVAL;
		mmio->size = operand == 2 ? 2 : 4;
		mmio->reg_size = operand;
		mmio->sign_extend = true;
		break;
	case 0x0f:	/* MOVZX (B6, B7) and MOVSX (BE, BF) */
		opcode = next_byte(in);
		if ((opcode & 0xf6) != 0xb6)
			return -EINVAL;
		mmio->size = opcode & 1 ? 2 : 1;
		mmio->reg_size = operand;
		mmio->sign_extend = opcode & 8;
		break;
	default:
		return -EINVAL;
	}
	modrm = next_byte(in);
	/* No register to register; and with an immediate, the register extends the opcode. */
	if (modrm >> 6 == 3 || (mmio->immediate && (modrm & 0x38)))
		return -EINVAL;
	skip_address(in, modrm);
	if (mmio->immediate) {
		mmio->value = read_immediate(in, mmio->size);
		return 0;
	}
	mmio->reg = ((modrm >> 3) & 7) | (in->rex & REX_R ? 8 : 0);
	/* Without REX, byte registers 4 to 7 are the second bytes of 0 to 3. */
	mmio->high_byte = mmio->reg_size == 1 && !in->rex && mmio->reg >= 4;
	if (mmio->high_byte)
		mmio->reg -= 4;
	return 0;
}

int kvml_mmio_decode(const u8 *bytes, u32 count, enum kvml_code_size code, struct kvml_mmio *mmio)
{
	struct decoder in = { .bytes = bytes, .code = code };
	int outcome;

	in.count = count < KVML_INSTRUCTION_MAX ? count : KVML_INSTRUCTION_MAX;
	memset(mmio, 0, sizeof(*mmio));
	outcome = decode(&in, mmio);
	mmio->length = (u8)in.at;
	if (in.at > in.count)
		return count < KVML_INSTRUCTION_MAX ? -ENODATA : -EINVAL;
	return outcome;
}

u64 kvml_register_merge(u64 old, u64 data, u8 size)
{
	const u64 kept = size >= 4 ? 0 : old & ~kvml_low_bytes(~0ULL, size);

	return kept | kvml_low_bytes(data, size);
}

u64 kvml_mmio_merge(const struct kvml_mmio *mmio, u64 old, u64 data)
{
	data = kvml_low_bytes(data, mmio->size);
	if (mmio->sign_extend && (data >> (8 * mmio->size - 1)))
		data |= ~kvml_low_bytes(~0ULL, mmio->size);
	if (mmio->high_byte)
		return (old & ~0xff00ULL) | data << 8;
	return kvml_register_merge(old, data, mmio->reg_size);
}
