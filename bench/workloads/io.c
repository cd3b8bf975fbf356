// SPDX-License-Identifier: Apache-2.0
/*
 * io.c - rows of the virtual devices: random reads of the disk, connections through the
 * user-mode network.
 *
 * $BENCH_DISK is the disk or file, $BENCH_TCP "address:port" of a "work --serve".  In the
 * guest reads are direct, so that each is a request to the device; on the host they come
 * from the page cache, as they do for the emulators.
 */
#include "work.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t work_disk_read(struct run *run)
{
	const char *path = getenv("BENCH_DISK");
	unsigned char *buf = must_alloc(4096);
	uint64_t seed = 11, sum = 0;
	struct stat st;
	off_t blocks;
	int fd;

	if (!path || stat(path, &st))
		fail("BENCH_DISK");
	fd = open(path, O_RDONLY | (S_ISBLK(st.st_mode) ? O_DIRECT : 0));
	if (fd < 0)
		fail(path);
	blocks = lseek(fd, 0, SEEK_END) / 4096;
	if (blocks < 1)
		fail("disk size");
	run_start(run);
	for (unsigned i = 0; i < run->n; i++) {
		off_t at = (off_t)(next_random(&seed) % (uint64_t)blocks) * 4096;

		if (pread(fd, buf, 4096, at) != 4096)
			fail("pread");
		sum = mix(sum, hash_bytes(buf, 4096));
	}
	run_stop(run);
	close(fd);
	return sum;
}

static uint64_t work_tcp_connect(struct run *run)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	const char *to = getenv("BENCH_TCP");
	char address[32], buf[64];
	unsigned port;
	uint64_t sum = 0;

	if (!to || sscanf(to, "%31[0-9.]:%u", address, &port) != 2)
		fail("BENCH_TCP");
	sa.sin_port = htons((uint16_t)port);
	inet_pton(AF_INET, address, &sa.sin_addr);
	for (unsigned i = 0; i < run->n; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0), len;
		ssize_t got;

		if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
			fail("connect");
		len = snprintf(buf, sizeof(buf), "GET /%u\n", i);
		if (write(fd, buf, (size_t)len) != len)
			fail("write");
		got = read(fd, buf, sizeof(buf));
		if (got <= 0)
			fail("read");
		sum = mix(sum, hash_bytes(buf, (size_t)got));
		close(fd);
	}
	return sum;
}

void serve_tcp(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char buf[64];

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* not to outlive a harness that was killed */
	if (s < 0 || bind(s, (struct sockaddr *)&sa, sizeof(sa)) || listen(s, 64) ||
	    getsockname(s, (struct sockaddr *)&sa, &len))
		fail("server");
	printf("PORT %u\n", ntohs(sa.sin_port));
	for (;;) {
		int fd = accept(s, NULL, NULL);
		ssize_t got;

		if (fd < 0)
			continue;
		got = read(fd, buf, sizeof(buf));
		if (got > 0 && write(fd, buf, (size_t)got) != got)
			fputs("short write to a client\n", stderr);
		close(fd);
	}
}

const struct workload io_workloads[] = {
	{"disk-read-4k", 6000, work_disk_read},
	{"tcp-connect", 500, work_tcp_connect},
	{0},
};
