// SPDX-License-Identifier: GPL-2.0
#include "mmio_decode.h"

#define REX_W	8
#define REX_R	4

struct cursor {
	const u8 *bytes;
	u32 count;
	u32 at;
};

struct prefixes {
	bool operand_16;	/* 0x66 */
	bool address_other;	/* 0x67 */
	u8 rex;			/* 0: none */
};

static int next_byte(struct cursor *cursor, u8 *byte)
{
	if (cursor->at >= KVML_INSTRUCTION_MAX)
		return -EINVAL;
	if (cursor->at >= cursor->count)
		return -ENODATA;
	*byte = cursor->bytes[cursor->at++];
	return 0;
}

static int skip(struct cursor *cursor, u32 count)
{
	u8 ignored;
	int outcome = 0;

	while (count-- && !outcome)
		outcome = next_byte(cursor, &ignored);
	return outcome;
}

static bool is_segment_prefix(u8 byte)
{
	return byte == 0x26 || byte == 0x2e || byte == 0x36 || byte == 0x3e || byte == 0x64 ||
		byte == 0x65;
}

/* Leaves the first byte of the opcode in @opcode. */
static int read_prefixes(struct cursor *cursor, enum kvml_code_size code,
			 struct prefixes *prefixes, u8 *opcode)
{
	for (;;) {
		const int outcome = next_byte(cursor, opcode);

		if (outcome)
			return outcome;
		if (*opcode == 0x66) {
			prefixes->operand_16 = true;
		} else if (*opcode == 0x67) {
			prefixes->address_other = true;
		} else if (code == KVML_CODE_64 && (*opcode & 0xf0) == 0x40) {
			prefixes->rex = *opcode;
			continue;
		} else if (!is_segment_prefix(*opcode)) {
			/* LOCK and REP make no sense with MOV and fall through to the opcode. */
			return 0;
		}
		/* A REX that is not the last prefix counts for nothing. */
		prefixes->rex = 0;
	}
}

static u8 operand_size(const struct prefixes *prefixes, enum kvml_code_size code)
{
	if (prefixes->rex & REX_W)
		return 8;
	return (code == KVML_CODE_16) == prefixes->operand_16 ? 4 : 2;
}

static u8 address_size(const struct prefixes *prefixes, enum kvml_code_size code)
{
	if (code == KVML_CODE_64)
		return prefixes->address_other ? 4 : 8;
	return (code == KVML_CODE_16) == prefixes->address_other ? 4 : 2;
}

/* How many bytes follow ModRM (and SIB) in an address of 16 bits. */
static u32 displacement_16(u8 modrm)
{
	switch (modrm >> 6) {
	case 0:
		return (modrm & 7) == 6 ? 2 : 0;
	default:
		return modrm >> 6;
	}
}

/* Skips SIB and displacement; the processor has told the address already. */
static int skip_address(struct cursor *cursor, u8 modrm, u8 address_bytes)
{
	const u8 mode = modrm >> 6;
	u8 base = modrm & 7;
	int outcome;

	if (mode == 3)
		return -EINVAL;
	if (address_bytes == 2)
		return skip(cursor, displacement_16(modrm));
	if (base == 4) {
		outcome = next_byte(cursor, &base);
		if (outcome)
			return outcome;
		base &= 7;
	}
	if (mode == 1)
		return skip(cursor, 1);
	return mode == 2 || base == 5 ? skip(cursor, 4) : 0;
}

static int read_immediate(struct cursor *cursor, struct kvml_mmio *mmio)
{
	/* MOV has no 64-bit immediate to memory: 32 bits are sign-extended. */
	const u32 bytes = mmio->size == 8 ? 4 : mmio->size;
	u64 value = 0;
	u32 i;

	for (i = 0; i < bytes; i++) {
		u8 byte;
		const int outcome = next_byte(cursor, &byte);

		if (outcome)
			return outcome;
		value |= (u64)byte << (8 * i);
	}
	mmio->immediate = true;
	mmio->value = mmio->size == 8 ? (u64)(s64)(s32)(u32)value : value;
	return 0;
}

static void set_register(struct kvml_mmio *mmio, const struct prefixes *prefixes, u8 modrm)
{
	mmio->reg = ((modrm >> 3) & 7) | (prefixes->rex & REX_R ? 8 : 0);
	/* Without REX, byte registers 4 to 7 are the second bytes of 0 to 3. */
	if ((mmio->write ? mmio->size : mmio->reg_size) == 1 && !prefixes->rex && mmio->reg >= 4) {
		mmio->high_byte = true;
		mmio->reg -= 4;
	}
}

/* Opcodes 0F xx. */
static int decode_two_bytes(struct cursor *cursor, u8 operand, struct kvml_mmio *mmio)
{
	u8 opcode;
	const int outcome = next_byte(cursor, &opcode);

	if (outcome)
		return outcome;
	switch (opcode) {
	case 0xb6:	/* MOVZX */
	case 0xb7:
	case 0xbe:	/* MOVSX */
	case 0xbf:
		mmio->size = opcode & 1 ? 2 : 1;
		mmio->reg_size = operand;
		mmio->sign_extend = opcode & 8;
		return 0;
	default:
		return -EINVAL;
	}
}

/* MOV between AL..RAX and an address that stands in the instruction. */
static int decode_offset_form(struct cursor *cursor, const struct prefixes *prefixes, u8 opcode,
			      enum kvml_code_size code, struct kvml_mmio *mmio)
{
	mmio->size = opcode & 1 ? operand_size(prefixes, code) : 1;
	mmio->reg_size = mmio->size;
	mmio->write = opcode & 2;
	return skip(cursor, address_size(prefixes, code));
}

int kvml_mmio_decode(const u8 *bytes, u32 count, enum kvml_code_size code, struct kvml_mmio *mmio)
{
	struct cursor cursor = { bytes, count, 0 };
	struct prefixes prefixes = { false, false, 0 };
	u8 opcode, modrm, operand;
	int outcome;

	memset(mmio, 0, sizeof(*mmio));
	outcome = read_prefixes(&cursor, code, &prefixes, &opcode);
	if (outcome)
		return outcome;
	operand = operand_size(&prefixes, code);
	switch (opcode) {
	case 0x88:
	case 0x89:
	case 0x8a:
	case 0x8b:
	case 0xc6:
	case 0xc7:
		mmio->size = opcode & 1 ? operand : 1;
		mmio->reg_size = mmio->size;
		mmio->write = !(opcode & 2) || opcode >= 0xc6;
		break;
	case 0x63:	/* MOVSXD; outside 64-bit code it is ARPL */
		if (code != KVML_CODE_64)
			return -EINVAL;
		mmio->size = operand == 2 ? 2 : 4;
		mmio->reg_size = operand;
		mmio->sign_extend = true;
		break;
	case 0x0f:
		outcome = decode_two_bytes(&cursor, operand, mmio);
		if (outcome)
			return outcome;
		break;
	case 0xa0:
	case 0xa1:
	case 0xa2:
	case 0xa3:
		outcome = decode_offset_form(&cursor, &prefixes, opcode, code, mmio);
		mmio->length = (u8)cursor.at;
		return outcome;
	default:
		return -EINVAL;
	}
	outcome = next_byte(&cursor, &modrm);
	if (!outcome)
		outcome = skip_address(&cursor, modrm, address_size(&prefixes, code));
	if (!outcome && opcode >= 0xc6) {
		/* The register field extends the opcode. */
		if (modrm & 0x38)
			return -EINVAL;
		outcome = read_immediate(&cursor, mmio);
	} else if (!outcome) {
		set_register(mmio, &prefixes, modrm);
	}
	mmio->length = (u8)cursor.at;
	return outcome;
}

u64 kvml_mmio_merge(const struct kvml_mmio *mmio, u64 old, u64 data)
{
	const u64 memory_mask = mmio->size == 8 ? ~0ULL : (1ULL << (8 * mmio->size)) - 1;
	const u64 reg_mask = mmio->reg_size == 8 ? ~0ULL : (1ULL << (8 * mmio->reg_size)) - 1;

	data &= memory_mask;
	if (mmio->sign_extend && (data >> (8 * mmio->size - 1)))
		data |= ~memory_mask;
	data &= reg_mask;
	if (mmio->high_byte)
		return (old & ~0xff00ULL) | data << 8;
	/* Writing 32 bits clears the upper half; writing 8 or 16 keeps the rest. */
	return mmio->reg_size >= 4 ? data : (old & ~reg_mask) | data;
}
