/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_zydis_test.c - the decoder against Zydis on millions of random byte strings.
 *
 * Both must agree on what is an instruction, on its length, on the memory operand
 * (base, index, scale, displacement, segment, bytes, direction), on registers with their
 * widths, and on LOCK and REP.  Deliberate differences are listed in excused().
 * DECODE_SEED and DECODE_CASES override the defaults.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <Zydis/Zydis.h>
#include "cpu/state.h"
#include "cpu/x86/insn.h"

struct zy {
	ZydisDecodedInstruction i;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
};

struct pick { /* one random encoding */
	uint8_t code[16];
	enum x86_mode mode;
};

static uint64_t next_random(uint64_t *s)
{
	uint64_t z = (*s += 0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* Random bytes, with prefixes and map escapes more often than chance has them. */
static void pick_bytes(uint64_t *seed, struct pick *p)
{
	static const uint8_t prefixes[] = {0x66, 0xf2, 0xf3, 0xf0, 0x67, 0x48, 0x41, 0x64, 0x2e};
	uint64_t r[2] = {next_random(seed), next_random(seed)}, c = next_random(seed);
	uint8_t *b = p->code;

	memcpy(b, r, 16);
	p->mode = (enum x86_mode)(c % 3);
	c >>= 8;
	for (unsigned n = c & 3; n > 1; n--, c >>= 4)
		*b++ = prefixes[(c >> 2) % sizeof(prefixes)];
	c >>= 8;
	switch (c & 7) {
	case 0:
	case 1: b[0] = 0x0f; break;
	case 2: b[0] = 0x0f, b[1] = 0x38; break;
	case 3: b[0] = 0x0f, b[1] = 0x3a; break;
	case 4:
		b[0] = 0xc4, b[1] &= 0xe3;
		if (c & 8)
			b[2] |= 0x78;
		break;
	case 5:
		b[0] = 0xc5;
		if (c & 8)
			b[1] |= 0x78;
	}
}

/* Extensions that no model of ours offers, so their encodings are #UD. */
static bool never_offered(const struct zy *z)
{
	static const uint16_t exts[] = {
		ZYDIS_ISA_EXT_AVX512EVEX, ZYDIS_ISA_EXT_AVX512VEX, ZYDIS_ISA_EXT_XOP,
		ZYDIS_ISA_EXT_AMD3DNOW,	  ZYDIS_ISA_EXT_VTX,	   ZYDIS_ISA_EXT_SVM,
		ZYDIS_ISA_EXT_RTM,	  ZYDIS_ISA_EXT_FMA4,	   ZYDIS_ISA_EXT_TBM,
		ZYDIS_ISA_EXT_KNC,	  ZYDIS_ISA_EXT_KNCE,	   ZYDIS_ISA_EXT_KNCV,
		ZYDIS_ISA_EXT_CET,	  ZYDIS_ISA_EXT_PADLOCK,   ZYDIS_ISA_EXT_SGX,
		ZYDIS_ISA_EXT_SGX_ENCLV,  ZYDIS_ISA_EXT_SMX,	   ZYDIS_ISA_EXT_KEYLOCKER,
		ZYDIS_ISA_EXT_TDX,	  ZYDIS_ISA_EXT_AVX_VNNI,  ZYDIS_ISA_EXT_KEYLOCKER_WIDE,
		ZYDIS_ISA_EXT_PKU,	  ZYDIS_ISA_EXT_AMX_TILE,  ZYDIS_ISA_EXT_AMX_INT8,
		ZYDIS_ISA_EXT_AMX_BF16,	  ZYDIS_ISA_EXT_SERIALIZE, ZYDIS_ISA_EXT_WAITPKG,
		ZYDIS_ISA_EXT_MONITORX,	  ZYDIS_ISA_EXT_ENQCMD,	   ZYDIS_ISA_EXT_MOVDIR,
		ZYDIS_ISA_EXT_PT,	  ZYDIS_ISA_EXT_UINTR,	   ZYDIS_ISA_EXT_SNP,
		ZYDIS_ISA_EXT_MCOMMIT,	  ZYDIS_ISA_EXT_CLZERO,	   ZYDIS_ISA_EXT_AMD_INVLPGB,
		ZYDIS_ISA_EXT_VMFUNC,	  ZYDIS_ISA_EXT_PCONFIG,   ZYDIS_ISA_EXT_RDPRU,
		ZYDIS_ISA_EXT_HRESET,	  ZYDIS_ISA_EXT_TSX_LDTRK,
	};

	for (size_t n = 0; n < ARRAY_SIZE(exts); n++)
		if (z->i.meta.isa_ext == exts[n])
			return true;
	return false;
}

/* Zydis accepts and we do not, knowingly. */
static bool excused(const struct zy *z, enum x86_mode mode)
{
	if (never_offered(z))
		return true;
	switch (z->i.mnemonic) {
	case ZYDIS_MNEMONIC_RSM: /* #UD outside SMM, which there is not */ return true;
	case ZYDIS_MNEMONIC_NOP: /* 0F 0D with a register: #UD on AMD */ return z->i.opcode == 0x0d;
	case ZYDIS_MNEMONIC_VPINSRD: /* W1 outside 64-bit mode: #UD (measured on Zen 4) */
	case ZYDIS_MNEMONIC_VPEXTRD: return mode != MODE_64;
	default: return false;
	}
}

/* Number of a Zydis register in our numbering; AH..BH come as 0..3 with *hi. */
static int number_of(ZydisRegister r, bool *hi)
{
	*hi = r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH;
	if (*hi)
		return r - ZYDIS_REGISTER_AH;
	if (r >= ZYDIS_REGISTER_SPL && r <= ZYDIS_REGISTER_R15B)
		return r - ZYDIS_REGISTER_SPL + GPR_RSP;
	return ZydisRegisterGetId(r);
}

static const char *check_mem(const struct insn *i, const struct zy *z, const ZydisDecodedOperand *o)
{
	static const uint8_t segs[] = {SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS};
	bool hi, rip = o->mem.base == ZYDIS_REGISTER_RIP || o->mem.base == ZYDIS_REGISTER_EIP;
	int base = o->mem.base == ZYDIS_REGISTER_NONE || rip ? INSN_NOREG
							     : number_of(o->mem.base, &hi);
	int index = o->mem.index == ZYDIS_REGISTER_NONE ? INSN_NOREG : number_of(o->mem.index, &hi);
	int64_t disp = o->mem.disp.has_displacement ? o->mem.disp.value : 0;

	/* Zydis takes SIB base 101 with mod 00, 32-bit addresses and REX.B for R13D */
	if (i->adsize == 4 && base == GPR_R13 && i->base == INSN_NOREG && (i->modrm & 0xc7) == 4)
		return NULL;
	if (base != i->base || rip != !!(i->flags & INSN_RIPREL))
		return "base";
	if (index != i->index)
		return "index";
	if (index != INSN_NOREG && o->mem.scale && o->mem.scale != 1 << i->scale)
		return "scale";
	if ((disp ^ i->disp) & (int64_t)(~0ULL >> (64 - 8 * i->adsize)))
		return "displacement";
	if (o->mem.segment && i->op != OP_LEA && segs[ZydisRegisterGetId(o->mem.segment)] != i->seg)
		return "segment";
	if (z->i.address_width != i->adsize * 8)
		return "address size";
	return NULL;
}

/* Sizes where Zydis tells something else than the bytes accessed. */
static bool size_excused(const struct insn *i)
{
	switch (i->op) {
	case OP_GATHER:	  /* ours is one element */
	case OP_PREFETCH: /* ours is 1 or none: they access nothing */
	case OP_CLFLUSH:
	case OP_CLFLUSHOPT:
	case OP_CLWB:
	case OP_INVLPG:
	case OP_LEA:
	case OP_NOP:
	case OP_UD:
	case OP_FXSAVE: /* too large for msize */
	case OP_FXRSTOR:
	case OP_XSAVE:
	case OP_XSAVEC:
	case OP_XSAVEOPT:
	case OP_XSAVES:
	case OP_XRSTOR:
	case OP_XRSTORS: return true;
	case OP_JMP_FAR_M: /* AMD has no 64-bit offsets */
	case OP_CALL_FAR_M:
	case OP_LSS:
	case OP_LFS:
	case OP_LGS: return i->flags & INSN_REX_W;
	case OP_MOVSXD:	 /* with 66, AMD still reads four bytes (measured) */
	case OP_CALL_RM: /* with 66, AMD reads two (measured) */
	case OP_JMP_RM: return i->opsize == 2;
	case OP_VEC: /* PUNPCKL* from memory: MMX reads 4 bytes (SDM), Zydis says 8 */
		return i->map == 1 && i->opcode >= 0x60 && i->opcode <= 0x62 && i->pp == 0;
	default: return false;
	}
}

static const char *check_mem_size(const struct insn *i, const ZydisDecodedOperand *o)
{
	bool r = o->actions & (ZYDIS_OPERAND_ACTION_READ | ZYDIS_OPERAND_ACTION_CONDREAD);
	bool w = o->actions & (ZYDIS_OPERAND_ACTION_WRITE | ZYDIS_OPERAND_ACTION_CONDWRITE);

	if (size_excused(i))
		return NULL;
	if (o->size != i->msize * 8u)
		return "memory size";
	if (r != !!(i->flags & INSN_MEM_R) || w != !!(i->flags & INSN_MEM_W))
		return "memory direction";
	return NULL;
}

struct want { /* a register operand as the form lists it */
	unsigned number, size, kind;
	bool hi;
};

static bool same_reg(const struct want *w, const ZydisDecodedOperand *o)
{
	static const uint8_t kind_size[] = {[VK_XMM] = 16, [VK_YMM] = 32, [VK_MMX] = 8};
	bool hi;
	int n = number_of(o->reg.value, &hi);
	unsigned size = w->kind && w->kind != VK_GPR ? kind_size[w->kind] : w->size;

	return n == (int)w->number && hi == w->hi &&
	       ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, o->reg.value) == size * 8;
}

/* Our register operands in the order of the listing; returns their number. */
static unsigned wanted(const struct insn *i, struct want *w)
{
	struct want reg = {i->reg, i->opsize, 0, i->flags & INSN_REG_HI},
		    rm = {i->rm, i->srcsize ? i->srcsize : i->opsize, 0, i->flags & INSN_RM_HI},
		    v = {i->vvvv, i->opsize, 0, false};
	bool mem = i->flags & INSN_MEM;
	unsigned n = 0;

	switch (i->form) {
	case FORM_RM:
	case FORM_RM_I:
		if (!mem)
			w[n++] = rm;
		break;
	case FORM_RM_R:
	case FORM_RM_R_I:
		if (!mem)
			w[n++] = rm;
		w[n++] = reg;
		break;
	case FORM_R_RM:
	case FORM_R_RM_I:
		w[n++] = reg;
		if (!mem)
			w[n++] = rm;
		break;
	case FORM_R_V_RM:
		w[n++] = reg;
		w[n++] = v;
		if (!mem)
			w[n++] = rm;
		break;
	case FORM_R_RM_V:
		w[n++] = reg;
		if (!mem)
			w[n++] = rm;
		w[n++] = v;
		break;
	case FORM_V_RM:
		w[n++] = v;
		if (!mem)
			w[n++] = rm;
		break;
	default: break;
	}
	return n;
}

static unsigned wanted_vec(const struct insn *i, struct want *w)
{
	struct want reg = {i->reg, i->opsize, i->vk_reg, false},
		    rm = {i->rm, i->opsize, i->vk_rm, false},
		    v = {i->vvvv, i->opsize, i->vk_vvvv, false};
	bool rm_first = i->flags & INSN_RM_W;
	unsigned n = 0;

	if (rm_first && !(i->flags & INSN_MEM))
		w[n++] = rm;
	if (i->vk_reg && !rm_first)
		w[n++] = reg;
	if (i->vk_vvvv && i->op != OP_GATHER)
		w[n++] = v;
	if (i->vk_rm && !rm_first && !(i->flags & INSN_MEM))
		w[n++] = rm;
	if (i->vk_reg && rm_first)
		w[n++] = reg;
	if (i->is4 != INSN_NOREG)
		w[n++] = (struct want){i->is4, 0, i->vk_reg, false};
	if (i->op == OP_GATHER)
		w[n++] = v;
	return n;
}

/* Operations whose listed registers differ from ours in number or width by convention. */
static bool regs_excused(const struct insn *i)
{
	switch (i->op) {
	case OP_NOP:	/* hints: operand widths are arbitrary */
	case OP_MOVSXD: /* see size_excused() */
	case OP_LSS:
	case OP_LFS:
	case OP_LGS:
	case OP_CALL_RM:
	case OP_JMP_RM:
	case OP_MOV_R_S: /* segment, control and debug registers have classes of their own */
	case OP_MOV_S_R:
	case OP_MOV_R_CR:
	case OP_MOV_CR_R:
	case OP_MOV_R_DR:
	case OP_MOV_DR_R:
	case OP_LAR: /* the 16-bit selector is listed with the register's width */
	case OP_LSL: return true;
	case OP_XCHG: /* F3 41 90 is XCHG on processors (measured), PAUSE in Zydis */
		return i->opcode == 0x90;
	default: return false;
	}
}

static const char *check_regs(const struct insn *i, const struct zy *z)
{
	struct want w[4];
	unsigned n = i->form == FORM_VEC ? wanted_vec(i, w) : wanted(i, w), k = 0;

	if (regs_excused(i))
		return NULL;
	for (unsigned o = 0; o < z->i.operand_count_visible && k < n; o++) {
		if (z->op[o].type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		/* general registers of vector forms are listed as 32 or 64 bits by whim */
		if (w[k].kind == VK_GPR) {
			bool hi;

			if (number_of(z->op[o].reg.value, &hi) != (int)w[k].number || hi)
				return "register";
		} else if (!same_reg(&w[k], &z->op[o])) {
			return "register";
		}
		k++;
	}
	return k == n ? NULL : "number of registers";
}

static const char *check_vec_flags(const struct insn *i, const struct zy *z)
{
	bool writes = false;
	const ZydisDecodedOperand *first = &z->op[0];

	if (i->form != FORM_VEC || !z->i.operand_count_visible)
		return NULL;
	if (first->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
		writes = first->type == ZYDIS_OPERAND_TYPE_REGISTER;
	if (i->op != OP_MASKMOV && writes != !!(i->flags & (INSN_REG_W | INSN_VVVV_W) ||
						(i->flags & INSN_RM_W && !(i->flags & INSN_MEM))))
		return "register written";
	if (!!z->i.cpu_flags->modified != !!(i->flags & INSN_WR_FLAGS))
		return "flags written";
	return NULL;
}

static const char *check_prefixes(const struct insn *i, const struct zy *z)
{
	bool string = i->form == FORM_STR;
	uint64_t a = z->i.attributes;

	if (!!(a & ZYDIS_ATTRIB_HAS_LOCK) != !!(i->flags & INSN_LOCK))
		return "lock";
	if (string &&
	    !!(a & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE)) != !!(i->flags & INSN_REP) &&
	    z->i.raw.prefix_count && (i->op == OP_CMPS || i->op == OP_SCAS))
		return "rep";
	if (string && !!(a & ZYDIS_ATTRIB_HAS_REPNE) != !!(i->flags & INSN_REPNE) &&
	    (i->op == OP_CMPS || i->op == OP_SCAS))
		return "repne";
	return NULL;
}

static const char *check_branch(const struct insn *i, const struct zy *z)
{
	switch (z->i.meta.category) {
	case ZYDIS_CATEGORY_COND_BR:
	case ZYDIS_CATEGORY_UNCOND_BR:
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_RET:
	case ZYDIS_CATEGORY_INTERRUPT:
		if (i->op == OP_BOUND) /* goes on where it does not fault */
			return NULL;
		__attribute__((fallthrough));
	case ZYDIS_CATEGORY_SYSCALL:
	case ZYDIS_CATEGORY_SYSRET:
		return i->flags & (INSN_BRANCH | INSN_ENDS) ? NULL : "branch not marked";
	default: return i->flags & INSN_BRANCH ? "branch marked" : NULL;
	}
}

static const char *check_imm(const struct insn *i, const struct zy *z)
{
	for (unsigned o = 0; o < z->i.operand_count_visible; o++) {
		const ZydisDecodedOperand *p = &z->op[o];

		if (p->type != ZYDIS_OPERAND_TYPE_IMMEDIATE || i->form == FORM_VEC ||
		    i->op == OP_ENTER)
			continue;
		if (i->form == FORM_REL ? p->imm.value.s != (int64_t)i->imm
					: (p->imm.value.u ^ i->imm) & (~0ULL >> (64 - p->size)))
			return "immediate";
	}
	return NULL;
}

static const char *compare(const struct insn *i, const struct zy *z)
{
	const char *bad = check_prefixes(i, z);

	if (!bad)
		bad = check_branch(i, z);
	for (unsigned o = 0; !bad && o < z->i.operand_count_visible; o++) {
		const ZydisDecodedOperand *p = &z->op[o];

		if (p->type != ZYDIS_OPERAND_TYPE_MEMORY || !(i->flags & INSN_MEM))
			continue;
		bad = check_mem(i, z, p);
		if (!bad)
			bad = check_mem_size(i, p);
	}
	if (!bad)
		bad = check_regs(i, z);
	if (!bad)
		bad = check_vec_flags(i, z);
	return bad ? bad : check_imm(i, z);
}

static void print_bytes(const struct pick *p, unsigned len, const char *why, const struct zy *z,
			const struct insn *i)
{
	static const int bits[] = {16, 32, 64};

	fprintf(stderr, "%d:", bits[p->mode]);
	for (unsigned n = 0; n < len; n++)
		fprintf(stderr, " %02x", p->code[n]);
	fprintf(stderr, ": %s (Zydis: %s, here: %s)\n", why, ZydisMnemonicGetString(z->i.mnemonic),
		x86_op_name(i->op));
}

static void init_decoders(ZydisDecoder *d)
{
	ZydisDecoderInit(&d[MODE_16], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
	ZydisDecoderInit(&d[MODE_32], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
	ZydisDecoderInit(&d[MODE_64], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (int m = 0; m < 3; m++) {
		ZydisDecoderEnableMode(&d[m], ZYDIS_DECODER_MODE_AMD_BRANCHES, ZYAN_TRUE);
		ZydisDecoderEnableMode(&d[m], ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
		ZydisDecoderEnableMode(&d[m], ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
		ZydisDecoderEnableMode(&d[m], ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
		ZydisDecoderEnableMode(&d[m], ZYDIS_DECODER_MODE_WBNOINVD, ZYAN_FALSE);
	}
}

/* One case: NULL, or what differs. */
static const char *one_case(const ZydisDecoder *d, const struct pick *p, struct zy *z,
			    struct insn *i, int *len)
{
	bool ok = ZYAN_SUCCESS(
		ZydisDecoderDecodeFull(&d[p->mode], p->code, INSN_MAX_LEN, &z->i, z->op));

	*len = x86_decode(p->code, INSN_MAX_LEN, p->mode, i);
	if (!ok)
		return *len > 0 ? "only accepted here" : NULL;
	if (*len < 0)
		return excused(z, p->mode) ? NULL : "only accepted by Zydis";
	if (i->op == OP_UD) /* AMD looks at no ModRM of UD0 and UD1 */
		return NULL;
	if (*len != z->i.length)
		return "length";
	return compare(i, z);
}

static void random_bytes_decode_as_zydis_decodes_them(void **state)
{
	const char *s = getenv("DECODE_SEED"), *c = getenv("DECODE_CASES");
	uint64_t seed = s ? strtoull(s, NULL, 0) : 1, cases = c ? strtoull(c, NULL, 0) : 3000000;
	unsigned bad = 0, valid = 0;
	ZydisDecoder d[3];

	printf("DECODE_SEED=%lu DECODE_CASES=%lu\n", seed, cases);
	init_decoders(d);
	for (uint64_t n = 0; n < cases && bad < 40; n++) {
		struct pick p;
		struct insn i = {0};
		struct zy z = {0};
		int len;
		const char *why;

		pick_bytes(&seed, &p);
		why = one_case(d, &p, &z, &i, &len);
		valid += len > 0;
		if (!why)
			continue;
		bad++;
		print_bytes(&p, len > 0 ? len : 15, why, &z, &i);
	}
	printf("%u were instructions\n", valid);
	assert_int_equal(bad, 0);
	assert_true(valid > cases / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_bytes_decode_as_zydis_decodes_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
