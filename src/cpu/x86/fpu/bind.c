/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bind.c - which handler runs an instruction of the x87, MMX, SSE and AVX families.
 *
 * For the engine, after it compared the instruction's feature with the model: what
 * the model does not show never gets here, so no stub holds an instruction
 * that the host lacks.
 */
#include "cpu/x86/fpu/fpu.h"

static bool is_sse4a_field(const struct insn *i)
{
	return i->map == 1 && (i->opcode & 0xfe) == 0x78 && !(i->flags & INSN_VEX);
}

insn_fn *bind_fpu(const struct insn *i)
{
	insn_fn *fn;

	switch (i->op) {
	case OP_VEC:
		if (is_sse4a_field(i))
			return op_sse4a;
		fn = bind_move(i);
		return fn ? fn : bind_vec(i);
	case OP_X87: return op_x87;
	case OP_WAIT: return op_wait;
	case OP_EMMS: return op_emms;
	case OP_MASKMOV: return op_maskmov;
	case OP_GATHER: return op_gather;
	case OP_VZEROUPPER: return op_vzeroupper;
	case OP_VZEROALL: return op_vzeroall;
	default: return bind_xstate(i);
	}
}
