/* SPDX-License-Identifier: Apache-2.0 */
/*
 * move.c - the vector instructions that libc and kernels use most, in C.
 *
 * Plain moves and the few operations of memcpy(), memset(), strlen() and memchr():
 * no stub, no call, one look-up in the TLB.  Everything here is defined bit by bit,
 * touches neither flags nor MXCSR, and is compiled for the baseline's SSE2 (a YMM
 * operation is two halves).
 */
#include "cpu/x86/fpu/fpu.h"

#include <emmintrin.h>

static ALWAYS_INLINE __m128i get(const void *p)
{
	return _mm_loadu_si128(p);
}

static ALWAYS_INLINE void put(void *p, __m128i v)
{
	_mm_storeu_si128(p, v);
}

static ALWAYS_INLINE void set_xmm(struct vcpu *c, unsigned n, __m128i v, bool zero_upper)
{
	put(c->s.vec[n].b, v);
	if (zero_upper)
		put(c->s.vec[n].b + 16, _mm_setzero_si128());
}

/* --- whole registers: reg <- r/m, r/m <- reg ------------------------------------- */

static void load_sse(struct vcpu *c, const struct insn *i)
{
	uint8_t bounce[16];

	check_sse(c);
	set_xmm(c, i->reg, get(vec_src(c, i, 16, bounce)), false);
}

static void load_vex128(struct vcpu *c, const struct insn *i)
{
	uint8_t bounce[16];

	check_avx(c);
	set_xmm(c, i->reg, get(vec_src(c, i, 16, bounce)), true);
}

static void load_vex256(struct vcpu *c, const struct insn *i)
{
	uint8_t bounce[32];
	const uint8_t *p;
	__m128i lo, hi;

	check_avx(c);
	p = vec_src(c, i, 32, bounce);
	lo = get(p);
	hi = get(p + 16);
	put(c->s.vec[i->reg].b, lo);
	put(c->s.vec[i->reg].b + 16, hi);
}

static ALWAYS_INLINE void store_mem(struct vcpu *c, const struct insn *i, unsigned size)
{
	const uint8_t *v = c->s.vec[i->reg].b;
	gva_t lin = vec_lin(c, i, size, ACCESS_WRITE);
	uint8_t *p = tlb_write_ptr(c, lin, size);

	if (unlikely(!p)) {
		lin_store_slow(c, lin, v, size);
		return;
	}
	put(p, get(v));
	if (size == 32)
		put(p + 16, get(v + 16));
}

static void store_sse(struct vcpu *c, const struct insn *i)
{
	check_sse(c);
	if (i->flags & INSN_MEM)
		store_mem(c, i, 16);
	else
		set_xmm(c, i->rm, get(c->s.vec[i->reg].b), false);
}

static void store_vex128(struct vcpu *c, const struct insn *i)
{
	check_avx(c);
	if (i->flags & INSN_MEM)
		store_mem(c, i, 16);
	else
		set_xmm(c, i->rm, get(c->s.vec[i->reg].b), true);
}

static void store_vex256(struct vcpu *c, const struct insn *i)
{
	check_avx(c);
	if (i->flags & INSN_MEM)
		store_mem(c, i, 32);
	else
		c->s.vec[i->rm] = c->s.vec[i->reg];
}

/* --- 4 and 8 bytes: MOVD, MOVQ, MOVSS, MOVSD ---------------------------------------- */

/* reg <- zero-extended r/m: MOVD/MOVQ from memory or a general register, MOVSS/MOVSD loads. */
static void load_scalar(struct vcpu *c, const struct insn *i)
{
	uint64_t v;

	check_vec(c, i);
	if (i->flags & INSN_MEM) {
		v = lin_load(c, insn_lin(c, i, i->msize, ACCESS_READ), i->msize);
	} else if (i->vk_rm == VK_GPR) {
		v = gpr_get(c, i->rm, i->opsize);
	} else {
		memcpy(&v, c->s.vec[i->rm].b, 8);
	}
	set_xmm(c, i->reg, _mm_cvtsi64_si128((long long)v), i->flags & INSN_VEX);
}

static void store_scalar(struct vcpu *c, const struct insn *i)
{
	uint64_t v;

	check_vec(c, i);
	memcpy(&v, c->s.vec[i->reg].b, 8);
	if (i->flags & INSN_MEM)
		lin_store(c, insn_lin(c, i, i->msize, ACCESS_WRITE), i->msize, v);
	else if (i->vk_rm == VK_GPR)
		c->s.gpr[i->rm] = i->opsize == 8 ? v : (uint32_t)v;
	else /* MOVQ xmm, xmm */
		set_xmm(c, i->rm, _mm_cvtsi64_si128((long long)v), i->flags & INSN_VEX);
}

/* --- bytes to a mask --------------------------------------------------------------- */

static void pmovmskb(struct vcpu *c, const struct insn *i)
{
	const uint8_t *v = c->s.vec[i->rm].b;
	uint32_t mask;

	check_vec(c, i);
	mask = (uint32_t)_mm_movemask_epi8(get(v));
	if (i->vk_rm == VK_YMM)
		mask |= (uint32_t)_mm_movemask_epi8(get(v + 16)) << 16;
	c->s.gpr[i->reg] = mask;
}

/* --- reg <- reg op r/m, reg <- vvvv op r/m -------------------------------------------- */

#define DEFINE_BINARY(name, op)                                                                  \
	static void name##_sse(struct vcpu *c, const struct insn *i)                             \
	{                                                                                        \
		uint8_t bounce[16];                                                              \
		uint8_t *d = c->s.vec[i->reg].b;                                                 \
                                                                                                 \
		check_sse(c);                                                                    \
		put(d, op(get(d), get(vec_src(c, i, 16, bounce))));                              \
	}                                                                                        \
	static void name##_vex128(struct vcpu *c, const struct insn *i)                          \
	{                                                                                        \
		uint8_t bounce[16];                                                              \
                                                                                                 \
		check_avx(c);                                                                    \
		set_xmm(c, i->reg, op(get(c->s.vec[i->vvvv].b), get(vec_src(c, i, 16, bounce))), \
			true);                                                                   \
	}                                                                                        \
	static void name##_vex256(struct vcpu *c, const struct insn *i)                          \
	{                                                                                        \
		const uint8_t *a = c->s.vec[i->vvvv].b, *b;                                      \
		uint8_t bounce[32];                                                              \
		__m128i lo, hi;                                                                  \
                                                                                                 \
		check_avx(c);                                                                    \
		b = vec_src(c, i, 32, bounce);                                                   \
		lo = op(get(a), get(b));                                                         \
		hi = op(get(a + 16), get(b + 16));                                               \
		put(c->s.vec[i->reg].b, lo);                                                     \
		put(c->s.vec[i->reg].b + 16, hi);                                                \
	}

DEFINE_BINARY(pxor, _mm_xor_si128)
DEFINE_BINARY(por, _mm_or_si128)
DEFINE_BINARY(pand, _mm_and_si128)
DEFINE_BINARY(pandn, _mm_andnot_si128)
DEFINE_BINARY(pcmpeqb, _mm_cmpeq_epi8)
DEFINE_BINARY(pcmpeqw, _mm_cmpeq_epi16)
DEFINE_BINARY(pcmpeqd, _mm_cmpeq_epi32)
DEFINE_BINARY(pminub, _mm_min_epu8)
DEFINE_BINARY(psubb, _mm_sub_epi8)
DEFINE_BINARY(paddd, _mm_add_epi32)
DEFINE_BINARY(paddq, _mm_add_epi64)

/* --- binding ------------------------------------------------------------------------------ */

struct move_row {
	uint8_t opcode, pps; /* map 1; BIT(pp) of the mandatory prefixes */
	insn_fn *sse, *vex128, *vex256;
};

enum { PP_NONE = 1, PP_66 = 2, PP_F3 = 4, PP_F2 = 8 };

#define LOAD(op, pps)                                       \
	{                                                   \
		op, pps, load_sse, load_vex128, load_vex256 \
	}
#define STORE(op, pps)                                         \
	{                                                      \
		op, pps, store_sse, store_vex128, store_vex256 \
	}
#define BINARY(op, pps, name)                                     \
	{                                                         \
		op, pps, name##_sse, name##_vex128, name##_vex256 \
	}

static const struct move_row rows[] = {
	LOAD(0x10, PP_NONE | PP_66), /* MOVUPS, MOVUPD */
	LOAD(0x28, PP_NONE | PP_66), /* MOVAPS, MOVAPD */
	LOAD(0x6f, PP_66 | PP_F3),   /* MOVDQA, MOVDQU */
	LOAD(0xf0, PP_F2),	     /* LDDQU */
	STORE(0x11, PP_NONE | PP_66),
	STORE(0x29, PP_NONE | PP_66),
	STORE(0x2b, PP_NONE | PP_66), /* MOVNTPS, MOVNTPD: weaker order is allowed, */
	STORE(0x7f, PP_66 | PP_F3),
	STORE(0xe7, PP_66), /* MOVNTDQ: ... not demanded */
	BINARY(0xef, PP_66, pxor),
	BINARY(0x57, PP_NONE | PP_66, pxor),
	BINARY(0xeb, PP_66, por),
	BINARY(0x56, PP_NONE | PP_66, por),
	BINARY(0xdb, PP_66, pand),
	BINARY(0x54, PP_NONE | PP_66, pand),
	BINARY(0xdf, PP_66, pandn),
	BINARY(0x55, PP_NONE | PP_66, pandn),
	BINARY(0x74, PP_66, pcmpeqb),
	BINARY(0x75, PP_66, pcmpeqw),
	BINARY(0x76, PP_66, pcmpeqd),
	BINARY(0xda, PP_66, pminub),
	BINARY(0xf8, PP_66, psubb),
	BINARY(0xfe, PP_66, paddd),
	BINARY(0xd4, PP_66, paddq),
};

static insn_fn *bind_scalar(const struct insn *i)
{
	bool mem = i->flags & INSN_MEM;

	switch (i->opcode << 4 | i->pp) {
	case 0x102:
	case 0x103: return mem ? load_scalar : NULL; /* MOVSS, MOVSD */
	case 0x112:
	case 0x113: return mem ? store_scalar : NULL;
	case 0x6e1:
	case 0x7e2: return load_scalar; /* MOVD/MOVQ, MOVQ */
	case 0x7e1:
	case 0xd61: return store_scalar;
	case 0x2b2:
	case 0x2b3: return store_scalar; /* MOVNTSS, MOVNTSD */
	case 0xd71: return pmovmskb;
	default: return NULL;
	}
}

insn_fn *bind_move(const struct insn *i)
{
	if (i->map == 2 && i->opcode == 0x2a && i->pp == 1 && i->flags & INSN_MEM) {
		/* MOVNTDQA */
		if (!(i->flags & INSN_VEX))
			return load_sse;
		return i->flags & INSN_VEX_L ? load_vex256 : load_vex128;
	}
	if (i->map != 1)
		return NULL;
	for (const struct move_row *r = rows; r < rows + ARRAY_SIZE(rows); r++) {
		if (r->opcode != i->opcode || !(r->pps >> i->pp & 1))
			continue;
		if (!(i->flags & INSN_VEX))
			return r->sse;
		return i->flags & INSN_VEX_L ? r->vex256 : r->vex128;
	}
	return bind_scalar(i);
}
