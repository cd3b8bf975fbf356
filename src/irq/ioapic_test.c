// SPDX-License-Identifier: Apache-2.0
/* ioapic_test.c - the 82093AA, driven through its registers, by its data sheet. */
#include "irq/irq_fixture.h"

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fx_init(f);
	fx_enable_lapics(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	fx_fini(*state);
	free(*state);
	return 0;
}

static uint64_t to_cpu(unsigned id)
{
	return (uint64_t)id << 56;
}

static void eoi(struct fixture *f, unsigned cpu)
{
	lapic_mmio_write(f->chip, cpu, APIC_EOI, 0);
}

static void registers_read_back_what_may_be_written(void **state)
{
	struct fixture *f = *state;

	ioapic_mmio_write(f->chip, 0, 1);
	assert_int_equal(ioapic_mmio_read(f->chip, 0x10), 0x00170011);
	ioapic_mmio_write(f->chip, 0, 0);
	ioapic_mmio_write(f->chip, 0x10, 0xffffffff);
	assert_int_equal(ioapic_mmio_read(f->chip, 0x10), 0x0f000000);
	assert_int_equal(fx_get_rte(f, 23), RTE_MASK);
	fx_rte(f, 23, ~0ULL);
	assert_true(fx_get_rte(f, 23) == 0xff0000000001afffULL);
	ioapic_mmio_write(f->chip, 0, 0x40); /* behind the last entry */
	ioapic_mmio_write(f->chip, 0x10, 0xffffffff);
	assert_int_equal(ioapic_mmio_read(f->chip, 0x10), 0);
}

static void an_edge_is_sent_once_and_ignored_while_masked(void **state)
{
	struct fixture *f = *state;

	fx_rte(f, 5, to_cpu(2) | 0x45);
	fx_line(f, 5, true);
	assert_int_equal(softchip_ack(f->chip, 2), 0x45);
	fx_line(f, 5, true);
	assert_int_equal(softchip_ack(f->chip, 2), -1);
	eoi(f, 2);
	fx_line(f, 5, false);
	fx_rte(f, 5, to_cpu(2) | RTE_MASK | 0x45);
	fx_line(f, 5, true);
	fx_rte(f, 5, to_cpu(2) | 0x45);
	assert_int_equal(softchip_ack(f->chip, 2), -1);
}

static void a_level_is_sent_again_after_eoi_while_it_lasts(void **state)
{
	struct fixture *f = *state;

	fx_rte(f, 17, to_cpu(1) | RTE_LEVEL | 0x71);
	fx_line(f, 17, true);
	assert_true(fx_get_rte(f, 17) & RTE_REMOTE_IRR);
	assert_int_equal(softchip_ack(f->chip, 1), 0x71);
	assert_false(softchip_pending(f->chip, 1));
	eoi(f, 1);
	assert_int_equal(softchip_ack(f->chip, 1), 0x71);
	fx_line(f, 17, false);
	assert_true(fx_get_rte(f, 17) & RTE_REMOTE_IRR);
	eoi(f, 1);
	assert_false(fx_get_rte(f, 17) & RTE_REMOTE_IRR);
	assert_int_equal(softchip_ack(f->chip, 1), -1);
}

static void a_level_raised_while_masked_is_sent_when_unmasked(void **state)
{
	struct fixture *f = *state;

	fx_line(f, 18, true);
	fx_rte(f, 18, to_cpu(0) | RTE_LEVEL | 0x72);
	assert_int_equal(softchip_ack(f->chip, 0), 0x72);
}

static void writing_an_entry_as_edge_clears_remote_irr(void **state)
{
	struct fixture *f = *state;

	fx_rte(f, 17, RTE_LEVEL | 0x71);
	fx_line(f, 17, true);
	fx_line(f, 17, false);
	fx_rte(f, 17, RTE_MASK | 0x71);
	assert_int_equal(fx_get_rte(f, 17), RTE_MASK | 0x71);
}

static void a_level_nobody_accepts_does_not_set_remote_irr(void **state)
{
	struct fixture *f = *state;

	fx_rte(f, 17, to_cpu(77) | RTE_LEVEL | 0x71);
	fx_line(f, 17, true);
	assert_false(fx_get_rte(f, 17) & RTE_REMOTE_IRR);
	fx_rte(f, 17, to_cpu(3) | RTE_LEVEL | 0x71);
	assert_int_equal(softchip_ack(f->chip, 3), 0x71);
}

static void edges_do_not_get_an_eoi(void **state)
{
	struct fixture *f = *state;

	/* edge and level with one vector: the edge's EOI must not touch the level's pin */
	fx_rte(f, 17, to_cpu(0) | RTE_LEVEL | 0x71);
	fx_line(f, 17, true);
	assert_int_equal(softchip_ack(f->chip, 0), 0x71);
	eoi(f, 0);
	assert_int_equal(softchip_ack(f->chip, 0), 0x71);
	fx_line(f, 17, false);
	eoi(f, 0);
	fx_rte(f, 6, to_cpu(0) | 0x71);
	fx_pulse(f, 6);
	assert_int_equal(softchip_ack(f->chip, 0), 0x71);
	assert_int_equal(lapic_mmio_read(f->chip, 0, APIC_TMR + 0x30) & 1 << 17, 0);
	eoi(f, 0);
}

static void logical_destinations_reach_the_set_in_both_models(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < FX_CPUS; i++)
		lapic_mmio_write(f->chip, i, APIC_LDR, 1u << (24 + i));
	fx_rte(f, 5, to_cpu(0x5) | RTE_LOGICAL | 0x45);
	fx_pulse(f, 5);
	assert_true(softchip_pending(f->chip, 0) && softchip_pending(f->chip, 2));
	assert_false(softchip_pending(f->chip, 1) || softchip_pending(f->chip, 3));
	for (unsigned i = 0; i < FX_CPUS; i++) {
		lapic_mmio_write(f->chip, i, APIC_DFR, 0x0fffffff);
		lapic_mmio_write(f->chip, i, APIC_LDR, (i / 2) << 28 | 1u << (24 + i % 2));
	}
	fx_rte(f, 5, to_cpu(0x12) | RTE_LOGICAL | 0x46);
	fx_pulse(f, 5);
	assert_int_equal(softchip_ack(f->chip, 3), 0x46);
	assert_false(softchip_pending(f->chip, 1));
}

static void physical_255_is_a_broadcast(void **state)
{
	struct fixture *f = *state;

	fx_rte(f, 5, to_cpu(0xff) | 0x45);
	fx_pulse(f, 5);
	for (unsigned i = 0; i < FX_CPUS; i++)
		assert_int_equal(softchip_ack(f->chip, i), 0x45);
}

static void lowest_priority_prefers_the_idle_and_takes_turns(void **state)
{
	struct fixture *f = *state;
	unsigned got[FX_CPUS] = {0};

	lapic_mmio_write(f->chip, 2, APIC_TPR, 0x80);
	fx_rte(f, 5, to_cpu(0xff) | DM_LOWEST << 8 | 0x45);
	for (unsigned n = 0; n < 6; n++) {
		fx_pulse(f, 5);
		for (unsigned i = 0; i < FX_CPUS; i++)
			if (softchip_ack(f->chip, i) == 0x45) {
				got[i]++;
				eoi(f, i);
			}
	}
	assert_int_equal(got[0], 2);
	assert_int_equal(got[1], 2);
	assert_int_equal(got[2], 0);
	assert_int_equal(got[3], 2);
}

static void nmi_and_init_are_passed_on_as_events(void **state)
{
	struct fixture *f = *state;

	fx_rte(f, 5, to_cpu(1) | DM_NMI << 8);
	fx_pulse(f, 5);
	assert_int_equal(f->events[1][SOFT_EVENT_NMI], 1);
	fx_rte(f, 5, to_cpu(1) | DM_INIT << 8);
	fx_pulse(f, 5);
	assert_int_equal(f->events[1][SOFT_EVENT_INIT], 1);
	/* level NMI: no EOI will come, so remote IRR must not stick */
	fx_rte(f, 17, to_cpu(1) | RTE_LEVEL | DM_NMI << 8);
	fx_line(f, 17, true);
	assert_false(fx_get_rte(f, 17) & RTE_REMOTE_IRR);
}

static void the_timer_is_wired_to_pin_two_and_gsi_two_to_nothing(void **state)
{
	struct fixture *f = *state;

	fx_rte(f, 0, to_cpu(0) | 0x40);
	fx_rte(f, 2, to_cpu(0) | 0x42);
	fx_pulse(f, 2);
	assert_int_equal(softchip_ack(f->chip, 0), -1);
	fx_pulse(f, 0);
	lapic_mmio_write(f->chip, 0, APIC_LVT + LVT_LINT0 * 16, LVT_MASKED);
	assert_int_equal(softchip_ack(f->chip, 0), 0x42);
	fx_line(f, 24, true); /* no such wire */
	fx_line(f, ~0u, true);
}

static void msis_reach_the_processor_they_name(void **state)
{
	struct fixture *f = *state;

	irqchip_send_msi(f->irqchip, (struct msi){0xfee03000, 0x55});
	assert_int_equal(softchip_ack(f->chip, 3), 0x55);
	irqchip_send_msi(f->irqchip, (struct msi){0xfed03000, 0x56});
	irqchip_send_msi(f->irqchip, (struct msi){0x1fee03000, 0x56});
	assert_int_equal(softchip_ack(f->chip, 3), -1);
	/* logical with redirection hint: one of the set */
	for (unsigned i = 0; i < FX_CPUS; i++)
		lapic_mmio_write(f->chip, i, APIC_LDR, 1u << (24 + i));
	irqchip_send_msi(f->irqchip, (struct msi){0xfee0300c, 0x57});
	assert_int_equal(softchip_pending(f->chip, 0) + softchip_pending(f->chip, 1), 1);
}

static void a_loaded_state_is_validated(void **state)
{
	struct fixture *f = *state;
	struct ioapic *io = softchip_ioapic_object(f->chip);
	struct errbuf err = {0};

	assert_int_equal(softchip_ioapic_state.post_load(io, &err), 0);
	io->rte[3] = RTE_REMOTE_IRR;
	assert_true(softchip_ioapic_state.post_load(io, &err) < 0);
	io->rte[3] = 1ULL << 40;
	assert_true(softchip_ioapic_state.post_load(io, &err) < 0);
	io->rte[3] = 0;
	io->lines = 1u << 24;
	assert_true(softchip_ioapic_state.post_load(io, &err) < 0);
}

#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(registers_read_back_what_may_be_written),
		T(an_edge_is_sent_once_and_ignored_while_masked),
		T(a_level_is_sent_again_after_eoi_while_it_lasts),
		T(a_level_raised_while_masked_is_sent_when_unmasked),
		T(writing_an_entry_as_edge_clears_remote_irr),
		T(a_level_nobody_accepts_does_not_set_remote_irr),
		T(edges_do_not_get_an_eoi),
		T(logical_destinations_reach_the_set_in_both_models),
		T(physical_255_is_a_broadcast),
		T(lowest_priority_prefers_the_idle_and_takes_turns),
		T(nmi_and_init_are_passed_on_as_events),
		T(the_timer_is_wired_to_pin_two_and_gsi_two_to_nothing),
		T(msis_reach_the_processor_they_name),
		T(a_loaded_state_is_validated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
