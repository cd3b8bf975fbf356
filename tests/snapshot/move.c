/* SPDX-License-Identifier: Apache-2.0 */
/*
 * move.c - run a freestanding guest to its end while moving it from engine to engine.
 *
 * usage: move KERNEL CONSOLE-FILE CPUS DISK|- APPEND MOVES SEED ENGINE:MAX-US[,ENGINE:MAX-US]...
 *
 * The guest runs for a random time of up to MAX-US microseconds, is stopped wherever it
 * is, saved, and rebuilt on the next engine of the list, round and round, MOVES times;
 * then it runs to its end.  The exit status is the guest's through the debug exit port, 1
 * being success.  Prints the seed and how many moves there were.
 */
#include <stdio.h>
#include <string.h>

#include "machine/machine.h"

enum { MAX_ENGINES = 4, TIMEOUT_MS = 120000, FAILED = 99 };

struct run { /* owner: the only thread */
	struct loop *loop;
	struct vclock clock; /* the host's, for our own timer */
	struct timer timer;
	struct chardev *console;
	struct machine_config cfg;
	const struct engine_ops *engines[MAX_ENGINES];
	unsigned nengines, max_us[MAX_ENGINES];
	const char *kernel;
	uint64_t seed;
	bool fired;
	int status; /* of the guest; -1: not ended */
};

static uint64_t next_random(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static void on_timer(struct timer *t)
{
	container_of(t, struct run, timer)->fired = true;
}

static void on_event(void *ctx, enum machine_event ev, int arg)
{
	struct run *r = ctx;

	if (ev == MACHINE_EVENT_DEBUG_EXIT)
		r->status = arg;
	else if (ev == MACHINE_EVENT_ERROR || ev == MACHINE_EVENT_POWEROFF ||
		 ev == MACHINE_EVENT_RESET)
		r->status = FAILED;
}

static void run_for(struct run *r, uint64_t us)
{
	r->fired = false;
	timer_arm(&r->timer, vclock_ns(&r->clock) + us * 1000);
	while (!r->fired && r->status < 0)
		loop_run_once(r->loop, -1);
	timer_stop(&r->timer);
}

/* One machine's life.  0, or -errno with a sentence; r->status tells whether the guest ended. */
static int one_life(struct run *r, unsigned n, bool last, struct record_buf *state,
		    struct errbuf *err)
{
	AUTO(machine) struct machine *m = NULL;
	struct machine_config cfg = r->cfg;
	int ret;

	cfg.engine = r->engines[n % r->nengines];
	cfg.kernel = n ? NULL : r->kernel;
	cfg.console = r->console;
	ret = machine_new(&cfg, r->loop, &m, err);
	if (!ret && n)
		ret = machine_load(m, state->data, state->len, err);
	if (ret)
		return err_prefix(err, "%s", cfg.engine->name);
	record_buf_fini(state);
	machine_resume(m);
	run_for(r,
		last ? TIMEOUT_MS * 1000ULL : next_random(&r->seed) % r->max_us[n % r->nengines]);
	if (r->status >= 0)
		return 0;
	if (last)
		return err_set(err, -1, "the guest did not end in time on %s", cfg.engine->name);
	machine_pause(m);
	loop_run_once(r->loop, 0); /* what the machine has posted */
	return machine_save(m, state, err);
}

static int run_all(struct run *r, unsigned nmoves)
{
	struct record_buf state = {0};
	struct errbuf err = {0};
	unsigned n = 0;
	int ret = 0;

	for (; !ret && r->status < 0; n++)
		ret = one_life(r, n, n >= nmoves, &state, &err);
	record_buf_fini(&state);
	if (ret)
		fprintf(stderr, "move: %s\n", err.msg);
	printf("moves %u\n", n ? n - 1 : 0);
	return ret ? FAILED : r->status;
}

static int parse_engines(struct run *r, char *list, struct errbuf *err)
{
	char why[256], *save = NULL;

	for (char *s = strtok_r(list, ",", &save); s && r->nengines < MAX_ENGINES;
	     s = strtok_r(NULL, ",", &save)) {
		char *colon = strchr(s, ':');

		if (!colon)
			return err_set(err, -1, "'%s': no ENGINE:MAX-US", s);
		*colon = 0;
		r->max_us[r->nengines] = (unsigned)atoi(colon + 1) + 1;
		r->engines[r->nengines] = engine_find(s, why, sizeof(why), err);
		if (!r->engines[r->nengines++])
			return -1;
	}
	return 0;
}

static void set_up(struct run *r, char **argv)
{
	bool disk = strcmp(argv[4], "-") != 0;

	r->status = -1;
	r->kernel = argv[1];
	r->seed = strtoull(argv[7], NULL, 0) * 0x9e3779b97f4a7c15ULL | 1;
	r->cfg = (struct machine_config){
		.name = "move",
		.cpu_model = "x86-64-v3",
		.ram_bytes = 32ULL << 20,
		.ncpus = (unsigned)atoi(argv[3]),
		.append = argv[5],
		.ndisks = disk,
		.disk = {{argv[4], false}},
		.debug_exit = true,
		.event = on_event,
		.ctx = r,
	};
	vclock_start(&r->clock);
	printf("seed %s\n", argv[7]);
}

int main(int argc, char **argv)
{
	struct run r = {0};
	struct errbuf err = {0};
	char spec[512];
	int status = FAILED;

	if (argc != 9) {
		fprintf(stderr, "usage: move KERNEL CONSOLE-FILE CPUS DISK|- APPEND MOVES SEED "
				"ENGINE:MAX-US[,ENGINE:MAX-US]...\n");
		return FAILED;
	}
	set_up(&r, argv);
	snprintf(spec, sizeof(spec), "file=%s", argv[2]);
	if (parse_engines(&r, argv[8], &err) < 0 || loop_new(&r.loop) < 0 ||
	    chardev_new(r.loop, spec, NULL, NULL, &r.console, &err) < 0) {
		fprintf(stderr, "move: %s\n", err.msg);
	} else {
		timer_init(&r.timer, r.loop, &r.clock, on_timer);
		status = run_all(&r, (unsigned)atoi(argv[6]));
		chardev_flush(r.console);
	}
	chardev_free(r.console);
	loop_free(r.loop);
	return status;
}
