/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control_fuzz.c - any bytes from a client: answered or dropped, in bounded memory.
 *
 * Linked with the control socket and its commands, but with the machine below, which
 * only remembers whether it runs.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "vmm/control.h"

struct machine {
	struct machine_config cfg;
	enum machine_status status;
};

void machine_pause(struct machine *m)
{
	m->status = MACHINE_PAUSED;
}

void machine_resume(struct machine *m)
{
	m->status = MACHINE_RUNNING;
}

int machine_reset(struct machine *m, struct errbuf *err)
{
	return 0;
}

void machine_powerdown(struct machine *m)
{
}

enum machine_status machine_status(const struct machine *m)
{
	return m->status;
}

const struct machine_config *machine_config(const struct machine *m)
{
	return &m->cfg;
}

int machine_vcpu_tid(const struct machine *m, unsigned index)
{
	return 1;
}

void machine_vcpu_stats(struct machine *m, unsigned index, struct machine_vcpu_stats *out)
{
	*out = (struct machine_vcpu_stats){.state = VCPU_HALTED, .cpu_ns = UINT64_MAX};
}

bool machine_vm_stats(const struct machine *m, struct engine_vm_stats *out)
{
	*out = (struct engine_vm_stats){.cache_used = UINT64_MAX};
	return m->status == MACHINE_RUNNING;
}

uint64_t machine_ram_resident(const struct machine *m)
{
	return 1 << 20;
}

static void quit(void *ctx)
{
}

/* Feed @data in pieces as large as the socket takes, serving in between. */
static void feed(struct loop *loop, int fd, const uint8_t *data, size_t len)
{
	char sink[4096];

	while (len) {
		ssize_t n = send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
		loop_run_once(loop, 0);
		while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
			continue;
		if (n < 0)
			return;
	}
	loop_run_once(loop, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char hello[] = "{\"execute\":\"qmp_capabilities\"}\n";
	static const struct engine_ops engine = {.name = "fuzz"};
	struct machine m = {.cfg = {.name = "fuzz", .engine = &engine, .ncpus = 2},
			    .status = MACHINE_RUNNING};
	char path[64];
	struct control *c;
	struct loop *loop;
	int fds[2];

	snprintf(path, sizeof(path), "/tmp/caisson-fuzz-%d", (int)getpid());
	if (loop_new(&loop) < 0)
		return 0;
	if (control_new(loop, path, &c, NULL) == 0 &&
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0) {
		control_attach(c, &m, quit, NULL);
		control_add_client(c, fds[0]);
		feed(loop, fds[1], (const uint8_t *)hello, sizeof(hello) - 1);
		feed(loop, fds[1], data, len);
		control_event(c, "STOP", NULL);
		close(fds[1]);
		loop_run_once(loop, 0);
		control_free(c);
	}
	loop_free(loop);
	return 0;
}
