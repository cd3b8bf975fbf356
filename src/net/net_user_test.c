/* SPDX-License-Identifier: Apache-2.0 */
/* net_user_test.c - the user-mode NAT, driven by handmade frames of a guest. */
#include "net/user_guest.h"

/* --- fixture -------------------------------------------------------------------------- */

static void start(struct guest *g, const char *const *forwards, unsigned n)
{
	struct errbuf err = {0};

	if (net_user_new(g->loop, forwards, n, &g->net, &err))
		fail_msg("%s", err.msg);
	g->net->client = &g->client;
}

static int setup(void **state)
{
	struct guest *g = calloc(1, sizeof(*g));

	signal(SIGPIPE, SIG_IGN);
	g->client.receive = receive;
	memcpy(g->host_mac, (uint8_t[]){0x52, 0x55, 10, 0, 2, 2}, 6);
	if (loop_new(&g->loop))
		return -1;
	*state = g;
	return 0;
}

static int teardown(void **state)
{
	struct guest *g = *state;

	net_free(g->net);
	loop_free(g->loop);
	free(g);
	return 0;
}

static void send_arp(struct guest *g, uint16_t op, uint32_t target)
{
	uint8_t buf[42];
	struct eth *e = (struct eth *)buf;
	struct arp *a = (struct arp *)(e + 1);

	memcpy(e->to, broadcast, 6);
	memcpy(e->from, guest_mac, 6);
	e->type = htons(0x0806);
	*a = (struct arp){htons(1), htons(0x0800), 6, 4, htons(op), {0}, htonl(GUEST),
			  {0},	    htonl(target)};
	memcpy(a->sha, guest_mac, 6);
	send_frame(g, buf, sizeof(buf));
}

/* Make libslirp know the guest's address, as any guest does before it talks. */
static void introduce(struct guest *g)
{
	const uint8_t *f;

	send_arp(g, 1, HOST);
	f = await(g, is_arp_reply);
	memcpy(g->host_mac, ((const struct arp *)(f + 14))->sha, 6);
	g->n = 0;
}

static int listen_on_loopback(int type, uint16_t *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_return_code(bind(fd, (struct sockaddr *)&a, sizeof(a)), errno);
	if (type == SOCK_STREAM)
		assert_return_code(listen(fd, 4), errno);
	assert_return_code(getsockname(fd, (struct sockaddr *)&a, &len), errno);
	*port = ntohs(a.sin_port);
	return fd;
}

static int connect_to_loopback(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				.sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_return_code(connect(fd, (struct sockaddr *)&a, sizeof(a)), errno);
	return fd;
}

/* A port nobody listens on now. */
static uint16_t free_port(int type)
{
	uint16_t port;

	close(listen_on_loopback(type, &port));
	return port;
}

/* Serve the loop until @fd has @len bytes. */
static void await_bytes(struct guest *g, int fd, char *buf, size_t len)
{
	size_t at = 0;

	for (unsigned i = 0; i < 2000 && at < len; i++) {
		ssize_t n = recv(fd, buf + at, len - at, MSG_DONTWAIT);

		if (n > 0)
			at += (size_t)n;
		else
			assert_int_equal(loop_run_once(g->loop, 10), 0);
	}
	assert_int_equal(at, len);
}

/* --- tests ----------------------------------------------------------------------------- */

static void the_gateway_answers_arp(void **state)
{
	struct guest *g = *state;
	const struct arp *a;

	start(g, NULL, 0);
	send_arp(g, 1, HOST);
	a = (const struct arp *)(await(g, is_arp_reply) + 14);
	assert_int_equal(ntohl(a->spa), HOST);
	assert_int_equal(ntohl(a->tpa), GUEST);
	assert_memory_equal(a->tha, guest_mac, 6);
}

static size_t dhcp_message(uint8_t *m, uint8_t kind, uint32_t wanted)
{
	static const uint8_t head[] = {1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78};
	uint8_t *o = m + 240;

	memset(m, 0, 300);
	memcpy(m, head, sizeof(head));
	memcpy(m + 28, guest_mac, 6);
	memcpy(m + 236, (uint8_t[]){0x63, 0x82, 0x53, 0x63}, 4);
	*o++ = 53;
	*o++ = 1;
	*o++ = kind;
	if (wanted) {
		uint32_t be = htonl(wanted);

		*o++ = 50;
		*o++ = 4;
		memcpy(o, &be, 4);
		o += 4;
	}
	*o = 255;
	return 300;
}

/* Value of DHCP option @code in the latest answer, as a big-endian number. */
static uint32_t dhcp_option(const uint8_t *frame, uint8_t code)
{
	const uint8_t *m = frame + 14 + 20 + 8, *o = m + 240;

	while (*o != 255 && o < m + 540) {
		if (*o == code && o[1] == 1)
			return o[2];
		if (*o == code)
			return (uint32_t)o[2] << 24 | (uint32_t)o[3] << 16 | (uint32_t)o[4] << 8 |
			       o[5];
		o += *o ? 2 + o[1] : 1;
	}
	return 0;
}

static void dhcp_gives_out_the_address_the_gateway_and_the_name_server(void **state)
{
	struct guest *g = *state;
	uint8_t m[300];
	const uint8_t *f;
	uint32_t yiaddr;

	start(g, NULL, 0);
	send_udp(g, ANY, 0xffffffff, 68, 67, m, dhcp_message(m, 1, 0));
	f = await(g, is_udp);
	memcpy(&yiaddr, f + 14 + 20 + 8 + 16, 4);
	assert_int_equal(ntohl(yiaddr), GUEST);
	assert_int_equal(dhcp_option(f, 53), 2); /* offer */
	g->n = 0;
	send_udp(g, ANY, 0xffffffff, 68, 67, m, dhcp_message(m, 3, GUEST));
	f = await(g, is_udp);
	assert_int_equal(dhcp_option(f, 53), 5); /* ack */
	assert_int_equal(dhcp_option(f, 1), 0xffffff00);
	assert_int_equal(dhcp_option(f, 3), HOST);
	assert_int_equal(dhcp_option(f, 6), DNS);
}

static void the_guest_connects_to_a_server_on_the_host(void **state)
{
	struct guest *g = *state;
	uint16_t port;
	AUTO_FD int server = listen_on_loopback(SOCK_STREAM, &port);
	const uint8_t *f;
	uint32_t ack;
	char buf[16];
	size_t n;

	start(g, NULL, 0);
	introduce(g);
	send_tcp(g, 40000, port, 1000, 0, TCP_SYN, "");
	f = await(g, is_syn_ack);
	assert_int_equal(ntohl(tcp_of(f)->ack), 1001);
	ack = ntohl(tcp_of(f)->seq) + 1;
	AUTO_FD int conn = accept(server, NULL, NULL);
	assert_true(conn >= 0);
	send_tcp(g, 40000, port, 1001, ack, TCP_ACK | TCP_PSH, "hello");
	await_bytes(g, conn, buf, 5);
	assert_memory_equal(buf, "hello", 5);
	assert_int_equal(write(conn, "and you", 7), 7);
	f = await(g, is_tcp_data);
	assert_memory_equal(tcp_data(f, &n), "and you", 7);
	send_tcp(g, 40000, port, 1006, ack + 7, TCP_ACK | TCP_FIN, "");
	for (unsigned i = 0; i < 2000 && recv(conn, buf, 1, MSG_DONTWAIT) != 0; i++)
		loop_run_once(g->loop, 10);
	assert_int_equal(recv(conn, buf, 1, MSG_DONTWAIT), 0);
}

static void a_refused_connection_is_reset(void **state)
{
	struct guest *g = *state;
	uint16_t port = free_port(SOCK_STREAM);

	start(g, NULL, 0);
	introduce(g);
	send_tcp(g, 40001, port, 1000, 0, TCP_SYN, "");
	await(g, is_reset);
}

static void udp_goes_to_a_server_on_the_host_and_back(void **state)
{
	struct guest *g = *state;
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	uint16_t port;
	AUTO_FD int server = listen_on_loopback(SOCK_DGRAM, &port);
	char buf[16];
	const uint8_t *f;

	start(g, NULL, 0);
	introduce(g);
	send_udp(g, GUEST, HOST, 5000, port, "ping", 4);
	assert_int_equal(recvfrom(server, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len), 4);
	assert_int_equal(sendto(server, "pong", 4, 0, (struct sockaddr *)&from, len), 4);
	f = await(g, is_udp);
	assert_memory_equal(f + 14 + 20 + 8, "pong", 4);
}

static void a_forwarded_port_leads_into_the_guest(void **state)
{
	struct guest *g = *state;
	uint16_t port = free_port(SOCK_STREAM);
	char spec[64];
	const char *specs[] = {spec};
	const uint8_t *f;
	uint16_t from;
	uint32_t ack;
	char buf[8];

	snprintf(spec, sizeof(spec), "tcp:%u:22", port);
	start(g, specs, 1);
	introduce(g);
	AUTO_FD int conn = connect_to_loopback(port);
	f = await(g, is_syn);
	assert_int_equal(ntohs(tcp_of(f)->to), 22);
	assert_int_equal(ntohl(ip_of(f)->to), GUEST);
	from = ntohs(tcp_of(f)->from);
	ack = ntohl(tcp_of(f)->seq) + 1;
	send_tcp(g, 22, from, 7000, ack, TCP_SYN | TCP_ACK, "");
	send_tcp(g, 22, from, 7001, ack, TCP_ACK | TCP_PSH, "SSH-2.0");
	await_bytes(g, conn, buf, 7);
	assert_memory_equal(buf, "SSH-2.0", 7);
}

/* libslirp asks who has the guest's address when it does not know. */
static void a_connection_waits_until_the_guest_answers_arp(void **state)
{
	struct guest *g = *state;
	uint16_t port = free_port(SOCK_STREAM);
	char spec[64];
	const char *specs[] = {spec};

	snprintf(spec, sizeof(spec), "127.0.0.1:%u:80", port);
	start(g, specs, 1);
	AUTO_FD UNUSED int conn = connect_to_loopback(port);
	await(g, is_arp_request);
	send_arp(g, 2, HOST);
	await(g, is_syn);
}

static void refused(struct guest *g, const char *spec, const char *sentence)
{
	struct errbuf err = {0};

	assert_true(net_user_new(g->loop, &spec, 1, &g->net, &err) < 0);
	assert_null(g->net);
	if (!strstr(err.msg, sentence) || !strstr(err.msg, spec))
		fail_msg("'%s' does not contain '%s'", err.msg, sentence);
}

static void a_port_in_use_is_named(void **state)
{
	struct guest *g = *state;
	char spec[64], sentence[80];
	uint16_t port;
	AUTO_FD UNUSED int tcp = listen_on_loopback(SOCK_STREAM, &port);

	snprintf(spec, sizeof(spec), "tcp:%u:22", port);
	snprintf(sentence, sizeof(sentence), "TCP port %u of 127.0.0.1 is in use", port);
	refused(g, spec, sentence);
	AUTO_FD UNUSED int udp = listen_on_loopback(SOCK_DGRAM, &port);
	snprintf(spec, sizeof(spec), "udp:%u:53", port);
	snprintf(sentence, sizeof(sentence), "UDP port %u of 127.0.0.1 is in use", port);
	refused(g, spec, sentence);
}

static void malformed_forwards_are_refused_with_a_sentence(void **state)
{
	struct guest *g = *state;

	refused(g, "2222", "names one port only");
	refused(g, "tcp:2222", "names one port only");
	refused(g, "tcp:0:22", "a number from 1 to 65535");
	refused(g, "udp:65536:22", "a number from 1 to 65535");
	refused(g, "1.2.3:80:80", "no IPv4 address");
	refused(g, "sctp:80:80", "no IPv4 address");
	refused(g, "1234567890.1234567890:80:80", "no IPv4 address");
	refused(g, "127.0.0.1:80:80:80", "a number from 1 to 65535");
	refused(g, ":::", "no IPv4 address");
	refused(g, "203.0.113.7:8080:80", "no address 203.0.113.7");
}

static void frames_wait_for_a_nic_without_room_within_bounds(void **state)
{
	struct guest *g = *state;

	start(g, NULL, 0);
	introduce(g);
	g->full = true;
	for (unsigned i = 0; i < 1000; i++)
		send_arp(g, 1, HOST);
	assert_int_equal(g->n, 0);
	g->full = false;
	g->net->ops->rx_ready(g->net, 0);
	assert_int_equal(g->n, 256);
	assert_true(is_arp_reply(g->frame[0], g->len[0]));
	send_arp(g, 1, HOST);
	assert_int_equal(g->n, 257);
}

static void nothing_is_delivered_while_paused(void **state)
{
	struct guest *g = *state;
	uint16_t port = free_port(SOCK_STREAM);
	char spec[64];
	const char *specs[] = {spec};

	snprintf(spec, sizeof(spec), "%u:80", port);
	start(g, specs, 1);
	introduce(g);
	g->net->ops->pause(g->net);
	AUTO_FD UNUSED int conn = connect_to_loopback(port);
	for (unsigned i = 0; i < 20; i++)
		loop_run_once(g->loop, 1);
	assert_int_equal(g->n, 0);
	g->net->ops->resume(g->net);
	await(g, is_syn);
}

/* --- as the machine uses it: built on one thread, served on another -------------------- */

static void set_client(void *arg)
{
	struct guest *g = arg;

	g->net->client = &g->client;
}

static void ask_for_the_gateway(void *arg)
{
	send_arp(arg, 1, HOST);
}

static void free_net(void *arg)
{
	struct guest *g = arg;

	net_free(MOVE(g->net));
}

static void a_back_end_may_be_built_while_its_loop_runs(void **state)
{
	struct guest *g = *state;
	struct iothread *t;
	uint16_t port = free_port(SOCK_STREAM);
	char spec[64];
	const char *specs[] = {spec};
	struct errbuf err = {0};
	unsigned i;

	snprintf(spec, sizeof(spec), "%u:80", port);
	assert_int_equal(iothread_new("net", NULL, NULL, &t), 0);
	if (net_user_new(iothread_loop(t), specs, 1, &g->net, &err))
		fail_msg("%s", err.msg);
	AUTO_FD UNUSED int conn = connect_to_loopback(port); /* already served */
	loop_call(iothread_loop(t), set_client, g);
	loop_call(iothread_loop(t), ask_for_the_gateway, g);
	loop_call(iothread_loop(t), free_net, g);
	/* the forwarded connection's frames may come before the answer or behind it */
	for (i = 0; i < g->n && !is_arp_reply(g->frame[i], g->len[i]);)
		i++;
	assert_true(i < g->n);
	iothread_free(t);
}

static void random_frames_do_no_harm(void **state)
{
	struct guest *g = *state;
	unsigned seed = (unsigned)host_ns();
	uint8_t buf[1600];

	print_message("seed %u\n", seed);
	start(g, NULL, 0);
	introduce(g);
	for (unsigned i = 0; i < 20000; i++) {
		size_t len = (seed = seed * 1664525u + 1013904223u) >> 8;

		len = len % 4 ? len % 120 : len % sizeof(buf);
		for (size_t k = 0; k < len; k++)
			buf[k] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 16);
		if (len > 40) { /* ARP, or IPv4 to and from plausible addresses */
			memcpy(buf, g->host_mac, 6);
			buf[12] = 8;
			buf[13] = seed >> 30 ? 0 : 6;
			buf[14] = 0x45;
			memcpy(buf + 26, (uint8_t[]){10, 0, 2, 15, 10, 0, 2, 4}, 8);
		}
		send_frame(g, buf, len);
		if (i % 64 == 0)
			loop_run_once(g->loop, 0);
	}
	g->n = 0;
	send_arp(g, 1, HOST);
	await(g, is_arp_reply);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		T(the_gateway_answers_arp),
		T(dhcp_gives_out_the_address_the_gateway_and_the_name_server),
		T(the_guest_connects_to_a_server_on_the_host),
		T(a_refused_connection_is_reset),
		T(udp_goes_to_a_server_on_the_host_and_back),
		T(a_forwarded_port_leads_into_the_guest),
		T(a_connection_waits_until_the_guest_answers_arp),
		T(a_port_in_use_is_named),
		T(malformed_forwards_are_refused_with_a_sentence),
		T(frames_wait_for_a_nic_without_room_within_bounds),
		T(nothing_is_delivered_while_paused),
		T(a_back_end_may_be_built_while_its_loop_runs),
		T(random_frames_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
