/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mask.c - vector instructions that touch memory element by element, and SSE4A.
 *
 * Masked moves fault only for elements whose mask is set: all of them are probed
 * before the first is written.  A gather may be interrupted by a fault after some
 * elements; it then has written those and cleared their masks, and goes on from
 * there when it is restarted (SDM vol. 2, VPGATHERDD).  EXTRQ and INSERTQ are here
 * because their two immediates would make 65536 stubs each.
 */
#include "cpu/x86/fpu/fpu.h"

/* --- MASKMOVDQU, MASKMOVQ: bytes to seg:rDI -------------------------------------- */

struct byte_mask {
	uint8_t data[16], mask[16];
	unsigned n;
};

/*
 * The whole operand is checked, whatever the mask: what faults beside selected bytes is
 * up to the implementation, and AMD's do it so.
 */
static void store_bytes(struct vcpu *c, const struct insn *i, const struct byte_mask *m)
{
	gva_t lin = seg_lin(c, i->seg, gpr_get(c, GPR_RDI, i->adsize), m->n, ACCESS_WRITE);

	if (!tlb_write_ptr(c, lin, m->n)) {
		/* 8 bytes at a time: that is the alignment checked */
		lin_probe_write(c, lin, 8);
		lin_probe_write(c, (lin + m->n - 8) & c->addr_mask, 8);
	}
	for (unsigned n = 0; n < m->n; n++)
		if (m->mask[n] & 0x80)
			lin_store(c, (lin + n) & c->addr_mask, 1, m->data[n]);
}

static void maskmovdqu(struct vcpu *c, const struct insn *i)
{
	struct byte_mask m = {.n = 16};

	check_vec(c, i);
	memcpy(m.data, c->s.vec[i->reg].b, 16);
	memcpy(m.mask, c->s.vec[i->rm].b, 16);
	store_bytes(c, i, &m);
}

static void maskmovq(struct vcpu *c, const struct insn *i)
{
	struct cpu_fxsave *fx = &c->s.fx;
	struct byte_mask m = {.n = 8};
	unsigned top = x87_top(fx);

	check_mmx(c);
	memcpy(m.data, fx->st[(i->reg - top) & 7], 8);
	memcpy(m.mask, fx->st[(i->rm - top) & 7], 8);
	mmx_enter(fx); /* also if it faults (AMD) */
	store_bytes(c, i, &m);
}

/* --- VMASKMOVPS/PD, VPMASKMOVD/Q --------------------------------------------------- */

/* Integer forms go by W, PS and PD by opcode. */
static unsigned element_size(const struct insn *i)
{
	if ((i->opcode & 0xf0) == 0x20)
		return i->opcode & 1 ? 8 : 4;
	return i->flags & INSN_REX_W ? 8 : 4;
}

static bool element_on(const struct cpu_vec *mask, unsigned n, unsigned size)
{
	return mask->b[n * size + size - 1] & 0x80;
}

static gva_t element_lin(struct vcpu *c, const struct insn *i, uint64_t ea, unsigned offset,
			 unsigned access)
{
	unsigned size = element_size(i);

	ea += offset;
	if (i->adsize != 8)
		ea &= BIT(i->adsize * 8) - 1;
	return seg_lin(c, i->seg, ea, size, access);
}

/* Elements are exempt from alignment checks: under them go by bytes. */
static uint64_t element_load(struct vcpu *c, gva_t lin, unsigned size)
{
	uint64_t v = 0;

	if (likely(!c->align_check))
		return lin_load(c, lin, size);
	lin_copy_in(c, &v, lin, size);
	return v;
}

static void element_store(struct vcpu *c, gva_t lin, unsigned size, uint64_t v)
{
	if (likely(!c->align_check))
		lin_store(c, lin, size, v);
	else
		lin_copy_out(c, lin, &v, size);
}

static void element_probe(struct vcpu *c, gva_t lin, unsigned size)
{
	if (tlb_write_ptr(c, lin, size))
		return;
	if (likely(!c->align_check)) {
		lin_probe_write(c, lin, size);
		return;
	}
	lin_probe_write(c, lin, 1);
	if ((lin ^ (lin + size - 1)) >> MEM_PAGE_SHIFT)
		lin_probe_write(c, ALIGN_DOWN(lin + size - 1, MEM_PAGE_SIZE) & c->addr_mask, 1);
}

static void vmaskmov_load(struct vcpu *c, const struct insn *i)
{
	unsigned size = element_size(i), len = i->msize;
	const struct cpu_vec *mask = &c->s.vec[i->vvvv];
	uint64_t ea = insn_ea(c, i), v;
	struct cpu_vec out = {{0}};

	for (unsigned n = 0; n < len / size; n++) {
		if (!element_on(mask, n, size))
			continue;
		v = element_load(c, element_lin(c, i, ea, n * size, ACCESS_READ), size);
		memcpy(out.b + n * size, &v, size);
	}
	c->s.vec[i->reg] = out;
}

static void vmaskmov_store(struct vcpu *c, const struct insn *i)
{
	unsigned size = element_size(i), count = i->msize / size;
	const struct cpu_vec *mask = &c->s.vec[i->vvvv];
	uint64_t ea = insn_ea(c, i), v = 0;

	for (unsigned n = 0; n < count; n++) {
		if (element_on(mask, n, size))
			element_probe(c, element_lin(c, i, ea, n * size, ACCESS_WRITE), size);
	}
	for (unsigned n = 0; n < count; n++) {
		if (!element_on(mask, n, size))
			continue;
		memcpy(&v, c->s.vec[i->reg].b + n * size, size);
		element_store(c, element_lin(c, i, ea, n * size, ACCESS_WRITE), size, v);
	}
}

void op_maskmov(struct vcpu *c, const struct insn *i)
{
	if (i->vk_reg == VK_MMX) {
		maskmovq(c, i);
	} else if (i->map == 1) {
		maskmovdqu(c, i);
	} else {
		check_avx(c);
		if (i->flags & INSN_MEM_W)
			vmaskmov_store(c, i);
		else
			vmaskmov_load(c, i);
	}
}

/* --- gathers --------------------------------------------------------------------------- */

static uint64_t gather_ea(const struct vcpu *c, const struct insn *i, unsigned n, bool qword_index)
{
	const uint8_t *index = c->s.vec[i->index].b;
	uint64_t ea = (uint64_t)i->disp, v;
	int32_t v32;

	if (qword_index) {
		memcpy(&v, index + n * 8, 8);
	} else {
		memcpy(&v32, index + n * 4, 4);
		v = (uint64_t)(int64_t)v32;
	}
	if (i->base != INSN_NOREG)
		ea += c->s.gpr[i->base];
	ea += v << i->scale;
	return i->adsize == 8 ? ea : (uint32_t)ea;
}

void op_gather(struct vcpu *c, const struct insn *i)
{
	bool qword_index = i->opcode & 1;
	unsigned size = i->msize, vl = i->flags & INSN_VEX_L ? 32 : 16;
	unsigned count = vl / (qword_index ? 8 : size);
	struct cpu_vec *dst = &c->s.vec[i->reg], *mask = &c->s.vec[i->vvvv];

	check_avx(c);
	for (unsigned n = 0; n < count; n++) {
		uint64_t v;

		if (!element_on(mask, n, size)) {
			memset(mask->b + n * size, 0, size);
			continue;
		}
		v = element_load(
			c, seg_lin(c, i->seg, gather_ea(c, i, n, qword_index), size, ACCESS_READ),
			size);
		memcpy(dst->b + n * size, &v, size);
		memset(mask->b + n * size, 0, size);
		ext_commit(c);
	}
	memset(dst->b + count * size, 0, 32 - count * size);
	memset(mask, 0, sizeof(*mask));
}

/* --- SSE4A (AMD APM vol. 4): bit fields of the low quadword --------------------------------- */

struct field {
	unsigned len, pos; /* len 0 means 64 */
};

static struct field field_of(unsigned len, unsigned pos)
{
	return (struct field){len & 63, pos & 63};
}

static uint64_t field_mask(struct field f)
{
	return f.len ? BIT(f.len) - 1 : ~0ULL;
}

void op_sse4a(struct vcpu *c, const struct insn *i)
{
	bool insert = i->pp == 3, immediate = i->opcode == 0x78;
	unsigned dst_reg = insert || !immediate ? i->reg : i->rm;
	uint64_t dst, src[2], mask;
	struct field f;

	check_sse(c);
	memcpy(&dst, c->s.vec[dst_reg].b, 8);
	memcpy(src, c->s.vec[i->rm].b, 16);
	if (immediate)
		f = field_of((unsigned)i->imm, (unsigned)i->imm >> 8);
	else if (insert)
		f = field_of((unsigned)src[1], (unsigned)src[1] >> 8);
	else
		f = field_of((unsigned)src[0], (unsigned)src[0] >> 8);
	mask = field_mask(f);
	if (insert)
		dst = (dst & ~(mask << f.pos)) | (src[0] & mask) << f.pos;
	else
		dst = dst >> f.pos & mask;
	memcpy(c->s.vec[dst_reg].b, &dst, 8);
	memset(c->s.vec[dst_reg].b + 8, 0, 8); /* undefined; what processors do */
}
