/* SPDX-License-Identifier: Apache-2.0 */
/* net.h - what the network card's data path (net.c) and control queue (net_ctrl.c) share. */
#pragma once

#include "dev/virtio/virtio.h"
#include "net/net.h"

enum { /* feature bits, 5.1.3 */
       F_CSUM = 0,
       F_GUEST_CSUM = 1,
       F_CTRL_GUEST_OFFLOADS = 2,
       F_MTU = 3,
       F_MAC = 5,
       F_GUEST_TSO4 = 7,
       F_GUEST_TSO6 = 8,
       F_GUEST_ECN = 9,
       F_GUEST_UFO = 10,
       F_HOST_TSO4 = 11,
       F_HOST_TSO6 = 12,
       F_HOST_ECN = 13,
       F_HOST_UFO = 14,
       F_MRG_RXBUF = 15,
       F_STATUS = 16,
       F_CTRL_VQ = 17,
       F_CTRL_RX = 18,
       F_CTRL_RX_EXTRA = 20,
       F_MQ = 22,
       F_CTRL_MAC_ADDR = 23,
};
#define NIC_GUEST_OFFLOADS                                                              \
	(BIT(F_GUEST_CSUM) | BIT(F_GUEST_TSO4) | BIT(F_GUEST_TSO6) | BIT(F_GUEST_ECN) | \
	 BIT(F_GUEST_UFO))

enum { NIC_MAX_MERGED = 64, NIC_MAX_MACS = 64 };

struct nic_config { /* 5.1.4 */
	uint8_t mac[6];
	uint16_t status, max_pairs, mtu;
} __attribute__((packed));

struct nic { /* I/O loop, unless said otherwise */
	struct virtio_dev vd;
	struct net *net;
	struct net_client client;
	bool attached, held; /* the back end knows us; it was paused */
	unsigned max_pairs;
	uint8_t home_mac[6];
	pthread_mutex_t mac_lock; /* leaf; guards mac, which vCPUs read */
	uint8_t mac[6];
	uint16_t pairs;	     /* in use */
	uint64_t offloads;   /* F_GUEST_* in force */
	uint32_t tx_blocked; /* queues that wait for tx_ready() */
	uint8_t modes;	     /* enum in net_ctrl.c */
	uint8_t nunicast, nmulticast;
	uint8_t unicast[NIC_MAX_MACS][6], multicast[NIC_MAX_MACS][6];
	struct virtq_elem e, first;
};

static inline bool nic_has(const struct nic *n, unsigned feature)
{
	return n->vd.features >> feature & 1;
}

/* net_ctrl.c */
unsigned nic_ctrl_index(const struct nic *n);
void nic_ctrl(struct nic *n, struct virtq *q);
void nic_apply_offloads(struct nic *n);
bool nic_accepts(const struct nic *n, const uint8_t dst[6]);
void nic_get_mac(struct nic *n, uint8_t mac[6]);
/* As after power-on; nothing is being served. */
void nic_ctrl_reset(struct nic *n);
MUST_CHECK int nic_ctrl_check(struct nic *n, struct errbuf *err);
