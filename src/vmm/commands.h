/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands.h - the control socket's commands: a table of names and handlers.
 *
 * A handler returns its "return" value (a new reference), or NULL with the error's
 * sentence in @err.
 */
#pragma once

#include <jansson.h>
#include "base/err.h"
#include "machine/machine.h"

struct command_env {
	struct machine *m;
	void (*quit)(void *ctx);
	void *quit_ctx;
};

struct command {
	const char *name;
	json_t *(*run)(struct command_env *env, json_t *args, struct errbuf *err);
	const char *const *args; /* names it knows, NULL-terminated; NULL: none */
};

const struct command *command_find(const char *name);
/* The greeting's and query-version's version object. */
json_t *command_version(void);
/* The machine's status by QMP's name. */
const char *command_status_name(const struct machine *m);
/* stats.c: query-vm-stats. */
json_t *command_vm_stats(struct command_env *env, json_t *args, struct errbuf *err);
