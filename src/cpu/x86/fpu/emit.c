/* SPDX-License-Identifier: Apache-2.0 */
/*
 * emit.c - the code of one stub.
 *
 * An instruction is encoded again with canonical operands: reg is XMM1 (or MM1, EAX),
 * vvvv is XMM2, r/m is XMM3 (MM3, EAX) or [RSI], the register in imm8[7:4] is XMM4,
 * an implicit XMM0 stays XMM0.  Around it the stub loads what is read and stores
 * what is written through the pointers it is called with: RDI reg, RSI r/m, RDX
 * vvvv, RCX the argument block (System V order, only volatile registers are used).
 * A legacy form stores 16 bytes, so the upper half of the register stays; a VEX form
 * stores all 32, whose upper half the host has zeroed.  Encodings: SDM vol. 2, ch. 2.
 */
#include "cpu/x86/fpu/fpu.h"

enum { CANON_XMM0, CANON_REG, CANON_VVVV, CANON_RM, CANON_IS4, CANON_EAX = 0 };
enum { BASE_RAX = 0, BASE_RCX = 1, BASE_RDX = 2, BASE_RSI = 6, BASE_RDI = 7, BASE_R8 = 8 };
enum { OPCODE_MOVQ_STORE = 0x7f };

#define IO(field) ((uint8_t)offsetof(struct stub_io, field))

struct emitter {
	uint8_t *p;
};

static void e1(struct emitter *e, unsigned byte)
{
	*e->p++ = (uint8_t)byte;
}

static void emit_bytes(struct emitter *e, const char *bytes, unsigned n)
{
	memcpy(e->p, bytes, n);
	e->p += n;
}
#define EMIT(e, lit) emit_bytes(e, lit, sizeof(lit) - 1)

/* --- which instruction is which ---------------------------------------------- */

static bool is_pcmpstr(const struct insn *i)
{
	return i->map == 3 && (i->opcode & 0xfc) == 0x60;
}

static bool is_pcmpestr(const struct insn *i)
{
	return is_pcmpstr(i) && i->opcode < 0x62;
}

static bool is_pcmpstrm(const struct insn *i)
{
	return is_pcmpstr(i) && !(i->opcode & 1);
}

/* BLENDVPS, BLENDVPD, PBLENDVB, SHA256RNDS2: XMM0 is a source. */
static bool reads_xmm0(const struct insn *i)
{
	return i->map == 2 && !(i->flags & INSN_VEX) &&
	       (i->opcode == 0x10 || i->opcode == 0x14 || i->opcode == 0x15 || i->opcode == 0xcb);
}

bool stub_uses_xmm0(const struct insn *i)
{
	return reads_xmm0(i) || is_pcmpstrm(i);
}

static bool is_fma(const struct insn *i)
{
	return i->map == 2 && i->flags & INSN_VEX && (i->opcode & 0xf) >= 6 && i->opcode >= 0x96 &&
	       i->opcode <= 0xbf;
}

/*
 * A non-temporal store would need the guest's fences to be the host's: an ordinary one
 * is always right.
 */
static bool is_movntq(const struct insn *i)
{
	return i->map == 1 && i->opcode == 0xe7 && i->vk_reg == VK_MMX;
}

static bool has_imm8(const struct insn *i)
{
	if (i->map == 3)
		return true;
	return i->map == 1 && ((i->opcode >= 0x70 && i->opcode <= 0x73) || i->opcode == 0xc2 ||
			       (i->opcode >= 0xc4 && i->opcode <= 0xc6));
}

static bool map1_uses_mxcsr(uint8_t op)
{
	switch (op) {
	case 0x2a:
	case 0x2c:
	case 0x2d:
	case 0x2e:
	case 0x2f: /* conversions, COMIS */
	case 0x51:
	case 0x52:
	case 0x53: /* SQRT, RSQRT, RCP */
	case 0x58:
	case 0x59:
	case 0x5a:
	case 0x5b: /* ADD, MUL, conversions */
	case 0x5c:
	case 0x5d:
	case 0x5e:
	case 0x5f: /* SUB, MIN, DIV, MAX */
	case 0x7c:
	case 0x7d:
	case 0xc2:
	case 0xd0:
	case 0xe6: /* HADD, HSUB, CMP, ADDSUB, CVT */ return true;
	default: return false;
	}
}

bool stub_uses_mxcsr(const struct insn *i)
{
	switch (i->map) {
	case 1: return map1_uses_mxcsr(i->opcode);
	case 2: return is_fma(i) || (i->flags & INSN_VEX && i->opcode == 0x13); /* VCVTPH2PS */
	case 3:
		return (i->opcode >= 0x08 && i->opcode <= 0x0b) || i->opcode == 0x1d ||
		       i->opcode == 0x40 || i->opcode == 0x41;
	default: return false;
	}
}

/* W where it means something; elsewhere it is dropped, so that it makes no second stub. */
static bool keeps_w(const struct insn *i)
{
	if (i->vk_reg == VK_GPR || i->vk_rm == VK_GPR || is_pcmpestr(i))
		return true;
	if (!(i->flags & INSN_VEX))
		return false;
	return i->map == 2 || (i->map == 3 && (i->opcode <= 1 || (i->opcode & 0xfe) == 0xce));
}

static uint8_t canonical_imm(const struct insn *i)
{
	if (!has_imm8(i))
		return 0;
	return i->is4 != INSN_NOREG ? CANON_IS4 << 4 : (uint8_t)i->imm;
}

enum {
	KEY_MAP = 8,
	KEY_PP = 10,
	KEY_VEX = 12,
	KEY_L = 13,
	KEY_W = 14,
	KEY_MEM = 15,
	KEY_IMM = 16,
	KEY_EXT = 24,
	KEY_VALID = 31,
};

static uint32_t key_bit(bool on, unsigned bit)
{
	return (uint32_t)on << bit;
}

uint32_t stub_key(const struct insn *i)
{
	bool mem = i->flags & INSN_MEM;
	uint32_t key = i->opcode | 1U << KEY_VALID | key_bit(mem, KEY_MEM);

	if (i->form == FORM_X87)
		return key | (uint32_t)(mem ? i->modrm & 0x38 : i->modrm) << KEY_IMM;
	key |= (uint32_t)i->map << KEY_MAP | (uint32_t)i->pp << KEY_PP |
	       (uint32_t)canonical_imm(i) << KEY_IMM;
	key |= key_bit(i->flags & INSN_VEX, KEY_VEX) | key_bit(i->flags & INSN_VEX_L, KEY_L) |
	       key_bit(i->flags & INSN_REX_W && keeps_w(i), KEY_W);
	if (i->vk_reg == VK_NONE)
		key |= (uint32_t)(i->modrm >> 3 & 7) << KEY_EXT;
	return key;
}

/* --- pieces --------------------------------------------------------------------- */

/* MOVDQA between XMM/YMM @reg and [@base], in the encoding of the instruction around it. */
static void emit_vec_move(struct emitter *e, bool vex, bool ymm, bool store, unsigned reg,
			  unsigned base)
{
	if (vex) {
		e1(e, 0xc5);
		e1(e, 0xf9 | (unsigned)ymm << 2);
	} else {
		EMIT(e, "\x66\x0f");
	}
	e1(e, store ? 0x7f : 0x6f);
	e1(e, reg << 3 | base);
}

static void emit_mmx_move(struct emitter *e, bool store, unsigned reg, unsigned base)
{
	EMIT(e, "\x0f");
	e1(e, store ? 0x7f : 0x6f);
	e1(e, reg << 3 | base);
}

static void emit_rax_move(struct emitter *e, bool store, unsigned base)
{
	EMIT(e, "\x48");
	e1(e, store ? 0x89 : 0x8b);
	e1(e, CANON_EAX << 3 | base);
}

/* 64-bit @reg from (or to) [@base + @disp], @base RCX or R8. */
static void emit_io(struct emitter *e, bool store, unsigned reg, unsigned base, uint8_t disp)
{
	e1(e, 0x48 | base >> 3);
	e1(e, store ? 0x89 : 0x8b);
	e1(e, 0x40 | reg << 3 | (base & 7));
	e1(e, disp);
}

/* A register operand of @kind from or to [@base]. */
static void emit_operand(struct emitter *e, const struct insn *i, bool store, unsigned kind,
			 unsigned reg, unsigned base)
{
	bool vex = i->flags & INSN_VEX;

	switch (kind) {
	case VK_XMM: emit_vec_move(e, vex, store, store, reg, base); break;
	case VK_YMM: emit_vec_move(e, vex, true, store, reg, base); break;
	case VK_MMX: emit_mmx_move(e, store, reg, base); break;
	case VK_GPR: emit_rax_move(e, store, base); break;
	default: break;
	}
}

static unsigned canon_of(unsigned kind, unsigned vec_reg)
{
	return kind == VK_GPR ? CANON_EAX : vec_reg;
}

static void emit_prefixes(struct emitter *e, const struct insn *i)
{
	static const uint8_t prefix[] = {0, 0x66, 0xf3, 0xf2};
	bool w = i->flags & INSN_REX_W && keeps_w(i);
	unsigned vvvv = i->vk_vvvv == VK_NONE ? 0 : CANON_VVVV;

	if (i->flags & INSN_VEX) {
		e1(e, 0xc4);
		e1(e, 0xe0 | i->map);
		e1(e, (unsigned)w << 7 | (~vvvv & 0xf) << 3 |
			      (i->flags & INSN_VEX_L ? 1U : 0U) << 2 | i->pp);
		return;
	}
	if (i->pp)
		e1(e, prefix[i->pp]);
	if (w)
		e1(e, 0x48);
	e1(e, 0x0f);
	if (i->map > 1)
		e1(e, i->map == 2 ? 0x38 : 0x3a);
}

static void emit_instruction(struct emitter *e, const struct insn *i)
{
	unsigned reg = i->vk_reg == VK_NONE ? i->modrm >> 3 & 7 : canon_of(i->vk_reg, CANON_REG);
	unsigned rm = canon_of(i->vk_rm, CANON_RM);

	emit_prefixes(e, i);
	e1(e, is_movntq(i) ? OPCODE_MOVQ_STORE : i->opcode);
	if (i->flags & INSN_MEM)
		e1(e, reg << 3 | BASE_RSI);
	else
		e1(e, 0xc0 | reg << 3 | rm);
	if (has_imm8(i))
		e1(e, canonical_imm(i));
}

/* --- the stub --------------------------------------------------------------------- */

static void emit_loads(struct emitter *e, const struct insn *i)
{
	bool vex = i->flags & INSN_VEX;

	if (reads_xmm0(i)) {
		emit_io(e, false, BASE_RAX, BASE_RCX, IO(xmm0));
		emit_vec_move(e, vex, false, false, CANON_XMM0, BASE_RAX);
	}
	if (i->is4 != INSN_NOREG) {
		emit_io(e, false, BASE_RAX, BASE_RCX, IO(is4));
		emit_vec_move(e, true, i->flags & INSN_VEX_L, false, CANON_IS4, BASE_RAX);
	}
	/* destinations too: many forms merge into them */
	if (i->vk_reg != VK_GPR)
		emit_operand(e, i, false, i->vk_reg, CANON_REG, BASE_RDI);
	if (!(i->flags & INSN_VVVV_W))
		emit_operand(e, i, false, i->vk_vvvv, CANON_VVVV, BASE_RDX);
	if (!(i->flags & INSN_MEM) && !(i->vk_rm == VK_GPR && i->flags & INSN_RM_W))
		emit_operand(e, i, false, i->vk_rm, CANON_RM, BASE_RSI);
}

static void emit_stores(struct emitter *e, const struct insn *i, unsigned io)
{
	if (is_pcmpstrm(i)) {
		emit_io(e, false, BASE_RAX, io, IO(xmm0));
		emit_operand(e, i, true, VK_XMM, CANON_XMM0, BASE_RAX);
	} else if (is_pcmpstr(i)) {
		emit_io(e, true, BASE_RCX, io, IO(rcx));
	}
	if (i->flags & INSN_REG_W && !is_pcmpstr(i))
		emit_operand(e, i, true, i->vk_reg, canon_of(i->vk_reg, CANON_REG), BASE_RDI);
	if (i->flags & INSN_RM_W && !(i->flags & INSN_MEM))
		emit_operand(e, i, true, i->vk_rm, canon_of(i->vk_rm, CANON_RM), BASE_RSI);
	if (i->flags & INSN_VVVV_W)
		emit_operand(e, i, true, i->vk_vvvv, CANON_VVVV, BASE_RDX);
}

/* SETO AL; LAHF; MOV [io.flags], EAX */
static void emit_flags_out(struct emitter *e, unsigned io)
{
	EMIT(e, "\x0f\x90\xc0\x9f");
	if (io == BASE_R8)
		e1(e, 0x41);
	e1(e, 0x89);
	e1(e, 0x40 | (io & 7));
	e1(e, IO(flags));
}

static void emit_vec(struct emitter *e, const struct insn *i)
{
	bool fp = stub_uses_mxcsr(i), mmx = i->vk_reg == VK_MMX || i->vk_rm == VK_MMX;
	unsigned io = BASE_RCX;

	if (is_pcmpstr(i)) { /* RAX and RDX are operands, RCX is the result */
		io = BASE_R8;
		EMIT(e, "\x49\x89\xc8"); /* mov r8, rcx */
	}
	if (fp)
		EMIT(e, "\x0f\xae\x11"); /* ldmxcsr [rcx] */
	emit_loads(e, i);
	if (is_pcmpestr(i)) {
		emit_io(e, false, BASE_RAX, io, IO(rax));
		emit_io(e, false, BASE_RDX, io, IO(rdx));
	}
	emit_instruction(e, i);
	if (fp)
		EMIT(e, "\x0f\xae\x19"); /* stmxcsr [rcx] */
	if (i->flags & INSN_WR_FLAGS)
		emit_flags_out(e, io);
	emit_stores(e, i, io);
	if (mmx)
		EMIT(e, "\x0f\x77"); /* emms */
	if (i->flags & INSN_VEX_L)
		EMIT(e, "\xc5\xf8\x77"); /* vzeroupper */
}

/*
 * The unit is loaded from and saved to the image at [RDI]; FNINIT leaves it as C code
 * expects it.  No exception is pending while the stub runs (the caller has seen to
 * that), and none is delivered after it: FXSAVE and FNINIT do not wait.
 */
static void emit_x87(struct emitter *e, const struct insn *i)
{
	EMIT(e, "\x48\x0f\xae\x0f"); /* fxrstor64 [rdi] */
	/* FCMOVcc reads, FCOMI writes flags: AL = OF, AH = the others */
	EMIT(e, "\x8b\x41"); /* mov eax, [rcx + flags] */
	e1(e, IO(flags));
	EMIT(e, "\x04\x7f\x9e"); /* add al, 0x7f; sahf */
	e1(e, i->opcode);
	e1(e, i->flags & INSN_MEM ? (i->modrm & 0x38U) | BASE_RSI : i->modrm);
	emit_flags_out(e, BASE_RCX);
	EMIT(e, "\x48\x0f\xae\x07"); /* fxsave64 [rdi] */
	EMIT(e, "\xdb\xe3");	     /* fninit */
}

unsigned stub_emit(const struct insn *i, uint8_t out[static STUB_MAX_BYTES])
{
	struct emitter e = {.p = out};

	if (i->form == FORM_X87)
		emit_x87(&e, i);
	else
		emit_vec(&e, i);
	e1(&e, 0xc3);
	return (unsigned)(e.p - out);
}
