/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fold.c - which accesses of a block can share one address check.
 *
 * Accesses whose address is the same registers plus different constants, with nothing
 * else written to these registers in between, form a group: the first one checks the
 * bytes from the lowest to the highest, and keeps the host's address for the others.
 * Constants that are added to a register meanwhile (PUSH, ADD, LEA) are followed, so that
 * what a function saves on its stack and its variables there are one group.
 *
 * A group that begins with reads may write later, unless the block can be left in between
 * by a branch: then nothing says that the write will happen.
 *
 * A group that crosses a page although its first access does not cannot be checked so.
 * The block then goes on in its plain variant, which is made without groups.
 *
 * What a check has found holds until C code has run that may change translations: a
 * helper ends all groups.  A miss in between only adds translations (run.c sees to it).
 */
#include "cpu/dbt/lower.h"

enum { FOLD_SPAN = 512, NREGS = 16 };

struct values {			 /* what is known of registers while the block is walked */
	uint16_t version[NREGS]; /* changes with the register, but for constants added */
	int32_t added[NREGS];
	struct key {
		uint8_t base, index, scale, seg;
		uint16_t base_version, index_version;
	} key[FOLD_MAX];	 /* of each group */
	uint16_t helpers, exits; /* passed so far */
};

static bool same_key(const struct key *a, const struct key *b)
{
	return a->base == b->base && a->index == b->index && a->scale == b->scale &&
	       a->seg == b->seg && a->base_version == b->base_version &&
	       a->index_version == b->index_version;
}

static unsigned operand_size(const struct insn *i)
{
	return i->msize ? i->msize : i->opsize;
}

static unsigned alignment(const struct insn *i)
{
	return i->flags & INSN_ALIGN ? i->msize : 1;
}

static bool is_constant(const struct insn *i)
{
	return i->base == INSN_NOREG && i->index == INSN_NOREG;
}

static int64_t constant_of(const struct t_insn *t)
{
	return t->i.disp + (t->i.flags & INSN_RIPREL ? (int64_t)(t->rip + t->i.len) : 0);
}

/* In one page and aligned: nothing of it is left to be checked but the page. */
static bool constant_fits(const struct t_insn *t)
{
	uint64_t lin = (uint64_t)constant_of(t);

	return t->i.seg != SEG_FS && t->i.seg != SEG_GS && !(lin & (alignment(&t->i) - 1)) &&
	       (lin & 0xfff) + operand_size(&t->i) <= MEM_PAGE_SIZE;
}

static bool is_foldable(const struct t_insn *t)
{
	const struct insn *i = &t->i;

	return i->flags & INSN_MEM && i->flags & (INSN_MEM_R | INSN_MEM_W) && i->adsize == 8 &&
	       i->disp == (int32_t)i->disp && i->disp < 1 << 30 && i->disp > -(1 << 30) &&
	       (!is_constant(i) || constant_fits(t));
}

struct operand {
	struct key key;
	int64_t off; /* what is added to the key's registers, as they were first seen */
	unsigned size, align;
	bool constant, write;
};

/* @t's operand in memory. */
static struct operand explicit_operand(const struct values *v, const struct t_insn *t)
{
	const struct insn *i = &t->i;
	struct operand o = {.key = {.base = i->base,
				    .index = i->index,
				    .scale = i->index == INSN_NOREG ? 0 : i->scale,
				    .seg = i->seg == SEG_FS || i->seg == SEG_GS ? i->seg : 0},
			    .off = i->disp,
			    .size = operand_size(i),
			    .align = alignment(i),
			    .constant = is_constant(i),
			    .write = i->flags & INSN_MEM_W};

	if (o.constant) {
		/* copied elsewhere, some of these move (reuse.c) */
		o.key.scale = i->flags & INSN_RIPREL ? 1 : 0;
		o.off = constant_of(t);
	}
	if (i->base != INSN_NOREG) {
		o.key.base_version = v->version[i->base];
		o.off += v->added[i->base];
	}
	if (i->index != INSN_NOREG) {
		o.key.index_version = v->version[i->index];
		o.off += (int64_t)v->added[i->index] << i->scale;
	}
	return o;
}

bool is_push(const struct insn *i)
{
	return !(i->flags & INSN_MEM) &&
	       (i->op == OP_PUSH || i->op == OP_CALL || i->op == OP_CALL_RM);
}

bool is_pop(const struct insn *i)
{
	return !(i->flags & INSN_MEM) && (i->op == OP_POP || i->op == OP_RET);
}

/* What @i, for which is_push() or is_pop() holds, accesses. */
static struct operand stack_operand(const struct values *v, const struct insn *i)
{
	bool push = is_push(i);

	return (struct operand){
		.key = {.base = GPR_RSP, .index = INSN_NOREG, .base_version = v->version[GPR_RSP]},
		.off = v->added[GPR_RSP] - (push ? 8 : 0),
		.size = 8,
		.align = 1,
		.write = push};
}

/*
 * Alignment is checked for the first access only: what it asks for holds for others that are
 * as far from it.  Never for one that asks for more: it may not even be reached.
 */
static bool aligned_alike(const struct fold *f, const struct operand *o)
{
	return o->constant || (o->align <= alignment(&f->first->i) &&
			       !((o->off - f->first->fold_off) & (o->align - 1)));
}

static bool are_close(const struct operand *o, int64_t lo, int64_t hi)
{
	return o->constant ? !((lo ^ (hi - 1)) >> 12) : hi - lo <= FOLD_SPAN;
}

/* Put the access of @t into a group. */
static void join(struct lowering *l, struct values *v, struct t_insn *t, const struct operand *o)
{
	for (unsigned n = l->nfolds; n-- > 0;) {
		struct fold *f = &l->fold[n];
		int64_t lo = MIN(f->lo, o->off), hi = MAX(f->hi, o->off + o->size);

		if (f->helpers != v->helpers)
			break;
		if (!same_key(&v->key[n], &o->key) || !are_close(o, lo, hi) ||
		    !aligned_alike(f, o) || (o->write && !f->write && f->exits != v->exits))
			continue;
		if (o->write && !f->write)
			f->write = f->early = true;
		lo -= (lo - f->first->fold_off) & (alignment(&f->first->i) - 1);
		f->lo = lo;
		f->hi = hi;
		f->members++;
		t->fold = (uint8_t)(n + 1);
		t->fold_off = o->off;
		return;
	}
	if (l->nfolds == FOLD_MAX)
		return;
	v->key[l->nfolds] = o->key;
	l->fold[l->nfolds++] = (struct fold){.first = t,
					     .lo = o->off,
					     .hi = o->off + o->size,
					     .write = o->write,
					     .members = 1,
					     .helpers = v->helpers,
					     .exits = v->exits};
	t->fold = (uint8_t)l->nfolds;
	t->fold_off = o->off;
}

/* The constant that @i adds to the one register it writes; false: it does something else. */
static bool adds_constant(const struct insn *i, unsigned *reg, int64_t *imm)
{
	*reg = i->rm;
	*imm = (int64_t)i->imm;
	if (i->op == OP_LEA) {
		*reg = i->reg;
		*imm = i->disp;
		return i->opsize == 8 && i->adsize == 8 && i->base == i->reg &&
		       i->index == INSN_NOREG && !(i->flags & INSN_RIPREL);
	}
	if (i->op == OP_PUSH) {
		*reg = GPR_RSP;
		*imm = -8;
		return true;
	}
	if (i->flags & INSN_MEM || i->opsize != 8)
		return false;
	if (i->op == OP_INC || i->op == OP_DEC) {
		*imm = i->op == OP_INC ? 1 : -1;
		return true;
	}
	if (i->form != FORM_RM_I || (i->op != OP_ADD && i->op != OP_SUB))
		return false;
	if (i->op == OP_SUB)
		*imm = -*imm;
	return true;
}

static void forget(struct values *v, unsigned regs)
{
	for (; regs; regs &= regs - 1) {
		unsigned r = (unsigned)__builtin_ctz(regs);

		v->version[r]++;
		v->added[r] = 0;
	}
}

static void note_writes(struct values *v, const struct t_insn *t)
{
	unsigned regs = t->writes, reg;
	int64_t imm;

	if (t->i.op == OP_POP && regs != 1 << GPR_RSP && !(t->i.flags & INSN_MEM)) {
		regs &= ~(1u << GPR_RSP);
		if (t->i.rm == GPR_RSP)
			regs = 1 << GPR_RSP;
		else
			v->added[GPR_RSP] += 8;
	} else if (adds_constant(&t->i, &reg, &imm) && imm == (int16_t)imm &&
		   v->added[reg] + imm == (int16_t)(v->added[reg] + imm)) {
		v->added[reg] += (int32_t)imm;
		return;
	}
	forget(v, regs);
}

void fold_accesses(struct lowering *l)
{
	struct values v = {0};

	for (struct t_insn *t = l->insns; t < l->insns + l->n; t++) {
		if (!t->native) {
			v.helpers++;
			forget(&v, 0xffff);
			continue;
		}
		if (is_foldable(t)) {
			struct operand o = explicit_operand(&v, t);

			join(l, &v, t, &o);
		} else if (is_push(&t->i) || is_pop(&t->i)) {
			struct operand o = stack_operand(&v, &t->i);

			join(l, &v, t, &o);
		}
		v.exits += t->i.op == OP_JCC;
		note_writes(&v, t);
	}
}

/* --- loops ------------------------------------------------------------------------------ */

/* The registers that @t gives a value that is not the old one plus a small constant. */
static unsigned replaces(const struct t_insn *t)
{
	unsigned reg;
	int64_t imm;

	return adds_constant(&t->i, &reg, &imm) && imm == (int8_t)imm ? 0 : t->writes;
}

static unsigned address_regs(const struct insn *i)
{
	return (i->base != INSN_NOREG ? 1u << i->base : 0) |
	       (i->index != INSN_NOREG ? 1u << i->index : 0);
}

bool fold_repeats(const struct t_insn *insns, unsigned n)
{
	unsigned replaced = 0;

	for (const struct t_insn *t = insns; t < insns + n; t++) {
		if (!t->native)
			return false;
		replaced |= replaces(t);
	}
	for (const struct t_insn *t = insns; t < insns + n; t++)
		if (is_vec(&t->i) && is_foldable(t) && !(address_regs(&t->i) & replaced))
			return true;
	return false;
}
