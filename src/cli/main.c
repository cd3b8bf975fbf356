/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - caisson: the command line. */
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const struct verb {
	const char *name, *help;
	int (*run)(int argc, char **argv);
} verbs[] = {
	{"run", "run a VM on this terminal: an image, or a kernel", cli_run},
	{"top", "show what running VMs do", cli_top},
	{"image", "build, list and remove VM images", cli_image},
	{"doctor", "say what this host offers and what to do about what is missing", cli_doctor},
};

static void usage(FILE *f)
{
	fprintf(f, "usage: caisson VERB ...\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		fprintf(f, "  %-8s %s\n", verbs[i].name, verbs[i].help);
	fprintf(f, "\n'caisson VERB --help' says more; so does the manual page, caisson(1).\n"
		   "Exit status: 0 done, 1 failed, 2 wrong usage; 'run' gives the VM's.\n");
}

/* Beside this program in the build tree, else where "make install" puts helpers. */
const char *cli_find_program(const char *name, char *buf, size_t len)
{
	static const char *const places[] = {"", "../libexec/caisson/"};
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	const char *dir;

	if (n < 0)
		return NULL;
	self[n] = 0;
	dir = dirname(self);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		snprintf(buf, len, "%s/%s%s", dir, places[i], name);
		if (access(buf, X_OK) == 0)
			return buf;
	}
	return NULL;
}

void cli_print_json(json_t *row, bool first)
{
	json_t *out = row ? row : json_null();

	if (!first)
		putchar(',');
	json_dumpf(out, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
	json_decref(out);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		usage(stderr);
		return CLI_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		usage(stdout);
		return CLI_OK;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("caisson %s\n", CAISSON_VERSION);
		return CLI_OK;
	}
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(verbs[i].name, argv[1]))
			return verbs[i].run(argc - 1, argv + 1);
	fprintf(stderr, "caisson: '%s' is no verb; see 'caisson --help'\n", argv[1]);
	return CLI_USAGE;
}
