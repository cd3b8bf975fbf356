/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - lock-step: each block runs in the interpreter first, then translated.
 *
 * The interpreter's run is taken back: registers from a copy, memory from a journal that
 * the slow path of every store keeps (the TLB allows no fast ones meanwhile).  Then the
 * translated block runs from the same state, and both must have left the same state and
 * the same bytes.  Blocks run one at a time and unlinked.  An instruction that has its
 * handler run in translated code, too, is the end of what is compared: it may do what
 * cannot be done twice.  Another vCPU or a device may write in between, so what differs
 * is tried again before it counts.
 */
#include <stdio.h>

#include "cpu/dbt/dbt.h"
#include "cpu/interp/interp.h"

enum { JOURNAL_MAX = 512, TRIES = 4 };

struct journal_entry {
	uint8_t *hva;
	uint8_t size;
	uint8_t before[32], after[32];
};

struct dbt_check {
	struct cpu_state start, interp;
	struct journal_entry entry[JOURNAL_MAX];
	unsigned n;
	bool lost; /* more stores than there is room for */
	uint64_t blocks;
};

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
	memcpy(e->before, hva, size);
	k->n++;
}

static void take_back(struct vcpu *c)
{
	struct dbt_check *k = c->check;

	for (unsigned i = 0; i < k->n; i++)
		memcpy(k->entry[i].after, k->entry[i].hva, k->entry[i].size);
	for (unsigned i = k->n; i-- > 0;)
		memcpy(k->entry[i].hva, k->entry[i].before, k->entry[i].size);
	c->s = k->start;
	vcpu_update_mode(c);
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

/* Run @n instructions from s.rip.  False: the last one cannot be compared. */
static bool interpret(struct vcpu *c, unsigned n)
{
	jmp_buf outer;
	volatile bool comparable = true;
	volatile unsigned done = 0;
	int how;

	memcpy(&outer, &c->env, sizeof(outer));
	how = setjmp(c->env);
	if (!how) {
		while (done < n) {
			uint64_t rip = c->s.rip;

			interp_plain_step(c);
			done++;
			if (c->s.rip != rip + c->cur->len) /* a branch was taken */
				break;
		}
	} else if (how != UNWIND_FAULT) {
		comparable = false;
	}
	memcpy(&c->env, &outer, sizeof(outer));
	settle(c);
	return comparable && !c->check->lost;
}

/* Run the block translated.  A fault is caught as above. */
static bool run_translated(struct vcpu *c, struct dbt_block *b)
{
	jmp_buf outer;
	volatile bool comparable = true;
	int how;

	memcpy(&outer, &c->env, sizeof(outer));
	how = setjmp(c->env);
	if (!how)
		dbt_enter_block(c, b);
	else if (how != UNWIND_FAULT)
		comparable = false;
	memcpy(&c->env, &outer, sizeof(outer));
	if (how)
		dbt_unwound(c);
	settle(c);
	return comparable;
}

/* What only counts in some states. */
static void normalize(struct cpu_state *s)
{
	s->cr2 = s->exc_pending && s->exc_vector == EXC_PF ? s->cr2 : 0;
	memset(s->fx.xmm, 0, sizeof(s->fx.xmm));
}

static bool same_memory(const struct dbt_check *k)
{
	for (unsigned i = 0; i < k->n; i++) {
		bool later = false;

		for (unsigned j = i + 1; j < k->n && !later; j++)
			later = k->entry[j].hva < k->entry[i].hva + k->entry[i].size &&
				k->entry[i].hva < k->entry[j].hva + k->entry[j].size;
		if (!later && memcmp(k->entry[i].hva, k->entry[i].after, k->entry[i].size))
			return false;
	}
	return true;
}

static void report(struct vcpu *c, const struct dbt_block *b, const struct cpu_state *got)
{
	static const char *const what = "the translator and the interpreter disagree";
	struct dbt_check *k = c->check;
	char buf[8192];

	fprintf(stderr,
		"caisson: check: %s at rip %#llx (vCPU %u, %u instructions, %llu blocks so far)\n",
		what, (unsigned long long)b->rip, c->index, b->ninsns,
		(unsigned long long)k->blocks);
	cpu_state_diff(&k->interp, got, buf, sizeof(buf));
	fprintf(stderr, "interpreter, then translator:\n%s", buf);
	if (!same_memory(k))
		fprintf(stderr, "memory that was stored to differs\n");
	cpu_state_print(&k->start, buf, sizeof(buf));
	fprintf(stderr, "before:\n%s", buf);
	dbt_dump_block(c, b, stderr);
}

bool dbt_check_block(struct vcpu *c, struct dbt_block *b)
{
	struct dbt_check *k = c->check;

	for (unsigned try = 0;; try++) {
		struct cpu_state got;
		bool comparable;
		char buf[64];

		k->start = c->s;
		k->n = 0;
		k->lost = false;
		tlb_drop_writable(c);
		c->journal = true;
		comparable = interpret(c, b->ncheck);
		c->journal = false;
		k->interp = c->s;
		take_back(c);
		if (!comparable || b->dead) {
			interp_step(c);
			return true;
		}
		if (!run_translated(c, b))
			return true;
		if (c->d.exit == DBT_EXIT_STEP && !c->s.exc_pending) {
			interp_step(c); /* it stopped on the way: go on from there */
			return true;
		}
		if (c->d.exit == DBT_EXIT_PLAIN && !c->s.exc_pending)
			return true;
		got = c->s;
		normalize(&k->interp);
		normalize(&got);
		k->blocks++;
		if (!memcmp(&k->interp, &got, sizeof(got)) && same_memory(k))
			return true;
		if (!cpu_state_diff(&k->interp, &got, buf, sizeof(buf)) && same_memory(k))
			return true;
		if (try == TRIES - 1) {
			report(c, b, &got);
			return false;
		}
		for (unsigned i = k->n; i-- > 0;)
			memcpy(k->entry[i].hva, k->entry[i].before, k->entry[i].size);
		c->s = k->start;
		vcpu_update_mode(c);
	}
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
