/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blocks_run.c - one engine's VM that runs blocks, and the comparison of two.
 *
 * Exits are answered from a hash of what they are, so that both sides get the same.
 * A block that does not end is kicked out by a thread with a clock; such a run says
 * nothing about state.  Memory is put back page by page, and only where it changed,
 * through mem_write(): the engine must notice that code was replaced.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cpu/dbt/dbt.h"
#include "cpu/interp/interp.h"
#include "cpu/tests/blocks.h"

enum { PT_ACCESSED = 0x20, PT_DIRTY = 0x40, PT_GLOBAL = 0x100 };

/* --- the clock ---------------------------------------------------------------------- */

struct blk_watch { /* @lock for all but the thread */
	pthread_t thread;
	pthread_mutex_t lock;
	struct blk_side *side; /* that runs, or NULL */
	uint64_t since, limit; /* ticks of 2 ms */
	bool expired, quit;
};

static void *watch_main(void *arg)
{
	struct blk_watch *w = arg;
	bool quit = false;

	while (!quit) {
		usleep(2000);
		pthread_mutex_lock(&w->lock);
		if (w->side && ++w->since > w->limit) {
			w->expired = true;
			w->side->ops->kick(w->side->vcpu);
		}
		quit = w->quit;
		pthread_mutex_unlock(&w->lock);
	}
	return NULL;
}

int blk_watch_new(struct blk_watch **out)
{
	struct blk_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	pthread_mutex_init(&w->lock, NULL);
	if (pthread_create(&w->thread, NULL, watch_main, w)) {
		free(w);
		return -EAGAIN;
	}
	*out = w;
	return 0;
}

void blk_watch_free(struct blk_watch *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->quit = true;
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

static void watch(struct blk_watch *w, struct blk_side *s, unsigned limit_ms)
{
	pthread_mutex_lock(&w->lock);
	w->side = s;
	w->since = 0;
	w->limit = limit_ms / 2;
	w->expired = false;
	pthread_mutex_unlock(&w->lock);
}

static bool expired(struct blk_watch *w)
{
	bool yes;

	pthread_mutex_lock(&w->lock);
	yes = w->expired;
	pthread_mutex_unlock(&w->lock);
	return yes;
}

/* --- a side --------------------------------------------------------------------------- */

int blk_side_new(const struct engine_ops *ops, size_t code_cache, bool count, bool no_avx512,
		 struct blk_side *s)
{
	struct engine_vm_config cfg = {
		.ncpus = 1, .code_cache = code_cache, .count = count, .no_avx512 = no_avx512};
	struct cpu_model model;
	struct errbuf err = {0};
	int ret;

	*s = (struct blk_side){.ops = ops, .count = count};
	blk_model(&model);
	ret = mem_new(&s->mem);
	if (!ret)
		ret = mem_add_ram(s->mem, "ram", 0, BLK_RAM, &err);
	if (!ret) {
		s->sys = mem_ptr(s->mem, 0, BLK_SYS_PAGES * 0x1000);
		s->test = mem_ptr(s->mem, BLK_TEST, BLK_TEST_PAGES * 0x1000);
		cfg.mem = s->mem;
		cfg.model = &model;
		ret = ops->vm_new(&cfg, &s->vm, &err);
	}
	if (!ret)
		ret = ops->vcpu_new(s->vm, 0, &s->vcpu, &err);
	if (!ret && ops == &engine_soft)
		s->vm->dbt->verify_reuse = true;
	if (ret) {
		fprintf(stderr, "diff-blocks: engine %s: %s\n", ops->name, err.msg);
		blk_side_free(s);
	}
	return ret;
}

void blk_side_free(struct blk_side *s)
{
	if (s->vcpu)
		s->ops->vcpu_free(s->vcpu);
	if (s->vm)
		s->ops->vm_free(s->vm);
	mem_free(s->mem);
	*s = (struct blk_side){0};
}

static void put_pages(struct blk_side *s, uint64_t gpa, uint8_t *now, const uint8_t *want,
		      unsigned pages)
{
	for (unsigned n = 0; n < pages; n++, gpa += 0x1000, now += 0x1000, want += 0x1000)
		if (memcmp(now, want, 0x1000) && mem_write(s->mem, gpa, want, 0x1000))
			abort(); /* our own layout */
}

void blk_side_reset(struct blk_side *s, const struct blk_image *img)
{
	put_pages(s, 0, s->sys, img->sys, BLK_SYS_PAGES);
	put_pages(s, BLK_TEST, s->test, img->test, BLK_TEST_PAGES);
	s->restartable = false;
}

/* --- a run ------------------------------------------------------------------------------- */

static bool fail(struct blk_side *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
static bool fail(struct blk_side *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->error, sizeof(s->error), fmt, ap);
	va_end(ap);
	return false;
}

static bool begin(struct blk_side *s, const struct blk_case *c, const struct blk_input *in)
{
	struct errbuf err = {0};
	struct blk_mailbox m;

	blk_fill_mailbox(c, in, &m);
	if (memcmp(s->sys + BLK_MAILBOX, &m, sizeof(m)) &&
	    mem_write(s->mem, BLK_MAILBOX, &m, sizeof(m)))
		return fail(s, "mem_write");
	if (in->restart && s->restartable) {
		s->ops->inject_nmi(s->vcpu);
	} else {
		struct cpu_state start;

		blk_start_state(c, in, &start);
		if (s->ops->set_state(s->vcpu, &start, &err))
			return fail(s, "set_state: %s", err.msg);
	}
	if (c->irq)
		s->ops->window(s->vcpu, true);
	return true;
}

static uint64_t answer(const struct engine_exit *e)
{
	struct diff_rng r = {.s = e->addr * 64 + e->size + (unsigned)e->reason};
	uint64_t v = rng_integer(&r);

	return e->size && e->size < 8 ? v & ((1ULL << e->size * 8) - 1) : v;
}

/* Handle @e; false: the run is over. */
static bool handle(struct blk_side *s, struct engine_exit *e)
{
	switch (e->reason) {
	case EXIT_PIO:
	case EXIT_MMIO:
	case EXIT_CR8:
	case EXIT_HYPERCALL:
		if (!e->write)
			e->data = answer(e);
		return true;
	case EXIT_RDMSR:
	case EXIT_WRMSR:
		e->fail = e->addr & 1;
		if (e->reason == EXIT_RDMSR)
			e->data = answer(e);
		return true;
	case EXIT_WINDOW: s->ops->inject(s->vcpu, BLK_IRQ); return true;
	default: return false;
	}
}

uint64_t blk_side_count(const struct blk_side *s)
{
	return s->count ? s->ops->insn_count(s->vcpu) - s->count_start : 0;
}

static void record(struct blk_side *s, const struct engine_exit *e)
{
	struct blk_event *ev = &s->events[s->nevents++];
	bool wants = e->reason == EXIT_PIO || e->reason == EXIT_MMIO || e->reason == EXIT_CR8;
	bool msr = e->reason == EXIT_WRMSR || e->reason == EXIT_RDMSR;

	memset(ev, 0, sizeof(*ev)); /* padding is compared, too */
	ev->reason = (uint8_t)e->reason;
	ev->count = blk_side_count(s);
	if (wants || msr)
		ev->addr = e->addr;
	if (wants) {
		ev->size = e->size;
		ev->write = e->write;
	}
	if ((wants && e->write) || e->reason == EXIT_WRMSR)
		ev->data = e->data;
	if (e->reason == EXIT_WINDOW && !s->ops->get_state(s->vcpu, &s->state))
		ev->rip = s->state.rip;
}

static void loop(struct blk_side *s, struct blk_watch *w)
{
	struct engine_exit e = {0};

	for (;;) {
		if (s->ops->run(s->vcpu, &e)) {
			fail(s, "run() failed");
			return;
		}
		if (e.reason == EXIT_KICK) {
			s->cut = expired(w);
			if (s->cut)
				return;
			continue; /* of the run before */
		}
		if (e.reason == EXIT_COUNT) {
			s->stopped = true;
			s->open = s->ops->can_inject(s->vcpu);
			return;
		}
		if (s->nevents == BLK_TRACE) {
			s->cut = true;
			return;
		}
		record(s, &e);
		if (e.reason == EXIT_ERROR)
			fail(s, "%s", e.error);
		if (!handle(s, &e))
			break;
	}
	s->restartable = e.reason == EXIT_HLT;
}

void blk_side_start(struct blk_side *s, const struct blk_case *c, const struct blk_input *in)
{
	s->nevents = 0;
	s->cut = false;
	s->error[0] = 0;
	if (s->count)
		s->count_start = s->ops->insn_count(s->vcpu);
	if (begin(s, c, in))
		s->restartable = false;
}

void blk_side_run(struct blk_side *s, struct blk_watch *w, uint64_t stop, unsigned limit_ms)
{
	s->stopped = s->open = false;
	if (s->error[0])
		return;
	if (s->count && stop != COUNT_NEVER)
		stop += s->count_start;
	if (s->count && s->ops->count_stop(s->vcpu, stop, NULL)) {
		fail(s, "count_stop");
		return;
	}
	watch(w, s, limit_ms);
	loop(s, w);
	watch(w, NULL, 0);
	if (!s->stopped)
		s->ops->window(s->vcpu, false);
	if (s->ops->get_state(s->vcpu, &s->state))
		fail(s, "get_state");
	if (s->ops != &engine_soft)
		return;
	s->copied = s->vm->dbt->stats.reused;
	if (s->vm->dbt->stats.reuse_differs)
		fail(s, "a block copied to another address is not what translating makes");
}

/* --- comparison ---------------------------------------------------------------------------- */

struct text {
	char *p, *end;
	bool any;
};

static void say(struct text *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	t->any = true;
	va_start(ap, fmt);
	n = vsnprintf(t->p, (size_t)(t->end - t->p), fmt, ap);
	va_end(ap);
	t->p += MIN(MAX(n, 0), (int)(t->end - t->p) - 1);
}

static void compare_events(struct text *t, const struct blk_side *a, const struct blk_side *b)
{
	unsigned n = MIN(a->nevents, b->nevents);

	for (unsigned k = 0; k < n; k++) {
		const struct blk_event *x = &a->events[k], *y = &b->events[k];

		if (!memcmp(x, y, sizeof(*x)))
			continue;
		for (unsigned side = 0; side < 2; side++) {
			const struct blk_event *e = side ? y : x;

			say(t,
			    "%s: exit %u: reason %u addr %#" PRIx64 " size %u write %d data "
			    "%#" PRIx64 " rip %#" PRIx64 " count %" PRIu64 "\n",
			    side ? "B" : "A", k, e->reason, e->addr, e->size, e->write, e->data,
			    e->rip, e->count);
		}
		return;
	}
	if (a->nevents != b->nevents)
		say(t, "exits: A %u, B %u\n", a->nevents, b->nevents);
}

/*
 * May page table entry @x of the interpreter be @y?  Processors set accessed bits for
 * accesses that do not come to pass.  A global page may be found in the TLB or in the
 * tables, and then in those of the other address space.
 */
static bool same_entry(uint64_t x, uint64_t y)
{
	uint64_t free = x & PT_GLOBAL ? PT_ACCESSED | PT_DIRTY : y & PT_ACCESSED;

	return (x | free) == (y | free);
}

/* Offset of the first difference, or 0x1000. */
static unsigned first_difference(uint32_t gpa, const uint8_t *a, const uint8_t *b)
{
	bool table = gpa >= BLK_PML4_A && gpa < BLK_TABLES_END;

	if (!memcmp(a, b, 0x1000))
		return 0x1000;
	for (unsigned n = 0; n < 0x1000; n += 8) {
		uint64_t x, y;

		memcpy(&x, a + n, 8);
		memcpy(&y, b + n, 8);
		if (x != y && !(table && same_entry(x, y)))
			return n;
	}
	return 0x1000;
}

static void compare_pages(struct text *t, uint32_t gpa, const uint8_t *a, const uint8_t *b,
			  unsigned pages)
{
	for (unsigned page = 0; page < pages; page++, a += 0x1000, b += 0x1000, gpa += 0x1000) {
		unsigned first = first_difference(gpa, a, b), n;

		if (first == 0x1000)
			continue;
		say(t, "%s: page %#x +%#x:", blk_page_name(gpa), gpa, first);
		for (n = 0; n < 16 && first + n < 0x1000; n++)
			say(t, " %02x", a[first + n]);
		say(t, " |");
		for (n = 0; n < 16 && first + n < 0x1000; n++)
			say(t, " %02x", b[first + n]);
		say(t, "\n");
	}
}

/* Time differs.  AMD's @hardware keeps the x87 pointers only with an exception pending. */
static void normalise(struct cpu_state *s, bool hardware)
{
	s->tsc = 0;
	if (!hardware || s->fx.fsw & 0x80)
		return;
	s->fx.fop = 0;
	s->fx.fip = s->fx.fdp = 0;
}

bool blk_compare(const struct blk_side *a, const struct blk_side *b, char *buf, size_t len)
{
	struct text t = {.p = buf, .end = buf + len};
	struct cpu_state x = a->state, y = b->state;
	char diff[2048];

	buf[0] = 0;
	if (a->error[0] || b->error[0]) {
		say(&t, "A: %s; B: %s\n", a->error, b->error);
		return true;
	}
	compare_events(&t, a, b);
	if (a->cut != b->cut && a->nevents < BLK_TRACE && b->nevents < BLK_TRACE)
		say(&t, "%s does not end\n", a->cut ? "A" : "B");
	if (a->cut || b->cut)
		return t.any;
	if (blk_side_count(a) != blk_side_count(b))
		say(&t, "count: A %" PRIu64 ", B %" PRIu64 "\n", blk_side_count(a),
		    blk_side_count(b));
	if (a->stopped != b->stopped || a->open != b->open)
		say(&t, "stopped at a count: A %d, B %d; interrupts open: A %d, B %d\n", a->stopped,
		    b->stopped, a->open, b->open);
	normalise(&x, b->ops == &engine_kvm);
	normalise(&y, b->ops == &engine_kvm);
	if (cpu_state_diff(&x, &y, diff, sizeof(diff)))
		say(&t, "%s", diff);
	compare_pages(&t, 0, a->sys, b->sys, BLK_SYS_PAGES);
	compare_pages(&t, BLK_TEST, a->test, b->test, BLK_TEST_PAGES);
	return t.any;
}
