/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff_gen.c - random encodings of everything the decoder knows.
 *
 * The tables are walked by decoding: every map, prefix, opcode and ModRM class is
 * tried once, and what decodes becomes a template of its group.  A case is a template
 * with prefixes, REX or VEX fields, registers, addressing and immediate at random;
 * combinations that are not legal are drawn again, and kept now and then, because
 * both sides must refuse them alike.
 */
#include <stdlib.h>
#include <string.h>
#include "cpu/tests/diff_gen.h"

struct list {
	struct tmpl *t;
	unsigned n, room;
};

struct diff_gen {
	struct list lists[3][GROUP_MAX]; /* [mode][group] */
};

/* --- the walk ------------------------------------------------------------------ */

static bool list_add(struct list *l, const struct tmpl *t)
{
	if (l->n == l->room) {
		unsigned room = l->room ? l->room * 2 : 64;
		struct tmpl *p = realloc(l->t, room * sizeof(*p));

		if (!p)
			return false;
		l->t = p;
		l->room = room;
	}
	l->t[l->n++] = *t;
	return true;
}

/* Opcode bytes of @t with the given VEX fields; prefixes other than the mandatory one not. */
static unsigned put_opcode(uint8_t *b, const struct tmpl *t, uint8_t rex, unsigned vvvv,
			   unsigned wl)
{
	static const uint8_t mandatory[] = {0, 0x66, 0xf3, 0xf2};
	unsigned n = 0;

	if (t->vex && t->map == 1 && !(rex & 3) && !(wl & 2) && vvvv & 1) { /* half of them */
		b[n++] = 0xc5;
		b[n++] = (uint8_t)((~rex & 4) << 5 | (~vvvv & 15) << 3 | (wl & 1) << 2 | t->pp);
	} else if (t->vex) {
		b[n++] = 0xc4;
		b[n++] = (uint8_t)((~rex & 7) << 5 | t->map);
		b[n++] = (uint8_t)((wl & 2) << 6 | (~vvvv & 15) << 3 | (wl & 1) << 2 | t->pp);
	} else {
		if (t->pp)
			b[n++] = mandatory[t->pp];
		if (rex)
			b[n++] = rex;
		if (t->map)
			b[n++] = 0x0f;
		if (t->map >= 2)
			b[n++] = t->map == 2 ? 0x38 : 0x3a;
	}
	b[n++] = t->opcode;
	return n;
}

/* Does some choice of W, L and vvvv make @t with @modrm an instruction? */
static bool probe(const struct tmpl *t, uint8_t modrm, enum x86_mode mode, struct insn *i)
{
	unsigned choices = t->vex ? 8 : 1;

	for (unsigned k = 0; k < choices; k++) {
		uint8_t b[32] = {0};
		unsigned n = put_opcode(b, t, 0, k & 4 ? 2 : 0, k & 3);

		b[n] = modrm;
		b[n + 1] = 0x08; /* a SIB for gathers: no register named twice */
		if (x86_decode(b, INSN_MAX_LEN, mode, i) > 0)
			return true;
	}
	return false;
}

static bool keep(struct diff_gen *g, enum x86_mode mode, const struct tmpl *t, const struct insn *i)
{
	const char *why;
	int group = diff_group_of(i, &why);
	struct tmpl copy = *t;

	copy.op = i->op;
	return group < 0 || list_add(&g->lists[mode][group], &copy);
}

/* One ModRM class: memory, or register. */
static bool walk_class(struct diff_gen *g, enum x86_mode mode, struct tmpl *t, bool mem)
{
	bool by_rm = !mem && t->map <= 1 && !t->vex &&
		     ((t->opcode & 0xf8) == 0xd8 || t->opcode == 0x01 || t->opcode == 0xae);
	struct insn i;

	for (unsigned reg = 0; reg < 8; reg++) {
		for (unsigned rm = 0; rm < (by_rm ? 8 : 1); rm++) {
			/* rm 4 is a SIB for gathers, and memory in 16-bit addressing, too */
			t->modrm = (uint8_t)(reg << 3 | (mem ? 4 : 0xc0 | (by_rm ? rm : 1)));
			if (!probe(t, t->modrm, mode, &i))
				continue;
			t->kind = mem ? TM_MEM : by_rm ? TM_FIXED : TM_REG;
			t->modrm &= by_rm ? 0xff : 0x38;
			if (!keep(g, mode, t, &i))
				return false;
		}
	}
	return true;
}

static bool walk_opcode(struct diff_gen *g, enum x86_mode mode, struct tmpl *t)
{
	struct insn i;

	/* a byte that could not be ModRM's by accident tells whether there is one */
	if (probe(t, 0xd1, mode, &i) && i.modrm != 0xd1) {
		t->kind = TM_NONE;
		return keep(g, mode, t, &i);
	}
	return walk_class(g, mode, t, true) && walk_class(g, mode, t, false);
}

static bool walk_mode(struct diff_gen *g, enum x86_mode mode)
{
	for (unsigned vex = 0; vex < 2; vex++)
		for (unsigned map = vex; map < 4; map++)
			for (unsigned n = 0; n < 4 * 256; n++) {
				struct tmpl t = {.vex = (uint8_t)vex,
						 .map = (uint8_t)map,
						 .pp = (uint8_t)(n >> 8),
						 .opcode = (uint8_t)n};

				if (map == 0 && t.pp)
					continue;
				/* prefixes and escapes have no template of their own */
				if (map == 0 &&
				    (t.opcode == 0x0f || (t.opcode & 0xfe) == 0x62 ||
				     (t.opcode & 0xfe) == 0xc4) &&
				    mode == MODE_64 && t.opcode != 0x63)
					continue;
				if (!walk_opcode(g, mode, &t))
					return false;
			}
	return true;
}

struct diff_gen *diff_gen_new(void)
{
	struct diff_gen *g = calloc(1, sizeof(*g));

	if (g && walk_mode(g, MODE_16) && walk_mode(g, MODE_32) && walk_mode(g, MODE_64))
		return g;
	diff_gen_free(g);
	return NULL;
}

void diff_gen_free(struct diff_gen *g)
{
	if (!g)
		return;
	for (unsigned m = 0; m < 3; m++)
		for (unsigned n = 0; n < GROUP_MAX; n++)
			free(g->lists[m][n].t);
	free(g);
}

unsigned diff_gen_count(const struct diff_gen *g, enum x86_mode mode, unsigned group)
{
	return diff_group_invalid(group) ? 1 : g->lists[mode][group].n;
}

/* --- one encoding ----------------------------------------------------------------- */

static void put8(struct enc *e, unsigned v)
{
	e->b[e->n++] = (uint8_t)v;
}

static void put32(struct enc *e, uint32_t v)
{
	memcpy(e->b + e->n, &v, 4);
	e->n += 4;
}

/* ModRM and displacement for memory in 16-bit addressing. */
static void put_memory16(struct diff_rng *r, struct enc *e, unsigned reg)
{
	unsigned mod = rng_below(r, 3), rm = rng_below(r, 8);

	put8(e, mod << 6 | reg | rm);
	if (mod == 0 && rm == 6)
		e->disp_at = e->n;
	if (mod || rm == 6)
		put8(e, (unsigned)rng_next(r));
	if (mod == 2 || (mod == 0 && rm == 6))
		put8(e, rng_below(r, 2) ? 0 : (unsigned)rng_next(r));
}

/* ModRM, SIB and displacement for memory in 32- and 64-bit addressing. */
static void put_memory(struct diff_rng *r, struct enc *e, unsigned reg)
{
	unsigned mod = rng_below(r, 3), rm = rng_below(r, 8);

	if (rng_chance(r, 40))
		rm = 4;
	if (rng_chance(r, 10))
		mod = 0, rm = 5;
	put8(e, mod << 6 | reg | rm);
	if (rm == 4) {
		unsigned sib = (unsigned)rng_next(r) & 0xff;

		if (rng_chance(r, 20))
			sib = (sib & 0xc7) | 0x20; /* no index */
		put8(e, sib);
		rm = sib & 7;
	}
	if (mod == 1)
		put8(e, (unsigned)rng_next(r));
	if (mod == 2 || (mod == 0 && rm == 5)) {
		e->disp_at = e->n;
		put32(e, rng_chance(r, 50) ? (uint32_t)rng_integer(r) : rng_below(r, 256));
	}
}

static void put_prefixes(struct diff_rng *r, struct enc *e, const struct tmpl *t,
			 enum x86_mode mode)
{
	static const uint8_t segs[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
	bool plain = t->map == 0 || (t->map == 1 && t->pp == 0 && !t->vex);

	if (rng_chance(r, plain ? 20 : 2))
		put8(e, 0x66);
	e->ad16 = mode == MODE_16;
	if (rng_chance(r, mode == MODE_32 ? 2 : 6)) {
		put8(e, 0x67);
		e->ad16 = mode == MODE_32;
	}
	if (rng_chance(r, 6))
		put8(e, segs[rng_below(r, 6)]);
	if (t->map == 0 && (t->opcode & 0xf4) == 0xa4 && rng_chance(r, 60))
		put8(e, 0xf2 + rng_below(r, 2)); /* strings repeat */
	else if (rng_chance(r, 2))
		put8(e, 0xf2 + rng_below(r, 2));
	if (rng_chance(r, t->kind == TM_MEM && plain ? 6 : 1))
		put8(e, 0xf0);
}

static uint8_t random_rex(struct diff_rng *r, const struct tmpl *t, enum x86_mode mode)
{
	uint8_t rex = (uint8_t)(rng_next(r) & 15);

	if (mode != MODE_64)
		return 0;
	if (t->vex)
		return rex;
	return rng_chance(r, 60) ? 0x40 | rex : 0;
}

/* Draw the bytes of @t once, immediates of any length included. */
static void draw(struct diff_rng *r, const struct tmpl *t, enum x86_mode mode, struct enc *e)
{
	unsigned reg = t->modrm & 0x38, vvvv = rng_chance(r, 40) ? 0 : rng_below(r, 16);

	*e = (struct enc){0};
	put_prefixes(r, e, t, mode);
	if (t->vex && mode != MODE_64)
		vvvv &= 7;
	e->n += put_opcode(e->b + e->n, t, random_rex(r, t, mode), vvvv, rng_below(r, 4));
	if (t->kind == TM_MEM && e->ad16)
		put_memory16(r, e, reg);
	else if (t->kind == TM_MEM)
		put_memory(r, e, reg);
	else if (t->kind == TM_REG)
		put8(e, 0xc0 | reg | rng_below(r, 8));
	else if (t->kind == TM_FIXED)
		put8(e, t->modrm);
	/* enough immediate bytes for any instruction: the decoder takes what it needs */
	for (unsigned n = 0; n < 2; n++) {
		uint64_t v = rng_integer(r);

		memcpy(e->b + e->n, &v, 8);
		e->n += n ? 0 : 8;
	}
}

/* Now and then an illegal combination stays. */
static int draw_instruction(struct diff_rng *r, const struct tmpl *t, enum x86_mode mode,
			    struct enc *e, struct insn *i)
{
	int len = X86_UD;
	bool fussy = !rng_chance(r, 3);

	for (unsigned tries = 0; tries < 200; tries++) {
		draw(r, t, mode, e);
		len = x86_decode(e->b, INSN_MAX_LEN, mode, i);
		if (!fussy || (len > 0 && i->op == t->op))
			break;
	}
	return len;
}

/* Mostly in the middle of a page; also across two, at the end of the last, cut off by it. */
static uint32_t place_code(struct diff_rng *r, unsigned len)
{
	unsigned k = rng_below(r, 100);

	if (k < 6)
		return DIFF_CODE + 0x1000 - rng_below(r, len + 1);
	if (k < 8)
		return DIFF_CODE + DIFF_CODE_SIZE - len;
	if (k < 9)
		return DIFF_CODE + DIFF_CODE_SIZE - 1 - rng_below(r, len);
	return DIFF_CODE + 0x400 + rng_below(r, 0x800);
}

static void random_registers(struct diff_rng *r, struct diff_case *c)
{
	for (unsigned n = 0; n < 16; n++)
		c->gpr[n] = rng_integer(r);
	c->gpr[GPR_RSP] = DIFF_STACK - diff_seg_base(c, SEG_SS) + 0xc00 + 8 * rng_below(r, 0x100);
	c->rflags = FL_RES1 | FL_IF | (rng_next(r) & FL_STATUS);
	if (rng_chance(r, 10))
		c->rflags |= FL_DF;
	if (rng_chance(r, 2))
		c->rflags |= FL_AC;
	if (rng_chance(r, 10))
		c->rflags |= FL_ID;
	c->fsbase = rng_chance(r, 80) ? rng_below(r, 0x1000) : (uint64_t)DIFF_DATA;
	c->gsbase = rng_chance(r, 80) ? rng_below(r, 0x1000) : 0x7fffffff0000;
	if (c->mode != MODE_64)
		c->fsbase = c->gsbase = 0;
	rng_fpu_state(r, &c->fx);
	for (unsigned n = 0; n < 16; n++)
		rng_vector(r, c->ymmh[n], 16);
}

/* Bytes that the decoder refuses: random ones, with the escapes more often. */
static void draw_invalid(struct diff_rng *r, enum x86_mode mode, struct enc *e)
{
	struct insn i;

	do {
		uint64_t v[2] = {rng_next(r), rng_next(r)};
		unsigned k = rng_below(r, 10), at = rng_below(r, 3) ? 0 : 1;

		memcpy(e->b, v, 16);
		if (at)
			e->b[0] = (uint8_t[]){0x66, 0xf2, 0xf3, 0x48}[rng_below(r, 4)];
		if (k < 6)
			e->b[at] = 0x0f;
		if (k == 4)
			e->b[at + 1] = 0x38;
		if (k == 5)
			e->b[at + 1] = 0x3a;
		if (k == 6)
			e->b[at] = 0xc5, e->b[at + 1] |= 0x78;
		if (k >= 7)
			e->b[at] = 0xc4, e->b[at + 1] = (e->b[at + 1] & 0xe3) | 0xc0;
	} while (x86_decode(e->b, INSN_MAX_LEN, mode, &i) != X86_UD);
}

int diff_gen_draw(const struct diff_gen *g, enum x86_mode mode, unsigned group, struct diff_rng *r,
		  struct diff_drawn *out)
{
	const struct list *l = &g->lists[mode][group];
	struct enc e = {0};
	int len = X86_UD;

	if (diff_group_invalid(group))
		draw_invalid(r, mode, &e);
	else if (l->n)
		len = draw_instruction(r, &l->t[rng_below(r, l->n)], mode, &e, &out->insn);
	out->len = (uint8_t)(len > 0 ? len : INSN_MAX_LEN);
	out->disp_at = (uint8_t)(e.disp_at < out->len ? e.disp_at : 0);
	memcpy(out->bytes, e.b, sizeof(out->bytes));
	return len;
}

void diff_gen_case(const struct diff_gen *g, enum x86_mode mode, unsigned group, uint64_t seed,
		   struct diff_case *c)
{
	const struct list *l = &g->lists[mode][group];
	struct diff_rng r = {.s = seed};
	struct enc e = {0};
	struct insn i;
	int len = X86_UD;

	if (diff_group_invalid(group))
		draw_invalid(&r, mode, &e);
	else
		len = draw_instruction(&r, &l->t[rng_below(&r, l->n)], mode, &e, &i);

	*c = (struct diff_case){.seed = seed, .mode = (uint8_t)mode, .group = (uint8_t)group};
	c->nbytes = (uint8_t)(len > 0 ? len : INSN_MAX_LEN);
	memcpy(c->code, e.b, c->nbytes);
	/* whether a bad instruction is fetched to its end is not defined */
	c->code_at = len > 0 ? place_code(&r, c->nbytes) : DIFF_CODE + 0x400;
	random_registers(&r, c);
	if (len > 0)
		diff_operands(&r, c, &i, e.disp_at);
	/* IRET to a 16-bit stack leaves the upper half of ESP, which is the run area's, alone */
	if (mode == MODE_16)
		c->gpr[GPR_RSP] = (uint16_t)c->gpr[GPR_RSP] | DIFF_RUN;
	if (mode != MODE_64)
		for (unsigned n = 0; n < 16; n++) /* there is no more */
			c->gpr[n] = n < 8 ? (uint32_t)c->gpr[n] : 0;
}
