/* SPDX-License-Identifier: Apache-2.0 */
/* commands.c - see commands.h.  Results have the fields of QEMU's QAPI schema. */
#include "vmm/commands.h"

#include <errno.h>
#include <string.h>

json_t *command_version(void)
{
	return json_pack("{s:{s:i,s:i,s:i},s:s}", "qemu", "major", 7, "minor", 2, "micro", 0,
			 "package", "Caisson " CAISSON_VERSION);
}

static json_t *query_version(struct command_env *env, json_t *args, struct errbuf *err)
{
	return command_version();
}

const char *command_status_name(const struct machine *m)
{
	static const char *const names[] = {
		[MACHINE_PRELAUNCH] = "prelaunch",
		[MACHINE_RUNNING] = "running",
		[MACHINE_PAUSED] = "paused",
		[MACHINE_SHUTDOWN] = "shutdown",
		[MACHINE_INTERNAL_ERROR] = "internal-error",
	};

	return names[machine_status(m)];
}

static json_t *query_status(struct command_env *env, json_t *args, struct errbuf *err)
{
	return json_pack("{s:b,s:b,s:s}", "running", machine_status(env->m) == MACHINE_RUNNING,
			 "singlestep", 0, "status", command_status_name(env->m));
}

static json_t *query_name(struct command_env *env, json_t *args, struct errbuf *err)
{
	return json_pack("{s:s}", "name", machine_config(env->m)->name);
}

static json_t *query_cpus_fast(struct command_env *env, json_t *args, struct errbuf *err)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < machine_config(env->m)->ncpus; i++)
		json_array_append_new(
			list, json_pack("{s:i,s:s,s:i,s:s,s:{s:i,s:i,s:i}}", "cpu-index", (int)i,
					"qom-path", "/machine/cpu", "thread-id",
					machine_vcpu_tid(env->m, i), "target", "x86_64", "props",
					"socket-id", 0, "core-id", (int)i, "thread-id", 0));
	return list;
}

static json_t *query_block(struct command_env *env, json_t *args, struct errbuf *err)
{
	const struct machine_config *cfg = machine_config(env->m);
	json_t *list = json_array();

	for (unsigned i = 0; i < cfg->ndisks; i++) {
		char name[16] = "disk0";

		name[4] = (char)('0' + i % 10);
		if (i >= 10) {
			name[4] = '1';
			name[5] = (char)('0' + i % 10);
		}
		json_array_append_new(list, json_pack("{s:s,s:s,s:b,s:b,s:{s:s,s:s,s:b,s:b}}",
						      "device", name, "type", "unknown",
						      "removable", 0, "locked", 0, "inserted",
						      "file", cfg->disk[i].path, "drv", "raw", "ro",
						      cfg->disk[i].readonly, "encrypted", 0));
	}
	return list;
}

static json_t *cmd_stop(struct command_env *env, json_t *args, struct errbuf *err)
{
	machine_pause(env->m);
	return json_object();
}

static json_t *cmd_cont(struct command_env *env, json_t *args, struct errbuf *err)
{
	enum machine_status s = machine_status(env->m);

	if (s == MACHINE_SHUTDOWN || s == MACHINE_INTERNAL_ERROR) {
		err_set(err, -EINVAL, "Resetting the Virtual Machine is required");
		return NULL;
	}
	machine_resume(env->m);
	return json_object();
}

static json_t *cmd_system_reset(struct command_env *env, json_t *args, struct errbuf *err)
{
	return machine_reset(env->m, err) < 0 ? NULL : json_object();
}

static json_t *cmd_system_powerdown(struct command_env *env, json_t *args, struct errbuf *err)
{
	machine_powerdown(env->m);
	return json_object();
}

static json_t *cmd_quit(struct command_env *env, json_t *args, struct errbuf *err)
{
	env->quit(env->quit_ctx);
	return json_object();
}

static json_t *query_commands(struct command_env *env, json_t *args, struct errbuf *err);

static const struct command commands[] = {
	{"cont", cmd_cont, NULL},
	{"query-block", query_block, NULL},
	{"query-commands", query_commands, NULL},
	{"query-cpus-fast", query_cpus_fast, NULL},
	{"query-name", query_name, NULL},
	{"query-status", query_status, NULL},
	{"query-version", query_version, NULL},
	{"query-vm-stats", command_vm_stats, NULL},
	{"quit", cmd_quit, NULL},
	{"stop", cmd_stop, NULL},
	{"system_powerdown", cmd_system_powerdown, NULL},
	{"system_reset", cmd_system_reset, NULL},
};

static json_t *query_commands(struct command_env *env, json_t *args, struct errbuf *err)
{
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		json_array_append_new(list, json_pack("{s:s}", "name", commands[i].name));
	json_array_append_new(list, json_pack("{s:s}", "name", "qmp_capabilities"));
	return list;
}

const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}
