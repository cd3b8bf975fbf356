/* SPDX-License-Identifier: Apache-2.0 */
/* user_guest.h - a guest made by hand for net_user_test.c: frames out, frames in. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "net/net.h"

/* --- frames ------------------------------------------------------------------------- */

enum { GUEST = 0x0a00020f, HOST = 0x0a000202, DNS = 0x0a000203, ANY = 0 };
enum { MAX_FRAMES = 64, FRAME = 2048 };
enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16 };

struct eth {
	uint8_t to[6], from[6];
	uint16_t type;
} __attribute__((packed));

struct arp {
	uint16_t htype, ptype;
	uint8_t hlen, plen;
	uint16_t op;
	uint8_t sha[6];
	uint32_t spa;
	uint8_t tha[6];
	uint32_t tpa;
} __attribute__((packed));

struct ip4 {
	uint8_t ver, tos;
	uint16_t len, id, frag;
	uint8_t ttl, proto;
	uint16_t sum;
	uint32_t from, to;
} __attribute__((packed));

struct udp {
	uint16_t from, to, len, sum;
} __attribute__((packed));

struct tcp {
	uint16_t from, to;
	uint32_t seq, ack;
	uint8_t off, flags;
	uint16_t window, sum, urgent;
} __attribute__((packed));

static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 1, 2, 3};
static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

struct guest {
	struct net_client client;
	struct loop *loop;
	struct net *net;
	bool full; /* take nothing */
	uint8_t frame[MAX_FRAMES][FRAME];
	size_t len[MAX_FRAMES];
	unsigned n;
	uint8_t host_mac[6];
};

static bool receive(struct net_client *c, unsigned queue, const struct net_hdr *hdr,
		    const struct iovec *iov, unsigned niov, size_t len)
{
	struct guest *g = container_of(c, struct guest, client);
	size_t at = 0;

	assert_int_equal(queue, 0);
	assert_int_equal(hdr->flags, 0);
	if (g->full)
		return false;
	assert_true(len <= FRAME);
	for (unsigned i = 0; i < niov; at += iov[i++].iov_len)
		memcpy(g->frame[g->n % MAX_FRAMES] + at, iov[i].iov_base, iov[i].iov_len);
	assert_int_equal(at, len);
	g->len[g->n++ % MAX_FRAMES] = len;
	return true;
}

static void send_frame(struct guest *g, const void *data, size_t len)
{
	struct net_hdr hdr = {0};
	size_t cut = len / 3;
	struct iovec iov[3] = {{(void *)data, cut}, {NULL, 0}, {(uint8_t *)data + cut, len - cut}};

	assert_true(g->net->ops->send(g->net, 0, &hdr, iov, 3, len));
}

static uint32_t sum16(const void *data, size_t len, uint32_t sum)
{
	const uint8_t *p = data;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)(p[i] << 8 | p[i + 1]);
	if (len & 1)
		sum += (uint32_t)(p[len - 1] << 8);
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

/* Ethernet and IPv4 around @payload, with both checksums (@sum_at into the payload). */
static void send_ip(struct guest *g, uint32_t from, uint32_t to, uint8_t proto, void *payload,
		    size_t len, size_t sum_at)
{
	uint8_t buf[FRAME];
	struct eth *e = (struct eth *)buf;
	struct ip4 *ip = (struct ip4 *)(e + 1);
	uint16_t sum;

	memcpy(e->to, to == 0xffffffff ? broadcast : g->host_mac, 6);
	memcpy(e->from, guest_mac, 6);
	e->type = htons(0x0800);
	*ip = (struct ip4){.ver = 0x45,
			   .len = htons((uint16_t)(sizeof(*ip) + len)),
			   .ttl = 64,
			   .proto = proto,
			   .from = htonl(from),
			   .to = htonl(to)};
	ip->sum = fold(sum16(ip, sizeof(*ip), 0));
	memset((uint8_t *)payload + sum_at, 0, 2);
	sum = fold(sum16(payload, len, sum16(&ip->from, 8, proto + (uint32_t)len)));
	memcpy((uint8_t *)payload + sum_at, &sum, 2);
	memcpy(ip + 1, payload, len);
	send_frame(g, buf, sizeof(*e) + sizeof(*ip) + len);
}

static void send_tcp(struct guest *g, uint16_t from, uint16_t to, uint32_t seq, uint32_t ack,
		     uint8_t flags, const char *data)
{
	uint8_t buf[1500];
	struct tcp *t = (struct tcp *)buf;

	*t = (struct tcp){.from = htons(from),
			  .to = htons(to),
			  .seq = htonl(seq),
			  .ack = htonl(ack),
			  .off = 5 << 4,
			  .flags = flags,
			  .window = htons(8192)};
	memcpy(t + 1, data, strlen(data));
	send_ip(g, GUEST, HOST, 6, buf, sizeof(*t) + strlen(data), offsetof(struct tcp, sum));
}

static void send_udp(struct guest *g, uint32_t from_ip, uint32_t to_ip, uint16_t from, uint16_t to,
		     const void *data, size_t len)
{
	uint8_t buf[1500];
	struct udp *u = (struct udp *)buf;

	*u = (struct udp){htons(from), htons(to), htons((uint16_t)(sizeof(*u) + len)), 0};
	memcpy(u + 1, data, len);
	send_ip(g, from_ip, to_ip, 17, buf, sizeof(*u) + len, offsetof(struct udp, sum));
}

/* Serve the loop until a frame came in that @want accepts, and return it. */
static const uint8_t *await(struct guest *g, bool (*want)(const uint8_t *frame, size_t len))
{
	unsigned seen = 0;

	for (unsigned rounds = 0; rounds < 2000; rounds++) {
		for (; seen < g->n; seen++)
			if (want(g->frame[seen % MAX_FRAMES], g->len[seen % MAX_FRAMES]))
				return g->frame[seen % MAX_FRAMES];
		assert_int_equal(loop_run_once(g->loop, 10), 0);
	}
	fail_msg("no such frame among %u", g->n);
	return NULL;
}

static const struct ip4 *ip_of(const uint8_t *frame)
{
	return (const struct ip4 *)(frame + sizeof(struct eth));
}

static const struct tcp *tcp_of(const uint8_t *frame)
{
	return (const struct tcp *)(ip_of(frame) + 1);
}

static const char *tcp_data(const uint8_t *frame, size_t *len)
{
	const struct tcp *t = tcp_of(frame);

	*len = ntohs(ip_of(frame)->len) - sizeof(struct ip4) - (size_t)(t->off >> 4) * 4;
	return (const char *)t + (t->off >> 4) * 4;
}

static bool is_ip(const uint8_t *f, size_t len, uint8_t proto)
{
	return len > 34 && ((const struct eth *)f)->type == htons(0x0800) &&
	       ip_of(f)->proto == proto;
}

static bool is_arp_reply(const uint8_t *f, size_t len)
{
	return len >= 42 && ((const struct eth *)f)->type == htons(0x0806) &&
	       ((const struct arp *)(f + 14))->op == htons(2);
}

static bool is_arp_request(const uint8_t *f, size_t len)
{
	return len >= 42 && ((const struct eth *)f)->type == htons(0x0806) &&
	       ((const struct arp *)(f + 14))->op == htons(1);
}

static bool is_udp(const uint8_t *f, size_t len)
{
	return is_ip(f, len, 17);
}

static bool is_syn(const uint8_t *f, size_t len)
{
	return is_ip(f, len, 6) && tcp_of(f)->flags == TCP_SYN;
}

static bool is_syn_ack(const uint8_t *f, size_t len)
{
	return is_ip(f, len, 6) && tcp_of(f)->flags == (TCP_SYN | TCP_ACK);
}

static bool is_reset(const uint8_t *f, size_t len)
{
	return is_ip(f, len, 6) && tcp_of(f)->flags & TCP_RST;
}

static bool is_tcp_data(const uint8_t *f, size_t len)
{
	size_t n;

	if (!is_ip(f, len, 6))
		return false;
	tcp_data(f, &n);
	return n > 0;
}
