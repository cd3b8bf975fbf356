/* SPDX-License-Identifier: Apache-2.0 */
/* vm_config.c - see vm_config.h. */
#include "api/vm_config.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "base/log.h"

void vm_config_init(struct vm_config *c)
{
	memset(c, 0, sizeof(*c));
	c->memory_bytes = 512ULL << 20;
	c->cpus = 1;
	c->dump_last = UINT64_MAX;
	c->dump_max = 1ULL << 30;
}

void vm_config_fini(struct vm_config *c)
{
	char *all[] = {c->name,	     c->kernel,	 c->initrd,  c->append, c->engine,
		       c->cpu_model, c->console, c->control, c->image,	c->dump_file};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		free(all[i]);
	for (unsigned i = 0; i < c->ndisks; i++)
		free(c->disk[i].path);
	for (unsigned i = 0; i < c->nnets; i++) {
		free(c->net[i].tap);
		for (unsigned f = 0; f < c->net[i].nforwards; f++)
			free(c->net[i].forward[f]);
	}
	memset(c, 0, sizeof(*c));
}

int parse_size(const char *text, uint64_t *out)
{
	static const char units[] = "KMGT";
	unsigned long long n;
	unsigned shift = 0;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno)
		return -EINVAL;
	if (*end) {
		const char *u = strchr(units, *end >= 'a' ? *end - 'a' + 'A' : *end);

		if (!u || (end[1] && strcmp(end + 1, "iB") && strcmp(end + 1, "B")))
			return -EINVAL;
		shift = 10 * (unsigned)(u - units + 1);
	}
	if (n > UINT64_MAX >> shift)
		return -EINVAL;
	*out = (uint64_t)n << shift;
	return 0;
}

/* --- one function an option that is more than a string --------------------------- */

static int take_string(char **to, const char *option, const char *value, struct errbuf *err)
{
	if (!*value)
		return err_set(err, -EINVAL, "%s: the value is empty", option);
	free(*to);
	*to = strdup(value);
	return *to ? 0 : err_set(err, -ENOMEM, "%s: out of memory", option);
}

static int take_memory(struct vm_config *c, const char *value, struct errbuf *err)
{
	if (parse_size(value, &c->memory_bytes) < 0)
		return err_set(err, -EINVAL, "--memory %s: not a size; write it like 512M or 2G",
			       value);
	return 0;
}

static int take_code_cache(struct vm_config *c, const char *value, struct errbuf *err)
{
	if (parse_size(value, &c->code_cache) < 0 || c->code_cache < VM_MIN_CODE_CACHE ||
	    c->code_cache > VM_MAX_CODE_CACHE)
		return err_set(err, -EINVAL, "--code-cache %s: give a size from 1M to 2G", value);
	return 0;
}

static int take_cpus(struct vm_config *c, const char *value, struct errbuf *err)
{
	char *end;
	unsigned long n = strtoul(value, &end, 10);

	if (*value < '0' || *value > '9' || *end || n < 1 || n > VM_MAX_CPUS)
		return err_set(err, -EINVAL, "--cpus %s: give a number from 1 to %d", value,
			       VM_MAX_CPUS);
	c->cpus = (unsigned)n;
	return 0;
}

/* FILE[,readonly]; a comma in a file's name is doubled. */
static int take_disk(struct vm_config *c, const char *value, struct errbuf *err)
{
	struct vm_disk d = {0};
	const char *p = value;
	size_t n = 0;

	if (c->ndisks == VM_MAX_DISKS)
		return err_set(err, -EINVAL, "--disk %s: more than %d disks", value, VM_MAX_DISKS);
	d.path = calloc(1, strlen(value) + 1);
	if (!d.path)
		return err_set(err, -ENOMEM, "--disk: out of memory");
	for (; *p && (*p != ',' || p[1] == ','); p++) {
		d.path[n++] = *p;
		p += *p == ',';
	}
	if (*p && strcmp(p, ",readonly") != 0) {
		free(d.path);
		return err_set(err, -EINVAL,
			       "--disk %s: unknown attribute '%s'; only ',readonly' is known",
			       value, p + 1);
	}
	if (!n) {
		free(d.path);
		return err_set(err, -EINVAL, "--disk %s: the file's name is empty", value);
	}
	d.readonly = *p != 0;
	c->disk[c->ndisks++] = d;
	return 0;
}

static int take_forward(struct vm_net *n, const char *spec, const char *value, struct errbuf *err)
{
	if (strncmp(spec, "forward=", 8) != 0 || !spec[8])
		return err_set(err, -EINVAL,
			       "--net %s: '%s' is unknown; 'user' takes forward=HOST:GUEST", value,
			       spec);
	if (n->nforwards == VM_MAX_FORWARDS)
		return err_set(err, -EINVAL, "--net %s: more than %d forwards", value,
			       VM_MAX_FORWARDS);
	n->forward[n->nforwards] = strdup(spec + 8);
	if (!n->forward[n->nforwards])
		return err_set(err, -ENOMEM, "--net: out of memory");
	n->nforwards++;
	return 0;
}

static int take_net_user(struct vm_net *n, const char *value, struct errbuf *err)
{
	AUTO_PTR char *copy = strdup(value);
	char *save = NULL;
	int ret = 0;

	if (!copy)
		return err_set(err, -ENOMEM, "--net: out of memory");
	strtok_r(copy, ",", &save);
	for (char *s; !ret && (s = strtok_r(NULL, ",", &save));)
		ret = take_forward(n, s, value, err);
	return ret;
}

static int take_net(struct vm_config *c, const char *value, struct errbuf *err)
{
	struct vm_net *n;

	c->net_given = true;
	if (!strcmp(value, "none")) {
		c->net_none = true;
		return 0;
	}
	if (c->nnets == VM_MAX_NETS)
		return err_set(err, -EINVAL, "--net %s: more than %d networks", value, VM_MAX_NETS);
	n = &c->net[c->nnets++];
	if (!strcmp(value, "user") || !strncmp(value, "user,", 5))
		return take_net_user(n, value, err);
	if (!strncmp(value, "tap=", 4) && value[4]) {
		n->kind = VM_NET_TAP;
		return take_string(&n->tap, "--net", value + 4, err);
	}
	return err_set(err, -EINVAL, "--net %s: give user[,forward=HOST:GUEST], tap=NAME or none",
		       value);
}

/* Bit of a dump called @name, or 0. */
static unsigned dump_kind(const char *name)
{
	return !strcmp(name, "ops")   ? VM_DUMP_OPS
	       : !strcmp(name, "ir")  ? VM_DUMP_IR
	       : !strcmp(name, "asm") ? VM_DUMP_ASM
				      : 0;
}

/* Kinds of debug lines and of dumps; @option "--dump" takes dumps only. */
static int take_debug(struct vm_config *c, const char *option, const char *value,
		      struct errbuf *err)
{
	bool lines = !strcmp(option, "-d");
	AUTO_PTR char *copy = strdup(value);
	char *rest = copy, *name;

	if (!copy)
		return err_set(err, -ENOMEM, "%s: out of memory", option);
	while ((name = strsep(&rest, ","))) {
		unsigned kinds = 0, dump = dump_kind(name);

		if (!dump && (!lines || log_parse_kinds(name, &kinds) < 0))
			return err_set(err, -EINVAL,
				       "%s %s: unknown kind; the kinds are %s%sops ir asm", option,
				       value, lines ? log_kind_names() : "", lines ? " " : "");
		c->log_kinds |= kinds;
		c->dump |= dump;
	}
	return 0;
}

/* FIRST[-LAST], in hexadecimal with or without 0x. */
static int take_dump_range(struct vm_config *c, const char *value, struct errbuf *err)
{
	unsigned long long first, last;
	char *end;

	errno = 0;
	first = last = strtoull(value, &end, 16);
	if (end != value && *end == '-' && end[1] != '-') {
		const char *second = end + 1;

		last = strtoull(second, &end, 16);
		if (end == second)
			errno = EINVAL;
	}
	if (end == value || *end || errno || strchr("+- ", *value) || first > last)
		return err_set(err, -EINVAL,
			       "--dump-range %s: give addresses FIRST-LAST in hexadecimal", value);
	c->dump_first = first;
	c->dump_last = last;
	return 0;
}

static int take_dump_max(struct vm_config *c, const char *value, struct errbuf *err)
{
	if (parse_size(value, &c->dump_max) < 0 || !c->dump_max)
		return err_set(err, -EINVAL, "--dump-max %s: not a size; write it like 512M or 2G",
			       value);
	return 0;
}

static int take_sandbox(struct vm_config *c, const char *value, struct errbuf *err)
{
	if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
		return err_set(err, -EINVAL, "--sandbox %s: give on or off", value);
	c->sandbox_off = !strcmp(value, "off");
	return 0;
}

/* --- the table ------------------------------------------------------------------------ */

enum opt {
	OPT_KERNEL = 256,
	OPT_INITRD,
	OPT_APPEND,
	OPT_DISK,
	OPT_MEMORY,
	OPT_CHECK,
	OPT_CODE_CACHE,
	OPT_COUNT,
	OPT_CPUS,
	OPT_ENGINE,
	OPT_CPU,
	OPT_NET,
	OPT_CONSOLE,
	OPT_CONTROL,
	OPT_EPHEMERAL,
	OPT_NO_REBOOT,
	OPT_NAME,
	OPT_DEBUG_EXIT,
	OPT_SANDBOX,
	OPT_DUMP,
	OPT_DUMP_FILE,
	OPT_DUMP_RANGE,
	OPT_DUMP_MAX,
	OPT_PERF_MAP,
};

static const struct option options[] = {
	{"kernel", required_argument, NULL, OPT_KERNEL},
	{"initrd", required_argument, NULL, OPT_INITRD},
	{"append", required_argument, NULL, OPT_APPEND},
	{"disk", required_argument, NULL, OPT_DISK},
	{"memory", required_argument, NULL, OPT_MEMORY},
	{"cpus", required_argument, NULL, OPT_CPUS},
	{"engine", required_argument, NULL, OPT_ENGINE},
	{"cpu", required_argument, NULL, OPT_CPU},
	{"net", required_argument, NULL, OPT_NET},
	{"console", required_argument, NULL, OPT_CONSOLE},
	{"control", required_argument, NULL, OPT_CONTROL},
	{"ephemeral", no_argument, NULL, OPT_EPHEMERAL},
	{"no-reboot", no_argument, NULL, OPT_NO_REBOOT},
	{"name", required_argument, NULL, OPT_NAME},
	{"debug-exit", no_argument, NULL, OPT_DEBUG_EXIT},
	{"check", no_argument, NULL, OPT_CHECK},
	{"count", no_argument, NULL, OPT_COUNT},
	{"code-cache", required_argument, NULL, OPT_CODE_CACHE},
	{"sandbox", required_argument, NULL, OPT_SANDBOX},
	{"dump", required_argument, NULL, OPT_DUMP},
	{"dump-file", required_argument, NULL, OPT_DUMP_FILE},
	{"dump-range", required_argument, NULL, OPT_DUMP_RANGE},
	{"dump-max", required_argument, NULL, OPT_DUMP_MAX},
	{"perf-map", no_argument, NULL, OPT_PERF_MAP},
	{"quiet", no_argument, NULL, 'q'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

const char *vm_config_help(void)
{
	return "  --kernel FILE        Linux bzImage, ELF with a PVH entry, or Multiboot ELF\n"
	       "  --initrd FILE        initial RAM disk (Multiboot: the first module)\n"
	       "  --append TEXT        kernel command line\n"
	       "  --disk FILE[,readonly]\n"
	       "                       raw disk image, as virtio-blk; may be repeated\n"
	       "  --memory SIZE        RAM, 16M or more (default 512M)\n"
	       "  --cpus N             vCPUs, 1 to 64 (default 1)\n"
	       "  --engine auto|kvm|soft|interp\n"
	       "                       what runs the vCPUs (default auto: kvm where the host has "
	       "it)\n"
	       "  --cpu MODEL          CPU model the guest sees (default x86-64-v3; help lists "
	       "them)\n"
	       "  --net user[,forward=[tcp:|udp:][ADDR:]HOST:GUEST]...|tap=NAME|none\n"
	       "                       network card and where it leads (default user); repeatable\n"
	       "  --console stdio|none|file=PATH|unix=PATH\n"
	       "                       where the serial port goes (default stdio)\n"
	       "  --control PATH       socket for control in QMP's dialect (default of caisson "
	       "run:\n"
	       "                       one that caisson top finds)\n"
	       "  --ephemeral          keep disk writes in memory and drop them at the end\n"
	       "  --no-reboot          end when the guest resets\n"
	       "  --debug-exit         port 0xf4 ends the VM with status (value << 1) | 1\n"
	       "  --code-cache SIZE    engine soft: memory for translated code and its tables\n"
	       "                       (default 64M)\n"
	       "  --check              engine soft, one vCPU: run every block in the interpreter, "
	       "too,\n"
	       "                       and stop at the first difference; slow, and so is the VM's "
	       "clock\n"
	       "  --count              engine soft or interp: count guest instructions exactly, "
	       "and\n"
	       "                       say at the end how many each vCPU ran\n"
	       "  --name NAME          the VM's name (default: the image's or kernel's)\n"
	       "  --sandbox on|off     lock the VM's process down (default on)\n"
	       "  --quiet              no line about engine and escape key at start\n"
	       "  -d KIND[,KIND]       debug lines on stderr\n"
	       "  -d ops,ir,asm        engine soft: dump each pass over each block it translates\n"
	       "  --dump ops,ir,asm    the same\n"
	       "  --dump-file FILE     where dumps go (default stderr)\n"
	       "  --dump-range FIRST-LAST\n"
	       "                       of blocks at these guest addresses only (hexadecimal)\n"
	       "  --dump-max SIZE      stop dumping after SIZE (default 1G)\n"
	       "  --perf-map           engine soft: name translated code for perf, in\n"
	       "                       /tmp/perf-PID.map\n";
}

static int take_option(struct vm_config *c, int opt, const char *v, struct errbuf *err)
{
	switch (opt) {
	case OPT_KERNEL: return take_string(&c->kernel, "--kernel", v, err);
	case OPT_INITRD: return take_string(&c->initrd, "--initrd", v, err);
	case OPT_APPEND:
		free(c->append);
		c->append = strdup(v);
		return c->append ? 0 : err_set(err, -ENOMEM, "--append: out of memory");
	case OPT_DISK: return take_disk(c, v, err);
	case OPT_MEMORY: return take_memory(c, v, err);
	case OPT_CPUS: return take_cpus(c, v, err);
	case OPT_ENGINE: return take_string(&c->engine, "--engine", v, err);
	case OPT_CPU: return take_string(&c->cpu_model, "--cpu", v, err);
	case OPT_NET: return take_net(c, v, err);
	case OPT_CONSOLE: return take_string(&c->console, "--console", v, err);
	case OPT_CONTROL: return take_string(&c->control, "--control", v, err);
	case OPT_NAME: return take_string(&c->name, "--name", v, err);
	case OPT_SANDBOX: return take_sandbox(c, v, err);
	case OPT_EPHEMERAL: c->ephemeral = true; return 0;
	case OPT_NO_REBOOT: c->no_reboot = true; return 0;
	case OPT_DEBUG_EXIT: c->debug_exit = true; return 0;
	case OPT_CHECK: c->check = true; return 0;
	case OPT_COUNT: c->count = true; return 0;
	case OPT_CODE_CACHE: return take_code_cache(c, v, err);
	case OPT_DUMP: return take_debug(c, "--dump", v, err);
	case OPT_DUMP_FILE: return take_string(&c->dump_file, "--dump-file", v, err);
	case OPT_DUMP_RANGE: return take_dump_range(c, v, err);
	case OPT_DUMP_MAX: return take_dump_max(c, v, err);
	case OPT_PERF_MAP: c->perf_map = true; return 0;
	case 'd': return take_debug(c, "-d", v, err);
	case 'q': c->quiet = true; return 0;
	default: c->help = true; return 0;
	}
}

int vm_config_parse(struct vm_config *c, int argc, char **argv, struct errbuf *err)
{
	int opt, ret = 0;

	optind = 0; /* start over, with argv permuted */
	opterr = 0;
	while (!ret && (opt = getopt_long(argc, argv, ":d:qh", options, NULL)) != -1) {
		if (opt == ':')
			return err_set(err, -EINVAL, "%s: needs a value; see --help",
				       argv[optind - 1]);
		if (opt == '?')
			return err_set(err, -EINVAL, "%s: unknown option; see --help",
				       argv[optind - 1]);
		ret = take_option(c, opt, optarg, err);
	}
	if (!ret && optind < argc)
		ret = take_string(&c->image, "image", argv[optind++], err);
	if (!ret && optind < argc)
		ret = err_set(err, -EINVAL, "'%s': one image at most can be given", argv[optind]);
	return ret;
}

static int check_memory(const struct vm_config *c, struct errbuf *err)
{
	struct sysinfo si;
	uint64_t host;

	if (c->memory_bytes < VM_MIN_MEMORY)
		return err_set(err, -EINVAL, "--memory %lluK: at least 16M is needed",
			       (unsigned long long)c->memory_bytes >> 10);
	if (c->memory_bytes % 4096)
		return err_set(err, -EINVAL, "--memory %llu: not a multiple of 4096 bytes",
			       (unsigned long long)c->memory_bytes);
	if (sysinfo(&si) < 0)
		return 0;
	host = ((uint64_t)si.totalram + si.totalswap) * si.mem_unit;
	if (c->memory_bytes > host)
		return err_set(
			err, -EINVAL, "--memory %lluM: the host has %lluM with swap; give less",
			(unsigned long long)c->memory_bytes >> 20, (unsigned long long)host >> 20);
	return 0;
}

static int set_default(char **p, const char *value)
{
	if (!*p)
		*p = strdup(value);
	return *p ? 0 : -ENOMEM;
}

int vm_config_check(struct vm_config *c, struct errbuf *err)
{
	const char *base;
	int ret = check_memory(c, err);

	if (ret)
		return ret;
	if (!c->kernel)
		return err_set(err, -EINVAL,
			       "no kernel: give --kernel FILE, or the name of an image");
	if (c->check && c->cpus > 1)
		return err_set(err, -EINVAL, "--check: runs one vCPU; leave --cpus %u away",
			       c->cpus);
	if (c->count && c->engine && !strcmp(c->engine, "kvm"))
		return err_set(err, -ENOTSUP,
			       "--count: engine kvm cannot count instructions; use soft or interp");
	if (c->net_none && c->nnets)
		return err_set(err, -EINVAL, "--net none: given together with another --net");
	if (!c->net_given)
		c->nnets = 1; /* user, as zeroed */
	base = strrchr(c->kernel, '/');
	if (set_default(&c->name, base ? base + 1 : c->kernel) || set_default(&c->append, "") ||
	    set_default(&c->engine, "auto") || set_default(&c->cpu_model, "x86-64-v3") ||
	    set_default(&c->console, "stdio"))
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}
