/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disasm.c - see disasm.h.  Zydis decodes and prints; what it says of operands is kept
 * so that the dump can put names beside numbers.
 */
#include <Zydis/Zydis.h>
#include <stdio.h>

#include "cpu/dbt/disasm.h"

static void note_operand(const ZydisDecodedOperand *o, struct disasm *out)
{
	if (o->type == ZYDIS_OPERAND_TYPE_MEMORY && o->mem.segment == ZYDIS_REGISTER_GS) {
		out->gs = true;
		out->index =
			o->mem.base != ZYDIS_REGISTER_NONE || o->mem.index != ZYDIS_REGISTER_NONE;
		out->disp = o->mem.disp.value;
	}
}

static void note_mov(const ZydisDecodedOperand *o, struct disasm *out)
{
	if (o[0].type != ZYDIS_OPERAND_TYPE_REGISTER || o[1].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
		return;
	out->mov_imm = true;
	out->mov_reg = (uint8_t)ZydisRegisterGetId(o[0].reg.value);
	out->imm = o[1].imm.value.u;
}

static void note(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o, uint64_t rip,
		 struct disasm *out)
{
	for (unsigned n = 0; n < z->operand_count_visible; n++)
		note_operand(&o[n], out);
	if (z->mnemonic == ZYDIS_MNEMONIC_MOV)
		note_mov(o, out);
	if (z->operand_count_visible == 1 && o[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
	    o[0].imm.is_relative)
		out->branch = ZYAN_SUCCESS(ZydisCalcAbsoluteAddress(z, &o[0], rip, &out->target));
}

static void print(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o, uint64_t rip,
		  struct disasm *out)
{
	ZydisFormatter f;

	if (!ZYAN_SUCCESS(ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL)))
		return;
	ZydisFormatterSetProperty(&f, ZYDIS_FORMATTER_PROP_HEX_UPPERCASE, ZYAN_FALSE);
	ZydisFormatterSetProperty(&f, ZYDIS_FORMATTER_PROP_ADDR_PADDING_ABSOLUTE, 0);
	ZydisFormatterSetProperty(&f, ZYDIS_FORMATTER_PROP_DISP_PADDING, 0);
	ZydisFormatterSetProperty(&f, ZYDIS_FORMATTER_PROP_IMM_PADDING, 0);
	ZydisFormatterFormatInstruction(&f, z, o, z->operand_count_visible, out->text,
					sizeof(out->text), rip, NULL);
}

bool disasm(const uint8_t *code, size_t avail, uint64_t rip, struct disasm *out)
{
	ZydisDecodedOperand o[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction z;
	ZydisDecoder d;

	*out = (struct disasm){.len = 1, .text = "(bad)"};
	if (!ZYAN_SUCCESS(ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)) ||
	    !ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, code, avail, &z, o)))
		return false;
	out->len = z.length;
	note(&z, o, rip, out);
	if (out->branch)
		snprintf(out->text, sizeof(out->text), "%s ", ZydisMnemonicGetString(z.mnemonic));
	else
		print(&z, o, rip, out);
	return true;
}
