/* SPDX-License-Identifier: Apache-2.0 */
/* net_tap_test.c - TAP interfaces, in a network namespace of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "net/net.h"

enum { ETHERTYPE = 0x88b5 }; /* for experiments */

struct nic {
	struct net_client client;
	struct loop *loop;
	struct net *net;
	bool full;
	unsigned n, queue, tx_ready;
	size_t len;
	uint8_t frame[2048];
	struct net_hdr hdr;
};

static bool receive(struct net_client *c, unsigned queue, const struct net_hdr *hdr,
		    const struct iovec *iov, unsigned niov, size_t len)
{
	struct nic *nic = container_of(c, struct nic, client);
	const uint8_t *p = iov[0].iov_base;

	if (nic->full)
		return false;
	if (len < 14 || p[12] != ETHERTYPE >> 8 || p[13] != (ETHERTYPE & 0xff))
		return true; /* the host's IPv6 stack says hello */
	assert_true(niov == 1 && len <= sizeof(nic->frame));
	memcpy(nic->frame, p, len);
	nic->hdr = *hdr;
	nic->len = len;
	nic->queue = queue;
	nic->n++;
	return true;
}

static void tx_ready(struct net_client *c)
{
	container_of(c, struct nic, client)->tx_ready++;
}

/* --- the namespace ------------------------------------------------------------------- */

static bool namespace_ready(void)
{
	AUTO_FD int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		print_message("skipped: /dev/net/tun: %s\n", strerror(errno));
		return false;
	}
	if (unshare(CLONE_NEWNET) < 0) {
		print_message("skipped: no network namespace: %s\n", strerror(errno));
		return false;
	}
	return true;
}

static void set_up(const char *name)
{
	AUTO_FD int sock = socket(AF_INET, SOCK_DGRAM, 0);
	struct ifreq ifr = {.ifr_flags = IFF_UP | IFF_RUNNING};

	strcpy(ifr.ifr_name, name);
	assert_return_code(ioctl(sock, SIOCSIFFLAGS, &ifr), errno);
}

/* As "ip tuntap add" does. */
static void make_tap(const char *name, short flags)
{
	AUTO_FD int fd = open("/dev/net/tun", O_RDWR);
	struct ifreq ifr = {.ifr_flags = (short)(IFF_NO_PI | flags)};

	strcpy(ifr.ifr_name, name);
	assert_return_code(ioctl(fd, TUNSETIFF, &ifr), errno);
	assert_return_code(ioctl(fd, TUNSETPERSIST, 1), errno);
	set_up(name);
}

/* The host's side of the interface. */
static int packet_socket(const char *name)
{
	struct sockaddr_ll a = {.sll_family = AF_PACKET,
				.sll_protocol = htons(ETHERTYPE),
				.sll_ifindex = (int)if_nametoindex(name)};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETHERTYPE));

	assert_true(fd >= 0);
	assert_return_code(bind(fd, (struct sockaddr *)&a, sizeof(a)), errno);
	return fd;
}

static size_t make_frame(uint8_t *f, size_t len, uint8_t fill)
{
	memset(f, fill, len);
	memset(f, 0xff, 6);
	memcpy(f + 6, (uint8_t[]){0x52, 0x54, 0, 0, 0, 9}, 6);
	f[12] = ETHERTYPE >> 8;
	f[13] = ETHERTYPE & 0xff;
	return len;
}

static int setup(void **state)
{
	struct nic *nic = calloc(1, sizeof(*nic));

	nic->client.receive = receive;
	nic->client.tx_ready = tx_ready;
	*state = nic;
	return loop_new(&nic->loop);
}

static int teardown(void **state)
{
	struct nic *nic = *state;

	net_free(nic->net);
	loop_free(nic->loop);
	free(nic);
	return 0;
}

/* The kernel turns the carrier, and with it sending, on a little later. */
static void await_carrier(const char *name)
{
	AUTO_FD int sock = socket(AF_INET, SOCK_DGRAM, 0);
	struct ifreq ifr = {0};

	strcpy(ifr.ifr_name, name);
	for (unsigned i = 0; i < 20000; i++) {
		assert_return_code(ioctl(sock, SIOCGIFFLAGS, &ifr), errno);
		if (ifr.ifr_flags & IFF_RUNNING)
			return;
		usleep(1000);
	}
	fail_msg("'%s' has no carrier", name);
}

static void attach(struct nic *nic, const char *name, unsigned queues)
{
	struct errbuf err = {0};

	if (net_tap_new(nic->loop, name, queues, &nic->net, &err))
		fail_msg("%s", err.msg);
	nic->net->client = &nic->client;
	assert_int_equal(nic->net->nqueues, queues);
	await_carrier(name);
}

static void serve(struct nic *nic)
{
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(loop_run_once(nic->loop, 1), 0);
}

static void serve_until(struct nic *nic, unsigned n)
{
	for (unsigned i = 0; i < 2000 && nic->n < n; i++)
		assert_int_equal(loop_run_once(nic->loop, 10), 0);
	assert_int_equal(nic->n, n);
}

/* --- tests ------------------------------------------------------------------------------ */

static void frames_pass_both_ways(void **state)
{
	struct nic *nic = *state;
	uint8_t f[200], got[2048];
	struct net_hdr hdr = {0};
	struct iovec iov[2] = {{f, 14}, {f + 14, 186}};

	make_tap("tap0", IFF_TAP);
	AUTO_FD int host = packet_socket("tap0");
	attach(nic, "tap0", 1);
	assert_int_equal(nic->net->mtu, 1500);
	assert_int_equal(write(host, f, make_frame(f, 200, 0x11)), 200);
	serve_until(nic, 1);
	assert_int_equal(nic->len, 200);
	assert_memory_equal(nic->frame, f, 200);
	assert_int_equal(nic->hdr.gso_type, 0);
	make_frame(f, 200, 0x22);
	assert_true(nic->net->ops->send(nic->net, 0, &hdr, iov, 2, 200));
	assert_int_equal(recv(host, got, sizeof(got), 0), 200);
	assert_memory_equal(got, f, 200);
}

static void a_frame_waits_for_a_nic_without_room(void **state)
{
	struct nic *nic = *state;
	uint8_t f[100];

	make_tap("tap0", IFF_TAP);
	AUTO_FD int host = packet_socket("tap0");
	attach(nic, "tap0", 1);
	nic->full = true;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(write(host, f, make_frame(f, 100, (uint8_t)i)), 100);
	serve(nic);
	assert_int_equal(nic->n, 0);
	nic->full = false;
	for (unsigned i = 0; i < 2000 && nic->n < 3; i++) {
		nic->net->ops->rx_ready(nic->net, 0);
		loop_run_once(nic->loop, 10);
	}
	assert_int_equal(nic->n, 3);
	assert_int_equal(nic->frame[50], 2);
}

static void nothing_is_delivered_while_paused(void **state)
{
	struct nic *nic = *state;
	uint8_t f[100];

	make_tap("tap0", IFF_TAP);
	AUTO_FD int host = packet_socket("tap0");
	attach(nic, "tap0", 1);
	nic->net->ops->pause(nic->net);
	assert_int_equal(write(host, f, make_frame(f, 100, 7)), 100);
	serve(nic);
	assert_int_equal(nic->n, 0);
	nic->net->ops->resume(nic->net);
	serve_until(nic, 1);
}

static void offloads_are_taken_when_offered(void **state)
{
	struct nic *nic = *state;

	make_tap("tap0", IFF_TAP);
	attach(nic, "tap0", 1);
	assert_true(nic->net->features & NET_CSUM);
	assert_true(nic->net->features & NET_TSO4);
	assert_int_equal(nic->net->ops->set_offloads(nic->net, NET_CSUM | NET_TSO4 | NET_TSO6), 0);
	assert_int_equal(nic->net->ops->set_offloads(nic->net, nic->net->features), 0);
	assert_int_equal(nic->net->ops->set_offloads(nic->net, 0), 0);
	assert_int_equal(nic->net->ops->set_offloads(nic->net, 1u << 20), -EINVAL);
}

static void an_interface_made_for_many_queues_serves_many_or_one(void **state)
{
	struct nic *nic = *state;
	uint8_t f[100];

	make_tap("tapm", IFF_TAP | IFF_MULTI_QUEUE);
	AUTO_FD int host = packet_socket("tapm");
	attach(nic, "tapm", 4);
	for (unsigned q = 0; q < 4; q++) {
		struct iovec iov = {f, make_frame(f, 100, (uint8_t)q)};
		struct net_hdr hdr = {0};
		uint8_t got[200];

		assert_true(nic->net->ops->send(nic->net, q, &hdr, &iov, 1, 100));
		assert_int_equal(recv(host, got, sizeof(got), 0), 100);
	}
	assert_int_equal(write(host, f, make_frame(f, 100, 1)), 100);
	serve_until(nic, 1);
	net_free(nic->net);
	attach(nic, "tapm", 1);
}

static void a_deleted_interface_makes_no_noise(void **state)
{
	struct nic *nic = *state;
	struct net_hdr hdr = {0};
	uint8_t f[100];
	struct iovec iov = {f, make_frame(f, 100, 1)};

	make_tap("tap0", IFF_TAP);
	attach(nic, "tap0", 1);
	assert_int_equal(system("ip link del tap0"), 0);
	serve(nic);
	for (unsigned i = 0; i < 3; i++)
		assert_true(nic->net->ops->send(nic->net, 0, &hdr, &iov, 1, 100));
	assert_int_equal(nic->n, 0);
}

static void refused(struct nic *nic, const char *name, unsigned queues, const char *sentence)
{
	struct errbuf err = {0};

	assert_true(net_tap_new(nic->loop, name, queues, &nic->net, &err) < 0);
	assert_null(nic->net);
	if (!strstr(err.msg, sentence))
		fail_msg("'%s' does not contain '%s'", err.msg, sentence);
}

static void unusable_interfaces_are_refused_with_a_sentence(void **state)
{
	struct nic *nic = *state;

	refused(nic, "tap77", 1, "interface 'tap77' does not exist");
	assert_int_equal(if_nametoindex("tap77"), 0); /* and was not made */
	refused(nic, "lo", 1, "'lo' is not a TAP interface");
	refused(nic, "", 1, "no interface's name");
	refused(nic, "a-name-longer-than-interfaces-have", 1, "no interface's name");
	make_tap("tun0", IFF_TUN);
	refused(nic, "tun0", 1, "'tun0' is not a TAP interface");
	make_tap("tap0", IFF_TAP);
	refused(nic, "tap0", 2, "tap 'tap0' cannot have 2 queues");
	attach(nic, "tap0", 1);
	struct net *first = nic->net;
	nic->net = NULL;
	refused(nic, "tap0", 1, "tap 'tap0' is in use by another program");
	nic->net = first;
}

/* Each test has a namespace, so interfaces need no cleaning up. */
static int setup_in_namespace(void **state)
{
	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	return setup(state);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup_in_namespace, teardown)
	static const struct CMUnitTest tests[] = {
		T(frames_pass_both_ways),
		T(a_frame_waits_for_a_nic_without_room),
		T(nothing_is_delivered_while_paused),
		T(offloads_are_taken_when_offered),
		T(an_interface_made_for_many_queues_serves_many_or_one),
		T(a_deleted_interface_makes_no_noise),
		T(unusable_interfaces_are_refused_with_a_sentence),
	};

	if (!namespace_ready())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
