/* SPDX-License-Identifier: Apache-2.0 */
/*
 * optab_x87.c - which x87 encodings exist, and the sizes of their memory operands.
 *
 * Aliases that the manuals mark reserved (FCOM2, FXCH4, FSTP1 ...) exist on all
 * processors.  Source: APM vol. 3, table A-15; SDM vol. 2, A.5.
 */
#include "cpu/x86/optab.h"

enum {
	R = 0x00,
	W = 0x80,   /* read, write */
	ENV = 0x40, /* FLDENV, FNSTENV: 28 bytes, 14 with 16-bit operands */
	ALL = 0x41, /* FRSTOR, FNSAVE: 108, 94 */
	UD = 0xff,
	SIZE = 0x7f,
};

static const uint8_t mem_forms[8][8] = {
	{R | 4, R | 4, R | 4, R | 4, R | 4, R | 4, R | 4, R | 4},
	{R | 4, UD, W | 4, W | 4, R | ENV, R | 2, W | ENV, W | 2},
	{R | 4, R | 4, R | 4, R | 4, R | 4, R | 4, R | 4, R | 4},
	{R | 4, W | 4, W | 4, W | 4, UD, R | 10, UD, W | 10},
	{R | 8, R | 8, R | 8, R | 8, R | 8, R | 8, R | 8, R | 8},
	{R | 8, W | 8, W | 8, W | 8, R | ALL, UD, W | ALL, W | 2},
	{R | 2, R | 2, R | 2, R | 2, R | 2, R | 2, R | 2, R | 2},
	{R | 2, W | 2, W | 2, W | 2, R | 10, R | 8, W | 10, W | 8},
};

/* Bit modrm - 0xc0 of the register forms that do not exist. */
static const uint64_t no_reg_form[8] = {
	[1] = 0x000080cc00fe0000, /* d1..d7, e2, e3, e6, e7, ef */
	[2] = 0xfffffdff00000000, /* e0..e8, ea..ff: only FUCOMPP */
	[3] = 0xff0000e000000000, /* e5..e7, f8..ff */
	[5] = 0xffff000000000000, /* f0..ff */
	[6] = 0x00000000fd000000, /* d8, da..df: only FCOMPP */
	[7] = 0xff0000fe00000000, /* e1..e7, f8..ff */
};

bool x87_operands(unsigned n, struct insn *i)
{
	uint8_t f;

	if (i->modrm >= 0xc0)
		return !(no_reg_form[n] >> (i->modrm - 0xc0) & 1);
	f = mem_forms[n][i->modrm >> 3 & 7];
	if (f == UD)
		return false;
	if ((f & SIZE) == ENV)
		i->msize = i->opsize == 2 ? 14 : 28;
	else if ((f & SIZE) == ALL)
		i->msize = i->opsize == 2 ? 94 : 108;
	else
		i->msize = f & SIZE;
	i->flags |= f & W ? INSN_MEM_W : INSN_MEM_R;
	if ((i->modrm >> 3 & 7) == 1 && (n == 3 || n == 5 || n == 7))
		i->feature = FEAT_SSE3; /* FISTTP */
	return true;
}
