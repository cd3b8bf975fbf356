/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.c - virtio network device (virtio 1.2, 5.1).
 *
 * Queue pairs first (receive 2n, transmit 2n + 1), the control queue last.  Frames
 * pass with their virtio header between the ring and the back end; offloads are
 * offered as far as the back end has them.  Transmission stops when the back end
 * is full and goes on at its tx_ready(); reception stops when the ring is empty and
 * goes on at the driver's next kick.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "dev/virtio/virtio.h"
#include "net/net.h"

enum {
	F_CSUM = 0,
	F_GUEST_CSUM = 1,
	F_CTRL_GUEST_OFFLOADS = 2,
	F_MTU = 3,
	F_MAC = 5,
	F_GUEST_TSO4 = 7,
	F_GUEST_TSO6 = 8,
	F_GUEST_ECN = 9,
	F_HOST_TSO4 = 11,
	F_HOST_TSO6 = 12,
	F_HOST_ECN = 13,
	F_MRG_RXBUF = 15,
	F_STATUS = 16,
	F_CTRL_VQ = 17,
	F_CTRL_RX = 18,
	F_MQ = 22,
	F_CTRL_MAC_ADDR = 23,

	QUEUE_SIZE = 256,
	HDR = sizeof(struct net_hdr),
	LINK_UP = 1,
	CTRL_RX = 0,
	CTRL_MAC = 1,
	CTRL_MAC_ADDR_SET = 1,
	CTRL_MQ = 4,
	CTRL_GUEST_OFFLOADS = 5,
	CTRL_OK = 0,
	CTRL_ERR = 1,
	MAX_MERGED = 64, /* buffers one received frame may take */
};

struct net_config { /* 5.1.4 */
	uint8_t mac[6];
	uint16_t status, max_pairs, mtu;
} __attribute__((packed));

struct nic {
	struct virtio_dev vd;
	struct net *net;
	struct net_client client;
	struct net_config cfg;
	unsigned npairs;
	uint16_t active_pairs;	   /* chosen through the control queue */
	struct virtq_elem elem;	   /* I/O loop's */
	struct virtq_elem *merged; /* MAX_MERGED: of a frame being received */
	bool tx_blocked;
};

static struct nic *nic_of(struct virtio_dev *vd)
{
	return container_of(vd, struct nic, vd);
}

static bool has(const struct nic *n, unsigned feature)
{
	return n->vd.features >> feature & 1;
}

/* --- transmit -------------------------------------------------------------------- */

/* Drop the header's bytes from the front of @e's pieces; returns their number. */
static unsigned skip_header(const struct virtq_elem *e, struct iovec *out)
{
	size_t off = HDR;
	unsigned k = 0;

	for (unsigned i = 0; i < e->nout; i++) {
		if (off >= e->out[i].iov_len) {
			off -= e->out[i].iov_len;
			continue;
		}
		out[k++] = (struct iovec){(uint8_t *)e->out[i].iov_base + off,
					  e->out[i].iov_len - off};
		off = 0;
	}
	return k;
}

/* False: the back end is full. */
static bool send_one(struct nic *n, struct virtq *q, const struct virtq_elem *e)
{
	struct iovec iov[VIRTQ_MAX_SEGS];
	struct net_hdr hdr;
	unsigned niov;

	if (e->out_len <= HDR || e->out_len > NET_MAX_FRAME + HDR ||
	    virtq_out_copy(e, 0, &hdr, HDR) != HDR) {
		guest_error(&n->vd.pci.dev, "a frame of %u bytes", e->out_len);
		return true; /* dropped */
	}
	niov = skip_header(e, iov);
	return n->net->ops->send(n->net, q->index / 2, &hdr, iov, niov, e->out_len - HDR);
}

static void transmit(struct nic *n, struct virtq *q)
{
	bool any = false;

	while (!n->tx_blocked && virtq_pop(q, &n->elem) > 0) {
		if (!send_one(n, q, &n->elem)) {
			virtq_unpop(q);
			n->tx_blocked = true;
			break;
		}
		virtq_push(q, &n->elem, 0);
		any = true;
	}
	if (any)
		virtq_notify(q);
}

static void on_tx_ready(struct net_client *c)
{
	struct nic *n = container_of(c, struct nic, client);

	n->tx_blocked = false;
	for (unsigned i = 0; n->vd.running && i < n->npairs; i++)
		transmit(n, &n->vd.vq[2 * i + 1]);
}

/* --- receive ---------------------------------------------------------------------- */

static size_t copy_iov(const struct iovec *iov, unsigned niov, size_t off, struct virtq_elem *e,
		       size_t to, size_t len)
{
	size_t done = 0;

	for (unsigned i = 0; i < niov && done < len; i++) {
		size_t part;

		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		part = MIN(iov[i].iov_len - off, len - done);
		virtq_in_copy(e, to + done, (const uint8_t *)iov[i].iov_base + off, part);
		done += part;
		off = 0;
	}
	return done;
}

/* Take buffers for @total bytes.  0: not enough now (all given back), -1: never. */
static int take_buffers(struct nic *n, struct virtq *q, size_t total)
{
	unsigned max = has(n, F_MRG_RXBUF) ? MAX_MERGED : 1, k = 0;
	size_t room = 0;

	while (room < total && k < max && virtq_pop(q, &n->merged[k]) > 0)
		room += n->merged[k++].in_len;
	if (room >= total)
		return (int)k;
	for (unsigned i = 0; i < k; i++)
		virtq_unpop(q);
	return k == max ? -1 : 0;
}

static bool on_receive(struct net_client *c, unsigned queue, const struct net_hdr *hdr,
		       const struct iovec *iov, unsigned niov, size_t len)
{
	struct nic *n = container_of(c, struct nic, client);
	struct virtq *q = &n->vd.vq[2 * (queue < n->active_pairs ? queue : 0)];
	struct net_hdr h = *hdr;
	size_t done = 0;
	int k;

	if (!n->vd.running || !q->enabled)
		return true; /* no driver: the frame is lost, as on an unplugged wire */
	k = take_buffers(n, q, len + HDR);
	if (k <= 0)
		return k < 0;
	h.num_buffers = (uint16_t)k;
	for (int i = 0; i < k; i++) {
		struct virtq_elem *e = &n->merged[i];
		size_t start = i ? 0 : HDR, part;

		if (!i)
			virtq_in_copy(e, 0, &h, HDR);
		part = e->in_len > start ? copy_iov(iov, niov, done, e, start, e->in_len - start)
					 : 0;
		done += part;
		virtq_push(q, e, (uint32_t)(start + part));
	}
	virtq_notify(q);
	return true;
}

/* --- control ------------------------------------------------------------------------ */

static uint8_t set_pairs(struct nic *n, const struct virtq_elem *e)
{
	uint16_t pairs;

	if (virtq_out_copy(e, 2, &pairs, 2) != 2 || !pairs || pairs > n->npairs)
		return CTRL_ERR;
	n->active_pairs = pairs;
	return CTRL_OK;
}

/* Feature bits of what the driver takes, as the back end names them. */
static unsigned guest_offloads(uint64_t bits)
{
	return (bits >> F_GUEST_CSUM & 1 ? NET_CSUM : 0) |
	       (bits >> F_GUEST_TSO4 & 1 ? NET_TSO4 : 0) |
	       (bits >> F_GUEST_TSO6 & 1 ? NET_TSO6 : 0) | (bits >> F_GUEST_ECN & 1 ? NET_ECN : 0);
}

static uint8_t set_offloads(struct nic *n, uint64_t bits)
{
	if (!n->net->ops->set_offloads)
		return CTRL_OK;
	return n->net->ops->set_offloads(n->net, guest_offloads(bits)) < 0 ? CTRL_ERR : CTRL_OK;
}

static uint8_t control_command(struct nic *n, const struct virtq_elem *e)
{
	uint8_t cmd[2];
	uint64_t bits;

	if (virtq_out_copy(e, 0, cmd, 2) != 2)
		return CTRL_ERR;
	switch (cmd[0]) {
	case CTRL_RX: return CTRL_OK; /* everything is received anyway */
	case CTRL_MAC:
		if (cmd[1] == CTRL_MAC_ADDR_SET &&
		    virtq_out_copy(e, 2, n->cfg.mac, sizeof(n->cfg.mac)) != sizeof(n->cfg.mac))
			return CTRL_ERR;
		return CTRL_OK;
	case CTRL_MQ: return set_pairs(n, e);
	case CTRL_GUEST_OFFLOADS:
		if (virtq_out_copy(e, 2, &bits, 8) != 8 || bits & ~n->vd.features)
			return CTRL_ERR;
		return set_offloads(n, bits);
	default: return CTRL_ERR;
	}
}

static void control(struct nic *n, struct virtq *q)
{
	while (virtq_pop(q, &n->elem) > 0) {
		uint8_t ack = control_command(n, &n->elem);
		size_t len = virtq_in_copy(&n->elem, 0, &ack, 1);

		virtq_push(q, &n->elem, (uint32_t)len);
		virtq_notify(q);
	}
}

/* --- the device ----------------------------------------------------------------------- */

static void nic_queue_ready(struct virtio_dev *vd, struct virtq *q)
{
	struct nic *n = nic_of(vd);

	if (q->index == 2 * n->npairs)
		control(n, q);
	else if (q->index & 1)
		transmit(n, q);
	else
		n->net->ops->rx_ready(n->net, q->index / 2);
}

static void nic_start(struct virtio_dev *vd)
{
	struct nic *n = nic_of(vd);

	if (!has(n, F_MQ))
		n->active_pairs = 1;
	n->tx_blocked = false;
	set_offloads(n, vd->features);
	n->net->client = &n->client;
	if (n->net->ops->resume)
		n->net->ops->resume(n->net);
}

static void nic_stop(struct virtio_dev *vd)
{
	struct nic *n = nic_of(vd);

	if (n->net->ops->pause)
		n->net->ops->pause(n->net);
	n->net->client = NULL;
}

static void nic_config_read(struct virtio_dev *vd, unsigned off, void *buf, unsigned len)
{
	memcpy(buf, (const uint8_t *)&nic_of(vd)->cfg + off, len);
}

static const struct virtio_ops nic_virtio_ops = {
	.name = "virtio-net",
	.device_id = 1,
	.pci_class = 0x0200 << 8,
	.config_read = nic_config_read,
	.start = nic_start,
	.stop = nic_stop,
	.queue_ready = nic_queue_ready,
};

static uint64_t offered(const struct nic *n)
{
	uint64_t f = BIT(F_MAC) | BIT(F_STATUS) | BIT(F_MRG_RXBUF) | BIT(F_CTRL_VQ) |
		     BIT(F_CTRL_RX) | BIT(F_CTRL_MAC_ADDR);
	unsigned have = n->net->features;

	if (have & NET_CSUM)
		f |= BIT(F_CSUM) | BIT(F_GUEST_CSUM) | BIT(F_CTRL_GUEST_OFFLOADS);
	if (have & NET_TSO4)
		f |= BIT(F_HOST_TSO4) | BIT(F_GUEST_TSO4);
	if (have & NET_TSO6)
		f |= BIT(F_HOST_TSO6) | BIT(F_GUEST_TSO6);
	if (have & NET_ECN)
		f |= BIT(F_HOST_ECN) | BIT(F_GUEST_ECN);
	if (n->cfg.mtu)
		f |= BIT(F_MTU);
	return n->npairs > 1 ? f | BIT(F_MQ) : f;
}

static int nic_init(struct device *dev, const void *cfg, struct errbuf *err)
{
	struct nic *n = container_of(dev, struct nic, vd.pci.dev);
	const struct virtio_net_config *c = cfg;
	struct virtio_setup s = {.host = c->host,
				 .loop = c->loop,
				 .queue_size = QUEUE_SIZE,
				 .config_len = sizeof(n->cfg)};

	n->net = c->net;
	n->npairs = MAX(1u, MIN(c->nqueues, (VIRTIO_MAX_QUEUES - 1) / 2u));
	n->active_pairs = 1;
	n->client = (struct net_client){.receive = on_receive, .tx_ready = on_tx_ready};
	n->merged = calloc(MAX_MERGED, sizeof(*n->merged));
	if (!n->merged)
		return err_set(err, -ENOMEM, "network card: out of memory");
	memcpy(n->cfg.mac, c->mac, sizeof(n->cfg.mac));
	n->cfg.status = LINK_UP;
	n->cfg.max_pairs = (uint16_t)n->npairs;
	n->cfg.mtu = (uint16_t)n->net->mtu;
	s.nqueues = 2 * n->npairs + 1;
	s.features = offered(n);
	return virtio_setup(&n->vd, &nic_virtio_ops, &s, err);
}

static void nic_fini(struct device *dev)
{
	struct nic *n = container_of(dev, struct nic, vd.pci.dev);

	virtio_teardown(&n->vd);
	free(n->merged);
}

static void nic_pre_save(void *obj)
{
	virtio_pre_save(&((struct nic *)obj)->vd);
}

static int nic_post_load(void *obj, struct errbuf *err)
{
	struct nic *n = obj;

	if (!n->active_pairs || n->active_pairs > n->npairs)
		return err_set(err, -EINVAL, "%s: %u queue pairs of %u", n->vd.pci.dev.id,
			       n->active_pairs, n->npairs);
	return virtio_post_load(&n->vd, err);
}

static const struct state_field mac_fields[] = {
	STATE_BYTES(struct net_config, mac),
	STATE_FIELDS_END,
};

static const struct state_field nic_fields[] = {
	STATE_STRUCT(struct nic, vd, virtio_dev_fields),
	STATE_STRUCT(struct nic, cfg, mac_fields),
	STATE_INT(struct nic, active_pairs),
	STATE_FIELDS_END,
};
static const struct state_desc nic_state = {
	.name = "virtio-net",
	.version = 1,
	.fields = nic_fields,
	.pre_save = nic_pre_save,
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
	.state = &nic_state,
};
