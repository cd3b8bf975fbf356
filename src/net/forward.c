/* SPDX-License-Identifier: Apache-2.0 */
/* forward.c - ports of the host that lead into the guest. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "net/user.h"

struct forward {
	bool udp;
	char addr_text[INET_ADDRSTRLEN];
	struct in_addr addr;
	int host_port, guest_port;
};

static int bad_forward(const char *spec, const char *what, struct errbuf *err)
{
	return err_set(err, -EINVAL,
		       "forward '%s': %s; wanted [tcp:|udp:][HOSTADDR:]HOSTPORT:GUESTPORT, for "
		       "example tcp:2222:22",
		       spec, what);
}

/* Digits only, 1 to 65535; -1 otherwise. */
static int parse_port(const char *s, size_t len)
{
	int port = 0;

	if (!len || len > 5)
		return -1;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return -1;
		port = port * 10 + (s[i] - '0');
	}
	return port >= 1 && port <= 65535 ? port : -1;
}

static int parse_ports(const char *spec, const char *ports, struct forward *f, struct errbuf *err)
{
	const char *colon = strchr(ports, ':');

	if (!colon)
		return bad_forward(spec, "it names one port only", err);
	f->host_port = parse_port(ports, (size_t)(colon - ports));
	f->guest_port = parse_port(colon + 1, strlen(colon + 1));
	if (f->host_port < 0 || f->guest_port < 0)
		return bad_forward(spec, "a port is a number from 1 to 65535", err);
	return 0;
}

static int parse_forward(const char *spec, struct forward *f, struct errbuf *err)
{
	const char *p = spec, *first, *last;

	*f = (struct forward){.addr_text = "127.0.0.1"};
	if (!strncmp(p, "udp:", 4))
		f->udp = true;
	if (f->udp || !strncmp(p, "tcp:", 4))
		p += 4;
	first = strchr(p, ':');
	last = strrchr(p, ':');
	if (first && first != last) {
		size_t len = (size_t)(first - p);

		if (len >= sizeof(f->addr_text))
			return bad_forward(spec, "its host address is no IPv4 address", err);
		memcpy(f->addr_text, p, len);
		f->addr_text[len] = '\0';
		p = first + 1;
	}
	if (inet_pton(AF_INET, f->addr_text, &f->addr) != 1)
		return bad_forward(spec, "its host address is no IPv4 address", err);
	return parse_ports(spec, p, f, err);
}

static int say_failed(const char *spec, const struct forward *f, int code, struct errbuf *err)
{
	const char *proto = f->udp ? "UDP" : "TCP";

	switch (code) {
	case -EADDRINUSE:
		return err_set(
			err, code,
			"forward '%s': %s port %d of %s is in use by another program; choose "
			"another port or stop that program",
			spec, proto, f->host_port, f->addr_text);
	case -EADDRNOTAVAIL:
		return err_set(err, code, "forward '%s': this host has no address %s", spec,
			       f->addr_text);
	case -EACCES:
		return err_set(err, code,
			       "forward '%s': %s port %d needs privilege; choose one from 1024 up",
			       spec, proto, f->host_port);
	default: return err_set(err, code, "forward '%s': %s", spec, strerror(-code));
	}
}

int user_forward_add(Slirp *slirp, const char *spec, struct errbuf *err)
{
	struct in_addr guest = {0}; /* the address DHCP gives out first */
	struct forward f;
	int ret = parse_forward(spec, &f, err);

	if (ret)
		return ret;
	errno = 0;
	if (slirp_add_hostfwd(slirp, f.udp, f.addr, f.host_port, guest, f.guest_port) < 0)
		return say_failed(spec, &f, errno ? -errno : -EIO, err);
	return 0;
}
