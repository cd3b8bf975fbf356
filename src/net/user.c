/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user.c - built-in NAT: the guest's frames end in libslirp, which speaks for it
 * through ordinary sockets.
 *
 * Needs no privilege and no interface on the host.  The guest gets 10.0.2.15 (and,
 * where the host has a way to the IPv6 Internet, an address in fec0::/64) and sees
 * the host as 10.0.2.2.  libslirp takes and gives one frame at a time; those that
 * the NIC has no room for are queued within bounds and dropped beyond, as on a wire.
 *
 * Everything is built on the caller's thread and handed to the loop's thread by the
 * timer's first expiry.  System calls at run time: socket, connect, bind, listen,
 * accept, send, sendto, recv, recvfrom, sendmsg, recvmsg, setsockopt, getsockopt,
 * getsockname, getpeername, shutdown, ioctl (FIONREAD, FIONBIO), fcntl, close, stat
 * and open of /etc/resolv.conf, and those of user_poll.c.  Writes to sockets raise
 * SIGPIPE: the process ignores it.
 */
#include "net/user.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"

/* --- to the guest -------------------------------------------------------------- */

static bool give(struct net_user *u, const void *data, size_t len)
{
	struct net_client *c = __atomic_load_n(&u->n.client, __ATOMIC_ACQUIRE);
	struct iovec iov = {(void *)data, len};
	struct net_hdr hdr = {0};

	if (!c)
		return true;
	return c->receive(c, 0, &hdr, &iov, 1, len);
}

static void enqueue(struct net_user *u, const void *data, size_t len)
{
	struct user_frame *f = &u->queue[(u->head + u->count) % USER_QUEUE_FRAMES];

	if (u->count == USER_QUEUE_FRAMES || u->queued_bytes + len > USER_QUEUE_BYTES ||
	    !(f->data = malloc(len))) {
		u->dropped++;
		return;
	}
	memcpy(f->data, data, len);
	f->len = len;
	u->queued_bytes += len;
	u->count++;
}

static void dequeue(struct net_user *u)
{
	struct user_frame *f = &u->queue[u->head];

	free(f->data);
	u->queued_bytes -= f->len;
	u->head = (u->head + 1) % USER_QUEUE_FRAMES;
	u->count--;
}

static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
	struct net_user *u = opaque;

	if (!len || len > NET_MAX_FRAME)
		u->dropped++;
	else if (u->paused || u->count || !give(u, buf, len))
		enqueue(u, buf, len); /* behind those that wait already */
	return (ssize_t)len;
}

static void user_rx_ready(struct net *n, unsigned queue)
{
	struct net_user *u = container_of(n, struct net_user, n);

	while (!u->paused && u->count) {
		if (!give(u, u->queue[u->head].data, u->queue[u->head].len))
			return;
		dequeue(u);
	}
}

/* --- from the guest ------------------------------------------------------------- */

static bool user_send(struct net *n, unsigned queue, const struct net_hdr *hdr,
		      const struct iovec *iov, unsigned niov, size_t len)
{
	struct net_user *u = container_of(n, struct net_user, n);
	size_t at = 0;

	for (unsigned i = 0; i < niov; i++) {
		if (iov[i].iov_len > sizeof(u->frame) - at) {
			u->dropped++;
			return true; /* no frame is that long */
		}
		if (iov[i].iov_len)
			memcpy(u->frame + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	user_poll_tick(u);
	slirp_input(u->slirp, u->frame, (int)at);
	user_poll_kick(u);
	return true;
}

/* --- what libslirp calls ---------------------------------------------------------- */

static void guest_error(const char *msg, void *opaque)
{
	struct net_user *u = opaque;

	if (u->guest_errors++ < USER_GUEST_ERRORS_LOGGED)
		log_debug(LOG_GUEST, "user network: %s", msg);
}

static int64_t clock_get_ns(void *opaque)
{
	struct net_user *u = opaque;

	return (int64_t)vclock_ns(&u->clock);
}

/* A socket is added when slirp_pollfds_fill() first names it. */
static void register_fd(int fd, void *opaque)
{
}

static void notify(void *opaque)
{
	user_poll_kick(opaque);
}

static const SlirpCb callbacks = {
	.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = clock_get_ns,
	.timer_new_opaque = user_timer_new,
	.timer_free = user_timer_free,
	.timer_mod = user_timer_mod,
	.register_poll_fd = register_fd,
	.unregister_poll_fd = user_unregister_fd,
	.notify = notify,
};

/* --- life --------------------------------------------------------------------------- */

/* Is there a route?  Connecting a UDP socket asks without sending anything. */
static bool host_has_ipv6(void)
{
	struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons(53)};
	AUTO_FD int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	to.sin6_addr.s6_addr[0] = 0x20;
	to.sin6_addr.s6_addr[15] = 1;
	return fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0;
}

static SlirpConfig make_config(void)
{
	SlirpConfig c = {
		.version = SLIRP_CONFIG_VERSION_MAX,
		.in_enabled = true,
		.vnetwork.s_addr = htonl(0x0a000200), /* 10.0.2.0/24 */
		.vnetmask.s_addr = htonl(0xffffff00),
		.vhost.s_addr = htonl(0x0a000202),	 /* 10.0.2.2 */
		.vnameserver.s_addr = htonl(0x0a000203), /* 10.0.2.3 */
		.vdhcp_start.s_addr = htonl(0x0a00020f), /* 10.0.2.15 */
		.in6_enabled = host_has_ipv6(),
		.vprefix_len = 64,
	};

	inet_pton(AF_INET6, "fec0::", &c.vprefix_addr6);
	inet_pton(AF_INET6, "fec0::2", &c.vhost6);
	inet_pton(AF_INET6, "fec0::3", &c.vnameserver6);
	return c;
}

static void user_free(struct net *n)
{
	struct net_user *u = container_of(n, struct net_user, n);

	if (u->slirp)
		slirp_cleanup(u->slirp);
	user_poll_fini(u);
	while (u->count)
		dequeue(u);
	free(u);
}

static void user_pause(struct net *n)
{
	struct net_user *u = container_of(n, struct net_user, n);

	if (u->paused)
		return;
	u->paused = true;
	vclock_stop(&u->clock);
	user_poll_pause(u);
}

static void user_resume(struct net *n)
{
	struct net_user *u = container_of(n, struct net_user, n);

	if (!u->paused)
		return;
	u->paused = false;
	vclock_start(&u->clock);
	user_poll_resume(u);
	user_rx_ready(n, 0);
}

static const struct net_ops user_ops = {
	.name = "user",
	.send = user_send,
	.rx_ready = user_rx_ready,
	.pause = user_pause,
	.resume = user_resume,
	.free = user_free,
};

static int build(struct net_user *u, const char *const *forwards, unsigned nforwards,
		 struct errbuf *err)
{
	SlirpConfig cfg = make_config();
	int ret = user_poll_init(u);

	if (ret)
		return err_set(err, ret, "user network: %s", strerror(-ret));
	u->slirp = slirp_new(&cfg, &callbacks, u);
	if (!u->slirp)
		return err_set(err, -ENOMEM, "user network: libslirp does not start");
	for (unsigned i = 0; !ret && i < nforwards; i++)
		ret = user_forward_add(u->slirp, forwards[i], err);
	return ret;
}

int net_user_new(struct loop *loop, const char *const *forwards, unsigned nforwards,
		 struct net **out, struct errbuf *err)
{
	AUTO(net) struct net *guard = NULL;
	struct net_user *u = calloc(1, sizeof(*u));
	int ret;

	if (!u)
		return err_set(err, -ENOMEM, "user network: out of memory");
	u->n = (struct net){.ops = &user_ops, .loop = loop, .nqueues = 1, .mtu = 1500};
	u->set.fd = u->timer.fd = -1;
	list_init(&u->timers);
	vclock_start(&u->clock);
	u->paused = true; /* libslirp starts timers while it is being built */
	guard = &u->n;
	ret = build(u, forwards, nforwards, err);
	if (ret)
		return ret;
	*out = MOVE(guard);
	user_poll_start(u);
	return 0;
}
