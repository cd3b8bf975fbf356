/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - the vCPU's side: finding code, running it, and what it calls.
 *
 * Translated code leaves the machine's state in c->s but for two things, which C code
 * looks after: flags are at home in d.flags, and s.rip is only right at exits.
 */
#include <sched.h>

#include "cpu/dbt/dbt.h"
#include "cpu/interp/interp.h"
#include "cpu/x86/fpu/mxcsr.h"

enum { FCW_EXC = 0x3f, FSW_ES = 0x80 };

/* --- flags -------------------------------------------------------------------------------- */

static uint16_t flags_split(uint64_t rflags)
{
	return (uint16_t)(rflags << 8 | (rflags >> 11 & 1));
}

static void flags_merge(struct vcpu *c, uint16_t home)
{
	c->s.rflags = (c->s.rflags & ~(uint64_t)FL_STATUS) | home >> 8 | (uint64_t)(home & 1) << 11;
	c->s.rflags = (c->s.rflags & ~(uint64_t)(FL_RES1 | 0x28)) | FL_RES1;
}

#define WITH_FLAGS(insn, suf, mod)                                                          \
	asm("mov %[a], %%rcx\n\t" insn suf " %" mod "[b], %" mod "[x]\n\tlahf\n\tseto %%al" \
	    : "=&a"(ax), [x] "+r"(x)                                                        \
	    : [a] "r"(a), [b] "r"(b)                                                        \
	    : "rcx", "cc")
#define BY_SIZE(insn)                               \
	switch (r->size) {                          \
	case 1: WITH_FLAGS(insn, "b", "b"); break;  \
	case 2: WITH_FLAGS(insn, "w", "w"); break;  \
	case 4: WITH_FLAGS(insn, "l", "k"); break;  \
	default: WITH_FLAGS(insn, "q", "q"); break; \
	}

/* What lower.c would emit for @r, on the registers in memory. */
static uint16_t recipe_flags(const struct vcpu *c, const struct flags_recipe *r)
{
	uint64_t a = c->s.gpr[r->a], x = a, ax = 0;
	uint64_t b = r->b == INSN_NOREG ? (uint64_t)(int64_t)r->imm : c->s.gpr[r->b & 15];

	switch (r->kind) {
	case FLAGS_CMP: BY_SIZE("cmp"); break;
	case FLAGS_SUB:
		x = a + b;
		BY_SIZE("sub");
		break;
	case FLAGS_ADD:
		x = a - b;
		BY_SIZE("add");
		break;
	case FLAGS_TEST: BY_SIZE("test"); break;
	case FLAGS_LOGIC:
		b = a;
		BY_SIZE("test");
		break;
	default: return c->d.flags;
	}
	return (uint16_t)ax;
}

/* --- finding code --------------------------------------------------------------------------- */

static uint8_t key_of(const struct vcpu *c)
{
	const struct cpu_state *s = &c->s;
	unsigned key = c->view;

	if (c->cpl == 3)
		key |= DBT_KEY_USER;
	if (!(s->cr0 & (CR0_EM | CR0_TS)) && s->cr4 & CR4_OSFXSR &&
	    (s->fx.mxcsr & MXCSR_MASKS) == MXCSR_MASKS) {
		key |= DBT_KEY_SSE;
		if (s->cr4 & CR4_OSXSAVE &&
		    (s->xcr0 & (XCR0_SSE | XCR0_AVX)) == (XCR0_SSE | XCR0_AVX))
			key |= DBT_KEY_AVX;
	}
	if (!(s->cr0 & (CR0_EM | CR0_TS)) && (s->fx.fcw & FCW_EXC) == FCW_EXC &&
	    !(s->fx.fsw & FSW_ES))
		key |= DBT_KEY_X87;
	return (uint8_t)key;
}

/* The view's code may do other things than before: none of what is cached holds. */
static void refresh_key(struct vcpu *c)
{
	uint8_t key = key_of(c);

	if (c->d.view_key[c->view] != key) {
		c->d.view_key[c->view] = key;
		memset(c->tlb_xid[c->view], 0, sizeof(c->tlb_xid[0]));
		c->d.gens[c->view] = 0;
	}
	c->d.key = key;
	if (!c->d.gens[c->view])
		c->d.gens[c->view] = ++c->d.last_gen ? c->d.last_gen : ++c->d.last_gen;
}

/* Open the way for translated code, unless something is requested. */
static void arm(struct vcpu *c)
{
	refresh_key(c);
	__atomic_store_n(&c->d.gen_live, c->d.gens[c->view], __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&c->requests, __ATOMIC_SEQ_CST))
		__atomic_store_n(&c->d.gen_live, 0, __ATOMIC_SEQ_CST);
}

static bool may_translate(const struct vcpu *c)
{
	return c->mode == MODE_64 && !c->align_check && !c->watch_data && !c->watch_exec;
}

static bool at_full_speed(const struct vcpu *c)
{
	return !(__atomic_load_n(&c->requests, __ATOMIC_RELAXED) | c->s.int_shadow |
		 (c->s.rflags & (FL_TF | FL_RF))) &&
	       !(c->want_window && c->s.rflags & FL_IF) && may_translate(c);
}

/* The page of code at @lin, for s.rip's instruction.  False: not for the translator.  Raises. */
static bool code_part(struct vcpu *c, gva_t lin, struct code_part *part)
{
	uint64_t page = lin & ~0xfffULL;
	unsigned slot = lin >> 12 & (TLB_SIZE - 1);
	const uint64_t *exec = &c->tlb_exec[c->view][slot];
	gpa_t gpa;

	if (*exec != page) {
		c->insn_rip = c->s.rip;
		c->run_start = c->cur = NULL;
		c->last_seg = SEG_CS;
		if (!mmu_fill(c, lin, ACCESS_EXEC, &gpa) || *exec != page)
			return false;
	}
	part->host = c->tlb_all[c->view][slot].host;
	return mem_find_host(c->mem, part->host, &part->gpa);
}

/* Where s.rip's code is: a second page where its first instruction needs that. */
static bool find_code(struct vcpu *c, struct code_at *at, bool plain)
{
	unsigned off = c->s.rip & 0xfff, avail = MEM_PAGE_SIZE - off;
	struct insn i;

	*at = (struct code_at){.rip = c->s.rip, .plain = plain};
	if (!code_part(c, at->rip, &at->page))
		return false;
	if (avail >= INSN_MAX_LEN ||
	    x86_decode(at->page.host + off, avail, MODE_64, &i) != X86_TRUNCATED)
		return true;
	return is_canonical(at->rip + avail) && code_part(c, at->rip + avail, &at->next);
}

static bool number_page(struct vcpu *c, gva_t page, struct code_part *part)
{
	part->code = dbt_page(c->dbt, page, part->host, part->gpa, c->d.key);
	part->xid = part->code ? part->code->xid : 0;
	return part->code;
}

/* Number the pages of @at.  Locked.  False: no memory. */
static bool number_pages(struct vcpu *c, struct code_at *at)
{
	uint64_t page = at->rip & ~0xfffULL;

	if (!number_page(c, page, &at->page))
		return false;
	return !at->next.host || number_page(c, page + MEM_PAGE_SIZE, &at->next);
}

/* No block was made: pages that have none need no number. */
static void forget_pages(struct dbt *d, struct code_at *at)
{
	dbt_page_put(d, at->page.code, 0);
	dbt_page_put(d, at->next.code, 0);
	at->page.code = at->next.code = NULL;
}

static struct dbt_block *translate(struct vcpu *c, const struct code_at *at, bool *full)
{
	struct dbt *d = c->dbt;
	struct dbt_block *b;

	dbt_watch(d, c, at->page.gpa);
	if (at->next.host)
		dbt_watch(d, c, at->next.gpa);
	b = dbt_reuse(d, c, at, full);
	if (!b && !*full)
		b = dbt_translate(d, c, at, full);
	if (b)
		dbt_insert(d, b, at);
	return b;
}

static struct dbt_block *find_or_make(struct vcpu *c, struct code_at *at, bool *full)
{
	struct dbt *d = c->dbt;
	struct dbt_block *b = NULL;

	*full = true;
	if (number_pages(c, at)) {
		b = dbt_find(d, at->page.xid, at->rip, at->plain);
		if (b && b->xid2 != at->next.xid) {
			dbt_kill(d, b);
			b = NULL;
		}
		if (!b)
			b = translate(c, at, full);
	}
	if (!b)
		forget_pages(d, at);
	return b;
}

static struct dbt_block *find_or_translate(struct vcpu *c, struct code_at *at)
{
	struct dbt *d = c->dbt;
	struct dbt_block *b;
	bool full;

	dbt_lock(d, c);
	b = find_or_make(c, at, &full);
	for (unsigned n = 0; !b && full && n < d->nsegments; n++) {
		dbt_evict(d, c);
		b = find_or_make(c, at, &full);
	}
	dbt_unlock(d);
	return b;
}

static void note_jump(struct vcpu *c, const struct dbt_block *b)
{
	unsigned bit = jump_page_bit(b->rip);

	if (!c->d.gens[c->view]) /* voided meanwhile; 0 is also what stands for a request */
		return;
	c->d.jump_pages[bit / 64] |= BIT(bit % 64);
	c->d.jumps[jump_slot(b->rip)] =
		(struct jump_entry){.rip = b->rip, .gen = c->d.gens[c->view], .code = b->code};
}

/* Number of the code page at @lin if the TLB knows it, or 0. */
static uint32_t known_xid(const struct vcpu *c, gva_t lin)
{
	unsigned slot = lin >> 12 & (TLB_SIZE - 1);

	return c->tlb_exec[c->view][slot] == (lin & ~0xfffULL) ? c->tlb_xid[c->view][slot] : 0;
}

static void set_xid(struct vcpu *c, gva_t lin, uint32_t xid)
{
	unsigned slot = lin >> 12 & (TLB_SIZE - 1);

	if (c->tlb_exec[c->view][slot] == (lin & ~0xfffULL))
		c->tlb_xid[c->view][slot] = xid;
	if (!c->tlb_info[c->view][slot].global)
		c->d.jumps_nonglobal |= (uint8_t)(1 << c->view);
}

/*
 * Has the code @at run less than d->warmup times?  Not exactly, as places in RAM that fall on one
 * counter replace each other.
 */
static bool is_cold(struct dbt *d, const struct code_at *at)
{
	uint64_t h = (at->page.gpa | (at->rip & 0xfff)) * 0x9e3779b97f4a7c15ULL;
	uint16_t *slot = &d->heat[h >> (64 - DBT_HEAT_BITS)];
	uint16_t tag = (uint16_t)(h >> 16) & 0xfff0, heat;
	uint8_t warmup = __atomic_load_n(&d->warmup, __ATOMIC_RELAXED);

	if (likely(!warmup))
		return false;
	heat = __atomic_load_n(slot, __ATOMIC_RELAXED);
	if ((heat & 0xfff0) != tag)
		heat = tag;
	if ((heat & 15) >= warmup)
		return false;
	__atomic_store_n(slot, (uint16_t)(heat + 1), __ATOMIC_RELAXED);
	return true;
}

/*
 * The block at s.rip; NULL: the interpreter is to run one instruction, or @cold code as far as it
 * goes.  Raises.
 */
static struct dbt_block *find_block(struct vcpu *c, bool plain, bool *cold)
{
	uint64_t rip = c->s.rip, next = (rip & ~0xfffULL) + MEM_PAGE_SIZE;
	uint32_t xid = known_xid(c, rip);
	struct dbt_block *b = NULL;
	struct code_at at;

	c->d.lookups++;
	if (unlikely(!is_canonical(rip)))
		return NULL;
	if (xid)
		b = dbt_find(c->dbt, xid, rip, plain);
	if (!b || (b->xid2 && known_xid(c, next) != b->xid2)) {
		c->d.misses++;
		if (!find_code(c, &at, plain))
			return NULL;
		*cold = is_cold(c->dbt, &at);
		if (*cold)
			return NULL;
		b = find_or_translate(c, &at);
		if (!b)
			return NULL;
		set_xid(c, rip, at.page.xid);
		if (at.next.host)
			set_xid(c, next, at.next.xid);
	}
	if (!c->tlb_info[c->view][rip >> 12 & (TLB_SIZE - 1)].global)
		c->d.jumps_nonglobal |= (uint8_t)(1 << c->view);
	if (!plain)
		note_jump(c, b);
	return b;
}

/* --- calls from translated code --------------------------------------------------- */

static void *leave_with(struct vcpu *c, enum dbt_exit why)
{
	c->d.exit = (uint8_t)why;
	return NULL;
}

/* Take back what was charged for at @s, and say what is counted; count_on(): go on from there. */
static void count_at_site(struct vcpu *c, const struct dbt_site *s)
{
	if (!c->dbt->count)
		return;
	c->d.budget += s->ahead;
	c->insns = c->d.budget_end - (uint64_t)c->d.budget;
}

static void count_on(struct vcpu *c, unsigned ahead)
{
	if (c->dbt->count)
		c->d.budget = (int64_t)(c->d.budget_end - c->insns - ahead);
}

/* State is in memory: make it the guest's at @s's instruction. */
static void at_site(struct vcpu *c, const struct dbt_site *s)
{
	count_at_site(c, s);
	c->d.flags = recipe_flags(c, &s->flags);
	flags_merge(c, c->d.flags);
	c->insn_rip = c->s.rip = s->block->rip + s->rip_off;
	if (s->x87)
		x87_set_pointers(c, s);
	c->run_start = c->cur = NULL;
	c->code_page = 0;
}

static uint64_t tag_of(const struct vcpu *c, gva_t lin, unsigned access)
{
	const struct tlb_entry *e = &c->tlb_all[c->view][lin >> 12 & (TLB_SIZE - 1)];

	return access == ACCESS_WRITE ? e->write_tag : e->read_tag;
}

void *dbt_slow(struct vcpu *c)
{
	struct dbt *d = c->dbt;
	const struct dbt_site *s = &d->sites[c->d.site];
	const struct dbt_block *b = s->block;
	uint32_t retry = s->retry, epoch = d->epoch, dropped = c->d.flush_done;
	unsigned ahead = s->ahead;
	uint64_t lin = c->d.lin, page = lin & ~0xfffULL;
	uint8_t access = s->access, misaligned = (uint8_t)(lin & (uint64_t)(s->align - 1));
	gpa_t gpa;

	at_site(c, s);
	c->d.slow++;
	if (access == 0xff || misaligned || !is_canonical(lin) ||
	    (lin & 0xfff) + s->size > MEM_PAGE_SIZE || tag_of(c, lin, access) == page)
		return leave_with(c, DBT_EXIT_STEP);
	c->d.refills++;
	c->last_seg = SEG_DS;
	if (!mmu_fill(c, lin, access, &gpa) || tag_of(c, lin, access) != page ||
	    d->epoch != epoch || b->dead || c->d.flush_done != dropped)
		return leave_with(c, DBT_EXIT_STEP);
	count_on(c, ahead);
	return d->rx + retry;
}

/* Where to go on after a helper that ended its block; NULL: through the run loop. */
static void *next_code(struct vcpu *c)
{
	const struct jump_entry *e;
	uint32_t gen = c->d.gen_live;

	if (!at_full_speed(c))
		return leave_with(c, DBT_EXIT_LOOKUP);
	arm(c);
	if (c->d.gen_live != gen) /* the calls under way were other code's */
		c->d.sp = c->d.shadow;
	e = &c->d.jumps[jump_slot(c->s.rip)];
	if (e->rip != c->s.rip || e->gen != c->d.gen_live)
		return leave_with(c, DBT_EXIT_LOOKUP);
	return c->dbt->rx + e->code;
}

void *dbt_helper(struct vcpu *c)
{
	struct dbt *d = c->dbt;
	const struct dbt_site *s = &d->sites[c->d.site];
	const struct dbt_block *b = s->block;
	uint32_t next = s->next, epoch = d->epoch;
	unsigned ahead = s->ahead;
	bool ends = s->ends;

	at_site(c, s);
	c->d.helpers++;
	c->d.insn = *s->insn; /* the cache may be emptied while it runs */
	c->run_start = c->cur = &c->d.insn;
	c->s.rip += c->d.insn.len;
	c->end_block = false;
	c->d.insn.fn(c, &c->d.insn);
	c->d.flags = flags_split(c->s.rflags);
	if (d->count && !interp_stopped_half_way(c))
		c->insns++;
	count_on(c, 0);
	if (d->epoch != epoch)
		return leave_with(c, DBT_EXIT_LOOKUP);
	if (ends || c->end_block || b->dead || !at_full_speed(c))
		return next_code(c);
	count_on(c, ahead - 1);
	return d->rx + next;
}

/* --- the loop --------------------------------------------------------------------- */

static void set_gs(const struct vcpu *c)
{
	asm volatile("wrgsbase %0" : : "r"(c));
}

static void enter(struct vcpu *c, uint32_t code)
{
	void (*fn)(void *) = (void (*)(void *))(c->dbt->rx + c->dbt->enter);

	c->d.flags = flags_split(c->s.rflags);
	asm volatile("stmxcsr %0" : "=m"(c->d.host_mxcsr));
	count_on(c, 0);
	fn(c->dbt->rx + code);
	if (c->dbt->count)
		c->insns = c->d.budget_end - (uint64_t)c->d.budget;
	flags_merge(c, c->d.flags);
}

static void step_outside(struct vcpu *c)
{
	__atomic_store_n(&c->d.in_code, false, __ATOMIC_SEQ_CST);
}

/* Where s.rip is, while what tells cannot go. */
static void settle_exit(struct vcpu *c)
{
	const void *left = dbt_at(c->dbt, c->d.link);
	const struct dbt_link *k = left;

	if (c->d.exit == DBT_EXIT_LINK) {
		c->s.rip = k->target;
		if (k->plain)
			c->d.exit = DBT_EXIT_PLAIN;
		else if (__atomic_load_n(&k->to, __ATOMIC_RELAXED)) /* left by a request */
			c->d.exit = DBT_EXIT_LOOKUP;
	} else if (c->d.exit == DBT_EXIT_POLL) {
		c->s.rip = ((const struct dbt_block *)left)->rip;
		c->d.exit = DBT_EXIT_LOOKUP;
	}
}

void dbt_enter_block(struct vcpu *c, const struct dbt_block *b)
{
	enter(c, b->code);
	settle_exit(c);
	step_outside(c);
}

/* From here on nobody empties the cache, until this vCPU leaves it or waits for the lock. */
static bool step_inside(struct vcpu *c, uint32_t epoch)
{
	struct dbt *d = c->dbt;

	__atomic_store_n(&c->d.in_code, true, __ATOMIC_SEQ_CST);
	if (likely(!__atomic_load_n(&d->flushing, __ATOMIC_SEQ_CST) && d->epoch == epoch))
		return true;
	step_outside(c);
	sched_yield(); /* to who evicts */
	return false;
}

void dbt_unwound(struct vcpu *c)
{
	c->d.vec_live = 0; /* saved before C ran */
	if (c->d.x87_live)
		((void (*)(void))(c->dbt->rx + c->dbt->x87_save))();
	step_outside(c);
}

/* Link @k, of @epoch, to @b, which is of now.  False: @b went while waiting for the lock. */
static bool link_to(struct vcpu *c, struct dbt_link *k, uint32_t epoch, struct dbt_block *b)
{
	struct dbt *d = c->dbt;
	uint32_t now = d->epoch;
	bool valid;

	dbt_lock(d, c);
	valid = d->epoch == now;
	if (valid && epoch == now && k->target == b->rip && k->plain == b->plain)
		dbt_link(d, k, b);
	dbt_unlock(d);
	return valid;
}

static NORETURN void leave_check(struct vcpu *c)
{
	*c->exit = (struct engine_exit){.reason = EXIT_ERROR};
	snprintf(c->exit->error, sizeof(c->exit->error),
		 "lock-step: translator and interpreter differ");
	c->insn_rip = c->s.rip;
	vcpu_unwind(c, UNWIND_EXIT);
}

/* Run translated code until the run loop is to look around. */
bool dbt_run(struct vcpu *c)
{
	struct dbt *d = c->dbt;
	struct dbt_link *link = NULL;
	uint32_t link_epoch = 0;
	bool plain = false, cold = false;

	if (!may_translate(c))
		return false;
	set_gs(c);
	do {
		uint32_t epoch = __atomic_load_n(&d->epoch, __ATOMIC_ACQUIRE);
		struct dbt_block *b;

		arm(c);
		if (unlikely(d->check)) /* every block comes back here */
			__atomic_store_n(&c->d.gen_live, 0, __ATOMIC_SEQ_CST);
		/* before the look-up: what it walks through goes when the cache is emptied */
		if (!step_inside(c, epoch))
			continue;
		b = find_block(c, plain, &cold);
		if (!b) {
			step_outside(c);
			if (cold)
				interp_block(c);
			else
				interp_step(c);
			cold = false;
			link = NULL;
			plain = false;
			continue;
		}
		if (__atomic_load_n(&d->epoch, __ATOMIC_ACQUIRE) != epoch) {
			step_outside(c); /* it waited for the lock meanwhile */
			continue;
		}
		if (link && !link_to(c, link, link_epoch, b)) {
			step_outside(c);
			link = NULL;
			continue;
		}
		link = NULL;
		if (unlikely(d->check) && b->ncheck) {
			if (!dbt_check_block(c, b))
				leave_check(c);
			plain = c->d.exit == DBT_EXIT_PLAIN;
			step_outside(c);
			continue;
		}
		dbt_enter_block(c, b);
		plain = c->d.exit == DBT_EXIT_PLAIN;
		if (c->d.exit == DBT_EXIT_STEP) {
			c->d.steps++;
			interp_step(c);
		} else if (c->d.exit != DBT_EXIT_LOOKUP && !d->check) {
			link = dbt_at(d, c->d.link);
			c->d.links++;
			link_epoch = epoch;
		}
	} while (at_full_speed(c) && !interp_count_near(c));
	return true;
}
