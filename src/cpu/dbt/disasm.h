/* SPDX-License-Identifier: Apache-2.0 */
/* disasm.h - instructions as text, for dumps. */
#pragma once

#include "base/cleanup.h"

enum { DISASM_TEXT = 96 };

struct disasm { /* one 64-bit instruction */
	uint8_t len;
	char text[DISASM_TEXT];
	bool branch;  /* a direct one: @target */
	bool mov_imm; /* of @imm to register @mov_reg (hardware number) */
	uint8_t mov_reg;
	bool gs, index; /* a memory operand of GS at @disp, and with a register */
	uint64_t target, imm;
	int64_t disp;
};

/* The instruction of @avail bytes at most, which runs at @rip.  False: not one; @len is then 1. */
bool disasm(const uint8_t *code, size_t avail, uint64_t rip, struct disasm *out);
