/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blocks.c - diff-blocks: random blocks on the interpreter and on another engine.
 *
 * Flags are compared bit by bit, also those that the architecture leaves undefined: the
 * interpreter has them as the host's processor does.  --defined-flags draws programs
 * in which another instruction sets them at once.  With --count runs also stop after
 * random numbers of instructions, where all is compared, and interrupts injected.
 *
 * The cases run in a child process, so that an engine that crashes or hangs is a
 * failure like others and the rest goes on.  A failing case is tried again in fresh
 * VMs: alone, then with more and more of the cases before it, whose code may have left
 * something behind.  Then instructions that do not matter are taken out.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cpu/tests/blocks.h"

enum {
	GROUP = 256,	   /* cases that share their VMs */
	LIMIT_A_MS = 60,   /* a block that runs longer does not end */
	LIMIT_B_MS = 2000, /* ... on the other engine, given that it ends on the first */
	HANG_TICKS = 150,  /* of 100 ms without a run completed */
	TEXT = 16384,
	MAX_STOPS = 40, /* at counts, in a run */
};

struct shared { /* written by the child, read by the parent */
	uint64_t current, done, runs, endless, failed, by_chance, insns, beats, copied;
	uint64_t ends[256]; /* runs by the handler they ended in */
	uint64_t to_the_end, outside, stops;
};

struct session {
	const struct engine_ops *ops;
	const char *engine; /* as it was asked for */
	struct blk_options gen;
	uint64_t seed, first, cases, history;
	size_t code_cache; /* of @ops; 0: the default */
	unsigned max_failures;
	bool reproduce, verbose, shrink, fork, no_avx512, no_stops;
	struct diff_gen *d;
	struct blk_watch *watch;
	struct blk_image base, image;
	struct blk_side a, b;
	struct shared *sh;
	struct blk_case c, before, small;
	char text[TEXT];
};

static const char usage[] =
	"usage: diff-blocks [--engine NAME] [--cases N] [--first N] [--seed S]\n"
	"                   [--max-insns N] [--kinds NAME,...] [--max-failures N]\n"
	"                   [--code-cache BYTES] [--count] [--no-stops]\n"
	"                   [--no-avx512] [--defined-flags]\n"
	"                   [--no-shrink] [--no-fork] [--verbose]\n"
	"       diff-blocks --reproduce SEED:[FIRST-]NUMBER\n"
	"       diff-blocks --list\n";

/* --- VMs ---------------------------------------------------------------------------- */

static void close_vms(struct session *s)
{
	s->sh->copied += s->b.copied;
	blk_side_free(&s->a);
	blk_side_free(&s->b);
}

static bool fresh_vms(struct session *s)
{
	close_vms(s);
	return !blk_side_new(&engine_interp, 0, s->gen.count, false, &s->a) &&
	       !blk_side_new(s->ops, s->code_cache, s->gen.count, s->no_avx512, &s->b);
}

/* How did the run end, and after how many instructions? */
static void count_end(struct session *s, const struct blk_input *in, uint64_t insns)
{
	uint64_t v = (s->a.state.rip - 1 - (BLK_S_BASE + 0x18000)) / 16, rip;
	uint64_t code = blk_base(&s->c) + BLK_CODE + blk_place(in->place);
	struct engine_stats st;

	s->a.ops->stats(s->a.vcpu, &st);
	s->sh->insns += st.insns - insns;
	rip = s->a.state.rip - 1;
	if (v == EXC_GP) /* HLT at CPL 3 */
		memcpy(&rip, s->a.sys + BLK_RSP0_TOP - 40, 8);
	if (rip - code < 0x2000 && s->a.test[rip - code] == 0xf4)
		s->sh->to_the_end++;
	else if (v < 256)
		s->sh->ends[v]++;
	else
		s->sh->outside++;
}

/* Count of the next place to stop at, after @from: mostly near, as programs are short. */
static uint64_t next_stop(struct session *s, struct diff_rng *r, uint64_t from, unsigned nstops)
{
	if (!s->gen.count || s->no_stops || nstops == MAX_STOPS)
		return COUNT_NEVER;
	return from + rng_below(r, rng_chance(r, 60) ? 4 : rng_chance(r, 80) ? 40 : 400);
}

/* Stopped on both sides, at the same place: go on as if an interrupt came. */
static void interrupt(struct session *s, struct diff_rng *r)
{
	if (!s->a.open || !rng_chance(r, 30))
		return;
	s->a.ops->inject(s->a.vcpu, BLK_IRQ);
	s->b.ops->inject(s->b.vcpu, BLK_IRQ);
}

enum outcome { SAME, DIFFERENT, CUT, ENDLESS };

static enum outcome run_once(struct session *s, const struct blk_case *c, unsigned n, char *text,
			     size_t len)
{
	struct diff_rng r = {.s = c->seed * 0x9e3779b97f4a7c15ULL + c->number * 8 + n};
	uint64_t stop = 0;

	blk_side_start(&s->a, c, &c->in[n]);
	blk_side_start(&s->b, c, &c->in[n]);
	for (unsigned nstops = 0;; nstops++) {
		stop = next_stop(s, &r, stop, nstops);
		blk_side_run(&s->a, s->watch, stop, LIMIT_A_MS);
		if (s->a.cut && s->a.nevents < BLK_TRACE) {
			s->b.ops->window(s->b.vcpu, false); /* it was started, too */
			return ENDLESS;
		}
		blk_side_run(&s->b, s->watch, stop, LIMIT_B_MS);
		if (blk_compare(&s->a, &s->b, text, len))
			return DIFFERENT;
		if (s->a.cut || !s->a.stopped)
			return s->a.cut ? CUT : SAME;
		s->sh->stops++;
		interrupt(s, &r);
	}
}

/* Run all of @c.  True: @text says what differs after which run. */
static bool run_case(struct session *s, const struct blk_case *c, char *text, size_t len)
{
	s->image = s->base;
	blk_image_place(&s->image, c);
	blk_side_reset(&s->a, &s->image);
	blk_side_reset(&s->b, &s->image);
	for (unsigned n = 0; n < c->nruns; n++) {
		struct engine_stats st;
		enum outcome o;
		int at;

		s->a.ops->stats(s->a.vcpu, &st);
		s->sh->beats++;
		at = snprintf(text, len, "run %u of %u:\n", n, c->nruns);
		o = run_once(s, c, n, text + at, len - (size_t)at);
		if (o == ENDLESS) {
			s->sh->endless++;
			return false;
		}
		s->sh->runs++;
		count_end(s, &c->in[n], st.insns);
		if (o != SAME)
			return o == DIFFERENT;
	}
	return false;
}

/* --- failures ---------------------------------------------------------------------------- */

static void generate(struct session *s, uint64_t number, struct blk_case *c)
{
	blk_generate(s->d, &s->gen, s->seed, number, c);
}

/* Does @c fail in fresh VMs that ran the @history cases before it? */
static bool fails(struct session *s, const struct blk_case *c, uint64_t history, char *text,
		  size_t len)
{
	if (!fresh_vms(s))
		return false;
	for (uint64_t n = c->number - history; n < c->number; n++) {
		generate(s, n, &s->before);
		run_case(s, &s->before, text, len);
	}
	return run_case(s, c, text, len);
}

/* False: @item must stay, or else the rest is another program. */
static bool take_out(struct session *s, const struct blk_item *item)
{
	static const uint8_t define_flags[] = {BLK_DEFINE_FLAGS};
	struct blk_case *c = &s->small;
	uint8_t *p = item->at >= BLK_SUBS ? c->subs[0] + (item->at - BLK_SUBS)
					  : c->code + (item->at - BLK_CODE);

	if (s->gen.defined_flags && item->len == sizeof(define_flags) &&
	    !memcmp(p, define_flags, sizeof(define_flags)))
		return false;
	memset(p, 0x90, item->len);
	return true;
}

/* Make s->small of @c: fewer runs, fewer instructions, still failing. */
static void shrink(struct session *s, const struct blk_case *c, uint64_t history)
{
	char text[TEXT];

	s->small = *c;
	for (unsigned n = 0; n < c->nruns; n++) {
		s->small.in[0] = c->in[n];
		s->small.nruns = 1;
		if (fails(s, &s->small, history, text, sizeof(text)))
			break;
		s->small = *c;
	}
	for (unsigned n = s->small.nitems; n--;) {
		struct blk_case keep = s->small;

		if (!take_out(s, &s->small.item[n]))
			continue;
		if (!fails(s, &s->small, history, text, sizeof(text)))
			s->small = keep;
	}
	for (unsigned n = 0; n < 64 && !fails(s, &s->small, history, s->text, sizeof(s->text)); n++)
		;
}

static void print_line(const struct session *s, uint64_t number, uint64_t history)
{
	printf("--reproduce %" PRIu64 ":", s->seed);
	if (history)
		printf("%" PRIu64 "-", number - history);
	printf("%" PRIu64 " --engine %s", number, s->engine);
	if (s->code_cache)
		printf(" --code-cache %zu", s->code_cache);
	if (s->gen.max_insns != 50)
		printf(" --max-insns %u", s->gen.max_insns);
	if (s->gen.count)
		printf(" --count%s%s", s->no_stops ? " --no-stops" : "",
		       s->no_avx512 ? " --no-avx512" : "");
	if (s->gen.defined_flags)
		printf(" --defined-flags");
	if (s->gen.kinds != ~0ULL) {
		printf(" --kinds ");
		for (unsigned k = 0, any = 0; blk_kind_name(k); k++)
			if (s->gen.kinds >> k & 1)
				printf("%s%s", any++ ? "," : "", blk_kind_name(k));
	}
	printf("\n");
}

enum { CHANCE_TRIES = 16 };

/*
 * Does @c differ from itself?  RDTSC may have come out of a changed program, or RDMSR read the
 * same; what depends on the time need not be different each time.
 */
static bool is_by_chance(struct session *s, const struct blk_case *c)
{
	const struct engine_ops *ops = s->ops;
	char text[TEXT];
	bool yes = false;

	s->ops = &engine_interp;
	for (unsigned n = 0; !yes && n < CHANCE_TRIES; n++)
		yes = fails(s, c, 0, text, sizeof(text));
	s->ops = ops;
	return yes;
}

static void report(struct session *s, const struct blk_case *c)
{
	uint64_t all = s->reproduce ? s->history : c->number % GROUP, history = 0;
	char text[TEXT];

	if (is_by_chance(s, c)) {
		s->sh->by_chance++;
		return;
	}
	s->sh->failed++;
	if (s->reproduce)
		history = all;
	while (!fails(s, c, history, text, sizeof(text)) && history < all)
		history = MIN(all, history ? history * 2 : 1);
	print_line(s, c->number, history);
	printf("%s", s->text);
	if (s->shrink) {
		shrink(s, c, history);
		printf("the smallest that fails: %s", s->text);
		blk_print_case(&s->small);
	} else if (s->reproduce) {
		blk_print_case(c);
	}
	printf("\n");
	fflush(stdout);
}

/* --- the child ------------------------------------------------------------------------------ */

static int run_cases(struct session *s, uint64_t from, uint64_t to)
{
	if (blk_watch_new(&s->watch))
		return 1;
	for (uint64_t n = from; n < to && s->sh->failed < s->max_failures; n++) {
		s->sh->current = n;
		if ((n == from || n % GROUP == 0) && !fresh_vms(s))
			return 1;
		generate(s, n, &s->c);
		if (run_case(s, &s->c, s->text, sizeof(s->text)) &&
		    (!s->reproduce || n + 1 == to)) {
			report(s, &s->c);
			if (!fresh_vms(s))
				return 1;
		}
		s->sh->done++;
	}
	close_vms(s);
	blk_watch_free(s->watch);
	return 0;
}

/* Wait for the child.  False: it was killed, because nothing went on. */
static bool wait_child(const struct session *s, pid_t pid, int *status)
{
	uint64_t beats = 0;

	for (unsigned idle = 0; idle < HANG_TICKS; idle++) {
		for (unsigned n = 0; n < 20; n++) {
			if (waitpid(pid, status, WNOHANG) == pid)
				return true;
			usleep(5000);
		}
		if (__atomic_load_n(&s->sh->beats, __ATOMIC_RELAXED) != beats)
			idle = 0;
		beats = s->sh->beats;
	}
	kill(pid, SIGKILL);
	waitpid(pid, status, 0);
	return false;
}

static int supervise(struct session *s)
{
	uint64_t from = s->first, to = s->first + s->cases;

	while (from < to && s->sh->failed < s->max_failures) {
		int status = 0;
		bool ended;
		pid_t pid;

		fflush(stdout);
		pid = fork();
		if (pid < 0)
			return 1;
		if (!pid)
			_exit(run_cases(s, from, to));
		ended = wait_child(s, pid, &status);
		if (ended && WIFEXITED(status))
			return WEXITSTATUS(status);
		s->sh->failed++;
		from = s->sh->current + 1;
		printf("%s (signal %d): ", ended ? "crash" : "hang", WTERMSIG(status));
		print_line(s, from - 1, s->reproduce ? s->history : (from - 1) % GROUP);
	}
	return 0;
}

static void summary(const struct session *s)
{
	const struct shared *sh = s->sh;

	if (s->verbose) {
		printf("ran to their end: %" PRIu64 ", ended elsewhere: %" PRIu64 "\n",
		       sh->to_the_end, sh->outside);
		for (unsigned v = 0; v < 256; v++)
			if (sh->ends[v])
				printf("ended by vector %u: %" PRIu64 "\n", v, sh->ends[v]);
		printf("%" PRIu64 " instructions, %.1f a run\n", sh->insns,
		       (double)sh->insns / (double)MAX(sh->runs, 1UL));
		printf("translations copied to another address: %" PRIu64 "\n", sh->copied);
	}
	if (s->gen.count)
		printf("stopped at %" PRIu64 " counts, ", sh->stops);
	printf("%s against interp: %" PRIu64 " cases, %" PRIu64 " runs, %" PRIu64
	       " endless, %" PRIu64 " by chance, %" PRIu64 " differ, seed %" PRIu64 "\n",
	       s->engine, sh->done, sh->runs, sh->endless, sh->by_chance, sh->failed, s->seed);
}

/* --- options ------------------------------------------------------------------------- */

static bool parse_kinds(const char *arg, uint64_t *kinds)
{
	*kinds = 0;
	while (*arg) {
		size_t len = strcspn(arg, ",");
		unsigned k = 0;

		while (blk_kind_name(k) &&
		       (strlen(blk_kind_name(k)) != len || strncmp(blk_kind_name(k), arg, len)))
			k++;
		if (!blk_kind_name(k)) {
			fprintf(stderr, "diff-blocks: no kind '%.*s'; --list names them\n",
				(int)len, arg);
			return false;
		}
		*kinds |= 1ULL << k;
		arg += len + (arg[len] == ',');
	}
	return true;
}

static bool parse_reproducer(struct session *s, const char *arg)
{
	uint64_t number;
	char *end;

	s->seed = strtoull(arg, &end, 0);
	if (*end != ':')
		return false;
	s->first = number = strtoull(end + 1, &end, 0);
	if (*end == '-')
		number = strtoull(end + 1, &end, 0);
	s->history = number - s->first;
	s->cases = s->history + 1;
	s->reproduce = true;
	return !*end && number >= s->first && s->cases <= GROUP;
}

static void list_kinds(void)
{
	for (unsigned k = 0; blk_kind_name(k); k++)
		printf("%s\n", blk_kind_name(k));
}

static bool parse_option(struct session *s, int opt)
{
	struct errbuf err = {0};
	char why[200];

	switch (opt) {
	case 'e':
		s->engine = optarg;
		s->ops = engine_find(optarg, why, sizeof(why), &err);
		if (!s->ops)
			fprintf(stderr, "diff-blocks: %s\n", err.msg);
		return s->ops != NULL;
	case 'c': s->cases = strtoull(optarg, NULL, 0); return true;
	case 'b': s->first = strtoull(optarg, NULL, 0); return true;
	case 's': s->seed = strtoull(optarg, NULL, 0); return true;
	case 'm':
		s->gen.max_insns = (unsigned)strtoul(optarg, NULL, 0);
		return s->gen.max_insns && s->gen.max_insns <= 100;
	case 'k': return parse_kinds(optarg, &s->gen.kinds);
	case 'f': s->max_failures = (unsigned)strtoul(optarg, NULL, 0); return true;
	case 'r': return parse_reproducer(s, optarg);
	case 'a': s->code_cache = strtoul(optarg, NULL, 0); return true;
	case 'd': s->gen.defined_flags = true; return true;
	case 'i': s->gen.count = s->ops->count_stop != NULL; return s->gen.count;
	case 'p': s->no_avx512 = true; return true;
	case 'q': s->no_stops = true; return true;
	case 'n': s->shrink = false; return true;
	case 'o': s->fork = false; return true;
	case 'v': s->verbose = true; return true;
	case 'l': list_kinds(); exit(0);
	default: return false;
	}
}

static bool parse(int argc, char **argv, struct session *s)
{
	static const struct option names[] = {
		{"engine", required_argument, NULL, 'e'},
		{"cases", required_argument, NULL, 'c'},
		{"first", required_argument, NULL, 'b'},
		{"seed", required_argument, NULL, 's'},
		{"max-insns", required_argument, NULL, 'm'},
		{"kinds", required_argument, NULL, 'k'},
		{"max-failures", required_argument, NULL, 'f'},
		{"reproduce", required_argument, NULL, 'r'},
		{"code-cache", required_argument, NULL, 'a'},
		{"count", no_argument, NULL, 'i'},
		{"no-avx512", no_argument, NULL, 'p'},
		{"no-stops", no_argument, NULL, 'q'},
		{"defined-flags", no_argument, NULL, 'd'},
		{"no-shrink", no_argument, NULL, 'n'},
		{"no-fork", no_argument, NULL, 'o'},
		{"verbose", no_argument, NULL, 'v'},
		{"list", no_argument, NULL, 'l'},
		{0},
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", names, NULL)) != -1)
		if (!parse_option(s, opt))
			return false;
	return optind == argc;
}

int main(int argc, char **argv)
{
	struct session *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return 1;
	s->ops = &engine_interp;
	s->engine = "interp";
	s->cases = 10000;
	s->seed = 1;
	s->max_failures = 5;
	s->shrink = s->fork = true;
	s->gen = (struct blk_options){.kinds = ~0ULL, .max_insns = 50};
	if (!parse(argc, argv, s)) {
		fputs(usage, stderr);
		return 2;
	}
	s->d = diff_gen_new();
	s->sh = mmap(NULL, sizeof(*s->sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (!s->d || s->sh == MAP_FAILED)
		return 1;
	blk_image_init(&s->base);
	ret = s->fork ? supervise(s) : run_cases(s, s->first, s->first + s->cases);
	summary(s);
	if (s->sh->failed)
		ret = 1;
	diff_gen_free(s->d);
	munmap(s->sh, sizeof(*s->sh));
	free(s);
	return ret;
}
