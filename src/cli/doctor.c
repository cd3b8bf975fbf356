/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor.c - "caisson doctor": what this host offers, and what to do about what it
 * does not.  Each check tries the real thing rather than reading a version.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>

#include "cli/cli.h"

enum verdict { OK, LESS, MISSING };

struct finding {
	enum verdict verdict;
	char what[200], remedy[200];
};

/* A line of @file starting with @key, after the colon or equals sign. */
static bool read_field(const char *file, const char *key, char *buf, size_t len)
{
	FILE *f = fopen(file, "re");
	char line[4096];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		char *p = strpbrk(line, ":=");

		if (!p || strncmp(line, key, strlen(key)) != 0)
			continue;
		p += 1 + strspn(p + 1, " \t");
		p[strcspn(p, "\n")] = 0;
		snprintf(buf, len, "%s", p);
		found = true;
	}
	if (f)
		fclose(f);
	return found;
}

static bool cpu_flag(const char *flag)
{
	char flags[4096];
	size_t n = strlen(flag);

	if (!read_field("/proc/cpuinfo", "flags", flags, sizeof(flags)))
		return false;
	for (char *p = flags; (p = strstr(p, flag)); p += n)
		if ((p == flags || p[-1] == ' ') && (!p[n] || p[n] == ' '))
			return true;
	return false;
}

static bool hardware_virt(void)
{
	return cpu_flag("vmx") || cpu_flag("svm");
}

static bool kvm_opens(void)
{
	AUTO_FD int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	return fd >= 0 && ioctl(fd, KVM_GET_API_VERSION, 0) == KVM_API_VERSION;
}

static struct finding check_engine(void)
{
	if (hardware_virt() && kvm_opens())
		return (struct finding){OK, "engine auto runs kvm", ""};
	return (struct finding){LESS, "engine auto runs soft: guests run without hardware support",
				""};
}

static struct finding check_kvm(void)
{
	struct finding f = {OK, "/dev/kvm opens and the CPU has vmx or svm", ""};

	if (!hardware_virt()) {
		f.verdict = LESS;
		snprintf(f.what, sizeof(f.what), "the CPU shows neither vmx nor svm");
		snprintf(f.remedy, sizeof(f.remedy),
			 "turn virtualization on in the firmware, or nested virtualization on in "
			 "the cloud");
	} else if (!kvm_opens()) {
		f.verdict = MISSING;
		snprintf(f.what, sizeof(f.what), "/dev/kvm: %s", strerror(errno));
		snprintf(f.remedy, sizeof(f.remedy),
			 errno == EACCES ? "join the group: usermod -aG kvm $USER, then log in anew"
					 : "modprobe kvm_intel or kvm_amd");
	}
	return f;
}

static struct finding check_memory(void)
{
	struct finding f = {OK, "", ""};
	struct sysinfo si;

	if (sysinfo(&si) == 0)
		snprintf(f.what, sizeof(f.what), "%llu MiB, %llu MiB free, %ld CPUs",
			 (unsigned long long)si.totalram * si.mem_unit >> 20,
			 (unsigned long long)si.freeram * si.mem_unit >> 20,
			 sysconf(_SC_NPROCESSORS_ONLN));
	return f;
}

static struct finding check_huge_pages(void)
{
	struct finding f = {OK, "", ""};
	char total[64] = "0", thp[64] = "?";
	FILE *t = fopen("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "re");

	read_field("/proc/meminfo", "HugePages_Total", total, sizeof(total));
	if (t && fgets(thp, sizeof(thp), t))
		thp[strcspn(thp, "\n")] = 0;
	if (t)
		fclose(t);
	snprintf(f.what, sizeof(f.what), "%s reserved; transparent for shared memory: %s", total,
		 thp);
	return f;
}

static struct finding check_uring(void)
{
	struct io_uring_params p = {0};
	int fd = (int)syscall(SYS_io_uring_setup, 4, &p);
	struct finding f = {OK, "io_uring serves disks", ""};

	if (fd >= 0) {
		close(fd);
		return f;
	}
	f.verdict = LESS;
	snprintf(f.what, sizeof(f.what), "io_uring: %s; a thread pool serves disks",
		 strerror(errno));
	snprintf(f.remedy, sizeof(f.remedy),
		 "sysctl kernel.io_uring_disabled=0, kernel 5.6 or newer");
	return f;
}

static struct finding check_tap(void)
{
	AUTO_FD int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	struct finding f = {OK, "/dev/net/tun opens: --net tap=NAME works", ""};

	if (fd >= 0)
		return f;
	f.verdict = LESS;
	snprintf(f.what, sizeof(f.what), "/dev/net/tun: %s; --net user works without",
		 strerror(errno));
	snprintf(f.remedy, sizeof(f.remedy), "modprobe tun");
	return f;
}

static struct finding check_image_tools(void)
{
	struct finding f = {OK, "mmdebstrap and mke2fs are there: images can be built", ""};

	if (access("/usr/bin/mmdebstrap", X_OK) < 0 || access("/sbin/mke2fs", X_OK) < 0) {
		f.verdict = LESS;
		snprintf(f.what, sizeof(f.what), "mmdebstrap or mke2fs is missing: no images");
		snprintf(f.remedy, sizeof(f.remedy), "apt-get install mmdebstrap e2fsprogs");
	}
	return f;
}

static const struct check {
	const char *name;
	struct finding (*run)(void);
} checks[] = {
	{"engine", check_engine},	  {"kvm", check_kvm},	     {"memory", check_memory},
	{"huge-pages", check_huge_pages}, {"io_uring", check_uring}, {"tap", check_tap},
	{"images", check_image_tools},
};

static void print_finding(const char *name, const struct finding *f, bool json, bool first)
{
	static const char *const words[] = {"ok", "less", "missing"};

	if (json) {
		cli_print_json(json_pack("{ss ss ss ss}", "name", name, "verdict",
					 words[f->verdict], "what", f->what, "remedy", f->remedy),
			       first);
		return;
	}
	printf("%-8s %-11s %s\n", words[f->verdict], name, f->what);
	if (*f->remedy)
		printf("%-8s %-11s -> %s\n", "", "", f->remedy);
}

int cli_doctor(int argc, char **argv)
{
	bool json = argc == 2 && !strcmp(argv[1], "--json");
	int status = CLI_OK;

	if (argc > 1 && !json) {
		bool help = !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h");

		fprintf(help ? stdout : stderr, "usage: caisson doctor [--json]\n");
		return help ? CLI_OK : CLI_USAGE;
	}
	if (json)
		printf("[");
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		struct finding f = checks[i].run();

		print_finding(checks[i].name, &f, json, i == 0);
		if (f.verdict == MISSING)
			status = CLI_FAILED;
	}
	if (json)
		printf("]\n");
	return status;
}
