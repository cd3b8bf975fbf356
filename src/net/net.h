/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.h - network back ends: where a NIC's frames go.
 *
 * A back end belongs to one loop's thread.  Frames carry a virtio-net header
 * (struct net_hdr) when the back end offers offloads; otherwise it is zeroed.
 */
#pragma once

#include <sys/uio.h>
#include "base/err.h"
#include "base/loop.h"

struct net;

/* virtio_net_hdr_v1 (virtio 1.2, 5.1.6): 12 bytes before each frame. */
struct net_hdr {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
} __attribute__((packed));

enum {			  /* what the back end can take and give */
       NET_CSUM = 1 << 0, /* partial checksums, both ways */
       NET_TSO4 = 1 << 1,
       NET_TSO6 = 1 << 2,
       NET_UFO = 1 << 3,
       NET_ECN = 1 << 4,
};
enum { NET_MAX_FRAME = 65535 + 64, NET_MAX_QUEUES = 8 };

struct net_client { /* the NIC; called on the loop's thread */
	/*
	 * A frame came in on @queue.  Returns false when the NIC has no room: the back
	 * end keeps or drops it and waits for net_rx_ready().
	 */
	bool (*receive)(struct net_client *c, unsigned queue, const struct net_hdr *hdr,
			const struct iovec *iov, unsigned niov, size_t len);
	/* The back end can send again after net_send() said false. */
	void (*tx_ready)(struct net_client *c);
};

struct net_ops {
	const char *name;
	/* Send one frame; false: try again after tx_ready(). */
	bool (*send)(struct net *n, unsigned queue, const struct net_hdr *hdr,
		     const struct iovec *iov, unsigned niov, size_t len);
	void (*rx_ready)(struct net *n, unsigned queue);
	/* The driver chose NET_* offloads for what it receives. */
	int (*set_offloads)(struct net *n, unsigned offloads); /* 0 or -errno; may be NULL */
	void (*pause)(struct net *n); /* deliver nothing until resume; may be NULL */
	void (*resume)(struct net *n);
	void (*free)(struct net *n);
};

struct net {
	const struct net_ops *ops;
	struct loop *loop;
	struct net_client *client; /* NULL: frames are dropped.  Set on the loop's thread, or
				    * before anything can come in */
	unsigned features, nqueues;
	unsigned mtu;
};

/*
 * Built-in NAT (libslirp): guest 10.0.2.15/24 by DHCP, gateway and host 10.0.2.2,
 * DNS 10.0.2.3.  @forwards: "[tcp:|udp:][HOSTADDR:]HOSTPORT:GUESTPORT", HOSTADDR
 * 127.0.0.1 unless given.  Message for a port in use names it.
 */
MUST_CHECK int net_user_new(struct loop *loop, const char *const *forwards, unsigned nforwards,
			    struct net **out, struct errbuf *err);
/* Existing TAP interface @name with @queues queues (a missing one is an error). */
MUST_CHECK int net_tap_new(struct loop *loop, const char *name, unsigned queues, struct net **out,
			   struct errbuf *err);
void net_free(struct net *n);
DEFINE_AUTO(net);
