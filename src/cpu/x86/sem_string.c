/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sem_string.c - MOVS CMPS STOS LODS SCAS INS OUTS, and their repetition.
 *
 * An element is read, checked and written, and then committed: pointers, count, memo
 * of outside accesses.  So a fault or an exit in the middle of a repetition leaves the
 * registers exact, and the instruction goes on from there when it is run again; it is
 * left that way, too, when something wants the vCPU between two elements.
 *
 * Where both ends are RAM the TLB knows, upward runs within a page are handed to the
 * host's own repeated instruction on guest memory.  Overlap, flags and the order of
 * bytes are then right by construction.  The first element in each page goes the slow
 * way, and fills the TLB.
 */
#include "cpu/x86/sem_int.h"
#include "cpu/x86/sys.h"

static ALWAYS_INLINE uint64_t step_bytes(const struct vcpu *c, unsigned sz)
{
	return c->s.rflags & FL_DF ? 0 - (uint64_t)sz : sz;
}

static ALWAYS_INLINE void advance(struct vcpu *c, const struct insn *i, unsigned reg,
				  uint64_t bytes)
{
	gpr_set(c, reg, i->adsize, c->s.gpr[reg] + bytes);
}

static ALWAYS_INLINE gva_t source_lin(struct vcpu *c, const struct insn *i, unsigned sz)
{
	return seg_lin(c, i->seg, gpr_get(c, GPR_RSI, i->adsize), sz, ACCESS_READ);
}

static ALWAYS_INLINE gva_t dest_lin(struct vcpu *c, const struct insn *i, unsigned sz,
				    unsigned access)
{
	return seg_lin(c, SEG_ES, gpr_get(c, GPR_RDI, i->adsize), sz, access);
}

/* --- one element ------------------------------------------------------------------- */

#define COMPARE(suf, mod, insn)                            \
	asm(insn suf " %" mod "[s], %" mod "[d]" FLAGS_OUT \
	    : "=a"(ax)                                     \
	    : [s] "r"(s), [d] "r"(d)                       \
	    : "cc")

static ALWAYS_INLINE void compare(struct vcpu *c, unsigned sz, uint64_t d, uint64_t s)
{
	uint64_t ax;

	ASM_BY_SIZE(sz, COMPARE, "cmp");
	flags_out(c, ax);
}

/* Which operand faults first is visible.  On AMD it is the source for REPE CMPSB only. */
static ALWAYS_INLINE void cmps_element(struct vcpu *c, const struct insn *i, unsigned sz)
{
	uint64_t s, d;

	if (sz == 1 && i->flags & INSN_REP) {
		s = lin_load(c, source_lin(c, i, sz), sz);
		d = lin_load(c, dest_lin(c, i, sz, ACCESS_READ), sz);
	} else {
		d = lin_load(c, dest_lin(c, i, sz, ACCESS_READ), sz);
		s = lin_load(c, source_lin(c, i, sz), sz);
	}
	compare(c, sz, s, d);
}

/* A fault of the destination comes before the port is read: no data is lost. */
static ALWAYS_INLINE void ins_element(struct vcpu *c, const struct insn *i, unsigned sz)
{
	uint16_t port = (uint16_t)c->s.gpr[GPR_RDX];
	uint64_t v = 0;
	gva_t lin;

	port_check(c, port, sz);
	lin = dest_lin(c, i, sz, ACCESS_WRITE);
	lin_probe_write(c, lin, sz);
	ext_access(c, EXIT_PIO, port, sz, false, &v, NULL);
	lin_store(c, lin, sz, v);
}

static ALWAYS_INLINE void outs_element(struct vcpu *c, const struct insn *i, unsigned sz)
{
	uint16_t port = (uint16_t)c->s.gpr[GPR_RDX];
	uint64_t v;

	port_check(c, port, sz);
	v = lin_load(c, source_lin(c, i, sz), sz);
	ext_access(c, EXIT_PIO, port, sz, true, &v, NULL);
}

static ALWAYS_INLINE void element(struct vcpu *c, const struct insn *i, enum x86_op op, unsigned sz)
{
	uint64_t v, step = step_bytes(c, sz);

	switch (op) {
	case OP_MOVS:
		v = lin_load(c, source_lin(c, i, sz), sz);
		lin_store(c, dest_lin(c, i, sz, ACCESS_WRITE), sz, v);
		break;
	case OP_CMPS: cmps_element(c, i, sz); break;
	case OP_STOS: lin_store(c, dest_lin(c, i, sz, ACCESS_WRITE), sz, c->s.gpr[GPR_RAX]); break;
	case OP_LODS: gpr_set(c, GPR_RAX, sz, lin_load(c, source_lin(c, i, sz), sz)); break;
	case OP_SCAS:
		v = lin_load(c, dest_lin(c, i, sz, ACCESS_READ), sz);
		compare(c, sz, c->s.gpr[GPR_RAX], v);
		break;
	case OP_INS: ins_element(c, i, sz); break;
	default: outs_element(c, i, sz); break;
	}
	if (op == OP_MOVS || op == OP_CMPS || op == OP_LODS || op == OP_OUTS)
		advance(c, i, GPR_RSI, step);
	if (op != OP_LODS && op != OP_OUTS)
		advance(c, i, GPR_RDI, step);
}

/* --- runs within a page -------------------------------------------------------------- */

/*
 * Host address of the run at @seg:register @reg, and in *@n, which comes in as what is
 * wanted, how many elements of @sz it is good for.  NULL: not even one; go slow.
 */
static void *run_ptr(struct vcpu *c, const struct insn *i, unsigned seg, unsigned reg,
		     unsigned access, unsigned sz, uint64_t *n)
{
	uint64_t ea = gpr_get(c, reg, i->adsize), bytes = *n;
	const struct cpu_seg *s = &c->s.seg[seg];
	gva_t lin;

	/* counted in bytes from here on; a page is the most there can be */
	bytes = bytes > MEM_PAGE_SIZE / sz ? MEM_PAGE_SIZE : bytes * sz;
	if (i->adsize < 8)
		bytes = MIN(bytes, BIT(i->adsize * 8) - ea);
	if (!c->flat[seg]) {
		bool down = (s->attr & (ATTR_X | ATTR_C)) == ATTR_C;

		if (down || ea > s->limit)
			return NULL;
		bytes = MIN(bytes, s->limit - ea + 1ULL);
	}
	lin = (ea + s->base) & c->addr_mask;
	bytes = MIN(bytes, MEM_PAGE_SIZE - (lin & (MEM_PAGE_SIZE - 1)));
	*n = bytes / sz;
	if (!*n)
		return NULL;
	lin = seg_lin(c, seg, ea, (unsigned)(*n * sz), access);
	return access == ACCESS_WRITE ? tlb_write_ptr(c, lin, sz) : tlb_read_ptr(c, lin, sz);
}

/* Would writing @bytes at @dst change the running instruction?  Then element by element. */
static bool hits_itself(const struct vcpu *c, const struct insn *i, const void *dst, uint64_t bytes)
{
	uint64_t at = (c->insn_rip + c->s.seg[SEG_CS].base) & (MEM_PAGE_SIZE - 1);
	uint64_t from = (uintptr_t)dst - c->code_page;

	return unlikely(from < MEM_PAGE_SIZE) && from < at + i->len && at < from + bytes;
}

#define HOST_MOVS(suf, mod, insn) \
	asm volatile("rep " insn suf : "+S"(src), "+D"(dst), "+c"(left) : : "memory")
#define HOST_STOS(suf, mod, insn) \
	asm volatile("rep " insn suf : "+D"(dst), "+c"(left) : "a"(c->s.gpr[GPR_RAX]) : "memory")
#define HOST_CMPS(suf, mod, insn)                                 \
	asm volatile(insn suf FLAGS_OUT                           \
		     : "+S"(src), "+D"(dst), "+c"(left), "=a"(ax) \
		     :                                            \
		     : "cc", "memory")
#define HOST_SCAS(suf, mod, insn) \
	asm volatile(insn suf FLAGS_OUT : "+D"(dst), "+c"(left), "+a"(ax) : : "cc", "memory")

/* As much as can be done of @want elements in one go, committed but for the count.  0: none. */
static ALWAYS_INLINE uint64_t run(struct vcpu *c, const struct insn *i, enum x86_op op, unsigned sz,
				  uint64_t want)
{
	bool two = op == OP_MOVS || op == OP_CMPS, write = op == OP_MOVS || op == OP_STOS;
	uint64_t n = want, done, left, ax = c->s.gpr[GPR_RAX];
	void *src = NULL, *dst;

	if (op == OP_LODS || op == OP_INS || op == OP_OUTS || c->s.rflags & FL_DF)
		return 0;
	if (two) {
		src = run_ptr(c, i, i->seg, GPR_RSI, ACCESS_READ, sz, &n);
		if (!src)
			return 0;
	}
	dst = run_ptr(c, i, SEG_ES, GPR_RDI, write ? ACCESS_WRITE : ACCESS_READ, sz, &n);
	if (!dst)
		return 0;
	if (write && hits_itself(c, i, dst, n * sz))
		return 0;
	left = n;
	if (op == OP_MOVS)
		ASM_BY_SIZE(sz, HOST_MOVS, "movs")
	else if (op == OP_STOS)
		ASM_BY_SIZE(sz, HOST_STOS, "stos")
	else if (op == OP_CMPS && i->flags & INSN_REP)
		ASM_BY_SIZE(sz, HOST_CMPS, "repe cmps")
	else if (op == OP_CMPS)
		ASM_BY_SIZE(sz, HOST_CMPS, "repne cmps")
	else if (i->flags & INSN_REP)
		ASM_BY_SIZE(sz, HOST_SCAS, "repe scas")
	else
		ASM_BY_SIZE(sz, HOST_SCAS, "repne scas")
	done = n - left;
	if (op == OP_CMPS || op == OP_SCAS)
		flags_out(c, ax);
	if (two)
		advance(c, i, GPR_RSI, done * sz);
	advance(c, i, GPR_RDI, done * sz);
	return done;
}

/* --- repetition ------------------------------------------------------------------------ */

/* Does something want the vCPU between two elements? */
static bool wanted(const struct vcpu *c)
{
	return __atomic_load_n(&c->requests, __ATOMIC_RELAXED) || c->s.rflags & FL_TF;
}

/* CMPS and SCAS stop when ZF is not what the prefix asks for. */
static ALWAYS_INLINE bool condition_ends(const struct vcpu *c, const struct insn *i, enum x86_op op)
{
	if (op != OP_CMPS && op != OP_SCAS)
		return false;
	return !(c->s.rflags & FL_ZF) == !!(i->flags & INSN_REP);
}

/* A port that is forbidden faults even when there is nothing to transfer. */
static void forbid_port(struct vcpu *c, unsigned sz)
{
	uint32_t db = c->db_pending;

	port_check(c, (uint16_t)c->s.gpr[GPR_RDX], sz);
	c->db_pending = db; /* no access, no breakpoint */
}

static ALWAYS_INLINE void repeat(struct vcpu *c, const struct insn *i, enum x86_op op, unsigned sz)
{
	uint64_t left = gpr_get(c, GPR_RCX, i->adsize), done;

	if (!left && (op == OP_INS || op == OP_OUTS))
		forbid_port(c, sz);
	while (left) {
		done = wanted(c) ? 0 : run(c, i, op, sz, left);
		if (!done) {
			element(c, i, op, sz);
			done = 1;
		}
		left -= done;
		gpr_set(c, GPR_RCX, i->adsize, left);
		ext_commit(c);
		if (!left || condition_ends(c, i, op))
			return;
		if (c->end_block || wanted(c)) {
			c->s.rip = c->insn_rip;
			c->end_block = true;
			return;
		}
	}
}

static ALWAYS_INLINE void string(struct vcpu *c, const struct insn *i, enum x86_op op, unsigned sz)
{
	if (i->flags & (INSN_REP | INSN_REPNE))
		repeat(c, i, op, sz);
	else
		element(c, i, op, sz);
}

#define SIZES4(op)                          \
	HANDLER(op##_1, string, OP_##op, 1) \
	HANDLER(op##_2, string, OP_##op, 2) \
	HANDLER(op##_4, string, OP_##op, 4) \
	HANDLER(op##_8, string, OP_##op, 8)
#define ROW(op)                                \
	{                                      \
		op##_1, op##_2, op##_4, op##_8 \
	}
SIZES4(MOVS)
SIZES4(CMPS)
SIZES4(STOS)
SIZES4(LODS)
SIZES4(SCAS)
SIZES4(INS)
SIZES4(OUTS)

insn_fn *bind_string(const struct insn *i)
{
	static insn_fn *const table[][4] = {ROW(MOVS), ROW(CMPS), ROW(STOS), ROW(LODS),
					    ROW(SCAS), ROW(INS),  ROW(OUTS)};

	if (i->op < OP_MOVS || i->op > OP_OUTS)
		return NULL;
	return table[i->op - OP_MOVS][size_index(i->opsize)];
}
