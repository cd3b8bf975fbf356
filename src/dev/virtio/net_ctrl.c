/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_ctrl.c - the network card's control queue: filters, address, pairs, offloads.
 *
 * A command is a class, a command byte and data in the readable part, and one byte of
 * acknowledgement in the writable part.  Filters start open, as a driver that never
 * sets any expects; address lists longer than ours count as "all".
 *
 * Source: virtio 1.2, 5.1.6.5.
 */
#include <errno.h>
#include <string.h>

#include "base/thread.h"
#include "dev/virtio/net.h"

enum { CLASS_RX = 0, CLASS_MAC = 1, CLASS_MQ = 4, CLASS_OFFLOADS = 5 };
enum { MAC_TABLE_SET = 0, MAC_ADDR_SET = 1 };
enum { ACK_OK = 0, ACK_ERR = 1 };
enum { BATCH = 64, DATA = 2 }; /* DATA: where a command's data begins */
enum {			       /* modes; the bit is the RX command's number */
       PROMISC = 1 << 0,
       ALL_MULTI = 1 << 1,
       ALL_UNI = 1 << 2,
       NO_MULTI = 1 << 3,
       NO_UNI = 1 << 4,
       NO_BCAST = 1 << 5,
       RX_BASIC = 2,
       RX_COMMANDS = 6,
       TABLES_LONG_UNI = 1 << 6, /* longer than ours */
       TABLES_LONG_MULTI = 1 << 7,
};

unsigned nic_ctrl_index(const struct nic *n)
{
	return nic_has(n, F_MQ) ? 2 * n->max_pairs : 2;
}

/* --- receive filters ----------------------------------------------------------------- */

static bool listed(const uint8_t list[][6], unsigned n, const uint8_t mac[6])
{
	for (unsigned i = 0; i < n; i++)
		if (!memcmp(list[i], mac, 6))
			return true;
	return false;
}

bool nic_accepts(const struct nic *n, const uint8_t dst[6])
{
	static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	if (n->modes & PROMISC)
		return true;
	if (!memcmp(dst, broadcast, 6))
		return !(n->modes & NO_BCAST);
	if (dst[0] & 1)
		return !(n->modes & NO_MULTI) && (n->modes & (ALL_MULTI | TABLES_LONG_MULTI) ||
						  listed(n->multicast, n->nmulticast, dst));
	return !(n->modes & NO_UNI) &&
	       (n->modes & (ALL_UNI | TABLES_LONG_UNI) || !memcmp(dst, n->mac, 6) ||
		listed(n->unicast, n->nunicast, dst));
}

static uint8_t set_mode(struct nic *n, const struct virtq_elem *e, uint8_t cmd)
{
	uint8_t on;

	if (cmd >= RX_COMMANDS || (cmd >= RX_BASIC && !nic_has(n, F_CTRL_RX_EXTRA)) ||
	    virtq_out_copy(e, DATA, &on, 1) != 1)
		return ACK_ERR;
	n->modes = (uint8_t)(on ? n->modes | 1 << cmd : n->modes & ~(1 << cmd));
	return ACK_OK;
}

/* One of the two lists at @*off: a count and that many addresses. */
static bool read_list(const struct virtq_elem *e, size_t *off, uint8_t list[][6], uint8_t *n,
		      bool *is_long)
{
	uint32_t count;

	if (virtq_out_copy(e, *off, &count, 4) != 4)
		return false;
	*off += 4;
	if (count > (e->out_len - *off) / 6)
		return false;
	*is_long = count > NIC_MAX_MACS;
	*n = *is_long ? 0 : (uint8_t)count;
	virtq_out_copy(e, *off, list, *n * 6u);
	*off += (size_t)count * 6;
	return true;
}

static uint8_t set_tables(struct nic *n, const struct virtq_elem *e)
{
	uint8_t uni[NIC_MAX_MACS][6], multi[NIC_MAX_MACS][6], nuni, nmulti;
	bool long_uni, long_multi;
	size_t off = DATA;

	if (!read_list(e, &off, uni, &nuni, &long_uni) ||
	    !read_list(e, &off, multi, &nmulti, &long_multi))
		return ACK_ERR;
	memcpy(n->unicast, uni, nuni * 6u);
	memcpy(n->multicast, multi, nmulti * 6u);
	n->nunicast = nuni;
	n->nmulticast = nmulti;
	n->modes &= (uint8_t) ~(TABLES_LONG_UNI | TABLES_LONG_MULTI);
	n->modes |=
		(uint8_t)((long_uni ? TABLES_LONG_UNI : 0) | (long_multi ? TABLES_LONG_MULTI : 0));
	return ACK_OK;
}

/* --- the rest --------------------------------------------------------------------------- */

static uint8_t set_mac(struct nic *n, const struct virtq_elem *e)
{
	uint8_t mac[6];

	if (!nic_has(n, F_CTRL_MAC_ADDR) || virtq_out_copy(e, DATA, mac, 6) != 6)
		return ACK_ERR;
	LOCK_SCOPE(&n->mac_lock);
	memcpy(n->mac, mac, 6);
	return ACK_OK;
}

void nic_get_mac(struct nic *n, uint8_t mac[6])
{
	LOCK_SCOPE(&n->mac_lock);
	memcpy(mac, n->mac, 6);
}

static uint8_t set_pairs(struct nic *n, const struct virtq_elem *e)
{
	uint16_t pairs;

	if (!nic_has(n, F_MQ) || virtq_out_copy(e, DATA, &pairs, 2) != 2 || !pairs ||
	    pairs > n->max_pairs)
		return ACK_ERR;
	n->pairs = pairs;
	for (unsigned i = 0; i < n->max_pairs; i++)
		virtio_kick(&n->vd, 2 * i); /* frames may wait for what is elsewhere now */
	return ACK_OK;
}

void nic_apply_offloads(struct nic *n)
{
	uint64_t o = n->offloads;
	unsigned net = (o & BIT(F_GUEST_CSUM) ? NET_CSUM : 0) |
		       (o & BIT(F_GUEST_TSO4) ? NET_TSO4 : 0) |
		       (o & BIT(F_GUEST_TSO6) ? NET_TSO6 : 0) |
		       (o & BIT(F_GUEST_ECN) ? NET_ECN : 0) | (o & BIT(F_GUEST_UFO) ? NET_UFO : 0);

	if (n->net->ops->set_offloads && n->net->ops->set_offloads(n->net, net) < 0)
		log_debug(LOG_VIRTIO, "%s: offloads %#x refused", n->vd.pci.dev.id, net);
}

static uint8_t set_offloads(struct nic *n, const struct virtq_elem *e)
{
	uint64_t bits;

	if (!nic_has(n, F_CTRL_GUEST_OFFLOADS) || virtq_out_copy(e, DATA, &bits, 8) != 8 ||
	    bits & ~(n->vd.features & NIC_GUEST_OFFLOADS))
		return ACK_ERR;
	n->offloads = bits;
	nic_apply_offloads(n);
	return ACK_OK;
}

static uint8_t command(struct nic *n, const struct virtq_elem *e)
{
	uint8_t c[2];

	if (virtq_out_copy(e, 0, c, 2) != 2)
		return ACK_ERR;
	switch (c[0]) {
	case CLASS_RX: return set_mode(n, e, c[1]);
	case CLASS_MAC:
		if (c[1] == MAC_TABLE_SET)
			return set_tables(n, e);
		return c[1] == MAC_ADDR_SET ? set_mac(n, e) : ACK_ERR;
	case CLASS_MQ: return c[1] ? ACK_ERR : set_pairs(n, e);
	case CLASS_OFFLOADS: return c[1] ? ACK_ERR : set_offloads(n, e);
	default: return ACK_ERR;
	}
}

void nic_ctrl(struct nic *n, struct virtq *q)
{
	unsigned k = 0;

	while (k < BATCH && virtq_pop(q, &n->e) > 0) {
		uint8_t ack = command(n, &n->e);

		virtq_push(q, &n->e, (uint32_t)virtq_in_copy(&n->e, 0, &ack, 1));
		k++;
	}
	if (k)
		virtq_notify(q);
	if (k == BATCH)
		virtio_kick(&n->vd, q->index);
}

void nic_ctrl_reset(struct nic *n)
{
	pthread_mutex_lock(&n->mac_lock);
	memcpy(n->mac, n->home_mac, 6);
	pthread_mutex_unlock(&n->mac_lock);
	n->pairs = 1;
	n->offloads = 0;
	n->modes = PROMISC;
	n->nunicast = n->nmulticast = 0;
}

int nic_ctrl_check(struct nic *n, struct errbuf *err)
{
	if (!n->pairs || n->pairs > n->max_pairs || n->nunicast > NIC_MAX_MACS ||
	    n->nmulticast > NIC_MAX_MACS || n->offloads & ~(n->vd.features & NIC_GUEST_OFFLOADS))
		return err_set(err, -EINVAL,
			       "%s: the saved state has %u queue pairs and %u addresses, which "
			       "this card cannot have",
			       n->vd.pci.dev.id, n->pairs, n->nunicast + n->nmulticast);
	return 0;
}
