/* SPDX-License-Identifier: Apache-2.0 */
/* encode.h - how the host encodes an integer instruction of the guest's. */
#pragma once

#include "cpu/dbt/lower.h"

struct native { /* how an instruction is encoded, and what it does to its operands */
	struct host_enc enc;
	uint8_t digit; /* in the reg field, when @reg is REG_DIGIT */
	enum { REG_DIGIT, REG_IN, REG_OUT, REG_INOUT } reg;
	enum { RM_IN, RM_OUT, RM_INOUT } rm;
	uint8_t imm_bytes;
	bool no_mem; /* a register in memory must not become a memory operand */
};

/* A host instruction @op of @map on operands of @size bytes. */
struct host_enc by_size(unsigned map, unsigned op, unsigned size);
/* Instructions that run on explicit operands alone.  False: not one of them. */
bool encode(const struct insn *i, struct native *n);
