// SPDX-License-Identifier: Apache-2.0
/*
 * init.c - the guest's /init: loads modules, brings the network up, runs /jobs, powers off.
 *
 * /jobs holds lines "module PATH", "net", "scale N", "env KEY=VALUE", "run NAME".  The host
 * stamps "START name" and "END name status seconds" as they arrive and compares the interval
 * with the guest's.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void load_module(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
		printf("ERROR module %s: %m\n", path);
	if (fd >= 0)
		close(fd);
}

static void set_address(int s, struct ifreq *ifr, unsigned long request, const char *address)
{
	struct sockaddr_in *sin = (struct sockaddr_in *)&ifr->ifr_addr;

	sin->sin_family = AF_INET;
	inet_pton(AF_INET, address, &sin->sin_addr);
	if (ioctl(s, request, ifr))
		printf("ERROR network %s: %m\n", address);
}

/* The addresses are those of libslirp's user-mode network. */
static void start_net(void)
{
	struct ifreq ifr = {.ifr_name = "eth0"};
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	set_address(s, &ifr, SIOCSIFADDR, "10.0.2.15");
	set_address(s, &ifr, SIOCSIFNETMASK, "255.255.255.0");
	ifr.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(s, SIOCSIFFLAGS, &ifr))
		printf("ERROR network: %m\n");
	close(s);
}

static void run(const char *name, const char *scale)
{
	double start;
	int status = -1;
	pid_t pid;

	printf("START %s\n", name);
	start = now();
	pid = fork();
	if (!pid) {
		execl("/bench/work", "work", name, scale, NULL);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	printf("END %s %d %.6f\n", name, status, now() - start);
}

static void open_console(void)
{
	int fd;

	mount("dev", "/dev", "devtmpfs", 0, NULL);
	fd = open("/dev/ttyS0", O_RDWR);
	for (int i = 0; fd >= 0 && i < 3; i++)
		dup2(fd, i);
	setvbuf(stdout, NULL, _IOLBF, 0);
}

int main(void)
{
	char line[256], scale[32] = "1";
	FILE *jobs;

	open_console();
	printf("INIT\n");
	mount("proc", "/proc", "proc", 0, NULL);
	mount("tmp", "/tmp", "tmpfs", 0, NULL);
	setenv("BENCH_DIR", "/bench", 1);
	jobs = fopen("/jobs", "re");
	while (jobs && fgets(line, sizeof(line), jobs)) {
		char *arg = strchr(line, ' ');

		line[strcspn(line, "\n")] = 0;
		if (arg)
			*arg++ = 0;
		if (!strcmp(line, "net"))
			start_net();
		else if (arg && !strcmp(line, "module"))
			load_module(arg);
		else if (arg && !strcmp(line, "scale"))
			snprintf(scale, sizeof(scale), "%s", arg);
		else if (arg && !strcmp(line, "env"))
			putenv(strdup(arg));
		else if (arg && !strcmp(line, "run"))
			run(arg, scale);
	}
	printf("DONE\n");
	tcdrain(1);
	reboot(RB_POWER_OFF);
	return 0;
}
