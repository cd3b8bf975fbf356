/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sem_int.h - what the integer semantics share: host flags, operands, addresses.
 *
 * The host computes results and flags: an operation is the host's own instruction in
 * inline asm, followed by LAHF and SETO.  That pair is as fast as anything that was
 * measured (PUSHF is slower by a tenth to a third) and needs no stack.  Where flags
 * survive an instruction, or are undefined and so might depend on their old values,
 * the guest's flags are loaded first.
 *
 * Register operands go in and out as all 64 bits of the register: the host's merging
 * of bytes and words and its clearing of upper halves is then the guest's, and no
 * narrow store stands in the way of a later wide load.
 *
 * Templates are always-inline functions whose operation, size and address kind are
 * constants; the files of semantics instantiate them.
 */
#pragma once

#include "cpu/x86/access.h"

/* --- flags ------------------------------------------------------------------- */

/*
 * Flags travel between asm and C as AX: AH as LAHF has it, OF in bit 0.
 * FLAGS_IN makes host flags of EAX, FLAGS_OUT the other way; MOV in between keeps them.
 */
#define FLAGS_IN  "addb $127, %%al\n\tsahf\n\t"
#define FLAGS_OUT "\n\tlahf\n\tseto %%al"

static ALWAYS_INLINE uint64_t flags_in(const struct vcpu *c)
{
	uint64_t f = c->s.rflags;

	return f << 8 | (f >> 11 & 1);
}

static ALWAYS_INLINE void flags_out(struct vcpu *c, uint64_t ax)
{
	uint64_t f = c->s.rflags & ~(uint64_t)FL_STATUS;

	c->s.rflags = f | (ax >> 8 & 0xff) | (ax & 1) << 11;
}

static ALWAYS_INLINE void flags_set(struct vcpu *c, uint32_t status)
{
	c->s.rflags = (c->s.rflags & ~(uint64_t)FL_STATUS) | status;
}

/* Condition codes of Jcc, SETcc and CMOVcc (SDM vol. 1, appendix B). */
static ALWAYS_INLINE bool cond_true(uint64_t rflags, unsigned cc)
{
	uint32_t f = (uint32_t)rflags;
	uint32_t less = (f >> 7 ^ f >> 11) & 1; /* SF != OF */
	bool r;

	switch (cc >> 1) {
	case 0: r = f & FL_OF; break;
	case 1: r = f & FL_CF; break;
	case 2: r = f & FL_ZF; break;
	case 3: r = f & (FL_CF | FL_ZF); break;
	case 4: r = f & FL_SF; break;
	case 5: r = f & FL_PF; break;
	case 6: r = less; break;
	default: r = less | (f >> 6 & 1); break;
	}
	return r ^ (cc & 1);
}

/* BODY(suffix, modifier, ...) with the asm suffix and operand modifier of constant @sz. */
#define ASM_BY_SIZE(sz, BODY, ...)                   \
	switch (sz) {                                \
	case 1: BODY("b", "b", __VA_ARGS__); break;  \
	case 2: BODY("w", "w", __VA_ARGS__); break;  \
	case 4: BODY("l", "k", __VA_ARGS__); break;  \
	default: BODY("q", "q", __VA_ARGS__); break; \
	}

/* The same for instructions without a byte form. */
#define ASM_BY_WIDE(sz, BODY, ...)                   \
	switch (sz) {                                \
	case 2: BODY("w", "w", __VA_ARGS__); break;  \
	case 4: BODY("l", "k", __VA_ARGS__); break;  \
	default: BODY("q", "q", __VA_ARGS__); break; \
	}

/* And for those with 32 and 64 bits only. */
#define ASM_BY_REXW(sz, BODY, ...)                   \
	switch (sz) {                                \
	case 4: BODY("l", "k", __VA_ARGS__); break;  \
	default: BODY("q", "q", __VA_ARGS__); break; \
	}

/* --- register operands --------------------------------------------------------- */

/* Value of register @n, of interest in its low bytes.  @hi: @flag may ask for AH .. BH. */
static ALWAYS_INLINE uint64_t reg_in(struct vcpu *c, const struct insn *i, unsigned n, bool hi,
				     uint32_t flag)
{
	uint64_t v = c->s.gpr[n];

	return hi && i->flags & flag ? v >> 8 : v;
}

/* All of the register, or with @hi the one byte. */
static ALWAYS_INLINE void reg_out(struct vcpu *c, const struct insn *i, unsigned n, bool hi,
				  uint32_t flag, uint64_t v)
{
	if (hi)
		*reg8_ptr(c, n, i->flags & flag) = (uint8_t)v;
	else
		c->s.gpr[n] = v;
}

/*
 * What register value @old becomes when its low @sz bytes are written with @v.  In asm:
 * the compiler would make a narrow store of it, on which the next wide load waits.
 */
static ALWAYS_INLINE uint64_t reg_merge(uint64_t old, uint64_t v, unsigned sz)
{
	switch (sz) {
	case 1: asm("movb %b[v], %b[old]" : [old] "+r"(old) : [v] "r"(v)); return old;
	case 2: asm("movw %w[v], %w[old]" : [old] "+r"(old) : [v] "r"(v)); return old;
	case 4: return (uint32_t)v;
	default: return v;
	}
}

#define REG_IN(hi)     reg_in(c, i, i->reg, hi, INSN_REG_HI)
#define RM_IN(hi)      reg_in(c, i, i->rm, hi, INSN_RM_HI)
#define REG_OUT(hi, v) reg_out(c, i, i->reg, hi, INSN_REG_HI, v)
#define RM_OUT(hi, v)  reg_out(c, i, i->rm, hi, INSN_RM_HI, v)

/* --- memory operands ------------------------------------------------------------- */

/*
 * Shapes of an effective address.  All but EA_ANY are 64-bit addresses in segments
 * whose base is 0 there, so the offset is the linear address.
 */
enum ea_kind {
	EA_ANY,
	EA_B,	/* base + disp */
	EA_BI,	/* base + index * scale + disp */
	EA_RIP, /* next RIP + disp */
	EA_KINDS,
};

static inline enum ea_kind ea_kind(const struct insn *i)
{
	bool has_base = i->base != INSN_NOREG;

	if (i->adsize != 8 || i->seg == SEG_FS || i->seg == SEG_GS)
		return EA_ANY;
	if (i->flags & INSN_RIPREL)
		return has_base || i->index != INSN_NOREG ? EA_ANY : EA_RIP;
	if (!has_base)
		return EA_ANY;
	return i->index == INSN_NOREG ? EA_B : EA_BI;
}

static ALWAYS_INLINE uint64_t ea_value(struct vcpu *c, const struct insn *i, enum ea_kind k)
{
	uint64_t ea = (uint64_t)i->disp;

	switch (k) {
	case EA_B: return ea + c->s.gpr[i->base];
	case EA_BI: return ea + c->s.gpr[i->base] + (c->s.gpr[i->index] << i->scale);
	case EA_RIP: return ea + c->s.rip;
	default: return insn_ea(c, i);
	}
}

/*
 * The accesses below return false on a TLB miss, before any effect, and only when @k is
 * a particular kind; the handler then gives way to its EA_ANY sibling, which takes every
 * slow path.  So the fast handlers are leaves that save no registers.
 */
#define OR_SLOW(access)                    \
	do {                               \
		if (unlikely(!(access))) { \
			any(c, i);         \
			return;            \
		}                          \
	} while (0)

static ALWAYS_INLINE bool mem_load(struct vcpu *c, const struct insn *i, enum ea_kind k,
				   unsigned sz, uint64_t *v)
{
	const struct tlb_entry *e;
	gva_t lin;

	if (k == EA_ANY) {
		*v = lin_load(c, insn_lin(c, i, sz, ACCESS_READ), sz);
		return true;
	}
	lin = ea_value(c, i, k);
	e = tlb_slot(c, lin);
	if (unlikely(e->read_tag != ((lin + sz - 1) & ~0xfffULL)))
		return false;
	*v = host_load((const void *)(e->addend + lin), sz);
	return true;
}

/* Host address for writing, noting self-modification; NULL on a miss. */
static ALWAYS_INLINE bool fast_write_ptr(struct vcpu *c, gva_t lin, unsigned sz, void **p)
{
	const struct tlb_entry *e = tlb_slot(c, lin);

	if (unlikely(e->write_tag != ((lin + sz - 1) & ~0xfffULL)))
		return false;
	*p = (void *)(e->addend + lin);
	if (unlikely(((uintptr_t)*p & ~0xfffULL) == c->code_page))
		c->end_block = true;
	return true;
}

static ALWAYS_INLINE bool mem_store(struct vcpu *c, const struct insn *i, enum ea_kind k,
				    unsigned sz, uint64_t v)
{
	void *p;

	if (k == EA_ANY) {
		lin_store(c, insn_lin(c, i, sz, ACCESS_WRITE), sz, v);
		return true;
	}
	if (!fast_write_ptr(c, ea_value(c, i, k), sz, &p))
		return false;
	host_store(p, sz, v);
	return true;
}

/*
 * Read for writing: whatever can fault has faulted when this returns.  *@p is for
 * mem_rmw_end(), before which nothing may be committed: it can still leave the engine.
 */
static ALWAYS_INLINE bool mem_rmw_begin(struct vcpu *c, const struct insn *i, enum ea_kind k,
					unsigned sz, void **p, uint64_t *v)
{
	if (k == EA_ANY) {
		*v = rmw_load(c, insn_lin(c, i, sz, ACCESS_WRITE), sz);
		return true;
	}
	if (!fast_write_ptr(c, ea_value(c, i, k), sz, p))
		return false;
	*v = host_load(*p, sz);
	return true;
}

static ALWAYS_INLINE void mem_rmw_end(struct vcpu *c, enum ea_kind k, unsigned sz, void *p,
				      uint64_t v)
{
	if (k == EA_ANY)
		rmw_store(c, sz, v);
	else
		host_store(p, sz, v);
}

/*
 * Locked read-modify-write: where to run the host's locked instruction, which is guest
 * memory or, under split_lock(), *@copy.  atomic_end() writes a copy back; commit after it.
 */
void *atomic_begin_slow(struct vcpu *c, gva_t lin, unsigned sz, uint64_t *copy);
void atomic_end_slow(struct vcpu *c, unsigned sz, uint64_t copy);

static ALWAYS_INLINE void *atomic_begin_at(struct vcpu *c, gva_t lin, unsigned sz, uint64_t *copy)
{
	void *p = atomic_ptr(c, lin, sz);

	return likely(p) ? p : atomic_begin_slow(c, lin, sz, copy);
}

static ALWAYS_INLINE void *atomic_begin(struct vcpu *c, const struct insn *i, unsigned sz,
					uint64_t *copy)
{
	return atomic_begin_at(c, insn_lin(c, i, sz, ACCESS_WRITE), sz, copy);
}

static ALWAYS_INLINE void atomic_end(struct vcpu *c, unsigned sz, const void *p,
				     const uint64_t *copy)
{
	if (unlikely(p == copy))
		atomic_end_slow(c, sz, *copy);
}

/* --- making handlers --------------------------------------------------------------- */

/*
 * A handler is one call of a template, whose first arguments are always c and i.
 * Never inlined: a slow sibling inside a fast handler would cost it its registers.
 */
#define HANDLER(name, template, ...)                                                     \
	static __attribute__((noinline)) void name(struct vcpu *c, const struct insn *i) \
	{                                                                                \
		template(c, i, __VA_ARGS__);                                             \
	}

/*
 * One handler for each address kind: name_any, name_b, name_bi, name_rip.  Templates
 * with a memory operand take (c, i, k, any, ...).
 */
#define HANDLER_ANY(name, template, ...) HANDLER(name, template, EA_ANY, NULL, __VA_ARGS__)
#define HANDLERS_EA(name, template, ...)                             \
	HANDLER_ANY(name##_any, template, __VA_ARGS__)               \
	HANDLER(name##_b, template, EA_B, name##_any, __VA_ARGS__)   \
	HANDLER(name##_bi, template, EA_BI, name##_any, __VA_ARGS__) \
	HANDLER(name##_rip, template, EA_RIP, name##_any, __VA_ARGS__)
#define ROW_EA(name)                                        \
	{                                                   \
		name##_any, name##_b, name##_bi, name##_rip \
	}
/* The same row where one handler does for all kinds. */
#define ROW_ANY(name)                  \
	{                              \
		name, name, name, name \
	}

/* M(cc, ...) for every condition code. */
#define FOR_EACH_CC(M, ...) \
	M(0, __VA_ARGS__)   \
	M(1, __VA_ARGS__)   \
	M(2, __VA_ARGS__)   \
	M(3, __VA_ARGS__)   \
	M(4, __VA_ARGS__)   \
	M(5, __VA_ARGS__)   \
	M(6, __VA_ARGS__)   \
	M(7, __VA_ARGS__)   \
	M(8, __VA_ARGS__)   \
	M(9, __VA_ARGS__)   \
	M(10, __VA_ARGS__)  \
	M(11, __VA_ARGS__)  \
	M(12, __VA_ARGS__)  \
	M(13, __VA_ARGS__)  \
	M(14, __VA_ARGS__)  \
	M(15, __VA_ARGS__)
#define ROW_CC(name)                                                                               \
	{                                                                                          \
		name##_0, name##_1, name##_2, name##_3, name##_4, name##_5, name##_6, name##_7,    \
			name##_8, name##_9, name##_10, name##_11, name##_12, name##_13, name##_14, \
			name##_15                                                                  \
	}

/* Index of operand size 1, 2, 4, 8 in tables; SIZE_HI: a byte that may be AH .. BH. */
enum { SIZE_1, SIZE_2, SIZE_4, SIZE_8, SIZE_HI, SIZES };

static inline unsigned size_index(unsigned bytes)
{
	return bytes == 8 ? SIZE_8 : bytes == 4 ? SIZE_4 : bytes == 2 ? SIZE_2 : SIZE_1;
}

static inline unsigned operand_index(const struct insn *i)
{
	return i->flags & (INSN_REG_HI | INSN_RM_HI) ? SIZE_HI : size_index(i->opsize);
}

static inline bool has_mem(const struct insn *i)
{
	return i->flags & INSN_MEM;
}

/* --- the files, each binding its own operations, NULL for the others ------------------ */

insn_fn *bind_alu(const struct insn *i);     /* sem_int_alu.c */
insn_fn *bind_unary(const struct insn *i);   /* sem_int_unary.c */
insn_fn *bind_lock(const struct insn *i);    /* sem_int_lock.c: INSN_LOCK, XCHG m, CMPXCHG ... */
insn_fn *bind_shift(const struct insn *i);   /* sem_int_shift.c */
insn_fn *bind_mov(const struct insn *i);     /* sem_int_mov.c */
insn_fn *bind_misc(const struct insn *i);    /* sem_int_misc.c */
insn_fn *bind_bits(const struct insn *i);    /* sem_int_bits.c */
insn_fn *bind_bmi(const struct insn *i);     /* sem_int_bmi.c */
insn_fn *bind_mul(const struct insn *i);     /* sem_int_mul.c */
insn_fn *bind_decimal(const struct insn *i); /* sem_int_decimal.c */
insn_fn *bind_branch(const struct insn *i);  /* sem_int_branch.c */
insn_fn *bind_stack(const struct insn *i);   /* sem_int_stack.c */
