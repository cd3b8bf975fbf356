// SPDX-License-Identifier: Apache-2.0
/* pic_test.c - the 8259A pair, driven through its ports, by its data sheet. */
#include "irq/irq_fixture.h"

enum { M_CMD = 0x20, M_DATA = 0x21, S_CMD = 0xa0, S_DATA = 0xa1 };
enum { READ_IRR = 0x0a, READ_ISR = 0x0b, POLL = 0x0c, EOI = 0x20, ROTATE_EOI = 0xa0 };

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fx_init(f);
	fx_init_pics(f, 0x30, 0x38);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	fx_fini(*state);
	free(*state);
	return 0;
}

static void out(struct fixture *f, uint16_t port, uint8_t val)
{
	pic_port_write(f->chip, port, val);
}

static uint8_t in(struct fixture *f, uint16_t port)
{
	return pic_port_read(f->chip, port);
}

static uint8_t isr(struct fixture *f, uint16_t cmd)
{
	out(f, cmd, READ_ISR);
	return in(f, cmd);
}

static uint8_t irr(struct fixture *f, uint16_t cmd)
{
	out(f, cmd, READ_IRR);
	return in(f, cmd);
}

/* What the boot processor gets through LINT0. */
static int ack(struct fixture *f)
{
	return softchip_ack(f->chip, 0);
}

static void an_edge_reaches_the_boot_processor_without_any_apic_setup(void **state)
{
	struct fixture *f = *state;

	assert_false(softchip_pending(f->chip, 0));
	fx_line(f, 4, true);
	assert_true(softchip_pending(f->chip, 0));
	assert_int_equal(f->events[0][SOFT_EVENT_IRQ], 1);
	assert_false(softchip_pending(f->chip, 1));
	assert_int_equal(ack(f), 0x34);
	assert_false(softchip_pending(f->chip, 0));
	assert_int_equal(isr(f, M_CMD), 1 << 4);
	assert_int_equal(irr(f, M_CMD), 0);
	/* an edge is one request, however long the input stays up */
	out(f, M_CMD, EOI);
	assert_int_equal(isr(f, M_CMD), 0);
	assert_int_equal(ack(f), -1);
}

static void a_lower_number_preempts_and_a_higher_one_waits_for_eoi(void **state)
{
	struct fixture *f = *state;

	fx_pulse(f, 4);
	assert_int_equal(ack(f), 0x34);
	fx_pulse(f, 6);
	assert_int_equal(ack(f), -1);
	fx_pulse(f, 1);
	assert_int_equal(ack(f), 0x31);
	out(f, M_CMD, EOI); /* ends 1, the highest in service */
	assert_int_equal(isr(f, M_CMD), 1 << 4);
	assert_int_equal(ack(f), -1);
	out(f, M_CMD, EOI);
	assert_int_equal(ack(f), 0x36);
}

static void the_slave_goes_through_input_two_and_needs_two_eois(void **state)
{
	struct fixture *f = *state;

	fx_pulse(f, 12);
	assert_int_equal(ack(f), 0x3c);
	assert_int_equal(isr(f, M_CMD), 1 << 2);
	assert_int_equal(isr(f, S_CMD), 1 << 4);
	out(f, S_CMD, 0x60 | 4); /* specific EOIs */
	out(f, M_CMD, 0x60 | 2);
	assert_int_equal(isr(f, M_CMD) | isr(f, S_CMD), 0);
}

static void masked_inputs_wait_in_irr(void **state)
{
	struct fixture *f = *state;

	out(f, M_DATA, 0x10);
	assert_int_equal(in(f, M_DATA), 0x10);
	fx_pulse(f, 4);
	assert_int_equal(irr(f, M_CMD), 0x10);
	assert_int_equal(ack(f), -1);
	out(f, M_DATA, 0);
	assert_int_equal(ack(f), 0x34);
}

static void a_level_input_follows_the_wire_and_may_be_spurious(void **state)
{
	struct fixture *f = *state;
	struct pic *p = softchip_pic_object(f->chip);

	out(f, 0x4d0, 0xff);
	assert_int_equal(in(f, 0x4d0), 0xf8); /* 0, 1 and 2 stay edge */
	out(f, 0x4d1, 0xff);
	assert_int_equal(in(f, 0x4d1), 0xde);
	fx_line(f, 5, true);
	assert_int_equal(ack(f), 0x35);
	out(f, M_CMD, EOI);
	assert_int_equal(ack(f), 0x35); /* still up: again */
	out(f, M_CMD, EOI);
	fx_line(f, 5, false);
	assert_int_equal(ack(f), -1);
	/* INTA without a request: vector 7, nothing in service */
	assert_int_equal(pic_ack(p), 0x37);
	assert_int_equal(isr(f, M_CMD), 0);
	/* the slave's request vanishes while the master's is latched */
	fx_line(f, 11, true);
	assert_true(softchip_pending(f->chip, 0));
	p->unit[1].irr = 0;
	assert_int_equal(ack(f), 0x3f);
	assert_int_equal(isr(f, S_CMD), 0);
	assert_int_equal(isr(f, M_CMD), 1 << 2);
}

static void auto_eoi_leaves_nothing_in_service(void **state)
{
	struct fixture *f = *state;

	out(f, M_CMD, 0x11);
	out(f, M_DATA, 0x40);
	out(f, M_DATA, 4);
	out(f, M_DATA, 3);
	fx_pulse(f, 3);
	assert_int_equal(ack(f), 0x43);
	assert_int_equal(isr(f, M_CMD), 0);
	out(f, M_CMD, 0x80); /* rotate in automatic EOI mode */
	fx_pulse(f, 3);
	assert_int_equal(ack(f), 0x43);
	fx_pulse(f, 3);
	fx_pulse(f, 5);
	assert_int_equal(ack(f), 0x45); /* 3 is the lowest now */
}

static void rotation_moves_the_lowest_priority(void **state)
{
	struct fixture *f = *state;

	fx_pulse(f, 1);
	assert_int_equal(ack(f), 0x31);
	out(f, M_CMD, ROTATE_EOI);
	fx_pulse(f, 0);
	fx_pulse(f, 3);
	assert_int_equal(ack(f), 0x33); /* order is now 2 3 4 5 6 7 0 1 */
	out(f, M_CMD, EOI);
	assert_int_equal(ack(f), 0x30);
	out(f, M_CMD, EOI);
	out(f, M_CMD, 0xc0 | 7); /* set priority: 7 the lowest, as at first */
	fx_pulse(f, 3);
	fx_pulse(f, 0);
	assert_int_equal(ack(f), 0x30);
	out(f, M_CMD, 0xe0 | 0); /* rotate on specific EOI */
	assert_int_equal(ack(f), 0x33);
}

static void special_mask_mode_lets_lower_priorities_through(void **state)
{
	struct fixture *f = *state;

	fx_pulse(f, 1);
	assert_int_equal(ack(f), 0x31);
	fx_pulse(f, 6);
	assert_int_equal(ack(f), -1);
	out(f, M_DATA, 1 << 1);
	out(f, M_CMD, 0x68);
	assert_int_equal(ack(f), 0x36);
	/* a masked bit in service is not ended by a non-specific EOI in this mode */
	out(f, M_CMD, EOI);
	assert_int_equal(isr(f, M_CMD), 1 << 1);
	out(f, M_CMD, EOI);
	assert_int_equal(isr(f, M_CMD), 1 << 1);
	out(f, M_CMD, 0x60 | 1);
	assert_int_equal(isr(f, M_CMD), 0);
}

static void special_fully_nested_mode_lets_the_slave_preempt_itself(void **state)
{
	struct fixture *f = *state;

	out(f, M_CMD, 0x11);
	out(f, M_DATA, 0x30);
	out(f, M_DATA, 4);
	out(f, M_DATA, 0x11);
	fx_pulse(f, 12);
	assert_int_equal(ack(f), 0x3c);
	fx_pulse(f, 9);
	assert_int_equal(ack(f), 0x39);
}

static void poll_acknowledges_without_the_processor(void **state)
{
	struct fixture *f = *state;

	out(f, M_CMD, POLL);
	assert_int_equal(in(f, M_CMD), 0);
	fx_pulse(f, 4);
	out(f, M_CMD, POLL);
	assert_int_equal(in(f, M_CMD), 0x84);
	assert_int_equal(isr(f, M_CMD), 0x10);
	assert_false(softchip_pending(f->chip, 0));
}

static void icw1_forgets_requests_masks_and_service(void **state)
{
	struct fixture *f = *state;

	fx_line(f, 4, true);
	out(f, M_DATA, 0xf0);
	out(f, M_CMD, 0x13); /* single: no ICW3 */
	out(f, M_DATA, 0x50);
	out(f, M_DATA, 1);
	assert_int_equal(in(f, M_DATA), 0);
	assert_int_equal(irr(f, M_CMD), 0);
	/* the input is up already: no edge */
	fx_line(f, 4, true);
	assert_int_equal(ack(f), -1);
	fx_line(f, 4, false);
	fx_line(f, 4, true);
	assert_int_equal(ack(f), 0x54);
}

static void two_acknowledged_in_a_row_are_two_edges_on_lint0(void **state)
{
	struct fixture *f = *state;

	/* LINT0 in fixed mode takes edges of INT */
	lapic_mmio_write(f->chip, 0, APIC_SVR, 0x1ff);
	lapic_mmio_write(f->chip, 0, APIC_LVT + LVT_LINT0 * 16, 0x61);
	fx_pulse(f, 4);
	assert_int_equal(ack(f), 0x61);
	assert_int_equal(ack(f), -1);
}

static void a_loaded_state_is_validated(void **state)
{
	struct fixture *f = *state;
	struct pic *p = softchip_pic_object(f->chip);
	struct errbuf err = {0};

	fx_line(f, 4, true);
	p->output = false;
	assert_int_equal(softchip_pic_state.post_load(p, &err), 0);
	assert_true(softchip_pending(f->chip, 0));
	p->unit[1].lowest = 9;
	assert_true(softchip_pic_state.post_load(p, &err) < 0);
	*(uint8_t *)&p->unit[0].poll = 0x77;
	assert_true(softchip_pic_state.post_load(p, &err) < 0);
	p->unit[0].elcr = 1;
	assert_true(softchip_pic_state.post_load(p, &err) < 0);
}

#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_edge_reaches_the_boot_processor_without_any_apic_setup),
		T(a_lower_number_preempts_and_a_higher_one_waits_for_eoi),
		T(the_slave_goes_through_input_two_and_needs_two_eois),
		T(masked_inputs_wait_in_irr),
		T(a_level_input_follows_the_wire_and_may_be_spurious),
		T(auto_eoi_leaves_nothing_in_service),
		T(rotation_moves_the_lowest_priority),
		T(special_mask_mode_lets_lower_priorities_through),
		T(special_fully_nested_mode_lets_the_slave_preempt_itself),
		T(poll_acknowledges_without_the_processor),
		T(icw1_forgets_requests_masks_and_service),
		T(two_acknowledged_in_a_row_are_two_edges_on_lint0),
		T(a_loaded_state_is_validated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
