/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.c - query-vm-stats: what "caisson top" shows.
 *
 * Counters only ever grow, so that a client computes rates over whatever interval it
 * likes.  They stand in objects called "counters" and "exits"; what stands beside those
 * is as of now.  What an engine does not count is null, not 0.  The vCPUs go on while
 * they are looked at.
 */
#include "vmm/commands.h"

#include "base/clock.h"

static json_t *number(uint64_t v)
{
	return json_integer((json_int_t)v);
}

static json_t *exits_of(const struct machine_vcpu_stats *s)
{
	static const char *const names[EXIT_REASONS] = {
		[EXIT_PIO] = "pio",	  [EXIT_MMIO] = "mmio",
		[EXIT_RDMSR] = "rdmsr",	  [EXIT_WRMSR] = "wrmsr",
		[EXIT_CR8] = "cr8",	  [EXIT_HYPERCALL] = "hypercall",
		[EXIT_HLT] = "hlt",	  [EXIT_SHUTDOWN] = "shutdown",
		[EXIT_WINDOW] = "window", [EXIT_KICK] = "kick",
		[EXIT_EOI] = "eoi",	  [EXIT_COUNT] = "count",
		[EXIT_ERROR] = "error",
	};
	json_t *exits = json_object();

	for (unsigned r = 0; r < EXIT_REASONS; r++)
		json_object_set_new(exits, names[r], number(s->exits[r]));
	return exits;
}

enum kind { KERNEL, INTERPRETER, TRANSLATOR }; /* of engine: what it counts */

static json_t *counters_of(const struct machine_vcpu_stats *s, enum kind kind)
{
	bool software = kind != KERNEL, soft = kind == TRANSLATOR;
	const struct engine_stats *e = &s->engine;
	const struct {
		const char *name;
		uint64_t value;
		bool known;
	} all[] = {
		{"cpu-ns", s->cpu_ns, true},	     {"instructions", e->insns, e->insns_exact},
		{"lookups", e->lookups, soft},	     {"lookup-misses", e->lookup_misses, soft},
		{"link-exits", e->link_exits, soft}, {"helpers", e->helpers, soft},
		{"steps", e->steps, soft},	     {"slow-accesses", e->slow, soft},
		{"tlb-refills", e->refills, soft},   {"tlb-misses", e->tlb_misses, software},
	};
	json_t *counters = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		json_object_set_new(counters, all[i].name,
				    all[i].known ? number(all[i].value) : json_null());
	return counters;
}

static json_t *vcpu_of(struct machine *m, unsigned index, enum kind kind)
{
	static const char *const states[] = {
		[VCPU_PAUSED] = "paused",
		[VCPU_RUNNING] = "running",
		[VCPU_HALTED] = "halted",
		[VCPU_OFFLINE] = "offline",
	};
	struct machine_vcpu_stats s;

	machine_vcpu_stats(m, index, &s);
	return json_pack("{s:i,s:s,s:o,s:o}", "index", (int)index, "state", states[s.state],
			 "counters", counters_of(&s, kind), "exits", exits_of(&s));
}

static json_t *translator_of(const struct engine_vm_stats *t)
{
	json_t *counters = json_object();

	json_object_set_new(counters, "blocks", number(t->blocks));
	json_object_set_new(counters, "guest-bytes", number(t->guest_bytes));
	json_object_set_new(counters, "code-bytes", number(t->code_bytes));
	json_object_set_new(counters, "copied", number(t->copied));
	json_object_set_new(counters, "links", number(t->links));
	json_object_set_new(counters, "invalidated", number(t->invalidated));
	json_object_set_new(counters, "evictions", number(t->evictions));
	return json_pack("{s:o,s:o,s:o}", "cache-size", number(t->cache_bytes), "cache-used",
			 number(t->cache_used), "counters", counters);
}

json_t *command_vm_stats(struct command_env *env, json_t *args, struct errbuf *err)
{
	const struct machine_config *cfg = machine_config(env->m);
	struct engine_vm_stats t;
	bool soft = machine_vm_stats(env->m, &t);
	enum kind kind = soft ? TRANSLATOR : cfg->engine->vm_fd ? KERNEL : INTERPRETER;
	json_t *vcpus = json_array(), *utf8 = json_string(cfg->name);
	const char *name = utf8 ? cfg->name : "?";

	json_decref(utf8);
	for (unsigned i = 0; i < cfg->ncpus; i++)
		json_array_append_new(vcpus, vcpu_of(env->m, i, kind));
	return json_pack("{s:o,s:s,s:s,s:s,s:o,s:o,s:{s:o,s:o}}", "time-ns", number(host_ns()),
			 "name", name, "engine", cfg->engine->name, "status",
			 command_status_name(env->m), "vcpus", vcpus, "translator",
			 soft ? translator_of(&t) : json_null(), "memory", "size",
			 number(cfg->ram_bytes), "resident", number(machine_ram_resident(env->m)));
}
