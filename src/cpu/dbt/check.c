/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - lock-step: each block runs in the interpreter first, then translated.
 *
 * The interpreter's run is taken back: registers from a copy, memory from a journal.  It
 * runs with a TLB that nothing hits, so that every store comes by the journal and the real
 * TLB stays as it is, for the translated block, which then runs from the same state.  Both
 * must have left the same state and the same bytes.  Blocks run one at a time and unlinked.
 *
 * Where either comes to something that cannot be done twice (device memory), or that
 * translated code leaves to the interpreter, what was done up to there is compared, and it
 * is then done once.  An instruction that has its handler run in translated code, too, is
 * in no block with others.
 *
 * A device may write in between, so what differs is tried again before it counts.  Other
 * vCPUs would see what is taken back: there is one vCPU.
 */
#include <stdio.h>

#include "cpu/dbt/dbt.h"
#include "cpu/interp/interp.h"

enum { JOURNAL_MAX = 512, TRIES = 4 };
#define NO_STOP (1ULL << 63) /* not an address */

struct journal_entry {
	uint8_t *hva;
	uint8_t size;
	uint8_t before[32], wanted[32]; /* by the interpreter, unless a later entry covers it */
};

struct dbt_check {
	struct cpu_state start, interp, got;
	size_t state_bytes; /* of the block's: with the FPU's at the end if it uses that */
	struct journal_entry entry[JOURNAL_MAX];
	unsigned n;
	bool lost; /* more stores than there is room for */
	uint64_t blocks;
};

static ALWAYS_INLINE void copy_bytes(void *to, const void *from, unsigned size)
{
	if (size == 8)
		memcpy(to, from, 8);
	else if (size == 4)
		memcpy(to, from, 4);
	else
		memcpy(to, from, size);
}

void journal_add(struct vcpu *c, void *hva, unsigned size)
{
	struct dbt_check *k = c->check;
	struct journal_entry *e = &k->entry[k->n];

	if (k->n == JOURNAL_MAX || size > sizeof(e->before)) {
		k->lost = true;
		return;
	}
	e->hva = hva;
	e->size = (uint8_t)size;
	copy_bytes(e->before, hva, size);
	k->n++;
}

typedef char bytes16 __attribute__((vector_size(16), may_alias));

_Static_assert(sizeof(struct cpu_state) % 64 == 0, "states are copied in pieces of 64 bytes");

static void copy_state(const struct dbt_check *k, struct cpu_state *to,
		       const struct cpu_state *from)
{
	const bytes16 *f = (const bytes16 *)from;
	bytes16 *t = (bytes16 *)to;

	for (size_t n = k->state_bytes / 64; n-- > 0; t += 4, f += 4) {
		bytes16 a = f[0], b = f[1], c = f[2], d = f[3];

		t[0] = a;
		t[1] = b;
		t[2] = c;
		t[3] = d;
	}
}

/* Put back what was there before, registers too. */
static void take_back(struct vcpu *c)
{
	struct dbt_check *k = c->check;

	for (unsigned i = k->n; i-- > 0;)
		copy_bytes(k->entry[i].hva, k->entry[i].before, k->entry[i].size);
	copy_state(k, &c->s, &k->start);
	vcpu_update_view(c);
}

/* Memory is as it should become. */
static void note_wanted(struct dbt_check *k)
{
	for (unsigned i = 0; i < k->n; i++)
		copy_bytes(k->entry[i].wanted, k->entry[i].hva, k->entry[i].size);
}

/* Leave with what an unwound instruction left behind made undone. */
static void settle(struct vcpu *c)
{
	c->memo_n = c->memo_pos = 0;
	c->ext_waiting = false;
	c->db_pending = 0;
	c->db_hold = false;
	c->step_shadow = 0;
	c->step_flags = 0;
}

/* Not inlined: beside setjmp() nothing stays in registers. */
static __attribute__((noinline)) void interpret_until(struct vcpu *c, unsigned n, uint64_t stop)
{
	if (stop == NO_STOP)
		interp_plain_run(c, n);
	else
		for (; n && c->s.rip != stop; n--)
			interp_plain_run(c, 1);
}

/*
 * Run up to @n instructions, but none at @stop, in the interpreter with the journal.
 * False: the last one leaves the engine, and was not begun.
 */
static bool interpret(struct vcpu *c, unsigned n, uint64_t stop)
{
	uint64_t insns = c->insns;
	jmp_buf outer;
	int how;

	memcpy(&outer, &c->env, sizeof(outer));
	c->journal = true;
	vcpu_update_view(c);
	how = setjmp(c->env);
	if (!how)
		interpret_until(c, n, stop);
	c->journal = false;
	vcpu_update_view(c);
	memcpy(&c->env, &outer, sizeof(outer));
	c->insns = insns;
	settle(c);
	return !how || how == UNWIND_FAULT;
}

/* Run the block translated.  A fault is caught as above.  Where it says it stopped. */
static enum dbt_exit run_translated(struct vcpu *c, struct dbt_block *b)
{
	jmp_buf outer;
	int how;

	memcpy(&outer, &c->env, sizeof(outer));
	how = setjmp(c->env);
	if (!how)
		dbt_enter_block(c, b);
	memcpy(&c->env, &outer, sizeof(outer));
	if (how) {
		dbt_unwound(c);
		c->d.exit = DBT_EXIT_LOOKUP;
	}
	settle(c);
	return c->d.exit;
}

/* What only counts in some states. */
static void normalize(struct cpu_state *s)
{
	s->cr2 = s->exc_pending && s->exc_vector == EXC_PF ? s->cr2 : 0;
	memset(s->fx.xmm, 0, sizeof(s->fx.xmm));
}

static bool same_memory(const struct dbt_check *k)
{
	for (unsigned i = 0; i < k->n; i++)
		if (memcmp(k->entry[i].hva, k->entry[i].wanted, k->entry[i].size))
			return false;
	return true;
}

/* @part, and what is not in there from @c. */
static void whole_state(const struct vcpu *c, struct cpu_state *s, const struct cpu_state *part)
{
	*s = c->s;
	copy_state(c->check, s, part);
	normalize(s);
}

static bool same_state(const struct vcpu *c)
{
	const struct dbt_check *k = c->check;
	struct cpu_state a, b;
	char buf[64];

	if (likely(!memcmp(&k->interp, &k->got, k->state_bytes)))
		return true;
	whole_state(c, &a, &k->interp);
	whole_state(c, &b, &k->got);
	return !memcmp(&a, &b, sizeof(a)) || !cpu_state_diff(&a, &b, buf, sizeof(buf));
}

static void report(struct vcpu *c, const struct dbt_block *b)
{
	static const char *const what = "the translator and the interpreter disagree";
	struct dbt_check *k = c->check;
	struct cpu_state s, t;
	char buf[8192];

	fprintf(stderr,
		"caisson: check: %s at rip %#llx (vCPU %u, %u instructions, %llu blocks so far)\n",
		what, (unsigned long long)b->rip, c->index, b->ninsns,
		(unsigned long long)k->blocks);
	whole_state(c, &s, &k->interp);
	whole_state(c, &t, &k->got);
	cpu_state_diff(&s, &t, buf, sizeof(buf));
	fprintf(stderr, "interpreter, then translator:\n%s", buf);
	if (!same_memory(k))
		fprintf(stderr, "memory that was stored to differs\n");
	whole_state(c, &s, &k->start);
	cpu_state_print(&s, buf, sizeof(buf));
	fprintf(stderr, "before:\n%s", buf);
	dbt_dump_block(c, b, stderr);
}

/*
 * The translated block stopped where c->s says, before the interpreter did: for it to go on, or
 * by a jump to the next instruction, which the interpreter does not notice.  What was done up to
 * there is compared.
 */
static void interpret_as_far(struct vcpu *c, unsigned n)
{
	struct dbt_check *k = c->check;
	uint64_t stop = c->s.rip;
	unsigned stores = k->n;

	note_wanted(k);
	take_back(c);
	interpret(c, n, stop);
	copy_state(k, &k->interp, &c->s);
	k->n = stores;
}

static bool stopped_elsewhere(const struct dbt_check *k)
{
	return k->got.rip != k->interp.rip && k->got.rip != k->start.rip && !k->got.exc_pending;
}

bool dbt_check_block(struct vcpu *c, struct dbt_block *b)
{
	struct dbt_check *k = c->check;
	uint64_t insns = c->insns;

	k->state_bytes = b->fpu ? sizeof(c->s) : ALIGN_UP(offsetof(struct cpu_state, fx), 64);
	copy_state(k, &k->start, &c->s);
	for (unsigned try = 0; try < TRIES; try++) {
		enum dbt_exit exit;
		bool inside;

		k->n = 0;
		k->lost = false;
		inside = interpret(c, b->ncheck, NO_STOP);
		copy_state(k, &k->interp, &c->s);
		note_wanted(k);
		take_back(c);
		if (b->dead || k->lost || (!inside && k->interp.rip == k->start.rip)) {
			interp_step(c);
			c->d.exit = DBT_EXIT_LOOKUP;
			return true;
		}
		exit = run_translated(c, b);
		copy_state(k, &k->got, &c->s);
		if (exit >= DBT_EXIT_PLAIN || unlikely(stopped_elsewhere(k)))
			interpret_as_far(c, b->ncheck);
		k->blocks++;
		if (likely(same_state(c) && same_memory(k))) {
			if (exit == DBT_EXIT_STEP)
				interp_step(c);
			return true;
		}
		if (try == TRIES - 1)
			report(c, b);
		take_back(c);
		c->insns = insns;
	}
	return false;
}

int dbt_check_new(struct vcpu *c)
{
	c->check = calloc(1, sizeof(*c->check));
	return c->check ? 0 : -1;
}

void dbt_check_free(struct vcpu *c)
{
	free(c->check);
}
