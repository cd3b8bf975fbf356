/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_ring_test.c - drivers that break the rules of the rings: the device stops, says
 * so, and works again after a reset.
 */
#include "dev/tests/vrng.h"

/* --- drivers that break the rules ----------------------------------------------------------- */

static void chain(struct fixture *x)
{
	vdrv_avail(&x->d, 0, 0);
	vdrv_kick(&x->d, 0);
	broke(x);
}

static void a_descriptor_loop_breaks_the_device(void **state)
{
	struct fixture *x = *state;

	hostile(x);
	vdrv_desc(&x->d, 0, 0, x->buf, 16, NEXT | WRITE, 1);
	vdrv_desc(&x->d, 0, 1, x->buf, 16, NEXT | WRITE, 0);
	vdrv_avail(&x->d, 0, 0);
	vdrv_kick(&x->d, 0);
	assert_true(vdrv_wait_broken(&x->d));
	vfx_wait_msi(&x->b, 0x20, 1); /* a configuration change */
	broke(x);
	hostile(x);
	vdrv_desc(&x->d, 0, 0, x->buf, 16, NEXT | WRITE, 0); /* itself */
	chain(x);
}

static void buffers_outside_ram_break_the_device(void **state)
{
	static const struct {
		uint64_t gpa;
		uint32_t len;
	} bad[] = {
		{VB_RAM, 16},	       {VB_RAM - 8, 16},      {UINT64_MAX, 1},
		{UINT64_MAX - 15, 16}, {0, UINT32_MAX},	      {VB_RAM2_BASE + VB_RAM2 - 1, 2},
		{VB_RAM2_BASE - 1, 2}, {PCI_ECAM_BASE, 4096}, {1ULL << 63, 16},
	};
	struct fixture *x = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		hostile(x);
		vdrv_desc(&x->d, 0, 0, bad[i].gpa, bad[i].len, WRITE, 0);
		chain(x);
	}
}

static void indices_outside_the_table_break_the_device(void **state)
{
	struct fixture *x = *state;

	hostile(x);
	vdrv_desc(&x->d, 0, 0, x->buf, 16, NEXT | WRITE, 16);
	chain(x);
	hostile(x);
	vdrv_desc(&x->d, 0, 0, x->buf, 16, NEXT | WRITE, 0xffff);
	chain(x);
	hostile(x);
	vdrv_avail(&x->d, 0, 16);
	vdrv_kick(&x->d, 0);
	broke(x);
	hostile(x);
	vdrv_avail(&x->d, 0, 0xffff);
	vdrv_kick(&x->d, 0);
	broke(x);
}

static void an_available_index_that_jumps_breaks_the_device(void **state)
{
	static const uint16_t jump[] = {17, 0x8000, 0xffff};
	struct fixture *x = *state;

	for (size_t i = 0; i < ARRAY_SIZE(jump); i++) {
		hostile(x);
		__atomic_store_n((uint16_t *)vboard_ram(&x->b, x->d.q[0].avail + 2), jump[i],
				 __ATOMIC_SEQ_CST);
		vdrv_kick(&x->d, 0);
		broke(x);
	}
}

static void malformed_indirect_tables_break_the_device(void **state)
{
	static const struct {
		uint64_t gpa;
		uint32_t len;
		unsigned flags;
	} bad[] = {
		{0x8000, 0, INDIRECT},		{0x8000, 15, INDIRECT},
		{0x8000, 17, INDIRECT},		{VB_RAM - 16, 32, INDIRECT},
		{0x8000, 16, INDIRECT | NEXT},	{0x8000, 1025 * 16, INDIRECT},
		{0x8000, 0xfffffff0, INDIRECT},
	};
	struct fixture *x = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		hostile(x);
		vdrv_desc(&x->d, 0, 0, bad[i].gpa, bad[i].len, bad[i].flags, 1);
		chain(x);
	}
}

static void an_indirect_table_in_another_breaks_the_device(void **state)
{
	struct fixture *x = *state;
	struct vseg inner = {0x8000, 16, false};

	hostile(x);
	x->d.q[0].indirect = 0x8000;
	vdrv_add(&x->d, 0, &inner, 1);
	*(uint16_t *)vboard_ram(&x->b, 0x8000 + 12) = INDIRECT;
	vdrv_kick(&x->d, 0);
	x->d.q[0].indirect = 0;
	broke(x);
}

static void indirect_descriptors_must_be_negotiated(void **state)
{
	struct fixture *x = *state;
	struct vseg s = {x->buf, 16, true};

	start(x, FEATURES_BASIC);
	x->d.q[0].indirect = 0x8000;
	vdrv_add(&x->d, 0, &s, 1);
	vdrv_kick(&x->d, 0);
	x->d.q[0].indirect = 0;
	broke(x);
}

static void an_indirect_loop_breaks_the_device(void **state)
{
	struct fixture *x = *state;
	struct vseg s[2] = {{x->buf, 16, true}, {x->buf, 16, true}};

	hostile(x);
	x->d.q[0].indirect = 0x8000;
	vdrv_add(&x->d, 0, s, 2);
	*(uint16_t *)vboard_ram(&x->b, 0x8000 + 16 + 12) = NEXT | WRITE;
	*(uint16_t *)vboard_ram(&x->b, 0x8000 + 16 + 14) = 0;
	vdrv_kick(&x->d, 0);
	x->d.q[0].indirect = 0;
	broke(x);
}

static void a_readable_part_behind_the_writable_one_breaks_the_device(void **state)
{
	struct fixture *x = *state;
	struct vseg s[2] = {{x->buf, 16, true}, {x->buf, 16, false}};

	hostile(x);
	vdrv_add(&x->d, 0, s, 2);
	vdrv_kick(&x->d, 0);
	broke(x);
}

static void a_chain_of_more_pieces_than_allowed_breaks_the_device(void **state)
{
	struct fixture *x = *state;
	struct vseg s[VIRTQ_MAX_SEGS + 1];

	hostile(x);
	for (size_t i = 0; i < ARRAY_SIZE(s); i++)
		s[i] = (struct vseg){x->buf, 1, true};
	x->d.q[0].indirect = 0x8000;
	vdrv_add(&x->d, 0, s, ARRAY_SIZE(s));
	vdrv_kick(&x->d, 0);
	x->d.q[0].indirect = 0;
	broke(x);
	/* one less is fine */
	x->d.q[0].indirect = 0x8000;
	vdrv_add(&x->d, 0, s, VIRTQ_MAX_SEGS);
	vdrv_kick(&x->d, 0);
	assert_true(vdrv_used(&x->d, 0, NULL, NULL));
}

static void pieces_of_length_zero_are_skipped(void **state)
{
	struct fixture *x = *state;
	struct vseg s[3] = {{~0ULL, 0, true}, {x->buf, 5, true}, {0, 0, true}};
	uint16_t head;

	start(x, FEATURES_ALL);
	head = vdrv_add(&x->d, 0, s, 3);
	vdrv_kick(&x->d, 0);
	assert_int_equal(vfx_used(&x->d, 0, head), 5);
	head = vdrv_add(&x->d, 0, s, 1); /* nothing at all */
	vdrv_kick(&x->d, 0);
	assert_int_equal(vfx_used(&x->d, 0, head), 0);
}

static void rings_outside_ram_or_misaligned_are_not_enabled(void **state)
{
	static const struct {
		uint64_t desc, avail, used;
	} bad[] = {
		{0x1008, 0x2000, 0x3000},
		{0x1000, 0x2001, 0x3000},
		{0x1000, 0x2000, 0x3002},
		{VB_RAM - 16, 0x2000, 0x3000},
		{0x1000, VB_RAM - 8, 0x3000},
		{0x1000, 0x2000, VB_RAM - 8},
		{0xfffffffffffffff0, 0x2000, 0x3000},
		{PCI_ECAM_BASE, 0x2000, 0x3000},
	};
	struct fixture *x = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_true(vdrv_negotiate(&x->d, FEATURES_ALL));
		vdrv_write(&x->d, VC_QUEUE_SIZE, 16, 2);
		vdrv_write(&x->d, VC_QUEUE_DESC, bad[i].desc, 8);
		vdrv_write(&x->d, VC_QUEUE_DRIVER, bad[i].avail, 8);
		vdrv_write(&x->d, VC_QUEUE_DEVICE, bad[i].used, 8);
		vdrv_write(&x->d, VC_QUEUE_ENABLE, 1, 2);
		assert_int_equal(vdrv_read(&x->d, VC_QUEUE_ENABLE, 2), 0);
		assert_true(status(x) & VS_NEEDS_RESET);
	}
	start(x, FEATURES_ALL);
	works(x);
}

static void rings_and_buffers_may_lie_in_the_second_region(void **state)
{
	struct fixture *x = *state;

	x->d.next_gpa = VB_RAM2_BASE + 0x1000;
	start(x, FEATURES_ALL);
	x->buf = VB_RAM2_BASE + VB_RAM2 - 32;
	works(x);
}

static void kicks_of_any_queue_and_width_are_harmless(void **state)
{
	struct fixture *x = *state;

	start(x, FEATURES_ALL);
	for (unsigned off = 0; off < 0x1000; off += 7)
		bus_write(x->b.env.mmio, x->d.notify + off, ~0ULL, 1u << (off & 3));
	works(x);
	vdrv_write(&x->d, VC_STATUS, 0, 1);
	vdrv_kick(&x->d, 0);
	vboard_settle(&x->b);
	assert_int_equal(status(x), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_descriptor_loop_breaks_the_device),
		T(buffers_outside_ram_break_the_device),
		T(indices_outside_the_table_break_the_device),
		T(an_available_index_that_jumps_breaks_the_device),
		T(malformed_indirect_tables_break_the_device),
		T(an_indirect_table_in_another_breaks_the_device),
		T(indirect_descriptors_must_be_negotiated),
		T(an_indirect_loop_breaks_the_device),
		T(a_readable_part_behind_the_writable_one_breaks_the_device),
		T(a_chain_of_more_pieces_than_allowed_breaks_the_device),
		T(pieces_of_length_zero_are_skipped),
		T(rings_outside_ram_or_misaligned_are_not_enabled),
		T(rings_and_buffers_may_lie_in_the_second_region),
		T(kicks_of_any_queue_and_width_are_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
