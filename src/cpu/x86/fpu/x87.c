/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x87.c - x87 instructions, WAIT and EMMS.
 *
 * Control instructions are C.  The others run on the host's unit in a stub that
 * loads the guest's state from an FXSAVE image and saves it back; the result is
 * committed after its memory operand was stored.  A pending unmasked exception is
 * raised before (#MF, SDM vol. 1, 8.6), so that no stub ever starts with one, and
 * FXSAVE does not wait, so the host never sees #MF.  With CR0.NE clear a PC reports
 * the exception through IRQ 13, which no system has used for decades: here the
 * processor goes on as if IGNNE# were asserted.
 *
 * The last instruction and operand pointers are those of the guest and are kept here;
 * the selectors beside them are always 0 (SDM vol. 1, 8.1.8, CPUID "deprecates FCS and FDS").
 */
#include "cpu/x86/fpu/fpu.h"

/* --- state ---------------------------------------------------------------------- */

void x87_set_top(struct cpu_fxsave *fx, unsigned top)
{
	unsigned turn = (top - x87_top(fx)) & 7;
	uint8_t old[8][16];

	memcpy(old, fx->st, sizeof(old));
	for (unsigned n = 0; n < 8; n++)
		memcpy(fx->st[n], old[(n + turn) & 7], 16);
	fx->fsw = (uint16_t)((fx->fsw & ~FSW_TOP) | top << FSW_TOP_SHIFT);
}

void x87_init(struct cpu_fxsave *fx)
{
	x87_set_top(fx, 0);
	fx->fcw = FCW_INIT;
	fx->fsw = fx->fop = 0;
	fx->ftw = 0;
	fx->fip = fx->fdp = 0;
}

void mmx_enter(struct cpu_fxsave *fx)
{
	if (x87_top(fx))
		x87_set_top(fx, 0);
	fx->ftw = 0xff;
}

/* --- checks ------------------------------------------------------------------------ */

/* Raise a pending exception.  Returns whether one is pending but ignored. */
static bool x87_wait(struct vcpu *c)
{
	if (likely(!x87_pending(&c->s.fx)))
		return false;
	if (c->s.cr0 & CR0_NE)
		raise_exc(c, EXC_MF);
	return true;
}

void op_wait(struct vcpu *c, const struct insn *i)
{
	if ((c->s.cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
		raise_exc(c, EXC_NM);
	x87_wait(c);
}

void op_emms(struct vcpu *c, const struct insn *i)
{
	check_mmx(c);
	if (x87_top(&c->s.fx))
		x87_set_top(&c->s.fx, 0);
	c->s.fx.ftw = 0;
}

/* --- control instructions, which never reach the host's unit -------------------------- */

static void store16(struct vcpu *c, const struct insn *i, uint16_t v)
{
	lin_store(c, insn_lin(c, i, 2, ACCESS_WRITE), 2, v);
}

static void fldcw(struct vcpu *c, const struct insn *i)
{
	uint16_t fcw = (uint16_t)lin_load(c, insn_lin(c, i, 2, ACCESS_READ), 2);

	fcw_set(&c->s.fx, fcw);
}

static void fnclex(struct vcpu *c)
{
	c->s.fx.fsw &= 0x7f00; /* B, ES, SF and the flags go */
}

/* Without waiting for a pending exception. */
static bool control_nowait(struct vcpu *c, const struct insn *i)
{
	if (i->flags & INSN_MEM) {
		switch (i->opcode << 4 | (i->modrm >> 3 & 7)) {
		case 0xd96: x87_fnstenv(c, i); return true;
		case 0xd97: store16(c, i, c->s.fx.fcw); return true;
		case 0xdd6: x87_fnsave(c, i); return true;
		case 0xdd7: store16(c, i, c->s.fx.fsw); return true;
		default: return false;
		}
	}
	switch (i->opcode << 8 | i->modrm) {
	case 0xdbe0:
	case 0xdbe1:
	case 0xdbe4: return true; /* FNENI, FNDISI, FNSETPM: 8087, 287 */
	case 0xdbe2: fnclex(c); return true;
	case 0xdbe3: x87_init(&c->s.fx); return true;
	case 0xdfe0: gpr_set(c, GPR_RAX, 2, c->s.fx.fsw); return true;
	default: return false;
	}
}

static bool control_wait(struct vcpu *c, const struct insn *i)
{
	if (!(i->flags & INSN_MEM))
		return false;
	switch (i->opcode << 4 | (i->modrm >> 3 & 7)) {
	case 0xd94: x87_fldenv(c, i); return true;
	case 0xd95: fldcw(c, i); return true;
	case 0xdd4: x87_frstor(c, i); return true;
	default: return false;
	}
}

/* --- everything else --------------------------------------------------------------------- */

struct x87_run {
	struct cpu_fxsave image;
	struct stub_io io;
	uint8_t mem[16];
	gva_t lin;
	bool mem_out, ignored;
};

/* DB E8..F7 and DF E8..F7: FUCOMI, FCOMI and the popping ones. */
static bool writes_flags(const struct insn *i)
{
	return !(i->flags & INSN_MEM) && (i->opcode == 0xdb || i->opcode == 0xdf) &&
	       i->modrm >= 0xe8 && i->modrm < 0xf8;
}

/* FILD and FISTP of 8 bytes are how 32-bit code copies 8 bytes at once. */
static bool single_access(unsigned size)
{
	return size == 2 || size == 4 || size == 8;
}

static void mem_load(struct vcpu *c, struct x87_run *r, unsigned size)
{
	uint64_t v;

	if (!single_access(size)) {
		lin_load_slow(c, r->lin, r->mem, size);
		return;
	}
	v = lin_load(c, r->lin, size);
	memcpy(r->mem, &v, 8);
}

static void mem_store(struct vcpu *c, const struct x87_run *r, unsigned size)
{
	uint64_t v;

	memcpy(&v, r->mem, 8);
	if (single_access(size)) {
		lin_store(c, r->lin, size, v);
		return;
	}
	lin_store_slow(c, r->lin, r->mem, size);
}

static void run_load(struct vcpu *c, const struct insn *i, struct x87_run *r)
{
	const struct cpu_fxsave *fx = &c->s.fx;

	memcpy(&r->image, fx, offsetof(struct cpu_fxsave, xmm));
	r->image.fop = 0;
	r->image.fip = r->image.fdp = 0;
	r->image.mxcsr = MXCSR_HOST;
	if (r->ignored) {
		r->image.fcw |= FSW_EXC;
		r->image.fsw &= (uint16_t) ~(FSW_ES | FSW_B);
	}
	r->io.flags = (uint32_t)(c->s.rflags & 0xff) << 8 | (c->s.rflags & FL_OF ? 1 : 0);
	r->mem_out = i->flags & INSN_MEM && i->flags & INSN_MEM_W;
	if (!(i->flags & INSN_MEM))
		return;
	r->lin = insn_lin(c, i, i->msize, r->mem_out ? ACCESS_WRITE : ACCESS_READ);
	if (!r->mem_out)
		mem_load(c, r, i->msize);
}

/* Unmasked exceptions other than precision keep a result from being stored. */
static bool result_stored(const struct x87_run *r)
{
	return !(r->image.fsw & ~r->image.fcw & (FSW_EXC & ~0x20));
}

/* Offsets, in real mode linear addresses: there the environment has room for them. */
static void set_pointers(struct vcpu *c, const struct insn *i)
{
	bool real = !(c->s.cr0 & CR0_PE) || c->s.rflags & FL_VM;

	c->s.fx.fip = c->insn_rip + (real ? c->s.seg[SEG_CS].base : 0);
	if (i->flags & INSN_MEM)
		c->s.fx.fdp = insn_ea(c, i) + (real ? c->s.seg[i->seg].base : 0);
}

static void run_commit(struct vcpu *c, const struct insn *i, const struct x87_run *r)
{
	struct cpu_fxsave *fx = &c->s.fx;

	set_pointers(c, i);
	fx->fop = (uint16_t)((i->opcode & 7) << 8 | i->modrm);
	fx->fsw = r->image.fsw;
	fx->ftw = r->image.ftw;
	memcpy(fx->st, r->image.st, sizeof(fx->st));
	if (r->ignored)
		fsw_update_es(fx);
	if (writes_flags(i)) {
		c->s.rflags &= ~(uint64_t)FL_STATUS;
		c->s.rflags |=
			(r->io.flags >> 8 & (FL_STATUS & 0xff)) | (r->io.flags & 1 ? FL_OF : 0);
	}
}

static void run(struct vcpu *c, const struct insn *i, bool ignored)
{
	struct x87_run r;
	stub_fn *fn = stub_find(c->stubs, i);

	if (!fn)
		raise_ud(c);
	r.ignored = ignored;
	run_load(c, i, &r);
	fn(&r.image, r.mem, NULL, &r.io);
	if (r.mem_out && result_stored(&r))
		mem_store(c, &r, i->msize);
	else if (r.mem_out)
		lin_probe_write(c, r.lin, i->msize); /* it faults all the same */
	run_commit(c, i, &r);
}

void op_x87(struct vcpu *c, const struct insn *i)
{
	bool ignored;

	if (unlikely(c->s.cr0 & (CR0_EM | CR0_TS)))
		raise_exc(c, EXC_NM);
	if (control_nowait(c, i))
		return;
	ignored = x87_wait(c);
	if (!control_wait(c, i))
		run(c, i, ignored);
}
