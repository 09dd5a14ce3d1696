/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Decodes the instruction of a guest that touched a device's memory: plain MOV, MOVZX, MOVSX and
 * MOVSXD between memory and a register or an immediate (SDM volume 2). Everything else is refused;
 * kvm-lite has no instruction emulator. Pure.
 */
#ifndef KVML_MMIO_DECODE_H
#define KVML_MMIO_DECODE_H

#include "portable.h"

/* The longest instruction of the architecture. */
#define KVML_INSTRUCTION_MAX	15u

/* By the bytes of an address, unless a prefix says otherwise. */
enum kvml_code_size {
	KVML_CODE_16 = 2, KVML_CODE_32 = 4, KVML_CODE_64 = 8,
};

struct kvml_mmio {
	bool write;
	bool immediate;		/* a write of @value; else of register @reg */
	bool sign_extend;	/* a read: to reg_size; else zeros, as registers of that size do */
	bool high_byte;		/* register AH, CH, DH or BH: reg is 0 to 3 */
	u8 reg;
	u8 reg_size;		/* bytes that a read sets in the register: 1, 2, 4, 8 */
	u8 size;		/* bytes in memory: 1, 2, 4, 8 */
	u8 length;		/* of the instruction */
	u64 value;
};

/* 0; -EINVAL: not one of these instructions; -ENODATA: @bytes ends within it. */
int kvml_mmio_decode(const u8 *bytes, u32 count, enum kvml_code_size code, struct kvml_mmio *mmio);

static inline u64 kvml_low_bytes(u64 value, u8 size)
{
	return size == 8 ? value : value & ((1ULL << (8 * size)) - 1);
}

/* A register that was @old, after @size bytes of it were written: 4 clear the upper half. */
u64 kvml_register_merge(u64 old, u64 data, u8 size);

/* @old register value after a read brought @data. */
u64 kvml_mmio_merge(const struct kvml_mmio *mmio, u64 old, u64 data);

#endif /* KVML_MMIO_DECODE_H */
