/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_fuzz.c - any bytes in any mode: the decoder stays in bounds and consistent.
 *
 * First byte of the input: mode.  The code is copied to the end of an allocation, so
 * that a read beyond it is caught.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "cpu/state.h"
#include "cpu/x86/insn.h"

#define INVARIANT(cond)          \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_registers(const struct insn *i, enum x86_mode mode)
{
	unsigned regs = mode == MODE_64 ? 16 : 8;

	INVARIANT(i->seg < SEG_COUNT);
	INVARIANT(i->reg < 16 && i->rm < regs && i->vvvv < regs);
	INVARIANT(i->base == INSN_NOREG || i->base < regs);
	INVARIANT(i->index == INSN_NOREG || i->index < regs);
	INVARIANT(i->is4 == INSN_NOREG || i->is4 < regs);
	INVARIANT(i->scale < 4 && i->cc < 16);
	INVARIANT(i->vk_reg <= VK_GPR && i->vk_vvvv <= VK_GPR && i->vk_rm <= VK_GPR);
}

static void check_sizes(const struct insn *i, enum x86_mode mode)
{
	INVARIANT(i->opsize == 1 || i->opsize == 2 || i->opsize == 4 || i->opsize == 8);
	INVARIANT(mode == MODE_64 || i->opsize < 8);
	INVARIANT(i->adsize == 2 || i->adsize == 4 || i->adsize == 8);
	INVARIANT((mode == MODE_64) == (i->adsize == 8) || i->flags & INSN_ADDR32);
	INVARIANT(i->msize <= 108);
}

static void check_flags(const struct insn *i)
{
	INVARIANT(!(i->flags & INSN_LOCK) ||
		  ((i->flags & INSN_MEM) && (i->flags & INSN_MEM_R) && (i->flags & INSN_MEM_W)));
	INVARIANT(!(i->flags & INSN_RIPREL) || i->base == INSN_NOREG);
	INVARIANT(!(i->flags & INSN_VSIB) || i->op == OP_GATHER);
	INVARIANT(!(i->flags & (INSN_REP | INSN_REPNE)) || i->form == FORM_STR);
	INVARIANT(!(i->flags & INSN_VEX_L) || i->flags & INSN_VEX);
	INVARIANT(i->form != FORM_VEC || i->vk_rm != VK_NONE);
	INVARIANT((i->form == FORM_X87) == (i->op == OP_X87));
}

static int decode_exactly(const uint8_t *code, size_t len, enum x86_mode mode, struct insn *i)
{
	uint8_t *copy = malloc(len ? len : 1);
	int ret;

	INVARIANT(copy);
	memcpy(copy, code, len);
	ret = x86_decode(copy, len, mode, i);
	free(copy);
	return ret;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum x86_mode mode;
	struct insn i, again;
	int len;

	if (size < 1)
		return 0;
	mode = (enum x86_mode)(data[0] % 3);
	data++;
	size--;
	len = decode_exactly(data, size, mode, &i);
	if (len <= 0) {
		INVARIANT(len == X86_UD || len == X86_TOO_LONG || len == X86_TRUNCATED);
		INVARIANT(len != X86_TRUNCATED || size < INSN_MAX_LEN);
		INVARIANT(len != X86_TOO_LONG || size >= INSN_MAX_LEN);
		return 0;
	}
	INVARIANT((size_t)len <= size && len <= INSN_MAX_LEN && len == i.len);
	INVARIANT(i.op > OP_INVALID && i.op < OP_COUNT && i.form <= FORM_X87 && !i.fn);
	check_registers(&i, mode);
	check_sizes(&i, mode);
	check_flags(&i);

	INVARIANT(decode_exactly(data, (size_t)len, mode, &again) == len);
	INVARIANT(!memcmp(&i, &again, sizeof(i)));
	INVARIANT(decode_exactly(data, (size_t)len - 1, mode, &again) == X86_TRUNCATED);
	return 0;
}
