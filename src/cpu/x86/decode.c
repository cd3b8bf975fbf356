/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode.c - the instruction decoder: prefixes, opcode maps, ModRM, immediates.
 *
 * One pass over the bytes: prefixes are collected, the opcode finds a row (groups
 * are followed by a field of the encoding), ModRM, displacement and immediate are
 * read as the row says, and sizes and registers are folded into struct insn.  Every
 * read is bounded by min(available, 15) bytes.  Where processors differ, this does
 * what AMD's Zen does, on which the results can be compared with the hardware:
 * a 66 prefix makes near branches 16 bits wide in 64-bit mode, and far pointers
 * have no 64-bit offset (REX.W selects 32 bits).
 * Source: SDM vol. 2, chapter 2; APM vol. 3, chapter 1.
 */
#include <string.h>
#include "cpu/state.h"
#include "cpu/x86/optab.h"

struct dec {
	const uint8_t *p, *end;
	const uint8_t *start;
	bool full;    /* end is the 15-byte limit, not the end of what is there */
	uint8_t mode; /* enum x86_mode */
	uint8_t rex;
	uint8_t seg; /* override, or INSN_NOREG */
	uint8_t rep; /* 0, 0xf2, 0xf3: the last one */
	bool opsize, adsize, lock;
	bool vex, w, l;
	uint8_t vvvv;
	uint8_t map, pp, opcode;
	uint8_t modrm;
};

enum { REX_B = 1, REX_X = 2, REX_R = 4, REX_W = 8 };

enum prefix { P_NONE, P_66, P_67, P_LOCK, P_REP, P_SEG, P_REX };

static const uint8_t prefix_kind[256] = {
	[0x26] = P_SEG,	 [0x2e] = P_SEG, [0x36] = P_SEG, [0x3e] = P_SEG,
	[0x64] = P_SEG,	 [0x65] = P_SEG, [0x66] = P_66,	 [0x67] = P_67,
	[0xf0] = P_LOCK, [0xf2] = P_REP, [0xf3] = P_REP, [0x40 ... 0x4f] = P_REX,
};

/* Operand size by rule, mode, 66, W. */
static const uint8_t opsizes[SZ_COUNT][3][2][2] = {
	[SZ_V] = {{{2, 2}, {4, 4}}, {{4, 4}, {2, 2}}, {{4, 8}, {2, 8}}},
	[SZ_Z] = {{{2, 2}, {4, 4}}, {{4, 4}, {2, 2}}, {{4, 4}, {2, 4}}},
	[SZ_Y] = {{{4, 4}, {4, 4}}, {{4, 4}, {4, 4}}, {{4, 8}, {4, 8}}},
	[SZ_M] = {{{4, 4}, {4, 4}}, {{4, 4}, {4, 4}}, {{8, 8}, {8, 8}}},
	[SZ_D64] = {{{2, 2}, {4, 4}}, {{4, 4}, {2, 2}}, {{8, 8}, {2, 8}}},
	[SZ_F64] = {{{2, 2}, {4, 4}}, {{4, 4}, {2, 2}}, {{8, 8}, {8, 8}}},
	[SZ_B] = {{{1, 1}, {1, 1}}, {{1, 1}, {1, 1}}, {{1, 1}, {1, 1}}},
	[SZ_W] = {{{2, 2}, {2, 2}}, {{2, 2}, {2, 2}}, {{2, 2}, {2, 2}}},
	[SZ_D] = {{{4, 4}, {4, 4}}, {{4, 4}, {4, 4}}, {{4, 4}, {4, 4}}},
	[SZ_Q] = {{{8, 8}, {8, 8}}, {{8, 8}, {8, 8}}, {{8, 8}, {8, 8}}},
};
static const uint8_t adsizes[3][2] = {{2, 4}, {4, 2}, {8, 4}};

static inline bool has(const struct dec *d, unsigned n)
{
	return likely((size_t)(d->end - d->p) >= n);
}

/* Why there are not enough bytes. */
static int short_of(const struct dec *d)
{
	return d->full ? X86_TOO_LONG : X86_TRUNCATED;
}

static inline uint64_t take(struct dec *d, unsigned n)
{
	uint64_t v = 0;

	memcpy(&v, d->p, n);
	d->p += n;
	return v;
}

static inline int64_t take_signed(struct dec *d, unsigned n)
{
	unsigned shift = 64 - 8 * n;

	return (int64_t)(take(d, n) << shift) >> shift;
}

static uint8_t prefix_seg(uint8_t b)
{
	switch (b) {
	case 0x26: return SEG_ES;
	case 0x2e: return SEG_CS;
	case 0x36: return SEG_SS;
	case 0x3e: return SEG_DS;
	case 0x64: return SEG_FS;
	default: return SEG_GS;
	}
}

/* Collect prefixes; leaves the first byte of the opcode in d->opcode. */
static int read_prefixes(struct dec *d)
{
	for (;;) {
		uint8_t b;

		if (!has(d, 1))
			return short_of(d);
		b = *d->p++;
		switch (prefix_kind[b]) {
		case P_66: d->opsize = true; break;
		case P_67: d->adsize = true; break;
		case P_LOCK: d->lock = true; break;
		case P_REP: d->rep = b; break;
		case P_SEG:
			/* 64-bit mode ignores all but FS and GS, without undoing them */
			if (d->mode != MODE_64 || b >= 0x64)
				d->seg = prefix_seg(b);
			break;
		case P_REX:
			if (d->mode == MODE_64) {
				d->rex = b;
				continue; /* void unless the opcode follows */
			}
			d->opcode = b;
			return 0;
		default: d->opcode = b; return 0;
		}
		d->rex = 0;
	}
}

/* C4 and C5 are VEX in 64-bit mode, and elsewhere when LES/LDS would have a register. */
static bool is_vex(const struct dec *d)
{
	return (d->opcode & 0xfe) == 0xc4 && (d->mode == MODE_64 || d->p[0] >= 0xc0);
}

static int read_vex(struct dec *d)
{
	bool three = d->opcode == 0xc4;
	uint8_t b;

	if (d->opsize || d->rep || d->lock || d->rex)
		return X86_UD;
	if (!has(d, three ? 3 : 2))
		return short_of(d);
	b = *d->p++;
	d->rex = b & 0x80 ? 0 : REX_R;
	d->map = 1;
	if (three) {
		d->rex |= (b & 0x40 ? 0 : REX_X) | (b & 0x20 ? 0 : REX_B);
		d->map = b & 0x1f;
		b = *d->p++;
		d->w = b & 0x80;
	}
	d->vvvv = ~(b >> 3) & 15;
	d->l = b & 4;
	d->pp = b & 3;
	d->vex = true;
	if (d->mode != MODE_64)
		d->rex = 0; /* eight registers: B is ignored */
	d->opcode = *d->p++;
	return d->map >= 1 && d->map <= 3 ? 0 : X86_UD;
}

/* Find the row of the opcode, groups not yet followed. */
static const struct row *find_row(struct dec *d, int *err)
{
	const struct row *r;

	if (d->opcode != 0x0f) {
		if ((d->opcode & 0xfe) != 0xc4)
			return &optab_1byte[d->opcode];
		if (!has(d, 1)) {
			*err = short_of(d);
			return NULL;
		}
		if (!is_vex(d))
			return &optab_1byte[d->opcode];
		*err = read_vex(d);
		return *err ? NULL : optab_vex(d->map, d->pp, d->opcode);
	}
	d->map = 1;
	if (!has(d, 1))
		goto out_short;
	d->opcode = *d->p++;
	if (d->opcode == 0x38 || d->opcode == 0x3a) {
		d->map = d->opcode == 0x38 ? 2 : 3;
		if (!has(d, 1))
			goto out_short;
		d->opcode = *d->p++;
		return optab_vec(d->map, d->pp, d->opcode);
	}
	r = &optab_0f[d->opcode];
	return r->kind != ROW_UD ? r : optab_vec(1, d->pp, d->opcode);
out_short:
	*err = short_of(d);
	return NULL;
}

/* Follow groups to the instruction.  Tables are at most five deep. */
static const struct row *follow(struct dec *d, const struct row *r, int *err)
{
	while (r->kind != ROW_OP) {
		unsigned n = 0;

		switch (r->kind) {
		case ROW_BY_PP: n = d->pp; break;
		case ROW_BY_64: n = d->mode == MODE_64; break;
		case ROW_BY_REXB: n = d->rex & REX_B; break;
		case ROW_BY_W: n = d->w; break;
		case ROW_BY_L: n = d->l; break;
		case ROW_UD: *err = X86_UD; return NULL;
		default:
			if (!has(d, 1)) {
				*err = short_of(d);
				return NULL;
			}
			n = r->kind == ROW_BY_REG  ? *d->p >> 3 & 7
			    : r->kind == ROW_BY_RM ? *d->p & 7
						   : *d->p >= 0xc0;
		}
		r = &r->sub[n];
	}
	return r;
}

/* 16-bit addressing: SDM vol. 2, table 2-1. */
static int read_mem16(struct dec *d, struct insn *i)
{
	static const uint8_t base16[8] = {GPR_RBX, GPR_RBX, GPR_RBP, GPR_RBP,
					  GPR_RSI, GPR_RDI, GPR_RBP, GPR_RBX};
	static const uint8_t index16[4] = {GPR_RSI, GPR_RDI, GPR_RSI, GPR_RDI};
	unsigned mod = d->modrm >> 6, rm = d->modrm & 7;
	unsigned n = mod == 2 || (mod == 0 && rm == 6) ? 2 : mod;

	if (mod != 0 || rm != 6) {
		i->base = base16[rm];
		if (rm < 4)
			i->index = index16[rm];
		if (i->base == GPR_RBP)
			i->seg = SEG_SS;
	}
	if (!n)
		return 0;
	if (!has(d, n))
		return short_of(d);
	i->disp = take_signed(d, n);
	return 0;
}

static int read_mem(struct dec *d, struct insn *i, bool vsib)
{
	unsigned mod = d->modrm >> 6, rm = d->modrm & 7;
	unsigned n = mod == 1 ? 1 : mod == 2 ? 4 : 0;

	if (rm == 4) {
		unsigned sib, index;

		if (!has(d, 1))
			return short_of(d);
		sib = *d->p++;
		index = (sib >> 3 & 7) | (d->rex & REX_X) << 2;
		if (index != 4 || vsib) {
			i->index = (uint8_t)index;
			i->scale = (uint8_t)(sib >> 6);
		}
		rm = sib & 7;
		if (rm == 5 && mod == 0)
			n = 4;
		else
			i->base = (uint8_t)(rm | (d->rex & REX_B) << 3);
	} else if (vsib) {
		return X86_UD;
	} else if (rm == 5 && mod == 0) {
		n = 4;
		if (d->mode == MODE_64)
			i->flags |= INSN_RIPREL;
	} else {
		i->base = (uint8_t)(rm | (d->rex & REX_B) << 3);
	}
	if (i->base == GPR_RSP || i->base == GPR_RBP)
		i->seg = SEG_SS;
	if (!n)
		return 0;
	if (!has(d, n))
		return short_of(d);
	i->disp = take_signed(d, n);
	return 0;
}

static int read_modrm(struct dec *d, const struct row *r, struct insn *i)
{
	bool vsib = r->flags & INSN_VSIB;
	int ret;

	if (!has(d, 1))
		return short_of(d);
	d->modrm = i->modrm = *d->p++;
	i->reg = (uint8_t)((d->modrm >> 3 & 7) | (d->rex & REX_R) << 1);
	if (d->modrm >= 0xc0 || r->attr & (AT_CR | AT_DR)) {
		i->rm = (uint8_t)((d->modrm & 7) | (d->rex & REX_B) << 3);
		return r->attr & AT_MEM ? X86_UD : 0;
	}
	if (r->attr & AT_REG)
		return X86_UD;
	i->flags |= INSN_MEM;
	i->seg = SEG_DS;
	if (i->adsize == 2 && vsib)
		return X86_UD;
	ret = i->adsize == 2 ? read_mem16(d, i) : read_mem(d, i, vsib);
	if (d->seg != INSN_NOREG)
		i->seg = d->seg;
	return ret;
}

static int read_imm_far(struct dec *d, struct insn *i)
{
	if (!has(d, i->opsize + 2u))
		return short_of(d);
	i->imm = take(d, i->opsize);
	i->disp = (int64_t)take(d, 2);
	return 0;
}

static int read_moffs(struct dec *d, struct insn *i)
{
	if (!has(d, i->adsize))
		return short_of(d);
	i->disp = (int64_t)take(d, i->adsize);
	i->flags |= INSN_MEM;
	return 0;
}

static int read_imm(struct dec *d, const struct row *r, struct insn *i)
{
	static const uint8_t bytes[] = {
		[IM_NONE] = 0, [IM_B] = 1,   [IM_UB] = 1,    [IM_UW] = 2,
		[IM_ONE] = 0,  [IM_IS4] = 1, [IM_ENTER] = 3,
	};
	unsigned n;

	switch (r->imm) {
	case IM_ONE: i->imm = 1; return 0;
	case IM_FAR: return read_imm_far(d, i);
	case IM_MOFFS: return read_moffs(d, i);
	case IM_Z: n = i->opsize == 2 ? 2 : 4; break;
	case IM_V: n = i->opsize; break;
	default: n = bytes[r->imm] + (r->attr & AT_IMM2 ? 1u : 0u);
	}
	if (!has(d, n))
		return short_of(d);
	i->imm = r->imm == IM_B || r->imm == IM_Z ? (uint64_t)take_signed(d, n) : take(d, n);
	if (r->imm == IM_IS4)
		i->is4 = (uint8_t)(i->imm >> 4 & (d->mode == MODE_64 ? 15 : 7));
	return 0;
}

/* Legality of the VEX fields. */
static bool vex_legal(const struct dec *d, const struct row *r)
{
	if (!(r->attr & AT_VVVV) && d->vvvv)
		return false;
	if (d->l ? r->attr & AT_L0 : r->attr & AT_L1)
		return false;
	if (d->w && r->attr & AT_W64 && d->mode != MODE_64)
		return false;
	return !(d->w ? r->attr & AT_W0 : r->attr & AT_W1);
}

/* Legality of prefixes and register numbers, once everything but immediates is known. */
static bool legal(const struct dec *d, const struct row *r, const struct insn *i)
{
	if (d->lock && (!(r->attr & AT_LOCK) || !(i->flags & INSN_MEM)))
		return false;
	if (r->attr & AT_NP && d->pp)
		return false;
	if (r->attr & AT_SEG && i->reg >= SEG_COUNT)
		return false;
	if (r->attr & AT_CS && (i->reg >= SEG_COUNT || i->reg == SEG_CS))
		return false;
	if (r->attr & AT_CR && !(BIT(i->reg) & (BIT(0) | BIT(2) | BIT(3) | BIT(4) | BIT(8))))
		return false;
	return !(r->attr & AT_DR && i->reg >= 8);
}

static uint8_t mem_size(const struct row *r, const struct insn *i, bool w)
{
	unsigned vec = i->flags & INSN_VEX_L ? 32 : 16;

	switch (r->msize) {
	case MS_OP: return i->opsize;
	case MS_OPSEL: return (uint8_t)(MIN(i->opsize, 4) + 2);
	case MS_PAIR: return (uint8_t)(i->opsize * 2);
	case MS_DT: return i->opsize == 8 ? 10 : 6;
	case MS_W: return w ? 8 : 4;
	case MS_V: return (uint8_t)vec;
	case MS_H: return (uint8_t)(vec / 2);
	case MS_Q: return (uint8_t)(vec / 4);
	case MS_E: return (uint8_t)(vec / 8);
	default: return r->msize;
	}
}

/* Kind and number of the operands of a vector form. */
static bool vector_operands(const struct dec *d, const struct row *r, struct insn *i)
{
	uint8_t by_l = i->flags & INSN_VEX_L ? VK_YMM : VK_XMM;

	i->vk_reg = r->kreg == VK_BY_L ? by_l : r->kreg;
	i->vk_vvvv = r->kvvvv == VK_BY_L ? by_l : r->kvvvv;
	i->vk_rm = r->krm == VK_BY_L ? by_l : r->krm;
	if (i->vk_reg == VK_MMX)
		i->reg &= 7; /* REX does not reach MMX registers */
	if (i->vk_rm == VK_MMX)
		i->rm &= 7;
	if (i->flags & INSN_MEM && i->op == OP_GATHER)
		return i->reg != i->index && i->reg != i->vvvv && i->vvvv != i->index;
	return true;
}

/* Sizes of a second kind: source, and AH..BH. */
static void byte_operands(const struct dec *d, const struct row *r, struct insn *i)
{
	if (r->attr & AT_SRC_B)
		i->srcsize = 1;
	else if (r->attr & AT_SRC_W)
		i->srcsize = 2;
	else if (r->attr & AT_SRC_D)
		i->srcsize = 4;
	else if (r->attr & AT_SRC_V)
		i->srcsize = opsizes[SZ_V][d->mode][d->opsize][d->w];
	if (i->opsize != 1 && i->srcsize != 1)
		return;
	if (d->rex)
		return; /* SPL, BPL, SIL, DIL */
	if (i->opsize == 1 && i->reg >= 4) {
		i->reg -= 4;
		i->flags |= INSN_REG_HI;
	}
	if (i->rm >= 4) {
		i->rm -= 4;
		i->flags |= INSN_RM_HI;
	}
}

static void repeat_prefix(const struct dec *d, const struct row *r, struct insn *i)
{
	if (!d->rep)
		return;
	if (r->attr & AT_REP)
		i->flags |= INSN_REP;
	else if (r->attr & AT_REPZ)
		i->flags |= d->rep == 0xf3 ? INSN_REP : INSN_REPNE;
}

/* What the row and the collected fields say, folded into @i. */
static int finish_operands(const struct dec *d, const struct row *r, struct insn *i)
{
	uint32_t fl = r->flags;

	if (!(i->flags & INSN_MEM) && !(r->attr & AT_STR))
		fl &= ~(uint32_t)(INSN_MEM_R | INSN_MEM_W | INSN_ALIGN);
	else
		i->msize = mem_size(r, i, d->w);
	i->flags |= fl;
	if (r->attr & AT_CC)
		i->cc = d->opcode & 15;
	byte_operands(d, r, i);
	repeat_prefix(d, r, i);
	if (i->srcsize && i->flags & INSN_MEM)
		i->msize = i->srcsize;
	if (r->form == FORM_VEC && !vector_operands(d, r, i))
		return X86_UD;
	return 0;
}

static int finish(struct dec *d, const struct row *r, struct insn *i)
{
	int ret;

	if (r->attr & (AT_NO64 | AT_O64) && !!(r->attr & AT_O64) != (d->mode == MODE_64))
		return X86_UD;
	if (d->vex) {
		if (!vex_legal(d, r))
			return X86_UD;
		i->flags |= INSN_VEX;
		if (d->l && !(r->attr & AT_LIG))
			i->flags |= INSN_VEX_L;
		if (r->attr & AT_WG && d->mode != MODE_64)
			d->w = false;
		/* outside 64-bit mode the high bit is ignored where vvvv is used */
		i->vvvv = d->mode == MODE_64 ? d->vvvv : d->vvvv & 7;
	}
	i->op = r->op;
	i->form = r->form;
	i->feature = d->l && !(r->attr & AT_LIG) ? r->feat_l : r->feat;
	i->opsize = opsizes[r->size][d->mode][d->opsize][d->w];
	if (r->attr & AT_MODRM) {
		ret = read_modrm(d, r, i);
		if (ret)
			return ret;
	} else {
		i->reg = r->arg;
		if (r->attr & AT_OPREG)
			i->rm = (uint8_t)((d->opcode & 7) | (d->rex & REX_B) << 3);
	}
	if (r->attr & (AT_SEG | AT_CS))
		i->reg &= 7; /* REX.R is ignored */
	if (!legal(d, r, i))
		return X86_UD;
	ret = r->imm ? read_imm(d, r, i) : 0;
	if (ret)
		return ret;
	if (i->form == FORM_X87)
		return x87_operands(r->arg, i) ? 0 : X86_UD;
	return finish_operands(d, r, i);
}

/* Prefix-dependent defaults, before the row is known. */
static void start_insn(struct dec *d, struct insn *i)
{
	d->w = d->rex & REX_W;
	d->pp = d->rep == 0xf3 ? 2 : d->rep ? 3 : d->opsize ? 1 : 0;
	i->adsize = adsizes[d->mode][d->adsize];
	i->base = i->index = i->is4 = INSN_NOREG;
	i->seg = d->seg != INSN_NOREG ? d->seg : SEG_DS;
	i->flags = (d->adsize ? INSN_ADDR32 : 0) | (d->opsize ? INSN_OPSIZE : 0) |
		   (d->lock ? INSN_LOCK : 0);
}

int x86_decode(const uint8_t *code, size_t avail, enum x86_mode mode, struct insn *out)
{
	bool full = avail >= INSN_MAX_LEN;
	struct dec d = {
		.start = code,
		.p = code,
		.end = code + (full ? INSN_MAX_LEN : avail),
		.full = full,
		.mode = (uint8_t)mode,
		.seg = INSN_NOREG,
	};
	const struct row *r;
	int ret;

	*out = (struct insn){0};
	ret = read_prefixes(&d);
	if (ret)
		return ret;
	start_insn(&d, out);
	r = find_row(&d, &ret);
	if (r)
		r = follow(&d, r, &ret);
	if (r)
		ret = finish(&d, r, out);
	if (ret)
		return ret;
	if (d.w)
		out->flags |= INSN_REX_W;
	out->map = d.map;
	out->opcode = d.opcode;
	out->pp = d.pp;
	out->len = (uint8_t)(d.p - d.start);
	return out->len;
}

bool x86_without_feature(struct insn *i)
{
	switch (i->op) {
	case OP_LZCNT: i->op = OP_BSR; break;
	case OP_TZCNT: i->op = OP_BSF; break;
	case OP_PREFETCH: break;
	default: return false;
	}
	i->feature = FEAT_BASE;
	return true;
}
