/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x87env.c - FNSTENV, FLDENV, FNSAVE, FRSTOR: the x87 state in its four old layouts.
 *
 * Seven fields of 2 or 4 bytes (by operand size), then for FNSAVE the eight
 * registers of 10 bytes.  In real and virtual-8086 mode the pointers are 20- or
 * 32-bit linear addresses with the opcode beside them, else offset and selector.
 * Source: SDM vol. 1, 8.1.10.
 */
#include "cpu/x86/fpu/fpu.h"
#include "cpu/x86/mmu.h"

enum { ENV_FIELDS = 7, ST_BYTES = 80, FRAME_MAX = ENV_FIELDS * 4 + ST_BYTES };
enum { TAG_VALID, TAG_ZERO, TAG_SPECIAL, TAG_EMPTY };

struct env {			/* fields as they lie in memory, in either width */
	uint32_t f[ENV_FIELDS]; /* FCW, FSW, FTW, IP, CS + opcode, DP, DS */
};

static bool real_layout(const struct vcpu *c)
{
	return !(c->s.cr0 & CR0_PE) || c->s.rflags & FL_VM;
}

static unsigned st_tag(const uint8_t st[static 10])
{
	uint64_t mant;
	uint16_t exp;

	memcpy(&mant, st, 8);
	memcpy(&exp, st + 8, 2);
	exp &= 0x7fff;
	if (!exp && !mant)
		return TAG_ZERO;
	if (!exp || exp == 0x7fff || !(mant >> 63))
		return TAG_SPECIAL;
	return TAG_VALID;
}

/* The full tag word: two bits for each physical register. */
static uint16_t full_tags(const struct cpu_fxsave *fx)
{
	unsigned tags = 0;

	for (unsigned phys = 0; phys < 8; phys++) {
		unsigned tag = TAG_EMPTY;

		if (fx->ftw >> phys & 1)
			tag = st_tag(fx->st[(phys - x87_top(fx)) & 7]);
		tags |= tag << phys * 2;
	}
	return (uint16_t)tags;
}

static uint8_t abridged_tags(uint16_t tags)
{
	unsigned ftw = 0;

	for (unsigned phys = 0; phys < 8; phys++)
		if ((tags >> phys * 2 & 3) != TAG_EMPTY)
			ftw |= 1U << phys;
	return (uint8_t)ftw;
}

static struct env env_read_state(const struct vcpu *c, unsigned width)
{
	const struct cpu_fxsave *fx = &c->s.fx;
	struct env e = {{fx->fcw, fx->fsw, full_tags(fx)}};
	uint32_t ip = (uint32_t)fx->fip, dp = (uint32_t)fx->fdp;
	uint32_t op = fx->fop & 0x7ff;

	e.f[3] = ip;
	e.f[5] = dp;
	if (!real_layout(c)) {
		e.f[4] = width == 4 ? op << 16 : 0;
	} else if (width == 2) {
		e.f[4] = (ip >> 16 & 0xf) << 12 | op;
		e.f[6] = (dp >> 16 & 0xf) << 12;
	} else {
		e.f[3] = ip & 0xffff;
		e.f[4] = ip >> 16 << 12 | op;
		e.f[5] = dp & 0xffff;
		e.f[6] = dp >> 16 << 12;
	}
	return e;
}

static void env_write_state(struct vcpu *c, const struct env *e, unsigned width)
{
	struct cpu_fxsave *fx = &c->s.fx;

	x87_set_top(fx, e->f[1] >> FSW_TOP_SHIFT & 7);
	fx->fsw = (uint16_t)e->f[1];
	fcw_set(fx, (uint16_t)e->f[0]);
	fx->ftw = abridged_tags((uint16_t)e->f[2]);
	fx->fip = e->f[3];
	fx->fdp = e->f[5];
	if (!real_layout(c)) {
		if (width == 4)
			fx->fop = e->f[4] >> 16 & 0x7ff;
		return;
	}
	fx->fop = e->f[4] & 0x7ff;
	if (width == 2) {
		fx->fip = (uint16_t)fx->fip | (e->f[4] >> 12 & 0xf) << 16;
		fx->fdp = (uint16_t)fx->fdp | (e->f[6] >> 12 & 0xf) << 16;
	} else {
		fx->fip = (uint16_t)fx->fip | (e->f[4] >> 12 & 0xffff) << 16;
		fx->fdp = (uint16_t)fx->fdp | (e->f[6] >> 12 & 0xffff) << 16;
	}
}

/* The reserved upper halves of 32-bit fields read as ones. */
static void env_pack(const struct vcpu *c, const struct env *e, unsigned width, uint8_t *out)
{
	bool ones = width == 4;

	for (unsigned n = 0; n < ENV_FIELDS; n++) {
		uint32_t v = e->f[n];
		bool word = n < 3 || n == 6 || (real_layout(c) && (n == 3 || n == 5));

		if (real_layout(c) && n == 6)
			word = false;
		if (ones && word)
			v |= 0xffff0000;
		memcpy(out + n * width, &v, width);
	}
}

static struct env env_unpack(const uint8_t *in, unsigned width)
{
	struct env e = {{0}};

	for (unsigned n = 0; n < ENV_FIELDS; n++)
		memcpy(&e.f[n], in + n * width, width);
	return e;
}

static unsigned env_width(const struct insn *i)
{
	return i->opsize == 2 ? 2 : 4;
}

static gva_t env_lin(struct vcpu *c, const struct insn *i, unsigned len, unsigned access)
{
	gva_t lin = insn_lin(c, i, len, access);

	if (unlikely(c->align_check && lin & (env_width(i) - 1) && is_canonical(lin)))
		raise_err(c, EXC_AC, 0);
	return lin;
}

void x87_fnstenv(struct vcpu *c, const struct insn *i)
{
	unsigned width = env_width(i), len = ENV_FIELDS * width;
	struct env e = env_read_state(c, width);
	uint8_t frame[FRAME_MAX];

	env_pack(c, &e, width, frame);
	lin_copy_out(c, env_lin(c, i, len, ACCESS_WRITE), frame, len);
	fcw_set(&c->s.fx, c->s.fx.fcw | FSW_EXC);
}

void x87_fldenv(struct vcpu *c, const struct insn *i)
{
	unsigned width = env_width(i), len = ENV_FIELDS * width;
	uint8_t frame[FRAME_MAX];
	struct env e;

	lin_copy_in(c, frame, env_lin(c, i, len, ACCESS_READ), len);
	e = env_unpack(frame, width);
	env_write_state(c, &e, width);
}

void x87_fnsave(struct vcpu *c, const struct insn *i)
{
	unsigned width = env_width(i), env_len = ENV_FIELDS * width, len = env_len + ST_BYTES;
	struct env e = env_read_state(c, width);
	uint8_t frame[FRAME_MAX];

	env_pack(c, &e, width, frame);
	for (unsigned n = 0; n < 8; n++)
		memcpy(frame + env_len + n * 10, c->s.fx.st[n], 10);
	lin_copy_out(c, env_lin(c, i, len, ACCESS_WRITE), frame, len);
	x87_init(&c->s.fx);
}

void x87_frstor(struct vcpu *c, const struct insn *i)
{
	unsigned width = env_width(i), env_len = ENV_FIELDS * width, len = env_len + ST_BYTES;
	uint8_t frame[FRAME_MAX];
	struct env e;

	lin_copy_in(c, frame, env_lin(c, i, len, ACCESS_READ), len);
	e = env_unpack(frame, width);
	env_write_state(c, &e, width);
	for (unsigned n = 0; n < 8; n++) {
		memcpy(c->s.fx.st[n], frame + env_len + n * 10, 10);
		memset(c->s.fx.st[n] + 10, 0, 6);
	}
}
