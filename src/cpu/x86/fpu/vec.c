/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vec.c - vector and MMX instructions through stubs.
 *
 * A handler checks that the guest may use the unit, finds pointers to the operands
 * (guest registers, guest RAM where the access stays inside one page, a bounce
 * buffer elsewhere), calls the stub and commits.  Three handlers, from fast to general:
 * vec_int, vec_fp (under the guest's MXCSR) and vec_any (general registers, memory
 * destinations, flags, implicit operands, MMX).
 */
#include "cpu/x86/fpu/fpu.h"

void sse_denied(struct vcpu *c)
{
	if (c->s.cr0 & CR0_EM || !(c->s.cr4 & CR4_OSFXSR))
		raise_ud(c);
	raise_exc(c, EXC_NM);
}

void avx_denied(struct vcpu *c)
{
	bool avx = c->s.cr0 & CR0_PE && !(c->s.rflags & FL_VM) && c->s.cr4 & CR4_OSXSAVE &&
		   (c->s.xcr0 & (XCR0_SSE | XCR0_AVX)) == (XCR0_SSE | XCR0_AVX);

	if (!avx)
		raise_ud(c);
	raise_exc(c, EXC_NM);
}

/* Room for a memory operand; its alignment is what the widest legacy form demands. */
struct bounce {
	uint8_t b[32];
} __attribute__((aligned(32)));

/*
 * The r/m operand for a stub.  A legacy instruction faults on the host when its
 * 16 bytes are not aligned; whether the guest's may be is the decoder's to say, so
 * nothing but an aligned pointer is handed on.
 */
static ALWAYS_INLINE void *source_ptr(struct vcpu *c, const struct insn *i, struct bounce *bounce)
{
	const void *p;

	if (!(i->flags & INSN_MEM))
		return c->s.vec[i->rm].b;
	p = vec_mem(c, i, i->msize, bounce->b);
	if (unlikely(i->msize == 16 && (uintptr_t)p & 15)) {
		memcpy(bounce->b, p, 16);
		p = bounce->b;
	}
	return (void *)p;
}

static ALWAYS_INLINE void bind_is4(struct vcpu *c, const struct insn *i, struct stub_io *io)
{
	if (i->is4 != INSN_NOREG)
		io->is4 = c->s.vec[i->is4].b;
}

/* #XM, its flags in MXCSR; #UD where the system does not know of #XM. */
static NORETURN void raise_simd(struct vcpu *c, uint32_t mxcsr)
{
	c->s.fx.mxcsr = mxcsr;
	if (!(c->s.cr4 & CR4_OSXMMEXCPT))
		raise_ud(c);
	raise_exc(c, EXC_XM);
}

static ALWAYS_INLINE stub_fn *find(struct vcpu *c, const struct insn *i)
{
	stub_fn *fn = stub_find(c->stubs, i);

	if (unlikely(!fn)) /* the arena holds every key there is */
		raise_ud(c);
	return fn;
}

static void vec_int(struct vcpu *c, const struct insn *i)
{
	struct bounce bounce;
	struct stub_io io;
	stub_fn *fn;
	void *rm;

	check_vec(c, i);
	rm = source_ptr(c, i, &bounce);
	fn = find(c, i);
	bind_is4(c, i, &io);
	fn(c->s.vec[i->reg].b, rm, c->s.vec[i->vvvv & 15].b, &io);
}

static void vec_fp(struct vcpu *c, const struct insn *i)
{
	struct stub_io io = {.mxcsr = c->s.fx.mxcsr & MXCSR_VALID};
	struct bounce bounce;
	stub_fn *fn;
	void *rm;

	check_vec(c, i);
	rm = source_ptr(c, i, &bounce);
	fn = find(c, i);
	if (unlikely(stub_call_fp(fn, c->s.vec[i->reg].b, rm, c->s.vec[i->vvvv & 15].b, &io)))
		raise_simd(c, io.mxcsr);
	c->s.fx.mxcsr = io.mxcsr;
}

/* --- the general form -------------------------------------------------------------- */

struct operands {
	void *reg, *rm;
	bool store; /* bounce goes to memory at @lin */
	bool mmx;   /* an MMX register is used */
	gva_t lin;
	uint64_t mm_reg, mm_rm; /* copies of MMX registers */
	struct bounce bounce;
};

/* MMn is a physical register, st[] is counted from TOP. */
static uint8_t *mmx_reg(struct cpu_fxsave *fx, unsigned n)
{
	return fx->st[(n - x87_top(fx)) & 7];
}

static void *register_ptr(struct vcpu *c, unsigned kind, unsigned n, uint64_t *mm)
{
	switch (kind) {
	case VK_MMX: memcpy(mm, mmx_reg(&c->s.fx, n & 7), 8); return mm;
	case VK_GPR: return &c->s.gpr[n];
	default: return c->s.vec[n & 15].b;
	}
}

/* Guest RAM itself, when the stub's one store does; else the bounce buffer. */
static void bind_destination(struct vcpu *c, const struct insn *i, struct operands *o)
{
	o->lin = vec_lin(c, i, i->msize, ACCESS_WRITE);
	o->rm = o->lin & 15 && i->msize == 16 ? NULL : tlb_write_ptr(c, o->lin, i->msize);
	if (o->rm)
		return;
	lin_probe_write(c, o->lin, i->msize);
	o->rm = o->bounce.b;
	o->store = true;
}

static void bind_operands(struct vcpu *c, const struct insn *i, struct operands *o)
{
	o->reg = register_ptr(c, i->vk_reg, i->reg, &o->mm_reg);
	if (!(i->flags & INSN_MEM)) {
		o->rm = register_ptr(c, i->vk_rm, i->rm, &o->mm_rm);
	} else if (i->flags & INSN_MEM_W) {
		bind_destination(c, i, o);
	} else {
		o->rm = source_ptr(c, i, &o->bounce);
	}
}

static void mmx_commit(struct vcpu *c, const struct insn *i, const struct operands *o)
{
	struct cpu_fxsave *fx = &c->s.fx;

	mmx_enter(fx);
	if (i->vk_reg == VK_MMX && i->flags & INSN_REG_W) {
		memcpy(fx->st[i->reg & 7], &o->mm_reg, 8);
		memset(fx->st[i->reg & 7] + 8, 0xff, 2);
	}
	if (i->vk_rm == VK_MMX && i->flags & INSN_RM_W && !(i->flags & INSN_MEM)) {
		memcpy(fx->st[i->rm & 7], &o->mm_rm, 8);
		memset(fx->st[i->rm & 7] + 8, 0xff, 2);
	}
}

/* The unit is switched to MMX even when the instruction then faults (AMD). */
static NORETURN void simd_fault(struct vcpu *c, const struct operands *o, uint32_t mxcsr)
{
	if (o->mmx)
		mmx_enter(&c->s.fx);
	raise_simd(c, mxcsr);
}

static void set_flags(struct vcpu *c, uint32_t flags)
{
	uint64_t low = flags >> 8 & (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF);

	c->s.rflags = (c->s.rflags & ~(uint64_t)FL_STATUS) | low | (flags & 1 ? FL_OF : 0);
}

/* Registers that an instruction uses without naming them. */
static void bind_implicit(struct vcpu *c, const struct insn *i, struct stub_io *io)
{
	bool wide = c->mode == MODE_64;

	/* lengths of PCMPESTRx are signed; outside 64-bit mode VEX.W says nothing */
	io->rax = wide ? c->s.gpr[GPR_RAX] : (uint64_t)(int64_t)(int32_t)c->s.gpr[GPR_RAX];
	io->rdx = wide ? c->s.gpr[GPR_RDX] : (uint64_t)(int64_t)(int32_t)c->s.gpr[GPR_RDX];
	io->rcx = c->s.gpr[GPR_RCX];
	io->xmm0 = c->s.vec[0].b;
	bind_is4(c, i, io);
}

static bool is_pcmpstri(const struct insn *i)
{
	return i->map == 3 && (i->opcode & 0xfd) == 0x61;
}

static void check_any(struct vcpu *c, const struct insn *i, const struct operands *o)
{
	bool xmm = i->vk_reg == VK_XMM || i->vk_rm == VK_XMM || i->vk_rm == VK_YMM;

	if (xmm || !o->mmx) /* the MMX forms of SSE need no OSFXSR */
		check_vec(c, i);
	if (o->mmx)
		check_mmx(c);
}

/* CVTPI2PS from memory uses no MMX register, yet Intel's switch the unit (SDM vol. 2). */
static bool uses_mmx(const struct vcpu *c, const struct insn *i)
{
	if (i->vk_reg == VK_MMX || (i->vk_rm == VK_MMX && !(i->flags & INSN_MEM)))
		return true;
	return i->vk_rm == VK_MMX && i->pp == 0 && !c->model->amd;
}

static void vec_any(struct vcpu *c, const struct insn *i)
{
	struct stub_io io = {.mxcsr = c->s.fx.mxcsr & MXCSR_VALID};
	struct operands o;
	stub_fn *fn;

	o.store = false;
	o.mmx = uses_mmx(c, i);
	check_any(c, i, &o);
	bind_operands(c, i, &o);
	bind_implicit(c, i, &io);
	fn = find(c, i);
	if (!stub_uses_mxcsr(i))
		fn(o.reg, o.rm, c->s.vec[i->vvvv & 15].b, &io);
	else if (stub_call_fp(fn, o.reg, o.rm, c->s.vec[i->vvvv & 15].b, &io))
		simd_fault(c, &o, io.mxcsr);
	if (o.store) /* may fault: nothing else is committed yet */
		lin_store_slow(c, o.lin, o.bounce.b, i->msize);
	c->s.fx.mxcsr = (c->s.fx.mxcsr & ~(uint32_t)MXCSR_VALID) | io.mxcsr;
	if (o.mmx)
		mmx_commit(c, i, &o);
	if (i->flags & INSN_WR_FLAGS)
		set_flags(c, io.flags);
	if (is_pcmpstri(i))
		c->s.gpr[GPR_RCX] = io.rcx;
}

insn_fn *bind_vec(const struct insn *i)
{
	bool plain = (i->vk_reg == VK_XMM || i->vk_reg == VK_YMM || i->vk_reg == VK_NONE) &&
		     (i->vk_rm == VK_XMM || i->vk_rm == VK_YMM) &&
		     !(i->flags & (INSN_MEM_W | INSN_WR_FLAGS)) && !stub_uses_xmm0(i);

	if (!plain)
		return vec_any;
	return stub_uses_mxcsr(i) ? vec_fp : vec_int;
}
