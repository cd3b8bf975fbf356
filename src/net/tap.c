/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tap.c - an existing TAP interface, one descriptor a queue.
 *
 * The interface belongs to the administrator: it is never created here (TUNSETIFF
 * would), so its existence and kind are asked for first.  Every frame has the
 * 12-byte virtio header before it in both directions, so checksums and
 * segmentation are left to whoever can do them last.
 *
 * A frame the NIC has no room for stays in the queue's buffer and the descriptor is
 * not watched until rx_ready(); further frames wait, or are dropped, in the kernel.
 *
 * System calls at run time: readv, writev, epoll_ctl, ioctl (TUNSETOFFLOAD).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/log.h"
#include "net/net.h"

enum { TAP_MAX_IOV = 256, TAP_BURST = 64 };

struct tap_queue {
	struct loop_watch watch;
	struct tap *tap;
	unsigned index;
	bool tx_blocked; /* the NIC was told to wait for tx_ready() */
	size_t pending;	 /* bytes of frame the NIC had no room for; 0: none */
	struct net_hdr hdr;
	uint8_t frame[NET_MAX_FRAME];
};

struct tap { /* owner: the loop's thread, once built */
	struct net n;
	char name[IFNAMSIZ];
	bool paused;
	uint64_t dropped;
	unsigned nqueues;
	struct tap_queue *queue[NET_MAX_QUEUES];
};

/* --- to the guest -------------------------------------------------------------- */

static bool give(struct tap_queue *q, size_t len)
{
	struct net_client *c = __atomic_load_n(&q->tap->n.client, __ATOMIC_ACQUIRE);
	struct iovec iov = {q->frame, len};

	return !c || c->receive(c, q->index, &q->hdr, &iov, 1, len);
}

/* Watch for what can be served: frames while none is pending, room while one waits. */
static void watch_again(struct tap_queue *q)
{
	uint32_t events =
		(q->pending ? 0 : (uint32_t)EPOLLIN) | (q->tx_blocked ? (uint32_t)EPOLLOUT : 0);

	if (loop_mod(&q->watch, events) < 0)
		return; /* not in the loop: paused, and resume comes here */
}

static void read_frames(struct tap_queue *q)
{
	struct iovec iov[2] = {{&q->hdr, sizeof(q->hdr)}, {q->frame, sizeof(q->frame)}};

	for (unsigned i = 0; i < TAP_BURST && !q->pending; i++) {
		ssize_t n = readv(q->watch.fd, iov, 2);

		if (n <= (ssize_t)sizeof(q->hdr))
			return; /* EAGAIN: no more; else the interface is down */
		q->hdr.num_buffers = 0;
		if (!give(q, (size_t)n - sizeof(q->hdr)))
			q->pending = (size_t)n - sizeof(q->hdr);
	}
	if (q->pending)
		watch_again(q);
}

static void tap_rx_ready(struct net *n, unsigned queue)
{
	struct tap *t = container_of(n, struct tap, n);
	struct tap_queue *q = queue < t->nqueues ? t->queue[queue] : NULL;

	if (!q || t->paused || !q->pending || !give(q, q->pending))
		return;
	q->pending = 0;
	watch_again(q);
}

static void on_tap(struct loop_watch *w, uint32_t events)
{
	struct tap_queue *q = container_of(w, struct tap_queue, watch);
	struct net_client *c = __atomic_load_n(&q->tap->n.client, __ATOMIC_ACQUIRE);

	if (events & EPOLLOUT && q->tx_blocked) {
		q->tx_blocked = false;
		watch_again(q);
		if (c)
			c->tx_ready(c);
	}
	if (events & EPOLLIN)
		read_frames(q);
	else if (events & (EPOLLERR | EPOLLHUP))
		loop_del(w); /* the interface was deleted: nothing will come any more */
}

/* --- from the guest -------------------------------------------------------------- */

static bool tap_send(struct net *n, unsigned queue, const struct net_hdr *hdr,
		     const struct iovec *iov, unsigned niov, size_t len)
{
	struct tap *t = container_of(n, struct tap, n);
	struct tap_queue *q = t->queue[queue % t->nqueues];
	struct iovec v[TAP_MAX_IOV + 1];

	if (niov > TAP_MAX_IOV) {
		t->dropped++;
		return true;
	}
	v[0] = (struct iovec){(void *)hdr, sizeof(*hdr)};
	memcpy(v + 1, iov, niov * sizeof(*iov));
	if (writev(q->watch.fd, v, (int)niov + 1) >= 0)
		return true;
	if (errno == EAGAIN && q->watch.loop) {
		q->tx_blocked = true;
		watch_again(q);
		return false;
	}
	/* malformed, or the interface is down: lost, as on a wire */
	t->dropped++;
	return true;
}

static int tap_set_offloads(struct net *n, unsigned offloads)
{
	struct tap *t = container_of(n, struct tap, n);
	unsigned long flags = 0;

	if (offloads & ~n->features)
		return -EINVAL;
	if (offloads & NET_CSUM) /* the others build on it */
		flags = TUN_F_CSUM | (offloads & NET_TSO4 ? TUN_F_TSO4 : 0) |
			(offloads & NET_TSO6 ? TUN_F_TSO6 : 0) |
			(offloads & NET_ECN ? TUN_F_TSO_ECN : 0) |
			(offloads & NET_UFO ? TUN_F_UFO : 0);
	return ioctl(t->queue[0]->watch.fd, TUNSETOFFLOAD, flags) < 0 ? -errno : 0;
}

/* --- opening ------------------------------------------------------------------------ */

static int ask(int sock, unsigned long cmd, const char *name, struct ifreq *ifr)
{
	snprintf(ifr->ifr_name, sizeof(ifr->ifr_name), "%s", name);
	return ioctl(sock, cmd, ifr) < 0 ? -errno : 0;
}

static int check_interface(struct tap *t, const char *name, struct errbuf *err)
{
	AUTO_FD int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_drvinfo drv = {.cmd = ETHTOOL_GDRVINFO};
	struct ifreq ifr = {0};

	if (sock < 0)
		return err_set(err, -errno, "tap '%s': %m", name);
	if (!*name || strlen(name) >= IFNAMSIZ)
		return err_set(err, -EINVAL, "tap '%s' is no interface's name: 1 to %d characters",
			       name, IFNAMSIZ - 1);
	if (ask(sock, SIOCGIFINDEX, name, &ifr) < 0)
		return err_set(err, -ENODEV,
			       "interface '%s' does not exist; 'ip tuntap add dev %s mode tap user "
			       "$USER' makes it",
			       name, name);
	ifr.ifr_data = (char *)&drv;
	if (ask(sock, SIOCETHTOOL, name, &ifr) < 0 || strcmp(drv.driver, "tun") != 0 ||
	    strcmp(drv.bus_info, "tap") != 0)
		return err_set(err, -EINVAL, "interface '%s' is not a TAP interface", name);
	if (ask(sock, SIOCGIFMTU, name, &ifr) == 0 && ifr.ifr_mtu > 0)
		t->n.mtu = (unsigned)ifr.ifr_mtu;
	memcpy(t->name, name, strlen(name) + 1);
	return 0;
}

static int say_refused(const struct tap *t, int code, struct errbuf *err)
{
	switch (code) {
	case -EBUSY:
		return err_set(err, code,
			       "tap '%s' is in use by another program; give each VM its own",
			       t->name);
	case -EPERM:
		return err_set(err, code,
			       "tap '%s' belongs to another user; 'ip tuntap add dev %s mode tap "
			       "user $USER' makes one that is yours",
			       t->name, t->name);
	case -EINVAL:
		return err_set(err, code,
			       "tap '%s' cannot have %u queues; 'ip tuntap add ... multi_queue' "
			       "makes one that can",
			       t->name, t->nqueues);
	case -E2BIG:
		return err_set(err, code, "tap '%s' has no %u queues left", t->name, t->nqueues);
	}
	return err_set(err, code, "tap '%s': %s", t->name, strerror(-code));
}

static int attach(const struct tap *t, int fd, short flags)
{
	struct ifreq ifr = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | flags)};

	return ask(fd, TUNSETIFF, t->name, &ifr);
}

static int attach_queue(const struct tap *t, int fd)
{
	int ret;

	if (t->nqueues > 1)
		return attach(t, fd, IFF_MULTI_QUEUE);
	ret = attach(t, fd, 0);
	/* made with multi_queue, of which one will do */
	return ret == -EINVAL ? attach(t, fd, IFF_MULTI_QUEUE) : ret;
}

static int open_queue(struct tap *t, struct errbuf *err)
{
	AUTO_FD int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	int hdr_len = sizeof(struct net_hdr), ret;
	struct tap_queue *q;

	if (fd < 0)
		return err_set(err, -errno,
			       "tap '%s': /dev/net/tun: %m; is the module 'tun' loaded?", t->name);
	ret = attach_queue(t, fd);
	if (ret)
		return say_refused(t, ret, err);
	if (ioctl(fd, TUNSETVNETHDRSZ, &hdr_len) < 0 || ioctl(fd, TUNSETOFFLOAD, 0UL) < 0)
		return err_set(err, -errno, "tap '%s': virtio headers: %m", t->name);
	q = calloc(1, sizeof(*q));
	if (!q)
		return err_set(err, -ENOMEM, "tap '%s': out of memory", t->name);
	q->tap = t;
	q->watch = (struct loop_watch){.fd = MOVE_FD(fd), .fn = on_tap};
	q->index = t->n.nqueues;
	t->queue[t->n.nqueues++] = q;
	return 0;
}

/* Old kernels know no UDP segmentation on TAPs, new ones do again. */
static unsigned probe_features(const struct tap *t)
{
	unsigned features = NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN;
	int fd = t->queue[0]->watch.fd;

	if (ioctl(fd, TUNSETOFFLOAD, (unsigned long)(TUN_F_CSUM | TUN_F_UFO)) == 0)
		features |= NET_UFO;
	if (ioctl(fd, TUNSETOFFLOAD, 0UL) < 0)
		features = 0;
	return features;
}

/* --- life ----------------------------------------------------------------------------- */

static void tap_free(struct net *n)
{
	struct tap *t = container_of(n, struct tap, n);

	for (unsigned i = 0; i < n->nqueues; i++) {
		loop_del(&t->queue[i]->watch);
		close(t->queue[i]->watch.fd);
		free(t->queue[i]);
	}
	free(t);
}

static void tap_pause(struct net *n)
{
	struct tap *t = container_of(n, struct tap, n);

	t->paused = true;
	for (unsigned i = 0; i < n->nqueues; i++)
		loop_del(&t->queue[i]->watch);
}

static void tap_resume(struct net *n)
{
	struct tap *t = container_of(n, struct tap, n);

	if (!t->paused)
		return;
	t->paused = false;
	for (unsigned i = 0; i < n->nqueues; i++) {
		struct tap_queue *q = t->queue[i];

		if (loop_add(n->loop, &q->watch, 0) < 0)
			log_error("tap '%s': queue %u is lost", t->name, i);
		watch_again(q);
		tap_rx_ready(n, i);
	}
}

static const struct net_ops tap_ops = {
	.name = "tap",
	.send = tap_send,
	.rx_ready = tap_rx_ready,
	.set_offloads = tap_set_offloads,
	.pause = tap_pause,
	.resume = tap_resume,
	.free = tap_free,
};

int net_tap_new(struct loop *loop, const char *name, unsigned queues, struct net **out,
		struct errbuf *err)
{
	AUTO(net) struct net *guard = NULL;
	struct tap *t = calloc(1, sizeof(*t));
	int ret;

	if (!t)
		return err_set(err, -ENOMEM, "tap '%s': out of memory", name);
	t->n = (struct net){.ops = &tap_ops, .loop = loop, .mtu = 1500};
	t->nqueues = MAX(MIN(queues, (unsigned)NET_MAX_QUEUES), 1u);
	guard = &t->n;
	ret = check_interface(t, name, err);
	while (!ret && t->n.nqueues < t->nqueues)
		ret = open_queue(t, err);
	if (ret)
		return ret;
	t->n.features = probe_features(t);
	for (unsigned i = 0; !ret && i < t->nqueues; i++)
		ret = loop_add(loop, &t->queue[i]->watch, EPOLLIN);
	if (ret)
		return err_set(err, ret, "tap '%s': %s", name, strerror(-ret));
	*out = MOVE(guard);
	return 0;
}
