/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.c - boot a VM while tearing it down and rebuilding it from its saved
 * state, again and again, until its console shows a text.
 *
 * usage: snapshot KERNEL INITRD DISK APPEND CONSOLE-FILE TEXT CPUS ROUNDS SEED ENGINE[,ENGINE]...
 *
 * Engines take turns.  Everything between two machines goes through the records of
 * machine_save() and machine_load(), in one process.  Prints the seed and each stop.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "machine/machine.h"

enum { MAX_ENGINES = 4, TIMEOUT_S = 600 };

struct run { /* owner: the only thread */
	struct loop *loop;
	struct vclock clock; /* the host's, for our own timers */
	struct timer timer;
	struct chardev *console;
	struct machine_config cfg;
	const struct engine_ops *engines[MAX_ENGINES];
	unsigned nengines;
	const char *console_path, *text;
	uint64_t seed;
	bool fired, failed;
	const char *kernel, *initrd;
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

	if (ev == MACHINE_EVENT_ERROR || ev == MACHINE_EVENT_POWEROFF) {
		fprintf(stderr, "snapshot: the VM ended by itself (event %d)\n", ev);
		r->failed = true;
	}
}

static bool text_reached(const struct run *r)
{
	AUTO_FD int fd = open(r->console_path, O_RDONLY | O_CLOEXEC);
	AUTO_PTR char *buf = NULL;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !st.st_size)
		return false;
	buf = malloc((size_t)st.st_size);
	return buf && read(fd, buf, (size_t)st.st_size) == st.st_size &&
	       memmem(buf, (size_t)st.st_size, r->text, strlen(r->text));
}

/* Let the machine run @ms; true when the text has come. */
static bool run_for(struct run *r, uint64_t ms)
{
	uint64_t end = vclock_ns(&r->clock) + ms * 1000000;
	bool seen = false;

	while (!r->failed && !seen && vclock_ns(&r->clock) < end) {
		r->fired = false;
		timer_arm(&r->timer, MIN(end, vclock_ns(&r->clock) + 200000000));
		while (!r->fired && !r->failed)
			loop_run_once(r->loop, -1);
		seen = text_reached(r);
	}
	return seen;
}

static int build(struct run *r, unsigned round, struct machine **out, struct errbuf *err)
{
	struct machine_config cfg = r->cfg;

	cfg.engine = r->engines[round % r->nengines];
	cfg.kernel = round ? NULL : r->kernel;
	cfg.initrd = round ? NULL : r->initrd;
	cfg.console = r->console;
	return machine_new(&cfg, r->loop, out, err);
}

/* One machine's life: 1 the text came, 0 saved for the next, -1 failed. */
static int one_round(struct run *r, unsigned round, bool last, struct record_buf *state,
		     struct errbuf *err)
{
	AUTO(machine) struct machine *m = NULL;
	uint64_t ms = last ? TIMEOUT_S * 1000ULL : 200 + next_random(&r->seed) % 6000;

	if (build(r, round, &m, err) < 0)
		return -1;
	if (round && machine_load(m, state->data, state->len, err) < 0)
		return -1;
	record_buf_fini(state);
	machine_resume(m);
	if (run_for(r, ms))
		return 1;
	if (r->failed || last) {
		err_set(err, -1, r->failed ? "the VM failed" : "the text did not come in time");
		return -1;
	}
	machine_pause(m);
	if (machine_save(m, state, err) < 0)
		return -1;
	printf("round %u (%s): stopped after %llu ms, %zu MiB of state\n", round,
	       r->engines[round % r->nengines]->name, (unsigned long long)ms, state->len >> 20);
	fflush(stdout);
	return 0;
}

static int parse_engines(struct run *r, char *list, struct errbuf *err)
{
	char why[256], *save = NULL;

	for (char *s = strtok_r(list, ",", &save); s && r->nengines < MAX_ENGINES;
	     s = strtok_r(NULL, ",", &save)) {
		r->engines[r->nengines] = engine_find(s, why, sizeof(why), err);
		if (!r->engines[r->nengines++])
			return -1;
	}
	return 0;
}

static int run_all(struct run *r, unsigned rounds)
{
	struct record_buf state = {0};
	struct errbuf err = {0};
	int got = 0;

	for (unsigned i = 0; !got; i++)
		got = one_round(r, i, i >= rounds, &state, &err);
	record_buf_fini(&state);
	if (got < 0)
		fprintf(stderr, "snapshot: %s\n", err.msg);
	else
		printf("reached '%s'\n", r->text);
	return got < 0;
}

int main(int argc, char **argv)
{
	struct run r = {0};
	struct errbuf err = {0};
	char spec[512];
	int status = 1;

	if (argc != 11) {
		fprintf(stderr, "usage: snapshot KERNEL INITRD DISK APPEND CONSOLE-FILE TEXT CPUS "
				"ROUNDS SEED ENGINE[,ENGINE]...\n");
		return 2;
	}
	r.kernel = argv[1];
	r.initrd = argv[2];
	r.console_path = argv[5];
	r.text = argv[6];
	r.seed = strtoull(argv[9], NULL, 0) | 1;
	printf("seed %s\n", argv[9]);
	r.cfg = (struct machine_config){
		.name = "snapshot",
		.cpu_model = "x86-64-v3",
		.ram_bytes = 512ULL << 20,
		.ncpus = (unsigned)atoi(argv[7]),
		.append = argv[4],
		.ndisks = 1,
		.nnets = 1,
		.disk = {{argv[3], false}},
		.event = on_event,
		.ctx = &r,
	};
	vclock_start(&r.clock);
	snprintf(spec, sizeof(spec), "file=%s", r.console_path);
	if (parse_engines(&r, argv[10], &err) < 0 || loop_new(&r.loop) < 0 ||
	    chardev_new(r.loop, spec, NULL, NULL, &r.console, &err) < 0) {
		fprintf(stderr, "snapshot: %s\n", err.msg);
	} else {
		timer_init(&r.timer, r.loop, &r.clock, on_timer);
		status = run_all(&r, (unsigned)atoi(argv[8]));
	}
	chardev_free(r.console);
	loop_free(r.loop);
	return status;
}
