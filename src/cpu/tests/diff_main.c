/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff_main.c - diff-cpu: random instructions on the host and on an engine must agree.
 *
 * Cases go in batches: while the child runs a batch natively, the engine runs it here.
 * A difference is printed as one line that reproduces it.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "cpu/engine.h"
#include "cpu/tests/diff.h"

struct options {
	uint64_t cases, seed, one;
	int group, bits; /* -1, 0: all */
	bool reproduce, any_cpu;
	const struct engine_ops *engine;
	unsigned max_failures;
};

struct session {
	struct options opt;
	struct diff_gen *gen;
	struct diff_native *native;
	struct diff_soft *soft;
	struct diff_result results[DIFF_BATCH];
	int errors[DIFF_BATCH];
	uint64_t done, failed, by_group[GROUP_MAX], failed_by_group[GROUP_MAX];
};

static const char usage[] =
	"usage: diff-cpu [--cases N] [--seed S] [--group NAME] [--mode 16|32|64]\n"
	"                [--max-failures N] [--any-cpu] [--engine NAME]\n"
	"       diff-cpu --reproduce MODE:GROUP:SEED [--engine NAME]\n"
	"       diff-cpu --list\n";

static const int mode_bits[] = {[MODE_16] = 16, [MODE_32] = 32, [MODE_64] = 64};

static bool find_mode(int bits, enum x86_mode *mode)
{
	for (unsigned m = 0; m < ARRAY_SIZE(mode_bits); m++) {
		if (mode_bits[m] != bits)
			continue;
		*mode = (enum x86_mode)m;
		return true;
	}
	return false;
}

/* --- reporting --------------------------------------------------------------------- */

static void print_case(const struct diff_case *c, const char *what)
{
	struct insn i;
	int len = x86_decode(c->code, c->nbytes, (enum x86_mode)c->mode, &i);

	printf("--reproduce %d:%s:%#" PRIx64 "  ", mode_bits[c->mode], diff_group_name(c->group),
	       c->seed);
	for (unsigned n = 0; n < c->nbytes; n++)
		printf("%02x", c->code[n]);
	printf(" %s:%s\n", len > 0 ? x86_op_name(i.op) : "(bad)", what);
}

static void print_state(const struct diff_case *c)
{
	static const char *const names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
					      "rsi", "rdi", "r8",  "r9",  "r10", "r11",
					      "r12", "r13", "r14", "r15"};

	printf("rip %#x rflags %#lx fsbase %#lx gsbase %#lx\n", c->code_at, c->rflags, c->fsbase,
	       c->gsbase);
	for (unsigned n = 0; n < 16; n++)
		printf("%s %016lx%c", names[n], c->gpr[n], n % 4 == 3 ? '\n' : ' ');
	printf("fcw %04x fsw %04x ftw %02x mxcsr %08x\n", c->fx.fcw, c->fx.fsw, c->fx.ftw,
	       c->fx.mxcsr);
	for (unsigned w = 0; w < WIN_COUNT; w++) {
		if (!c->patch[w].at)
			continue;
		printf("at %#x:", c->patch[w].at);
		for (unsigned n = 0; n < c->patch[w].len; n++)
			printf(" %02x", c->patch[w].bytes[n]);
		printf("\n");
	}
}

static void summary(const struct session *s)
{
	unsigned groups = 0;

	for (unsigned g = 0; g < diff_group_count(); g++) {
		if (!s->by_group[g])
			continue;
		groups++;
		printf("%-9s %10" PRIu64 " cases %8" PRIu64 " differ\n", diff_group_name(g),
		       s->by_group[g], s->failed_by_group[g]);
	}
	printf("not compared:\n");
	diff_list_skipped(stdout);
	printf("%" PRIu64 " cases in %u groups, %" PRIu64 " differ, seed %" PRIu64 "\n", s->done,
	       groups, s->failed, s->opt.seed);
}

/* --- running ------------------------------------------------------------------------- */

static void judge(struct session *s, const struct diff_case *c, const struct diff_result *native,
		  const struct diff_result *soft, int error)
{
	char what[4096];

	s->done++;
	s->by_group[c->group]++;
	if (error)
		strcpy(what, " the engine failed");
	else if (diff_host_only(c, native) || diff_out_of_reach(c, soft) ||
		 !diff_compare(c, native, soft, what, sizeof(what)))
		return;
	s->failed++;
	s->failed_by_group[c->group]++;
	if (s->failed <= s->opt.max_failures)
		print_case(c, what);
}

static enum x86_mode pick_mode(const struct session *s, struct diff_rng *r)
{
	unsigned k = rng_below(r, 20);
	enum x86_mode mode = k < 12 ? MODE_64 : k < 16 ? MODE_32 : MODE_16;

	if (s->opt.bits)
		find_mode(s->opt.bits, &mode);
	else if (mode == MODE_16 && !diff_native_has_16bit(s->native))
		mode = MODE_32;
	return mode;
}

/* Mode and group of the next case. */
static void pick_class(const struct session *s, struct diff_rng *r, enum x86_mode *mode,
		       unsigned *group)
{
	do {
		*mode = pick_mode(s, r);
		*group = s->opt.group >= 0 ? (unsigned)s->opt.group
					   : rng_below(r, diff_group_count());
	} while (!diff_gen_count(s->gen, *mode, *group));
}

static unsigned generate(struct session *s, struct diff_rng *r, uint64_t left)
{
	struct diff_case *cases = diff_native_cases(s->native);
	unsigned n = 0;

	while (n < DIFF_BATCH && n < left) {
		enum x86_mode mode;
		unsigned group;

		pick_class(s, r, &mode, &group);
		diff_gen_case(s->gen, mode, group, rng_next(r), &cases[n]);
		if (!diff_excluded(&cases[n]))
			n++;
	}
	return n;
}

/* Run cases [0, @n) of the batch on both sides and compare. */
static void run_batch(struct session *s, unsigned n)
{
	const struct diff_case *cases = diff_native_cases(s->native);
	unsigned hung = n;

	diff_native_start(s->native, n);
	for (unsigned k = 0; k < n; k++)
		s->errors[k] = diff_soft_run(s->soft, &cases[k], &s->results[k]);
	if (diff_native_wait(s->native, &hung)) {
		if (!diff_out_of_reach(&cases[hung], &s->results[hung])) {
			s->failed++;
			print_case(&cases[hung], " the child died or hung");
		}
		n = hung;
	}
	for (unsigned k = 0; k < n; k++)
		judge(s, &cases[k], &diff_native_results(s->native)[k], &s->results[k],
		      s->errors[k]);
}

static void run_all(struct session *s)
{
	struct diff_rng r = {.s = s->opt.seed};

	while (s->done < s->opt.cases) {
		unsigned n = generate(s, &r, s->opt.cases - s->done);

		run_batch(s, n);
	}
}

static void run_one(struct session *s)
{
	struct diff_case *c = diff_native_cases(s->native);

	enum x86_mode mode = MODE_64;

	find_mode(s->opt.bits, &mode);
	diff_gen_case(s->gen, mode, (unsigned)s->opt.group, s->opt.one, c);
	print_state(c);
	run_batch(s, 1);
}

/* --- options --------------------------------------------------------------------------- */

static int find_group(const char *name, size_t len)
{
	for (unsigned g = 0; g < diff_group_count(); g++)
		if (strlen(diff_group_name(g)) == len && !strncmp(diff_group_name(g), name, len))
			return (int)g;
	fprintf(stderr, "diff-cpu: no group '%.*s'; --list names them\n", (int)len, name);
	return -1;
}

static bool parse_reproducer(const char *arg, struct options *o)
{
	const char *group = strchr(arg, ':'), *seed = group ? strchr(group + 1, ':') : NULL;
	enum x86_mode mode;

	if (!seed)
		return false;
	o->reproduce = true;
	o->bits = atoi(arg);
	o->group = find_group(group + 1, (size_t)(seed - group - 1));
	o->one = strtoull(seed + 1, NULL, 0);
	return o->group >= 0 && find_mode(o->bits, &mode);
}

static void list(void)
{
	for (unsigned g = 0; g < diff_group_count(); g++)
		printf("%s\n", diff_group_name(g));
	printf("not compared:\n");
	diff_list_skipped(stdout);
}

static bool find_engine(const char *name, struct options *o)
{
	struct errbuf err = {0};
	char why[200];

	o->engine = engine_find(name, why, sizeof(why), &err);
	if (!o->engine)
		fprintf(stderr, "diff-cpu: %s\n", err.msg);
	return o->engine != NULL;
}

static bool parse_option(int opt, struct options *o)
{
	enum x86_mode mode;

	switch (opt) {
	case 'c': o->cases = strtoull(optarg, NULL, 0); return true;
	case 's': o->seed = strtoull(optarg, NULL, 0); return true;
	case 'f': o->max_failures = (unsigned)strtoul(optarg, NULL, 0); return true;
	case 'g': o->group = find_group(optarg, strlen(optarg)); return o->group >= 0;
	case 'm': o->bits = atoi(optarg); return find_mode(o->bits, &mode);
	case 'r': return parse_reproducer(optarg, o);
	case 'e': return find_engine(optarg, o);
	case 'a': o->any_cpu = true; return true;
	case 'l': list(); exit(0);
	default: return false;
	}
}

static bool parse(int argc, char **argv, struct options *o)
{
	static const struct option names[] = {
		{"cases", required_argument, NULL, 'c'},
		{"seed", required_argument, NULL, 's'},
		{"group", required_argument, NULL, 'g'},
		{"mode", required_argument, NULL, 'm'},
		{"reproduce", required_argument, NULL, 'r'},
		{"max-failures", required_argument, NULL, 'f'},
		{"engine", required_argument, NULL, 'e'},
		{"any-cpu", no_argument, NULL, 'a'},
		{"list", no_argument, NULL, 'l'},
		{0},
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", names, NULL)) != -1)
		if (!parse_option(opt, o))
			return false;
	return optind == argc;
}

int main(int argc, char **argv)
{
	struct session *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return 1;
	s->opt = (struct options){.cases = 100000,
				  .seed = 1,
				  .group = -1,
				  .max_failures = 50,
				  .engine = &engine_interp};
	if (!parse(argc, argv, &s->opt)) {
		fputs(usage, stderr);
		return 2;
	}
	s->gen = diff_gen_new();
	ret = s->gen ? diff_native_new(s->opt.any_cpu, &s->native) : -ENOMEM;
	if (ret == -ENOTSUP)
		return 77; /* skipped */
	if (ret || diff_soft_new(s->opt.engine, &s->soft))
		return 1;
	if (s->opt.bits == 16 && !diff_native_has_16bit(s->native)) {
		fputs("diff-cpu: the kernel has no modify_ldt for 16-bit segments\n", stderr);
		return 77;
	}
	if (s->opt.reproduce)
		run_one(s);
	else
		run_all(s);
	summary(s);
	ret = s->failed ? 1 : 0;
	diff_soft_free(s->soft);
	diff_native_free(s->native);
	diff_gen_free(s->gen);
	free(s);
	return ret;
}
