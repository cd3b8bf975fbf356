/* SPDX-License-Identifier: Apache-2.0 */
/* cli.h - the verbs of the caisson command; each returns the exit status. */
#pragma once

#include <jansson.h>
#include "base/err.h"

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* argv[0] is the verb. */
int cli_run(int argc, char **argv);
int cli_image(int argc, char **argv);
int cli_top(int argc, char **argv);
int cli_doctor(int argc, char **argv);

/* Where the programs beside this one are: build tree or libexec. Static storage, NULL: not found.
 */
const char *cli_find_program(const char *name, char *buf, size_t len);

/* Print @row, which is taken over, as an element of an array; NULL (no UTF-8): as null. */
void cli_print_json(json_t *row, bool first);

/* One image of the store (image.c). */
struct image {
	char dir[512], disk[600], kernel[600], initrd[600], append[512];
	uint64_t disk_bytes, allocated_bytes;
};
/* The folder of images: $CAISSON_HOME or the XDG data folder. */
int image_store(char *buf, size_t len, struct errbuf *err);
int image_open(const char *name, struct image *out, struct errbuf *err);
