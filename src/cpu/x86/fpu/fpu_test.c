/* SPDX-License-Identifier: Apache-2.0 */
/* fpu_test.c - random vector and x87 instructions: what the host does is right. */
#include "cpu/x86/fpu/fpu_fixture.h"

enum { ROUNDS = 400000 };

struct trial {
	uint8_t code[INSN_MAX_LEN];
	struct insn i;
};

/* --- instructions ------------------------------------------------------------------ */

static bool wanted(const struct insn *i)
{
	switch (i->op) {
	case OP_VEC:
	case OP_X87:
	case OP_MASKMOV:
	case OP_GATHER:
	case OP_EMMS:
	case OP_WAIT:
	case OP_VZEROUPPER:
	case OP_VZEROALL:
	case OP_LDMXCSR:
	case OP_STMXCSR: break;
	default: return false;
	}
	if (i->adsize != 8 || i->seg == SEG_FS || i->seg == SEG_GS || i->flags & INSN_RIPREL)
		return false;
	if (i->flags & INSN_MEM && (i->base == INSN_NOREG || i->base == i->index))
		return i->flags & INSN_MEM && i->base != INSN_NOREG && i->flags & INSN_VSIB;
	return true;
}

/* Prefixes and opcode of a random family; the rest is random. */
static void random_code(struct fpu_fix *f, uint8_t *p)
{
	static const uint8_t prefix[] = {0x66, 0xf3, 0xf2};
	uint64_t r = fpu_rnd(f);

	for (unsigned k = 0; k < INSN_MAX_LEN; k++)
		p[k] = (uint8_t)(fpu_rnd(f) >> 13);
	switch (r % 16) {
	case 0: p[0] = (uint8_t)(0xd8 + (r >> 8 & 7)); return;
	case 1:
		p[0] = 0x66;
		p[1] = (uint8_t)(0xd8 + (r >> 8 & 7));
		return;
	case 2: p[0] = 0x0f; return;
	case 3:
	case 4:
		p[0] = 0xc5;
		p[1] |= r & 0x100000 ? 0x78 : 0;
		return;
	case 5:
	case 6:
	case 7:
	case 8:
		p[0] = 0xc4;
		p[1] = (uint8_t)((p[1] & 0xe0) | (1 + (r >> 8) % 3));
		p[2] |= r & 0x100000 ? 0x78 : 0;
		return;
	default: break;
	}
	if (r & 0x10000)
		*p++ = prefix[(r >> 8) % 3];
	if (r & 0x20000)
		*p++ = (uint8_t)(0x40 | (r >> 20 & 15));
	*p++ = 0x0f;
	if (r & 0x40000)
		*p = r & 0x80000 ? 0x38 : 0x3a;
}

static void random_trial(struct fpu_fix *f, struct trial *t)
{
	do {
		random_code(f, t->code);
	} while (x86_decode(t->code, INSN_MAX_LEN, MODE_64, &t->i) < 0 || !wanted(&t->i));
}

/* --- operands -------------------------------------------------------------------------- */

static uint32_t random_f32(struct fpu_fix *f)
{
	static const uint32_t v[] = {
		0,	    0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000,
		0x7f800001, 0xffc12345, 0x00000001, 0x807fffff, 0x00800000, 0x7f7fffff, 0x4f000000,
	};
	uint64_t r = fpu_rnd(f);

	return r & 3 ? v[(r >> 8) % ARRAY_SIZE(v)] : (uint32_t)(r >> 32);
}

static uint64_t random_f64(struct fpu_fix *f)
{
	static const uint64_t v[] = {
		0,
		1ULL << 63,
		0x3ff0000000000000,
		0xbff8000000000000,
		0x7ff0000000000000,
		0xfff0000000000000,
		0x7ff8000000000000,
		0x7ff0000000000001,
		1,
		0x000fffffffffffff,
		0x0010000000000000,
		0x7fefffffffffffff,
		0x41e0000000000000,
		0x43e0000000000000,
		0x3690000000000000,
		0x47f0000000000000,
	};
	uint64_t r = fpu_rnd(f);

	return r & 3 ? v[(r >> 8) % ARRAY_SIZE(v)] : fpu_rnd(f);
}

static void random_fill(struct fpu_fix *f, uint8_t *p, unsigned len)
{
	unsigned kind = (unsigned)(fpu_rnd(f) % 3);

	for (unsigned k = 0; k + 8 <= len; k += 8) {
		uint64_t v = fpu_rnd(f);

		if (kind == 1)
			v = random_f64(f);
		else if (kind == 2)
			v = random_f32(f) | (uint64_t)random_f32(f) << 32;
		memcpy(p + k, &v, 8);
	}
}

static void random_st(struct fpu_fix *f, uint8_t st[16])
{
	static const uint16_t exps[] = {0,	1,	0x3fff, 0x3ffe, 0x4000,
					0x403e, 0x7fff, 0x7ffe, 0x3c00};
	static const uint64_t mants[] = {0, 1, 1ULL << 63, 3ULL << 62, ~0ULL, 0x8000000000000001};
	uint64_t r = fpu_rnd(f), mant = r & 1 ? mants[(r >> 8) % ARRAY_SIZE(mants)] : fpu_rnd(f);
	uint16_t exp = (uint16_t)(r & 6 ? exps[(r >> 16) % ARRAY_SIZE(exps)] : r >> 32);

	if (r & 0x30)
		mant |= 1ULL << 63;
	exp = (uint16_t)((exp & 0x7fff) | (r >> 48 & 0x8000));
	memset(st, 0, 16);
	memcpy(st, &mant, 8);
	memcpy(st + 8, &exp, 2);
}

static void random_x87(struct fpu_fix *f, struct cpu_fxsave *fx)
{
	uint64_t r = fpu_rnd(f);

	fx->fsw = (uint16_t)((r & 0x7f00) | (r >> 20 & (r & 0x10000 ? 0x7f : 0)));
	fcw_set(fx, (uint16_t)(r & 0x80000000 ? r >> 32 : FCW_INIT | (r >> 32 & 0xf00)));
	if (r & 0x300000000)
		fx->fcw |= 0x3f;
	fsw_update_es(fx);
	fx->ftw = (uint8_t)(r >> 48 & 3 ? 0xff : r >> 56);
	if ((r >> 50 & 7) == 0)
		fx->ftw = 0;
	for (unsigned n = 0; n < 8; n++)
		random_st(f, fx->st[n]);
}

static void random_state(struct fpu_fix *f, struct cpu_state *s)
{
	uint64_t r = fpu_rnd(f);

	for (unsigned n = 0; n < 16; n++) {
		s->gpr[n] = fpu_rnd(f);
		random_fill(f, s->vec[n].b, 32);
	}
	if (r & 1) /* small counts and lengths */
		for (unsigned n = 0; n < 16; n++)
			s->gpr[n] &= 0x1f;
	s->rflags = FL_RES1 | (fpu_rnd(f) & FL_STATUS);
	random_x87(f, &s->fx);
	s->fx.mxcsr = MXCSR_HOST;
	if (r & 2)
		s->fx.mxcsr = (uint32_t)(r >> 32) & 0xffff;
	if (r & 4)
		s->fx.mxcsr |= MXCSR_MASKS;
	s->fx.mxcsr_mask = 0;
}

/* Zen does not check the alignment of SHA operands; the manuals do. */
static bool is_sha(const struct insn *i)
{
	return (i->map == 2 && i->opcode >= 0xc8 && i->opcode <= 0xcd) ||
	       (i->map == 3 && i->opcode == 0xcc);
}

/* Make the memory operand fall into the data pages. */
static void place_operand(struct fpu_fix *f, const struct insn *i, struct cpu_state *s)
{
	uint64_t r = fpu_rnd(f), at = (uintptr_t)f->data + 256 + r % (DATA_BYTES - 1024);
	uint64_t ea = (uint64_t)i->disp;

	if (r & 0x3000000 || is_sha(i))
		at &= ~31ULL;
	if (i->flags & INSN_VSIB) {
		uint64_t keep = i->opcode & 1 ? 0x1ff : 0x1ff000001ff;

		for (unsigned k = 0; k < 32; k += 8) {
			uint64_t v;

			memcpy(&v, s->vec[i->index].b + k, 8);
			v &= keep;
			memcpy(s->vec[i->index].b + k, &v, 8);
		}
		s->gpr[i->base] = (uintptr_t)f->data - ea;
		return;
	}
	if (i->op == OP_MASKMOV && i->map == 1)
		s->gpr[GPR_RDI] = at;
	if (!(i->flags & INSN_MEM))
		return;
	if (i->index != INSN_NOREG)
		ea += s->gpr[i->index] << i->scale;
	s->gpr[i->base] = at - ea;
}

/* --- both sides --------------------------------------------------------------------------- */

static void to_native(const struct cpu_state *s, struct native_state *n)
{
	memset(n->fx, 0, sizeof(n->fx));
	memcpy(n->fx, &s->fx, offsetof(struct cpu_fxsave, xmm));
	memcpy(n->vec, s->vec, sizeof(n->vec));
	memcpy(n->gpr, s->gpr, sizeof(n->gpr));
	n->rflags = s->rflags;
}

static bool same_x87(const struct cpu_fxsave *a, const struct native_state *n)
{
	struct cpu_fxsave b;

	memcpy(&b, n->fx, sizeof(b));
	if (a->fcw != b.fcw || a->fsw != b.fsw || a->ftw != b.ftw || a->mxcsr != b.mxcsr)
		return false;
	if (a->fsw & FSW_ES && (a->fip != b.fip || a->fdp != b.fdp || a->fop != b.fop))
		return false;
	for (unsigned k = 0; k < 8; k++)
		if (memcmp(a->st[k], b.st[k], 10) != 0)
			return false;
	return true;
}

static void print_fx(const char *who, const struct cpu_fxsave *fx)
{
	print_message("%s: fcw %04x fsw %04x ftw %02x fop %03x fip %lx fdp %lx mxcsr %x\n", who,
		      fx->fcw, fx->fsw, fx->ftw, fx->fop, (long)fx->fip, (long)fx->fdp, fx->mxcsr);
	for (unsigned k = 0; k < 8; k++) {
		print_message(" st%u ", k);
		for (unsigned b = 10; b--;)
			print_message("%02x", fx->st[k][b]);
	}
	print_message("\n");
}

static void print_trial(const struct trial *t)
{
	print_message("code:");
	for (unsigned k = 0; k < t->i.len; k++)
		print_message(" %02x", t->code[k]);
	print_message("\n");
}

static void report(struct fpu_fix *f, const struct trial *t, int got)
{
	const struct native_state *n = native_state(f->native);
	const struct cpu_state *s = &f->c->s;
	struct cpu_fxsave fx;

	print_trial(t);
	print_message("vector: ours %d, the host's %d\n", got, n->vector);
	for (unsigned k = 0; k < 16; k++) {
		if (s->gpr[k] != n->gpr[k])
			print_message("gpr%u %lx, host %lx\n", k, (long)s->gpr[k], (long)n->gpr[k]);
		if (!memcmp(s->vec[k].b, n->vec[k], 32))
			continue;
		print_message("vec%u:", k);
		for (unsigned b = 0; b < 32; b++)
			print_message(" %02x/%02x", s->vec[k].b[b], n->vec[k][b]);
		print_message("\n");
	}
	print_message("rflags %lx, host %lx\n", (long)s->rflags, (long)n->rflags);
	memcpy(&fx, n->fx, sizeof(fx));
	print_fx("ours", &s->fx);
	print_fx("host", &fx);
}

static void compare(struct fpu_fix *f, const struct trial *t, int got, const uint8_t *host_data)
{
	const struct native_state *n = native_state(f->native);
	const struct cpu_state *s = &f->c->s;
	bool same = got == n->vector && same_x87(&s->fx, n) &&
		    !memcmp(s->gpr, n->gpr, sizeof(s->gpr)) &&
		    !memcmp(s->vec, n->vec, sizeof(n->vec)) &&
		    !((s->rflags ^ n->rflags) & FL_STATUS) &&
		    !memcmp(f->data, host_data, DATA_BYTES);

	if (!same) {
		report(f, t, got);
		for (unsigned k = 0; k < DATA_BYTES; k++)
			if (f->data[k] != host_data[k])
				print_message("data[%u] %02x, host %02x\n", k, f->data[k],
					      host_data[k]);
		fail();
	}
}

static void run_both(struct fpu_fix *f, const struct trial *t)
{
	static uint8_t before[DATA_BYTES], after[DATA_BYTES];
	struct native_state *n = native_state(f->native);
	int got;

	memcpy(before, f->data, DATA_BYTES);
	to_native(&f->c->s, n);
	native_run(f->native, t->code, t->i.len);
	memcpy(after, f->data, DATA_BYTES);
	memcpy(f->data, before, DATA_BYTES);
	got = fpu_run(f, &t->i, native_rip(f->native, t->i.len));
	compare(f, t, got, after);
}

static void random_instructions_do_what_the_host_does(void **state)
{
	struct fpu_fix *f = fpu_fix_new();
	const char *seed = getenv("SEED");
	struct trial t;

	if (seed)
		f->seed = strtoull(seed, NULL, 0);
	print_message("seed %#lx\n", (long)f->seed);
	for (unsigned k = 0; k < ROUNDS; k++) {
		random_trial(f, &t);
		fpu_fix_reset(f);
		random_state(f, &f->c->s);
		if (!(k & 15))
			random_fill(f, f->data, DATA_BYTES);
		place_operand(f, &t.i, &f->c->s);
		run_both(f, &t);
	}
	fpu_fix_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_instructions_do_what_the_host_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
