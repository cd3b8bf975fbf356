/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sem_int.c - the integer semantics' front door.
 *
 * Operations are spread over files by theme.  LOCK comes first: a locked operation has
 * the same name as its plain one, and a different handler.
 */
#include "cpu/x86/sem_int.h"

insn_fn *bind_int(const struct insn *i)
{
	static insn_fn *(*const binds[])(const struct insn *) = {
		bind_lock, bind_alu, bind_unary, bind_shift,   bind_mov,    bind_misc,
		bind_bits, bind_bmi, bind_mul,	 bind_decimal, bind_branch, bind_stack,
	};
	insn_fn *fn = NULL;

	for (unsigned n = 0; !fn && n < ARRAY_SIZE(binds); n++)
		fn = binds[n](i);
	return fn;
}
