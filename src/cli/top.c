/* SPDX-License-Identifier: Apache-2.0 */
/*
 * top.c - "caisson top": what running VMs do, now.
 *
 * On a terminal the display is drawn over itself on the alternate screen, so that what
 * was there before comes back at the end; elsewhere each interval prints its text.  The
 * VM only answers with counters; intervals, rates and layout are made here.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/top.h"

#define MIN_INTERVAL 0.1
#define MAX_INTERVAL 3600.0

struct top {
	const char *which; /* NULL: all */
	bool json, screen, keys, help;
	double interval_s;
	unsigned long count; /* displays still to come; 0: without end */
	struct vm *vms[VM_LIST_MAX];
	unsigned nvms;
	struct termios tio;
};

static volatile sig_atomic_t stop_signal;

static void on_signal(int sig)
{
	stop_signal = sig;
}

static int usage(FILE *f, int status)
{
	fprintf(f,
		"usage: caisson top [NAME | PID | SOCKET] [--all] [--interval SECONDS]\n"
		"                   [--count N | --once] [--json]\n\n"
		"Shows what a running VM does: vCPUs and their exits, translated code, memory.\n"
		"Without a name: the one VM that runs, or a line for each if there are more.\n\n"
		"  --all               a line for each VM, even if there is one only\n"
		"  --interval SECONDS  between displays, 0.1 to 3600 (default 1)\n"
		"  --count N           end after N displays; --once is --count 1\n"
		"  --json              a line of JSON for each VM and interval\n\n"
		"Keys: q ends.  Columns are per second of the latest interval:\n"
		"  CPU%%    host CPU time of the vCPU's thread\n"
		"  INSN/S  guest instructions ('-': not counted; 'run --count' does)\n"
		"  EXIT/S  exits to the machine: devices, halts, interrupts; by reason below\n"
		"  LOOK/S  look-ups of translated code, where no jump led there; HIT%% found it\n"
		"  HELP/S  instructions run by C functions, STEP/S by the interpreter\n"
		"  SLOW/S  memory accesses that left translated code\n"
		"  TLBM/S  TLB misses of any access, code included (hits are not counted: that\n"
		"          would slow down each of them)\n");
	return status;
}

static int complain(const struct errbuf *err, int status)
{
	fprintf(stderr, "caisson: error: %s\n", err->msg);
	return status;
}

/* --- options ----------------------------------------------------------------------- */

static int take_interval(struct top *t, const char *text, struct errbuf *err)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end || !(v >= MIN_INTERVAL && v <= MAX_INTERVAL))
		return err_set(err, -EINVAL, "--interval %s: give seconds, from 0.1 to 3600", text);
	t->interval_s = v;
	return 0;
}

static int take_count(struct top *t, const char *text, struct errbuf *err)
{
	char *end;

	errno = 0;
	t->count = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || !t->count)
		return err_set(err, -EINVAL, "--count %s: give a number from 1", text);
	return 0;
}

static int parse(struct top *t, int argc, char **argv, struct errbuf *err)
{
	static const struct option options[] = {
		{"all", no_argument, NULL, 'a'},
		{"json", no_argument, NULL, 'j'},
		{"interval", required_argument, NULL, 'i'},
		{"count", required_argument, NULL, 'n'},
		{"once", no_argument, NULL, '1'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	bool all = false;
	int opt, ret = 0;

	optind = 0;
	opterr = 0;
	while (!ret && (opt = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		switch (opt) {
		case 'a': all = true; break;
		case 'j': t->json = true; break;
		case 'i': ret = take_interval(t, optarg, err); break;
		case 'n': ret = take_count(t, optarg, err); break;
		case '1': t->count = 1; break;
		case 'h': t->help = true; break;
		case ':': return err_set(err, -EINVAL, "%s: needs a value", argv[optind - 1]);
		default:
			return err_set(err, -EINVAL, "%s: unknown option; see 'caisson top --help'",
				       argv[optind - 1]);
		}
	}
	if (ret)
		return ret;
	if (optind < argc)
		t->which = argv[optind++];
	if (optind < argc)
		return err_set(err, -EINVAL, "'%s': one VM at most can be named", argv[optind]);
	if (t->which && all)
		return err_set(err, -EINVAL, "--all: given together with the VM '%s'", t->which);
	return all; /* 1: a list was asked for */
}

/* --- the terminal --------------------------------------------------------------------- */

static void enter_screen(struct top *t)
{
	struct termios raw;

	t->keys = tcgetattr(STDIN_FILENO, &t->tio) == 0;
	if (t->keys) {
		raw = t->tio;
		raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
	}
	fputs("\033[?1049h\033[?25l", stdout); /* other screen, no cursor */
	fflush(stdout);
}

static void leave_screen(struct top *t)
{
	if (!t->screen)
		return;
	fputs("\033[?25h\033[?1049l", stdout);
	fflush(stdout);
	if (t->keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &t->tio);
}

/* As much of @text as the terminal has room for. */
static void draw(const char *text)
{
	struct winsize w = {0};
	unsigned rows, columns;

	ioctl(STDOUT_FILENO, TIOCGWINSZ, &w);
	rows = w.ws_row ? w.ws_row : 24;
	columns = w.ws_col ? w.ws_col : 80;
	fputs("\033[H", stdout);
	for (unsigned row = 1; *text; row++) {
		size_t len = strcspn(text, "\n");

		printf("%s%.*s\033[K", row > 1 ? "\r\n" : "", (int)MIN(len, (size_t)columns), text);
		text += len + (text[len] == '\n');
		if (row >= rows)
			break;
	}
	fputs("\033[J", stdout);
	fflush(stdout);
}

/* Wait for the next display.  False: the user has seen enough. */
static bool wait_interval(struct top *t)
{
	double end = t->interval_s;
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	for (;;) {
		struct pollfd in = {.fd = t->screen && t->keys ? STDIN_FILENO : -1,
				    .events = POLLIN};
		double left;
		char key;

		clock_gettime(CLOCK_MONOTONIC, &now);
		left = end - (double)(now.tv_sec - start.tv_sec) -
		       (double)(now.tv_nsec - start.tv_nsec) / 1e9;
		if (stop_signal)
			return false;
		if (left <= 0)
			return true;
		if (poll(&in, 1, (int)ceil(left * 1000)) <= 0)
			continue;
		if (read(STDIN_FILENO, &key, 1) != 1)
			t->keys = false;
		else if (key == 'q' || key == 'Q')
			return false;
	}
}

static void catch_signals(void)
{
	static const int sigs[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	struct sigaction sa = {.sa_handler = on_signal}; /* system calls are interrupted */

	for (size_t i = 0; i < ARRAY_SIZE(sigs); i++)
		sigaction(sigs[i], &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTSTP, SIG_IGN); /* would leave the terminal as it is */
}

/* --- sampling -------------------------------------------------------------------------- */

/* A new sample of each; those that ended go. */
static void sample(struct top *t)
{
	unsigned n = 0;

	if (!t->which)
		t->nvms = vm_list(t->vms, t->nvms, VM_LIST_MAX);
	for (unsigned i = 0; i < t->nvms; i++) {
		if (vm_sample(t->vms[i], NULL) == 0)
			t->vms[n++] = t->vms[i];
		else
			vm_free(t->vms[i]);
	}
	t->nvms = n;
}

static void show_json(struct top *t)
{
	for (unsigned i = 0; i < t->nvms; i++)
		if (top_ready(t->vms[i]))
			top_show_json(stdout, t->vms[i]);
}

static void show_text(struct top *t, FILE *f)
{
	struct vm *ready[VM_LIST_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < t->nvms; i++)
		if (top_ready(t->vms[i]))
			ready[n++] = t->vms[i];
	if (!t->which)
		top_show_all(f, ready, n);
	else if (n)
		top_show_vm(f, ready[0]);
}

static void show(struct top *t)
{
	AUTO_PTR char *text = NULL;
	size_t len;
	FILE *f;

	if (t->json) {
		show_json(t);
	} else if (!t->screen) {
		show_text(t, stdout);
		fputc('\n', stdout);
	} else if ((f = open_memstream(&text, &len))) {
		show_text(t, f);
		fprintf(f, "\nq ends; 'caisson top --help' explains the columns\n");
		if (!fclose(f))
			draw(text);
	}
	fflush(stdout);
}

/* Until the end of the VM, of the count, or of the user's patience. */
static void run(struct top *t)
{
	sample(t);
	while (wait_interval(t)) {
		sample(t);
		if (t->which && !t->nvms)
			return;
		show(t);
		if (ferror(stdout) || (t->count && !--t->count))
			return;
	}
}

/* What is there to look at: one VM, or a list. */
static int choose(struct top *t, bool list, struct errbuf *err)
{
	if (t->which) {
		int ret = vm_find(t->which, &t->vms[0], err);

		t->nvms = !ret;
		return ret;
	}
	t->nvms = vm_list(t->vms, 0, VM_LIST_MAX);
	if (!t->nvms)
		return err_set(err, -ENOENT, "no VM runs; 'caisson run' starts one");
	if (t->nvms == 1 && !list)
		t->which = t->vms[0]->name;
	return 0;
}

int cli_top(int argc, char **argv)
{
	struct top t = {.interval_s = 1};
	struct errbuf err = {0};
	int list = parse(&t, argc, argv, &err);

	if (list < 0)
		return complain(&err, CLI_USAGE);
	if (t.help)
		return usage(stdout, CLI_OK);
	if (choose(&t, list, &err) < 0)
		return complain(&err, CLI_FAILED);
	catch_signals();
	t.screen = !t.json && isatty(STDOUT_FILENO);
	if (t.screen)
		enter_screen(&t);
	run(&t);
	leave_screen(&t);
	if (t.which && !t.nvms)
		fprintf(stderr, "caisson: the VM ended\n");
	for (unsigned i = 0; i < t.nvms; i++)
		vm_free(t.vms[i]);
	return CLI_OK;
}
