/* SPDX-License-Identifier: Apache-2.0 */
/* blocks_kinds.c - the kinds of statement that random blocks are made of, and how often. */
#include <string.h>
#include "cpu/tests/blocks_gen.h"

enum {		   /* where a kind may be */
       PLAIN = 1,  /* anywhere */
       MAIN = 0,   /* not in subroutines */
       KERNEL = 2, /* at CPL 0 only */
};

static void draw_lock(struct gen *g);

static const struct kind {
	const char *name; /* without @put: a group of diff_rules.c */
	uint8_t weight, where;
	void (*put)(struct gen *g);
} kinds[] = {
	{"int", 30, PLAIN, NULL},
	{"shift", 8, PLAIN, NULL},
	{"muldiv", 5, PLAIN, NULL},
	{"bits", 5, PLAIN, NULL},
	{"move", 14, PLAIN, NULL},
	{"stack", 7, PLAIN, NULL},
	{"string", 4, PLAIN, NULL},
	{"segment", 1, PLAIN, NULL},
	{"system", 1, MAIN, NULL},
	{"hint", 1, PLAIN, NULL},
	{"x87", 7, PLAIN, NULL},
	{"mmx", 4, PLAIN, NULL},
	{"sse", 7, PLAIN, NULL},
	{"avx", 5, PLAIN, NULL},
	{"avx2", 3, PLAIN, NULL},
	{"fma", 1, PLAIN, NULL},
	{"crypto", 2, PLAIN, NULL},
	{"fpustate", 1, PLAIN, NULL},
	{"lock", 3, PLAIN, draw_lock},
	{"jcc", 12, MAIN, flow_jcc},
	{"jump", 3, MAIN, flow_jump},
	{"loop", 4, MAIN, flow_loop},
	{"call", 5, MAIN, flow_call},
	{"trap", 1, MAIN, flow_trap},
	{"group", 4, PLAIN, flow_group},
	{"frame", 4, MAIN, flow_frame},
	{"smc", 3, MAIN, sys_smc},
	{"paging", 6, KERNEL, sys_paging},
	{"control", 1, KERNEL, sys_control},
	{"flags", 2, PLAIN, sys_flags},
	{"fpu", 2, PLAIN, sys_fpu},
	{"io", 1, KERNEL, sys_io},
	{"mmio", 1, PLAIN, sys_mmio},
	{"ident", 1, PLAIN, sys_ident},
	{"selector", 1, PLAIN, sys_segment},
	{"debug", 1, KERNEL, sys_debug},
};

_Static_assert(ARRAY_SIZE(kinds) <= BLK_MAX_KINDS, "blk_options.kinds has a bit each");

const char *blk_kind_name(unsigned kind)
{
	return kind < ARRAY_SIZE(kinds) ? kinds[kind].name : NULL;
}

static unsigned find_group(const char *name)
{
	unsigned n = 0;

	while (n + 1 < diff_group_count() && strcmp(diff_group_name(n), name))
		n++;
	return n;
}

static void draw_lock(struct gen *g)
{
	static const char *const from[] = {"int", "move", "bits"};

	gen_draw(g, find_group(from[rng_below(&g->r, ARRAY_SIZE(from))]), INSN_LOCK);
}

static bool allowed(const struct gen *g, unsigned k, bool plain)
{
	if (!(g->o->kinds >> k & 1) || (kinds[k].where == KERNEL && g->c->user))
		return false;
	return kinds[k].where == PLAIN || !plain;
}

static void put_kind(struct gen *g, bool plain)
{
	unsigned total = 0, k = 0, pick;

	for (k = 0; k < ARRAY_SIZE(kinds); k++)
		total += allowed(g, k, plain) ? kinds[k].weight : 0;
	if (!total) { /* --kinds has none for here */
		GEN_PUT(g, 0x90);
		return;
	}
	pick = rng_below(&g->r, total);
	for (k = 0;; k++) {
		unsigned w = allowed(g, k, plain) ? kinds[k].weight : 0;

		if (pick < w)
			break;
		pick -= w;
	}
	if (kinds[k].put)
		kinds[k].put(g);
	else
		gen_draw(g, find_group(kinds[k].name), 0);
}

void gen_any(struct gen *g)
{
	unsigned invalid = g->wild * 5;

	if (g->o->kinds == ~0ULL && rng_below(&g->r, 4000) < invalid)
		gen_draw(g, find_group("invalid"), 0);
	else
		put_kind(g, false);
}

void gen_plain(struct gen *g)
{
	put_kind(g, true);
}
