/* SPDX-License-Identifier: Apache-2.0 */
/* virtio_net_test.c - the network card driven through its registers, on a wire in memory. */
#include <stdio.h>
#include <time.h>

#include "dev/tests/vfixture.h"

enum { HDR = 12, RX = 0, TX = 1, CTRL = 2, QSIZE = 64, PAIRS = 2 };
enum {
	F_CSUM = 0,
	F_GUEST_CSUM = 1,
	F_MTU = 3,
	F_GUEST_TSO4 = 7,
	F_HOST_TSO4 = 11,
	F_MRG_RXBUF = 15,
	F_CTRL_RX_EXTRA = 20,
	F_MQ = 22
};
#define ALL_BUT_MQ (FEATURES_ALL & ~BIT(F_MQ))

static const uint8_t mac[6] = {0x52, 0x54, 0, 1, 2, 3};

struct fixture {
	struct vboard b;
	struct memwire wire;
	struct device *dev;
	struct vdrv d;
	uint64_t buf; /* gpa of 256 KiB */
};

static int set_up(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));
	struct virtio_net_config c = {.nqueues = PAIRS};

	vfx_board(&x->b, false);
	assert_int_equal(memwire_init(&x->wire, vboard_loop(&x->b),
				      NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN, PAIRS),
			 0);
	c.host = vfx_host(&x->b);
	c.loop = vboard_loop(&x->b);
	c.net = &x->wire.net;
	memcpy(c.mac, mac, 6);
	x->dev = vfx_add(&x->b, &virtio_net_ops, &c);
	assert_true(vdrv_probe(&x->d, &x->b, 1));
	x->buf = vdrv_alloc(&x->d, 256 << 10, 4096);
	*state = x;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *x = *state;

	dev_free(x->dev);
	assert_null(x->wire.net.client);
	memwire_fini(&x->wire);
	vboard_fini(&x->b);
	free(x);
	return 0;
}

static void start(struct fixture *x, uint64_t features)
{
	x->d.next_gpa = 0x100000;
	assert_true(vdrv_start(&x->d, features, features & BIT(F_MQ) ? 5 : 3, QSIZE));
}

static uint8_t *ram(struct fixture *x, uint64_t gpa)
{
	return vboard_ram(&x->b, gpa);
}

/* A frame of @len bytes for @dst, its bytes counting up from @seed. */
static void make_frame(uint8_t *p, const uint8_t dst[6], size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(i + seed);
	memcpy(p, dst, 6);
}

/* Make frame memory at x->buf available for sending with header @h. */
static uint16_t post_tx(struct fixture *x, unsigned q, const struct net_hdr *h, uint32_t len)
{
	struct vseg s[3] = {{x->buf, 7, false},
			    {x->buf + 7, HDR - 7 + 3, false},
			    {x->buf + HDR + 3, len - 3, false}};

	memcpy(ram(x, x->buf), h, HDR);
	return vdrv_add(&x->d, q, s, 3);
}

static void post_rx(struct fixture *x, unsigned q, uint64_t gpa, uint32_t len)
{
	struct vseg s = {gpa, len, true};

	vdrv_add(&x->d, q, &s, 1);
	vdrv_kick(&x->d, q);
	vboard_settle(&x->b);
}

static bool inject(struct fixture *x, const uint8_t dst[6], size_t len)
{
	uint8_t frame[4096];

	make_frame(frame, dst, len, 1);
	return memwire_inject(&x->wire, 0, frame, len);
}

static uint8_t command(struct fixture *x, uint8_t class, uint8_t cmd, const void *data,
		       uint32_t len)
{
	unsigned q = x->d.features & BIT(F_MQ) ? 2 * PAIRS : CTRL;
	uint64_t at = x->buf + 0x20000;
	struct vseg s[3] = {{at, 2, false}, {at + 2, len, false}, {at + 0x1000, 1, true}};
	uint16_t head;

	ram(x, at)[0] = class;
	ram(x, at)[1] = cmd;
	memcpy(ram(x, at + 2), data, len);
	*ram(x, at + 0x1000) = 0xff;
	head = vdrv_add(&x->d, q, s, 3);
	vdrv_kick(&x->d, q);
	assert_int_equal(vfx_used(&x->d, q, head), 1);
	return *ram(x, at + 0x1000);
}

/* --- transmit ---------------------------------------------------------------------------- */

static void a_sent_frame_arrives_as_it_is(void **state)
{
	struct fixture *x = *state;
	struct net_hdr h = {0};
	uint16_t head;

	start(x, ALL_BUT_MQ);
	make_frame(ram(x, x->buf + HDR), mac, 1514, 9);
	head = post_tx(x, TX, &h, 1514);
	vdrv_kick(&x->d, TX);
	vfx_used(&x->d, TX, head);
	vboard_settle(&x->b);
	assert_int_equal(x->wire.nsent, 1);
	assert_int_equal(x->wire.sent[0].len, 1514);
	assert_memory_equal(x->wire.sent[0].data, ram(x, x->buf + HDR), 1514);
}

static void a_full_wire_keeps_frames_in_the_ring(void **state)
{
	struct fixture *x = *state;
	struct net_hdr h = {0};

	start(x, ALL_BUT_MQ);
	vboard_settle(&x->b);
	x->wire.full = true;
	for (unsigned i = 0; i < 5; i++)
		post_tx(x, TX, &h, 60);
	vdrv_kick(&x->d, TX);
	vboard_settle(&x->b);
	assert_int_equal(*(uint16_t *)ram(x, x->d.q[TX].used + 2), 0);
	memwire_open(&x->wire);
	for (unsigned i = 0; i < 5; i++)
		assert_true(vdrv_used(&x->d, TX, NULL, NULL));
	vboard_settle(&x->b);
	assert_int_equal(x->wire.nsent, 5);
}

static void frames_that_are_none_are_dropped(void **state)
{
	struct fixture *x = *state;
	struct vseg s[] = {{x->buf, 5, false},
			   {x->buf, HDR, false},
			   {x->buf, HDR + 13, false},
			   {x->buf, 0x12000, false}};

	start(x, ALL_BUT_MQ);
	for (size_t i = 0; i < ARRAY_SIZE(s); i++) {
		vdrv_add(&x->d, TX, &s[i], 1);
		vdrv_kick(&x->d, TX);
		assert_true(vdrv_used(&x->d, TX, NULL, NULL));
	}
	vboard_settle(&x->b);
	assert_int_equal(x->wire.nsent, 0);
	assert_int_equal(vdrv_read(&x->d, VC_STATUS, 1) & VS_NEEDS_RESET, 0);
}

static void offload_headers_are_checked_before_the_back_end_sees_them(void **state)
{
	static const struct {
		struct net_hdr h;
		bool ok;
	} c[] = {
		{{.flags = 1, .csum_start = 34, .csum_offset = 16}, true},
		{{.flags = 1,
		  .gso_type = 1,
		  .gso_size = 1448,
		  .hdr_len = 54,
		  .csum_start = 34,
		  .csum_offset = 16},
		 true},
		{{.flags = 1, .gso_type = 0x81, .gso_size = 1448, .csum_start = 34}, true},
		{{.flags = 1, .csum_start = 0xffff, .csum_offset = 0xffff}, false},
		{{.flags = 1, .csum_start = 98, .csum_offset = 1}, false},
		{{.gso_type = 1, .gso_size = 1448}, false},	     /* without checksum */
		{{.flags = 1, .gso_type = 1}, false},		     /* segments of nothing */
		{{.flags = 1, .gso_type = 3, .gso_size = 8}, false}, /* UFO: not offered */
		{{.flags = 1, .gso_type = 77, .gso_size = 8}, false},
		{{.gso_type = 0x80}, false},
		{{.hdr_len = 101, .gso_size = 9}, true}, /* without meaning */
		{{.flags = 1, .gso_type = 1, .gso_size = 9, .hdr_len = 101, .csum_start = 34},
		 false},
	};
	struct fixture *x = *state;
	unsigned sent = 0;

	start(x, ALL_BUT_MQ);
	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		post_tx(x, TX, &c[i].h, 100);
		vdrv_kick(&x->d, TX);
		assert_true(vdrv_used(&x->d, TX, NULL, NULL));
		vboard_settle(&x->b);
		assert_int_equal(x->wire.nsent, sent + c[i].ok);
		sent = x->wire.nsent;
	}
	/* a driver that did not negotiate them gets none */
	start(x, FEATURES_BASIC);
	post_tx(x, TX, &c[0].h, 100);
	vdrv_kick(&x->d, TX);
	assert_true(vdrv_used(&x->d, TX, NULL, NULL));
	vboard_settle(&x->b);
	assert_int_equal(x->wire.nsent, sent);
}

/* --- receive ------------------------------------------------------------------------------- */

static void a_received_frame_fills_one_buffer(void **state)
{
	struct fixture *x = *state;
	struct net_hdr h;
	uint8_t frame[1514];

	start(x, ALL_BUT_MQ);
	post_rx(x, RX, x->buf, 2048);
	make_frame(frame, mac, sizeof(frame), 1);
	assert_true(inject(x, mac, sizeof(frame)));
	assert_int_equal(vfx_used(&x->d, RX, 0), HDR + sizeof(frame));
	memcpy(&h, ram(x, x->buf), HDR);
	assert_int_equal(h.num_buffers, 1);
	assert_memory_equal(ram(x, x->buf + HDR), frame, sizeof(frame));
	vfx_wait_msi(&x->b, 0x21, 1);
}

static void a_long_frame_is_spread_over_buffers_published_together(void **state)
{
	struct fixture *x = *state;
	uint8_t frame[4000], got[4000];
	size_t at = 0;
	struct net_hdr h;

	start(x, ALL_BUT_MQ);
	for (unsigned i = 0; i < 4; i++)
		post_rx(x, RX, x->buf + i * 4096, 1500);
	make_frame(frame, mac, sizeof(frame), 1);
	assert_true(inject(x, mac, sizeof(frame)));
	assert_int_equal(*(uint16_t *)ram(x, x->d.q[RX].used + 2), 3);
	for (unsigned i = 0; i < 3; i++) {
		uint32_t len = vfx_used(&x->d, RX, (uint16_t)i), skip = i ? 0 : HDR;

		memcpy(got + at, ram(x, x->buf + i * 4096 + skip), len - skip);
		at += len - skip;
	}
	assert_int_equal(at, sizeof(frame));
	assert_memory_equal(got, frame, sizeof(frame));
	memcpy(&h, ram(x, x->buf), HDR);
	assert_int_equal(h.num_buffers, 3);
}

static void a_frame_waits_for_buffers_and_takes_none_before(void **state)
{
	struct fixture *x = *state;

	start(x, ALL_BUT_MQ);
	assert_false(inject(x, mac, 2000));
	post_rx(x, RX, x->buf, 1500);
	assert_int_equal(*(uint16_t *)ram(x, x->d.q[RX].used + 2), 0);
	post_rx(x, RX, x->buf + 4096, 1500);
	assert_int_equal(vfx_used(&x->d, RX, 0), 1500);
	assert_int_equal(vfx_used(&x->d, RX, 1), 2000 + HDR - 1500);
	assert_true(x->wire.in_taken);
}

static void a_frame_that_fits_no_buffer_is_dropped(void **state)
{
	struct fixture *x = *state;

	start(x, FEATURES_BASIC); /* no merging */
	post_rx(x, RX, x->buf, 1000);
	assert_true(inject(x, mac, 1514));
	assert_int_equal(*(uint16_t *)ram(x, x->d.q[RX].used + 2), 0);
	assert_true(inject(x, mac, 900));
	assert_int_equal(vfx_used(&x->d, RX, 0), 912);
	/* with merging: more buffers than a frame may have */
	start(x, ALL_BUT_MQ);
	for (unsigned i = 0; i < QSIZE; i++)
		post_rx(x, RX, x->buf + i * 64, 13);
	assert_true(inject(x, mac, 3000));
	assert_int_equal(*(uint16_t *)ram(x, x->d.q[RX].used + 2), 0);
	/* a buffer too small for the header */
	start(x, ALL_BUT_MQ);
	post_rx(x, RX, x->buf, 11);
	assert_true(inject(x, mac, 60));
}

static void without_a_driver_frames_are_lost(void **state)
{
	struct fixture *x = *state;

	assert_true(inject(x, mac, 60));
	start(x, ALL_BUT_MQ);
	assert_int_equal(x->wire.paused, 0);
	vdrv_write(&x->d, VC_STATUS, 0, 1);
	assert_int_equal(x->wire.paused, 1);
	assert_true(inject(x, mac, 60));
	start(x, ALL_BUT_MQ);
	assert_int_equal(x->wire.paused, 0);
}

/* --- control --------------------------------------------------------------------------------- */

static bool arrives(struct fixture *x, const uint8_t dst[6])
{
	uint16_t before = *(uint16_t *)ram(x, x->d.q[RX].used + 2);

	post_rx(x, RX, x->buf, 2048);
	assert_true(inject(x, dst, 60));
	if (*(uint16_t *)ram(x, x->d.q[RX].used + 2) != before)
		return true;
	assert_true(inject(x, mac, 60)); /* use the buffer up */
	return false;
}

static void filters_let_through_what_was_asked_for(void **state)
{
	static const uint8_t other[6] = {0x52, 0x54, 9, 9, 9, 9}, multi[6] = {1, 0, 0x5e, 0, 0, 1},
			     multi2[6] = {1, 0, 0x5e, 0, 0, 2},
			     bcast[6] = {255, 255, 255, 255, 255, 255};
	struct fixture *x = *state;
	uint8_t off = 0, on = 1, table[4 + 6 + 4 + 6] = {1};

	start(x, ALL_BUT_MQ);
	assert_true(arrives(x, other)); /* promiscuous until told otherwise */
	assert_int_equal(command(x, 0, 0, &off, 1), 0);
	assert_false(arrives(x, other));
	assert_false(arrives(x, multi));
	assert_true(arrives(x, mac));
	assert_true(arrives(x, bcast));
	memcpy(table + 4, other, 6);
	table[10] = 1;
	memcpy(table + 14, multi, 6);
	assert_int_equal(command(x, 1, 0, table, sizeof(table)), 0);
	assert_true(arrives(x, other));
	assert_true(arrives(x, multi));
	assert_false(arrives(x, multi2));
	assert_int_equal(command(x, 0, 1, &on, 1), 0);
	assert_true(arrives(x, multi2));
	assert_int_equal(command(x, 0, 5, &on, 1), 0); /* no broadcasts */
	assert_false(arrives(x, bcast));
}

static void a_table_of_more_addresses_than_fit_means_all(void **state)
{
	static const uint8_t other[6] = {0x52, 0x54, 9, 9, 9, 9}, multi[6] = {1, 0, 0x5e, 0, 0, 1};
	struct fixture *x = *state;
	uint8_t off = 0, table[4 + 100 * 6 + 4] = {100};

	start(x, ALL_BUT_MQ);
	assert_int_equal(command(x, 0, 0, &off, 1), 0);
	assert_int_equal(command(x, 1, 0, table, sizeof(table)), 0);
	assert_true(arrives(x, other));
	assert_false(arrives(x, multi));
}

static void the_address_can_be_set_and_a_reset_restores_it(void **state)
{
	static const uint8_t other[6] = {0x52, 0x54, 9, 9, 9, 9};
	struct fixture *x = *state;

	start(x, ALL_BUT_MQ);
	assert_int_equal(command(x, 1, 1, other, 6), 0);
	assert_int_equal(bus_read(x->b.env.mmio, x->d.device + 2, 1), 9);
	vdrv_write(&x->d, VC_STATUS, 0, 1);
	assert_int_equal(bus_read(x->b.env.mmio, x->d.device + 2, 1), 0);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(bus_read(x->b.env.mmio, x->d.device + i, 1), mac[i]);
}

static void malformed_commands_are_answered_with_an_error(void **state)
{
	static const uint8_t table[8] = {0xff, 0xff, 0xff, 0xff};
	struct fixture *x = *state;
	uint64_t offloads = ~0ULL;
	uint16_t pairs = 1;

	start(x, ALL_BUT_MQ);
	assert_int_equal(command(x, 0, 99, table, 1), 1);
	assert_int_equal(command(x, 0, 0, table, 0), 1);
	assert_int_equal(command(x, 1, 0, table, 8), 1);
	assert_int_equal(command(x, 1, 0, table, 3), 1);
	assert_int_equal(command(x, 1, 1, table, 5), 1);
	assert_int_equal(command(x, 1, 2, table, 6), 1);
	assert_int_equal(command(x, 2, 0, table, 2), 1);
	assert_int_equal(command(x, 4, 0, &pairs, 2), 1); /* MQ was not negotiated */
	assert_int_equal(command(x, 5, 0, &offloads, 8), 1);
	assert_int_equal(command(x, 255, 255, table, 8), 1);
}

static void offloads_reach_the_back_end(void **state)
{
	struct fixture *x = *state;
	uint64_t only_csum = BIT(F_GUEST_CSUM);

	start(x, ALL_BUT_MQ);
	vboard_settle(&x->b);
	assert_int_equal(x->wire.offloads, NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN);
	assert_int_equal(command(x, 5, 0, &only_csum, 8), 0);
	assert_int_equal(x->wire.offloads, NET_CSUM);
	start(x, FEATURES_BASIC);
	vboard_settle(&x->b);
	assert_int_equal(x->wire.offloads, 0);
}

static void queue_pairs_are_used_as_the_driver_chose(void **state)
{
	struct fixture *x = *state;
	uint16_t pairs = 2, bad = 3, none = 0;
	struct net_hdr h = {0};
	uint8_t frame[60];
	uint16_t head;

	start(x, FEATURES_ALL);
	assert_int_equal(bus_read(x->b.env.mmio, x->d.device + 8, 2), PAIRS);
	assert_int_equal(command(x, 4, 0, &bad, 2), 1);
	assert_int_equal(command(x, 4, 0, &none, 2), 1);
	make_frame(frame, mac, sizeof(frame), 1);
	post_rx(x, 0, x->buf, 2048);
	post_rx(x, 2, x->buf + 4096, 2048);
	assert_true(memwire_inject(&x->wire, 1, frame, sizeof(frame)));
	vfx_used(&x->d, 0, 0); /* one pair: all comes there */
	assert_int_equal(command(x, 4, 0, &pairs, 2), 0);
	assert_true(memwire_inject(&x->wire, 1, frame, sizeof(frame)));
	vfx_used(&x->d, 2, 0);
	head = post_tx(x, 3, &h, 60);
	vdrv_kick(&x->d, 3);
	vfx_used(&x->d, 3, head);
	vboard_settle(&x->b);
	assert_int_equal(x->wire.sent[0].queue, 1);
}

static void frames_of_a_back_end_queue_without_a_pair_are_not_stuck(void **state)
{
	struct fixture *x = *state;
	uint16_t pairs = 2;
	uint8_t frame[60];

	make_frame(frame, mac, sizeof(frame), 1);
	start(x, FEATURES_ALL); /* one pair until chosen otherwise */
	assert_false(memwire_inject(&x->wire, 1, frame, sizeof(frame)));
	post_rx(x, 0, x->buf, 2048);
	vfx_used(&x->d, 0, 0);
	assert_false(memwire_inject(&x->wire, 1, frame, sizeof(frame)));
	post_rx(x, 2, x->buf, 2048);
	assert_int_equal(command(x, 4, 0, &pairs, 2), 0);
	vfx_used(&x->d, 2, 0);
}

static void the_configuration_has_address_link_and_mtu(void **state)
{
	struct fixture *x = *state;

	assert_true(vdrv_device_features(&x->d) & BIT(F_MTU));
	assert_int_equal(bus_read(x->b.env.mmio, x->d.device, 4), 0x01005452);
	assert_int_equal(bus_read(x->b.env.mmio, x->d.device + 6, 2), 1);
	assert_int_equal(bus_read(x->b.env.mmio, x->d.device + 10, 2), 1500);
}

/* --- state, load ------------------------------------------------------------------------------ */

static void a_saved_card_keeps_filters_address_and_rings(void **state)
{
	static const uint8_t other[6] = {0x52, 0x54, 9, 9, 9, 9};
	struct fixture *x = *state;
	struct errbuf err = {0};
	uint64_t only_csum = BIT(F_GUEST_CSUM);
	uint8_t off = 0;

	start(x, ALL_BUT_MQ);
	assert_int_equal(command(x, 0, 0, &off, 1), 0);
	assert_int_equal(command(x, 1, 1, other, 6), 0);
	assert_int_equal(command(x, 5, 0, &only_csum, 8), 0);
	post_rx(x, RX, x->buf, 2048);
	assert_int_equal(vfx_transplant(x->dev, x->dev, &err), 0);
	assert_true(inject(x, mac, 60));
	assert_int_equal(*(uint16_t *)ram(x, x->d.q[RX].used + 2), 0);
	assert_true(inject(x, other, 60));
	assert_int_equal(x->wire.offloads, NET_CSUM);
	vfx_used(&x->d, RX, 0);
	assert_int_equal(bus_read(x->b.env.mmio, x->d.device + 2, 1), 9);
}

static void frames_in_both_directions_survive_resets_in_the_middle(void **state)
{
	struct fixture *x = *state;
	unsigned seed = (unsigned)time(NULL);
	struct net_hdr h = {0};

	print_message("seed %u\n", seed);
	for (unsigned i = 0; i < 200; i++) {
		start(x, ALL_BUT_MQ);
		for (unsigned k = (unsigned)rand_r(&seed) % 16; k--;) {
			struct vseg s = {x->buf + 0x8000 + k * 2048, 2048, true};

			if (k & 1)
				post_tx(x, TX, &h, 60 + k);
			else
				vdrv_add(&x->d, RX, &s, 1);
			vdrv_kick(&x->d, k & 1 ? TX : RX);
			vboard_settle(&x->b);
			inject(x, mac, 60 + (size_t)rand_r(&seed) % 1400);
		}
		vdrv_write(&x->d, VC_STATUS, 0, 1);
		for (unsigned k = 0; k < x->wire.nsent; k++)
			free(x->wire.sent[k].data);
		x->wire.nsent = 0;
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_sent_frame_arrives_as_it_is),
		T(a_full_wire_keeps_frames_in_the_ring),
		T(frames_that_are_none_are_dropped),
		T(offload_headers_are_checked_before_the_back_end_sees_them),
		T(a_received_frame_fills_one_buffer),
		T(a_long_frame_is_spread_over_buffers_published_together),
		T(a_frame_waits_for_buffers_and_takes_none_before),
		T(a_frame_that_fits_no_buffer_is_dropped),
		T(without_a_driver_frames_are_lost),
		T(filters_let_through_what_was_asked_for),
		T(a_table_of_more_addresses_than_fit_means_all),
		T(the_address_can_be_set_and_a_reset_restores_it),
		T(malformed_commands_are_answered_with_an_error),
		T(offloads_reach_the_back_end),
		T(queue_pairs_are_used_as_the_driver_chose),
		T(frames_of_a_back_end_queue_without_a_pair_are_not_stuck),
		T(the_configuration_has_address_link_and_mtu),
		T(a_saved_card_keeps_filters_address_and_rings),
		T(frames_in_both_directions_survive_resets_in_the_middle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
