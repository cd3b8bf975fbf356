/* SPDX-License-Identifier: Apache-2.0 */
/*
 * translate.c - one block of guest code into host code.
 *
 * Passes: decode a straight run within the page, past conditional branches; classify
 * each instruction; lower them in order; then what lies out of line.  A small loop over
 * vectors that is a block by itself becomes several copies of its body.
 *
 * The block's entries come first: with flags in the host's register (and a look at requests
 * before it, for jumps backwards), and with flags at home.  Where flags are set before
 * anything could see the old ones the two are the same.
 */
#include "cpu/dbt/look.h"
#include "cpu/dbt/lower.h"

#include "cpu/interp/block.h"

enum { JRCXZ = 0xe3 };

/* --- decoding ------------------------------------------------------------------------- */

static bool is_last(const struct lowering *l, const struct insn *i)
{
	switch (i->op) {
	case OP_JCC: return !is_native_branch(i);
	/* these may change what may be done natively */
	case OP_LDMXCSR: return !is_native_vec(l, i);
	case OP_FXRSTOR:
	case OP_XRSTOR:
	case OP_XRSTORS: return true;
	case OP_X87: return x87_ends_block(l, i);
	default: return block_ends(i);
	}
}

/* What a model without the feature makes of it is bound already: native code must not differ. */
static bool is_bound(const struct insn *i)
{
	return i->op != OP_INVALID && !block_is_undefined(i);
}

/* The bytes to decode: to the end of the page, or one instruction's over two pages. */
static unsigned copy_code(const struct code_at *at, uint8_t code[MEM_PAGE_SIZE])
{
	unsigned off = at->rip & 0xfff, avail = MEM_PAGE_SIZE - off;

	if (at->next.host) {
		memcpy(code, at->page.host + off, avail);
		memcpy(code + avail, at->next.host, INSN_MAX_LEN - avail);
		return INSN_MAX_LEN;
	}
	avail = MIN(avail, (unsigned)DBT_MAX_INSNS * INSN_MAX_LEN);
	memcpy(code, at->page.host + off, avail);
	return avail;
}

static void take_insn(struct lowering *l, struct t_insn *t)
{
	t->native = false;
	t->fold = 0;
	t->code = 0;
	t->fe = FE_HOME;
	t->writes = 0xffff;
	if (is_bound(&t->i))
		classify(l, t);
	if (!t->native)
		block_bind(&t->i);
}

static bool is_x87(const struct insn *i)
{
	return i->op == OP_X87 || i->op == OP_WAIT || i->op == OP_EMMS;
}

/*
 * Are @insns a loop over vectors, or copies of its @body, of which there is to be one more?  It
 * pays where the copies share address checks: one check then does for several rounds.  Loops
 * without vectors seldom go round often enough to make up for the longer code.  Lock-step could
 * not tell the rounds apart.
 */
static bool unrolls(const struct lowering *l, const struct t_insn *insns, unsigned n, unsigned body)
{
	const struct t_insn *last = &insns[n - 1];

	if (last->i.op != OP_JCC || last->rip + last->i.len + last->i.imm != l->b->rip ||
	    n % body || n + body > DBT_MAX_UNROLLED || l->d->check || l->b->plain)
		return false;
	/* what comes out of line has to fit */
	return (n + body) * DBT_COLD_ACCESS + 2 * DBT_INSN_CODE <= l->d->segment_bytes &&
	       fold_repeats(insns, body);
}

/* The jump that ends a copy of a loop's body leaves the loop instead; the next copy follows. */
static void jump_out(struct t_insn *t)
{
	t->i.cc ^= 1;
	t->i.imm = 0;
}

static unsigned decode(struct lowering *l, const struct code_at *at, struct t_insn *insns)
{
	unsigned max = at->next.host ? 1 : DBT_MAX_INSNS, pos = 0, n = 0, body = 0;
	uint8_t code[MEM_PAGE_SIZE];
	unsigned avail = copy_code(at, code);

	while (n < max && pos < avail) {
		struct t_insn *t = &insns[n];
		int len = block_decode(l->c, code + pos, avail - pos, &t->i);

		if (len < 0 || (n && t->i.op == OP_INVALID))
			break;
		t->rip = l->b->rip + pos;
		take_insn(l, t);
		if (l->d->check && !t->native && n)
			break;
		l->b->ncheck += t->native;
		l->b->fpu |= is_vec(&t->i) || is_x87(&t->i);
		pos += (unsigned)len;
		n++;
		if (is_last(l, &t->i) || !is_bound(&t->i) || (l->d->check && !t->native))
			break;
		if (max != 1 && unrolls(l, insns, n, body ? body : n)) {
			body = body ? body : n;
			jump_out(t);
			max = n + body;
			pos = 0;
		}
	}
	l->b->bytes = (uint16_t)pos;
	l->b->ninsns = (uint16_t)n;
	return n;
}

/* --- entries -------------------------------------------------------------------------- */

static bool can_leave(const struct t_insn *t)
{
	return !t->native || t->i.flags & (INSN_MEM_R | INSN_MEM_W | INSN_BRANCH) ||
	       t->i.op == OP_PUSH || t->i.op == OP_POP || t->i.op == OP_LEAVE ||
	       t->i.op == OP_DIV || t->i.op == OP_IDIV || t->i.form == FORM_VEC;
}

/* Could anything see the flags that the block was entered with? */
static bool wants_flags(const struct t_insn *insns, unsigned n)
{
	for (unsigned k = 0; k < n; k++) {
		if (can_leave(&insns[k]) || insns[k].fe & (FE_READ | FE_PART | FE_HOME))
			return true;
		if (insns[k].fe & FE_FULL)
			return false;
	}
	return true;
}

static void emit_entries(struct lowering *l, bool wanted)
{
	struct assembler *a = &l->a;
	struct dbt_block *b = l->b;
	const uint8_t *tramp = a->p;
	int64_t back;

	emit_mov_block(l, H_RCX);
	emit_to_glue(l, a_jmp(a), l->d->poll_exit);
	b->code_poll = (uint32_t)(a->p - l->d->rw);
	a_load32(a, H_RCX, op_vcpu(VC(d.gen_live)));
	back = tramp - (a->p + 2);
	a1(a, JRCXZ);
	a1(a, (uint8_t)back);
	b->code_flags = (uint32_t)(a->p - l->d->rw);
	if (wanted)
		emit_flags_save(a);
	b->code = (uint32_t)(a->p - l->d->rw);
	l->home = wanted;
}

/* --- the block ------------------------------------------------------------------------ */

/* For one more instruction, and all that is to come out of line. */
static bool has_room(struct lowering *l)
{
	size_t want = DBT_INSN_CODE + l->naccess * DBT_COLD_ACCESS + l->njump * DBT_COLD_JUMP;

	if (dbt_room(l->d, (size_t)(l->a.p - l->d->rw)) < want)
		l->failed = true;
	return !l->failed;
}

/* For dumps. */
static void note_place(const struct lowering *l, struct t_insn *t)
{
	t->code = (uint32_t)(l->a.p - l->d->rw);
	t->naccess = (uint8_t)l->naccess;
	t->flags_at = (uint8_t)((l->home ? T_FLAGS_HOME : 0) | (l->host ? T_FLAGS_HOST : 0) |
				(l->recipe.kind != FLAGS_HOME ? T_FLAGS_RECIPE : 0));
}

static void lower_all(struct lowering *l)
{
	bool ended = false;

	for (unsigned k = 0; k < l->n && has_room(l); k++) {
		const struct insn *i = &l->insns[k].i;

		l->t = &l->insns[k];
		note_place(l, l->t);
		count_before(l);
		x87_before(l);
		if (!l->t->native) {
			ended = is_last(l, i) || !is_bound(i);
			lower_helper(l, i, ended);
		} else if (i->flags & INSN_BRANCH) {
			x87_before_exit(l);
			ended = lower_branch(l, i);
		} else if (is_vec(i)) {
			lower_vec(l, i);
		} else if (is_x87(i)) {
			lower_x87(l, i);
		} else {
			unsigned run = i->op == OP_PUSH || i->op == OP_POP ? lower_stack_run(l) : 0;

			if (run)
				k += run - 1;
			else
				lower_int(l, i);
		}
	}
	if (l->failed)
		return;
	if (!ended)
		x87_before_exit(l);
	if (!ended)
		lower_end(l, l->b->rip + l->b->bytes);
	l->cold = (uint32_t)(l->a.p - l->d->rw);
	emit_cold(l);
}

struct dbt_block *dbt_translate(struct dbt *d, struct vcpu *c, const struct code_at *at, bool *full)
{
	struct t_insn insns[DBT_MAX_UNROLLED];
	struct dbt_mark before = {.meta_used = d->meta_used, .nsites = d->nsites};
	struct lowering l;

	*full = dbt_room(d, d->used) < DBT_INSN_CODE;
	if (*full)
		return NULL;
	l.a.p = d->rw + d->used;
	l.d = d;
	l.c = c;
	l.insns = insns;
	l.view = c->view;
	l.vec = c->d.key & DBT_KEY_SSE;
	l.avx = c->d.key & DBT_KEY_AVX;
	l.x87 = c->d.key & DBT_KEY_X87;
	l.host = l.recipe_lasts = l.vec_known = l.x87_known = l.failed = l.ret_read = false;
	l.last = (struct x87_last){0};
	l.last_shared = NULL;
	l.recipe = (struct flags_recipe){0};
	l.naccess = l.njump = l.nfolds = l.charged = 0;
	l.b = dbt_alloc(d, sizeof(*l.b));
	*l.b = (struct dbt_block){
		.rip = at->rip, .xid = at->page.xid, .xid2 = at->next.xid, .plain = at->plain};
	l.nlinks = 0;
	reloc_start(&l, at);
	l.n = decode(&l, at, insns);
	if (!l.n) {
		dbt_rewind(d, &before);
		return NULL;
	}
	if (!at->plain)
		fold_accesses(&l);
	l.t = insns;
	emit_entries(&l, d->count_stops || at->next.host || wants_flags(insns, l.n));
	count_entry(&l);
	if (at->next.host)
		lower_guard(&l);
	lower_all(&l);
	if (l.failed) {
		dbt_rewind(d, &before);
		*full = !dbt_segment_empty(d);
		return NULL;
	}
	l.b->start = (uint32_t)d->used;
	l.b->end = (uint32_t)(l.a.p - d->rw);
	reloc_finish(&l, at);
	d->stats.translated++;
	d->stats.translated_bytes += l.b->bytes;
	d->stats.code_bytes += l.b->end - d->used;
	d->used = ALIGN_UP(l.b->end, 16);
	if (unlikely(d->look.dump || d->look.perf_map))
		dbt_look(&l, at);
	return l.b;
}
