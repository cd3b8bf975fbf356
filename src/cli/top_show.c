/* SPDX-License-Identifier: Apache-2.0 */
/*
 * top_show.c - two samples of a VM's counters as text.
 *
 * A rate is the difference of a counter over that of the samples' own time stamps.
 * What the VM does not count is shown as a dash: an engine's silence is not a zero.
 */
#include "cli/top.h"

#include <math.h>
#include <string.h>
#include <time.h>

/* --- numbers --------------------------------------------------------------------- */

static double number(const json_t *object, const char *name)
{
	const json_t *v = json_object_get(object, name);

	return json_is_number(v) ? json_number_value(v) : NAN;
}

static const char *string(const json_t *object, const char *name)
{
	const char *s = json_string_value(json_object_get(object, name));

	return s ? s : "?";
}

static double seconds(const struct vm *vm)
{
	return (number(vm->now, "time-ns") - number(vm->then, "time-ns")) / 1e9;
}

bool top_ready(const struct vm *vm)
{
	return vm->then && vm->now && seconds(vm) > 0;
}

struct pair { /* of the same object in both samples; either may be NULL */
	const json_t *then, *now;
};

static struct pair inside(struct pair p, const char *name)
{
	return (struct pair){json_object_get(p.then, name), json_object_get(p.now, name)};
}

static struct pair of_vm(const struct vm *vm)
{
	return (struct pair){vm->then, vm->now};
}

static struct pair vcpu(const struct vm *vm, size_t i)
{
	struct pair all = inside(of_vm(vm), "vcpus");

	return (struct pair){json_array_get(all.then, i), json_array_get(all.now, i)};
}

static size_t count_vcpus(const struct vm *vm)
{
	return json_array_size(json_object_get(vm->now, "vcpus"));
}

/* How much counter @name grew; NAN if it is not counted. */
static double growth(struct pair p, const char *name)
{
	return number(p.now, name) - number(p.then, name);
}

/* ... of all vCPUs, in their object @part. */
static double growth_of_all(const struct vm *vm, const char *part, const char *name)
{
	double sum = 0;

	for (size_t i = 0; i < count_vcpus(vm); i++)
		sum += growth(inside(vcpu(vm, i), part), name);
	return sum;
}

/* "0.4", "123", "1.2k", "45M": five characters at most, @unit included. */
static const char *brief(char buf[16], double v, const char *const unit[5], double step)
{
	unsigned u = 0;

	if (isnan(v))
		return "-";
	if (v < 0 || v > 1e18)
		return "?";
	while (v >= 999.5 && u < 4) {
		v /= step;
		u++;
	}
	snprintf(buf, 16, v && v < 9.95 && (u || v < 0.95) ? "%.1f%s" : "%.0f%s", v, unit[u]);
	return buf;
}

static const char *rate(char buf[16], double v)
{
	static const char *const units[5] = {"", "k", "M", "G", "T"};

	return brief(buf, v, units, 1000);
}

static const char *bytes(char buf[16], double v)
{
	static const char *const units[5] = {"", "K", "M", "G", "T"};

	return brief(buf, v, units, 1024);
}

static const char *percent(char buf[16], double part, double whole)
{
	if (isnan(part) || isnan(whole) || !whole)
		return "-";
	snprintf(buf, 16, "%.1f", 100 * part / whole);
	return buf;
}

/* Resident bytes of the VM's process; NAN: it cannot be seen. */
static double resident(const struct vm *vm)
{
	char path[32];
	long total, pages;
	double v = NAN;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/statm", vm->pid);
	f = fopen(path, "re");
	if (f && fscanf(f, "%ld %ld", &total, &pages) == 2)
		v = (double)pages * (double)sysconf(_SC_PAGESIZE);
	if (f)
		fclose(f);
	return v;
}

/* --- one VM ------------------------------------------------------------------------ */

static const struct column {
	const char *head;
	int width;
	const char *name; /* of a counter; NULL: a special one */
} columns[] = {
	{"CPU%", 6, NULL},	     {"INSN/S", 7, "instructions"},
	{"EXIT/S", 7, NULL},	     {"LOOK/S", 7, "lookups"},
	{"HIT%", 6, NULL},	     {"HELP/S", 7, "helpers"},
	{"STEP/S", 7, "steps"},	     {"SLOW/S", 7, "slow-accesses"},
	{"TLBM/S", 7, "tlb-misses"},
};

struct row { /* growth of counters */
	double value[ARRAY_SIZE(columns)];
	double exits, cpu_ns, lookups, misses;
};

static double sum_of(struct pair exits)
{
	const char *name;
	json_t *v;
	double sum = 0;

	json_object_foreach((json_t *)exits.now, name, v) sum += growth(exits, name);
	return sum;
}

static void add_vcpu(struct row *r, struct pair v)
{
	struct pair counters = inside(v, "counters");

	for (size_t c = 0; c < ARRAY_SIZE(columns); c++)
		if (columns[c].name)
			r->value[c] += growth(counters, columns[c].name);
	r->exits += sum_of(inside(v, "exits"));
	r->cpu_ns += growth(counters, "cpu-ns");
	r->lookups += growth(counters, "lookups");
	r->misses += growth(counters, "lookup-misses");
}

static void print_row(FILE *f, const struct row *r, double dt)
{
	for (size_t c = 0; c < ARRAY_SIZE(columns); c++) {
		const struct column *col = &columns[c];
		char buf[16];
		const char *text;

		if (!strcmp(col->head, "CPU%"))
			text = percent(buf, r->cpu_ns, dt * 1e9);
		else if (!strcmp(col->head, "HIT%"))
			text = percent(buf, r->lookups - r->misses, r->lookups);
		else
			text = rate(buf, (col->name ? r->value[c] : r->exits) / dt);
		fprintf(f, "%*s", col->width, text);
	}
	fputc('\n', f);
}

/* The sum first: the terminal may not have a line for each of many vCPUs. */
static void print_vcpus(FILE *f, const struct vm *vm)
{
	struct row all = {0};
	double dt = seconds(vm);

	fprintf(f, "\nVCPU  STATE   ");
	for (size_t c = 0; c < ARRAY_SIZE(columns); c++)
		fprintf(f, "%*s", columns[c].width, columns[c].head);
	fputc('\n', f);
	for (size_t i = 0; i < count_vcpus(vm); i++)
		add_vcpu(&all, vcpu(vm, i));
	if (count_vcpus(vm) > 1) {
		fprintf(f, "%-14s", " all");
		print_row(f, &all, dt);
	}
	for (size_t i = 0; i < count_vcpus(vm); i++) {
		struct pair v = vcpu(vm, i);
		struct row r = {0};

		add_vcpu(&r, v);
		fprintf(f, "%4zu  %-8.8s", i, string(v.now, "state"));
		print_row(f, &r, dt);
	}
}

/* "pio 120  mmio 3": those that happened. */
static void print_exits(FILE *f, const struct vm *vm)
{
	const json_t *names = json_object_get(vcpu(vm, 0).now, "exits");
	const char *name;
	int column = 12;
	json_t *v;

	fprintf(f, "Exits/s     ");
	json_object_foreach((json_t *)names, name, v)
	{
		double n = growth_of_all(vm, "exits", name) / seconds(vm);
		char buf[16], item[48];
		int len;

		if (!(n > 0))
			continue;
		len = snprintf(item, sizeof(item), "  %.16s %s", name, rate(buf, n));
		if (column + len > 79) {
			fprintf(f, "\n            ");
			column = 12;
		}
		column += len;
		fputs(item, f);
	}
	fputs(column == 12 ? "  none\n" : "\n", f);
}

static void print_translator(FILE *f, const struct vm *vm)
{
	struct pair t = inside(of_vm(vm), "translator"), n = inside(t, "counters");
	double dt = seconds(vm), used = number(t.now, "cache-used");
	char a[16], b[16], c[16], d[16], e[16];

	if (!json_is_object(t.now))
		return;
	fprintf(f, "Translated/s  %s blocks, %s of code to %s", rate(a, growth(n, "blocks") / dt),
		bytes(b, growth(n, "guest-bytes") / dt), bytes(c, growth(n, "code-bytes") / dt));
	fprintf(f, "; %s copied; %s jumps linked\n", rate(d, growth(n, "copied") / dt),
		rate(e, growth(n, "links") / dt));
	fprintf(f, "Code cache    %s of %s (%s%%)\n", bytes(a, used),
		bytes(b, number(t.now, "cache-size")),
		percent(c, used, number(t.now, "cache-size")));
	fprintf(f, "Dropped/s     %s blocks overwritten, %s cache parts evicted;",
		rate(a, growth(n, "invalidated") / dt), rate(b, growth(n, "evictions") / dt));
	fprintf(f, " so far %s and %s\n", rate(c, number(n.now, "invalidated")),
		rate(d, number(n.now, "evictions")));
}

void top_show_vm(FILE *f, const struct vm *vm)
{
	const json_t *memory = json_object_get(vm->now, "memory");
	char text[64], clock[16], a[16], b[16], c[16];
	time_t now = time(NULL);
	struct tm tm;

	localtime_r(&now, &tm);
	strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	snprintf(text, sizeof(text), "%.32s (process %d)", vm->name, vm->pid);
	fprintf(f, "caisson top  %-46s %19s\n", text, clock);
	fprintf(f, "%s, engine %.16s; %zu vCPU%s; RAM %s, %s touched; process %s resident\n\n",
		string(vm->now, "status"), string(vm->now, "engine"), count_vcpus(vm),
		count_vcpus(vm) == 1 ? "" : "s", bytes(a, number(memory, "size")),
		bytes(b, number(memory, "resident")), bytes(c, resident(vm)));
	print_exits(f, vm);
	print_translator(f, vm);
	print_vcpus(f, vm);
}

/* --- all VMs --------------------------------------------------------------------------- */

void top_show_all(FILE *f, struct vm *const *vms, unsigned nvms)
{
	fprintf(f, "%-20s %8s %-7s %-10s %5s %6s %7s %7s %5s\n", "NAME", "PROCESS", "ENGINE",
		"STATUS", "VCPUS", "CPU%", "INSN/S", "EXIT/S", "MEM");
	for (unsigned i = 0; i < nvms; i++) {
		const struct vm *vm = vms[i];
		double dt = seconds(vm);
		struct row all = {0};
		char a[16], b[16], c[16], d[16];

		for (size_t k = 0; k < count_vcpus(vm); k++)
			add_vcpu(&all, vcpu(vm, k));
		fprintf(f, "%-20.20s %8d %-7.7s %-10.10s %5zu %6s %7s %7s %5s\n", vm->name, vm->pid,
			string(vm->now, "engine"), string(vm->now, "status"), count_vcpus(vm),
			percent(a, all.cpu_ns, dt * 1e9),
			rate(b, growth_of_all(vm, "counters", "instructions") / dt),
			rate(c, all.exits / dt), bytes(d, resident(vm)));
	}
}

/* --- JSON -------------------------------------------------------------------------------- */

static json_t *rates(struct pair p, double dt)
{
	json_t *out = json_object(), *v;
	const char *name;

	json_object_foreach((json_t *)p.now, name, v)
	{
		double n = growth(p, name) / dt;

		json_object_set_new(out, name, isnan(n) ? json_null() : json_real(n));
	}
	return out;
}

void top_show_json(FILE *f, const struct vm *vm)
{
	struct pair t = inside(of_vm(vm), "translator");
	json_t *vcpus = json_array(), *memory = json_object_get(vm->now, "memory"), *line;
	double dt = seconds(vm), rss = resident(vm);

	for (size_t i = 0; i < count_vcpus(vm); i++) {
		struct pair v = vcpu(vm, i);
		json_t *row = json_pack("{s:I,s:s,s:o,s:o}", "index", (json_int_t)i, "state",
					string(v.now, "state"), "per-second",
					rates(inside(v, "counters"), dt), "exits-per-second",
					rates(inside(v, "exits"), dt));

		json_array_append_new(vcpus, row);
	}
	line = json_pack(
		"{s:s,s:i,s:s,s:s,s:f,s:o,s:o,s:O?,s:o,s:O}", "name", vm->name, "pid", vm->pid,
		"engine", string(vm->now, "engine"), "status", string(vm->now, "status"), "seconds",
		dt, "vcpus", vcpus, "translator-per-second",
		json_is_object(t.now) ? rates(inside(t, "counters"), dt) : json_null(), "memory",
		memory, "process-resident",
		isnan(rss) ? json_null() : json_integer((json_int_t)rss), "totals", vm->now);
	json_dumpf(line ? line : json_null(), f, JSON_COMPACT | JSON_ENSURE_ASCII);
	fputc('\n', f);
	json_decref(line);
}
