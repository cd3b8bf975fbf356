/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.c - virtio network card (virtio 1.2, 5.1): frames between rings and back end.
 *
 * Queues 2n receive, 2n + 1 transmit, and the control queue (net_ctrl.c) follows the
 * last pair the driver negotiated.  Everything runs on the loop of the back end.
 *
 * A received frame is copied into the ring's buffers at once.  When they do not
 * suffice they are given back and the back end keeps the frame until the driver
 * kicks.  A sent frame is handed over as pieces of guest memory; when the back end is
 * full the chain stays in the ring until tx_ready().  Offload headers from the guest
 * are checked, because a back end may believe them.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "dev/virtio/net.h"

enum { QUEUE_SIZE = 256, BATCH = 256, HDR = sizeof(struct net_hdr), ETH_HDR = 14 };
enum {
	HDR_NEEDS_CSUM = 1,
	GSO_NONE = 0,
	GSO_TCPV4 = 1,
	GSO_UDP = 3,
	GSO_TCPV6 = 4,
	GSO_ECN = 0x80
};
enum { LINK_UP = 1 };

static struct nic *to_nic(struct virtio_dev *vd)
{
	return container_of(vd, struct nic, vd);
}

/* --- transmit ---------------------------------------------------------------------- */

static bool gso_ok(const struct nic *n, const struct net_hdr *h)
{
	if (h->gso_type & GSO_ECN && !nic_has(n, F_HOST_ECN))
		return false;
	switch (h->gso_type & ~GSO_ECN) {
	case GSO_NONE: return h->gso_type == GSO_NONE;
	case GSO_TCPV4: return h->gso_size && nic_has(n, F_HOST_TSO4);
	case GSO_TCPV6: return h->gso_size && nic_has(n, F_HOST_TSO6);
	case GSO_UDP: return h->gso_size && nic_has(n, F_HOST_UFO);
	default: return false;
	}
}

/* May @h go to the back end with a frame of @len bytes?  Makes it canonical. */
static bool check_header(const struct nic *n, struct net_hdr *h, size_t len)
{
	if (!gso_ok(n, h))
		return false;
	if (h->gso_type == GSO_NONE)
		h->hdr_len = h->gso_size = 0; /* drivers need not set what has no meaning */
	if (h->hdr_len > len)
		return false;
	h->flags &= HDR_NEEDS_CSUM;
	h->num_buffers = 0;
	if (!h->flags) {
		h->csum_start = h->csum_offset = 0;
		return h->gso_type == GSO_NONE; /* segments need checksums of their own */
	}
	return nic_has(n, F_CSUM) && (size_t)h->csum_start + h->csum_offset + 2 <= len;
}

static unsigned skip_header(const struct virtq_elem *e, struct iovec *out)
{
	size_t off = HDR;
	unsigned k = 0;

	for (unsigned i = 0; i < e->nout; i++) {
		size_t len = e->out[i].iov_len, skip = MIN(off, len);

		off -= skip;
		if (skip < len)
			out[k++] = (struct iovec){(uint8_t *)e->out[i].iov_base + skip, len - skip};
	}
	return k;
}

/* False: the back end is full.  Frames that are none are dropped. */
static bool send_frame(struct nic *n, unsigned pair, const struct virtq_elem *e)
{
	size_t len = e->out_len - (size_t)HDR;
	struct iovec iov[VIRTQ_MAX_SEGS];
	struct net_hdr h;

	if (e->out_len < HDR + ETH_HDR || len > NET_MAX_FRAME)
		return true;
	virtq_out_copy(e, 0, &h, HDR);
	if (!check_header(n, &h, len))
		return true;
	return n->net->ops->send(n->net, pair, &h, iov, skip_header(e, iov), len);
}

static void transmit(struct nic *n, struct virtq *q)
{
	unsigned sent = 0;

	while (sent < BATCH && virtq_pop(q, &n->e) > 0) {
		if (!send_frame(n, q->index / 2, &n->e)) {
			virtq_unpop(q);
			n->tx_blocked |= 1u << q->index;
			break;
		}
		virtq_push(q, &n->e, 0);
		sent++;
	}
	if (sent)
		virtq_notify(q);
	if (sent == BATCH)
		virtio_kick(&n->vd, q->index);
}

static void tx_ready(struct net_client *c)
{
	struct nic *n = container_of(c, struct nic, client);
	uint32_t queues = n->tx_blocked;

	n->tx_blocked = 0;
	for (; queues; queues &= queues - 1)
		virtio_kick(&n->vd, (unsigned)__builtin_ctz(queues));
}

/* --- receive ------------------------------------------------------------------------ */

struct frame {
	const struct iovec *iov;
	unsigned niov, at; /* the piece to go on with */
	size_t off;	   /* in it */
};

/* Fill @e from byte @to on with the frame's next bytes; returns how many. */
static size_t fill(struct frame *f, struct virtq_elem *e, size_t to)
{
	size_t done = 0;

	while (f->at < f->niov) {
		size_t left = f->iov[f->at].iov_len - f->off;
		size_t n = virtq_in_copy(e, to + done,
					 (const uint8_t *)f->iov[f->at].iov_base + f->off, left);

		done += n;
		f->off += n;
		if (n < left)
			break;
		f->at++;
		f->off = 0;
	}
	return done;
}

static bool give_back(struct virtq *q, unsigned n)
{
	while (n--)
		virtq_unpop(q);
	return false;
}

enum taken { TAKEN, NO_ROOM, TOO_BIG };

/*
 * Copy the frame into as many buffers as it needs.  The first stays in n->first until
 * the header, which says how many there are, can be written.
 */
static enum taken deliver(struct nic *n, struct virtq *q, struct net_hdr *h, struct frame *f,
			  size_t len)
{
	unsigned max = nic_has(n, F_MRG_RXBUF) ? MIN(NIC_MAX_MERGED, q->size) : 1, k = 0;
	size_t done = 0;

	while (!k || done < len) {
		struct virtq_elem *e = k ? &n->e : &n->first;
		size_t start = k ? 0 : HDR, part;

		if (k == max || virtq_pop(q, e) <= 0) {
			give_back(q, k);
			return k == max ? TOO_BIG : NO_ROOM;
		}
		if (!k && e->in_len < HDR) {
			give_back(q, 1);
			return TOO_BIG;
		}
		part = fill(f, e, start);
		done += part;
		virtq_mark(q, e, (uint32_t)(start + part));
		virtq_fill(q, k++, e->head, (uint32_t)(start + part));
	}
	h->num_buffers = (uint16_t)k;
	virtq_in_copy(&n->first, 0, h, HDR);
	virtq_publish(q, k);
	virtq_notify(q);
	return TAKEN;
}

static bool receive(struct net_client *c, unsigned queue, const struct net_hdr *hdr,
		    const struct iovec *iov, unsigned niov, size_t len)
{
	struct nic *n = container_of(c, struct nic, client);
	struct virtq *q = &n->vd.vq[2 * (queue % n->pairs)];
	struct frame f = {.iov = iov, .niov = niov};
	struct net_hdr h = *hdr;
	uint8_t dst[6];

	/* no driver, no wire: such frames are lost */
	if (!__atomic_load_n(&n->vd.running, __ATOMIC_RELAXED) || !q->enabled)
		return true;
	if (iov[0].iov_len >= sizeof(dst)) {
		memcpy(dst, iov[0].iov_base, sizeof(dst));
		if (!nic_accepts(n, dst))
			return true;
	}
	return deliver(n, q, &h, &f, len) != NO_ROOM;
}

/* @pair has buffers again, for whichever of the back end's queues are led there. */
static void rx_ready(struct nic *n, unsigned pair)
{
	for (unsigned i = pair; n->net->ops->rx_ready && i < n->net->nqueues; i += n->pairs)
		n->net->ops->rx_ready(n->net, i);
}

/* --- what the transport calls --------------------------------------------------------- */

static void nic_queue_ready(struct virtio_dev *vd, struct virtq *q)
{
	struct nic *n = to_nic(vd);

	if (q->index == nic_ctrl_index(n))
		nic_ctrl(n, q);
	else if (q->index & 1)
		transmit(n, q);
	else
		rx_ready(n, q->index / 2);
}

static void nic_start(struct virtio_dev *vd)
{
	struct nic *n = to_nic(vd);

	n->tx_blocked = 0;
	nic_apply_offloads(n);
	if (n->held && n->net->ops->resume)
		n->net->ops->resume(n->net);
	n->held = false;
}

/* Frames wait in the back end until the driver, or the machine, is there again. */
static void nic_stop(struct virtio_dev *vd)
{
	struct nic *n = to_nic(vd);

	if (n->net->ops->pause)
		n->net->ops->pause(n->net);
	n->held = true;
}

static void nic_reset(struct virtio_dev *vd)
{
	nic_ctrl_reset(to_nic(vd));
}

static bool nic_features_ok(struct virtio_dev *vd, uint64_t features)
{
	struct nic *n = to_nic(vd);

	n->offloads = features & NIC_GUEST_OFFLOADS;
	return true;
}

static void nic_config_read(struct virtio_dev *vd, unsigned off, void *buf, unsigned len)
{
	struct nic *n = to_nic(vd);
	struct nic_config c = {
		.status = LINK_UP,
		.max_pairs = (uint16_t)n->max_pairs,
		.mtu = (uint16_t)n->net->mtu,
	};

	nic_get_mac(n, c.mac);
	memcpy(buf, (const uint8_t *)&c + off, len);
}

static const struct virtio_ops ops = {
	.name = "virtio-net",
	.device_id = 1,
	.pci_class = 0x020000 << 8,
	.config_read = nic_config_read,
	.features_ok = nic_features_ok,
	.reset = nic_reset,
	.start = nic_start,
	.stop = nic_stop,
	.queue_ready = nic_queue_ready,
};

static uint64_t offered(const struct nic *n)
{
	static const struct {
		unsigned net, host, guest;
	} offload[] = {
		{NET_CSUM, F_CSUM, F_GUEST_CSUM},      {NET_TSO4, F_HOST_TSO4, F_GUEST_TSO4},
		{NET_TSO6, F_HOST_TSO6, F_GUEST_TSO6}, {NET_ECN, F_HOST_ECN, F_GUEST_ECN},
		{NET_UFO, F_HOST_UFO, F_GUEST_UFO},
	};
	uint64_t f = BIT(F_MAC) | BIT(F_STATUS) | BIT(F_MRG_RXBUF) | BIT(F_CTRL_VQ) |
		     BIT(F_CTRL_RX) | BIT(F_CTRL_RX_EXTRA) | BIT(F_CTRL_MAC_ADDR);

	for (unsigned i = 0; i < ARRAY_SIZE(offload); i++)
		if (n->net->features & offload[i].net)
			f |= BIT(offload[i].host) | BIT(offload[i].guest);
	if (n->net->features & NET_CSUM && n->net->ops->set_offloads)
		f |= BIT(F_CTRL_GUEST_OFFLOADS);
	if (n->net->mtu >= 68 && n->net->mtu <= UINT16_MAX)
		f |= BIT(F_MTU);
	return n->max_pairs > 1 ? f | BIT(F_MQ) : f;
}

/* --- life and state ---------------------------------------------------------------------- */

static void set_client(void *arg)
{
	struct nic *n = arg;

	__atomic_store_n(&n->net->client, &n->client, __ATOMIC_RELEASE);
}

static void clear_client(void *arg)
{
	__atomic_store_n(&((struct nic *)arg)->net->client, NULL, __ATOMIC_RELEASE);
}

static int nic_init(struct device *dev, const void *cfg, struct errbuf *err)
{
	struct nic *n = container_of(dev, struct nic, vd.pci.dev);
	const struct virtio_net_config *c = cfg;
	struct virtio_setup s = {.host = c->host,
				 .loop = c->loop,
				 .queue_size = QUEUE_SIZE,
				 .config_len = sizeof(struct nic_config)};
	int ret;

	pthread_mutex_init(&n->mac_lock, NULL);
	n->net = c->net;
	n->max_pairs = MAX(1u, MIN(MIN(c->nqueues, n->net->nqueues), (unsigned)NET_MAX_QUEUES));
	n->client = (struct net_client){.receive = receive, .tx_ready = tx_ready};
	memcpy(n->home_mac, c->mac, sizeof(n->home_mac));
	s.nqueues = 2 * n->max_pairs + 1;
	s.features = offered(n);
	ret = virtio_setup(&n->vd, &ops, &s, err);
	if (ret)
		return ret;
	n->attached = loop_call(c->loop, set_client, n) == 0;
	return n->attached ? 0 : err_set(err, -ENOMEM, "%s: out of memory", dev->id);
}

static void nic_fini(struct device *dev)
{
	struct nic *n = container_of(dev, struct nic, vd.pci.dev);

	virtio_teardown(&n->vd);
	if (n->attached)
		while (loop_call(n->vd.loop, clear_client, n) < 0)
			sched_yield(); /* a back end must not call a card that is gone */
	pthread_mutex_destroy(&n->mac_lock);
}

static int nic_post_load(void *obj, struct errbuf *err)
{
	struct nic *n = obj;
	uint64_t offloads = n->offloads;
	int ret = nic_ctrl_check(n, err);

	if (ret) {
		nic_ctrl_reset(n);
		return ret;
	}
	ret = virtio_post_load(&n->vd, err); /* which negotiates again */
	if (!ret)
		n->offloads = offloads;
	return ret;
}

static const struct state_field fields[] = {
	STATE_STRUCT(struct nic, vd, virtio_dev_fields),
	STATE_BYTES(struct nic, mac),
	STATE_INT(struct nic, pairs),
	STATE_INT(struct nic, offloads),
	STATE_INT(struct nic, modes),
	STATE_INT(struct nic, nunicast),
	STATE_INT(struct nic, nmulticast),
	STATE_BYTES(struct nic, unicast),
	STATE_BYTES(struct nic, multicast),
	STATE_FIELDS_END,
};

static const struct state_desc state = {
	.name = "virtio-net",
	.version = 1,
	.fields = fields,
	.post_load = nic_post_load,
};

const struct dev_ops virtio_net_ops = {
	.name = "virtio-net",
	.size = sizeof(struct nic),
	.init = nic_init,
	.fini = nic_fini,
	.reset = virtio_reset,
	.read = virtio_read,
	.write = virtio_write,
	.pause = virtio_pause,
	.resume = virtio_resume,
	.state = &state,
};
