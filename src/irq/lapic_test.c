// SPDX-License-Identifier: Apache-2.0
/* lapic_test.c - the local APIC, driven through its registers, by the Intel SDM. */
#include <time.h>

#include "irq/irq_fixture.h"

enum { MSR_BASE = 0x1b, MSR_DEADLINE = 0x6e0, X2 = 0x800 };
enum { ICR_SELF = 1 << 18, ICR_ALL = 2 << 18, ICR_OTHERS = 3 << 18 };

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

static uint32_t rd(struct fixture *f, unsigned cpu, uint32_t reg)
{
	return lapic_mmio_read(f->chip, cpu, reg);
}

static void wr(struct fixture *f, unsigned cpu, uint32_t reg, uint32_t val)
{
	lapic_mmio_write(f->chip, cpu, reg, val);
}

static void eoi(struct fixture *f, unsigned cpu)
{
	wr(f, cpu, APIC_EOI, 0);
}

static int ack(struct fixture *f, unsigned cpu)
{
	return softchip_ack(f->chip, cpu);
}

static void ipi(struct fixture *f, unsigned from, unsigned to, uint32_t icr)
{
	wr(f, from, APIC_ICR_HI, to << 24);
	wr(f, from, APIC_ICR, icr);
}

static int wrmsr(struct fixture *f, unsigned cpu, uint32_t msr, uint64_t val)
{
	return lapic_msr_write(f->chip, cpu, msr, val);
}

static uint64_t rdmsr(struct fixture *f, unsigned cpu, uint32_t msr)
{
	uint64_t val = 0;

	assert_int_equal(lapic_msr_read(f->chip, cpu, msr, &val), 0);
	return val;
}

static void enter_x2(struct fixture *f, unsigned cpu)
{
	assert_int_equal(wrmsr(f, cpu, MSR_BASE, rdmsr(f, cpu, MSR_BASE) | APIC_BASE_X2), 0);
}

/* --- priorities ---------------------------------------------------------------- */

static void power_on_values_are_those_of_the_manual(void **state)
{
	struct fixture *f = *state;

	softchip_reset(f->chip);
	assert_int_equal(rd(f, 2, APIC_ID), 2 << 24);
	assert_int_equal(rd(f, 2, APIC_VERSION), 0x00050014);
	assert_int_equal(rd(f, 2, APIC_SVR), 0xff);
	assert_true(rd(f, 2, APIC_DFR) == 0xffffffff);
	for (uint32_t i = 0; i < LVT_COUNT; i++)
		assert_int_equal(rd(f, 2, APIC_LVT + i * 16), LVT_MASKED);
	assert_int_equal(rd(f, 0, APIC_LVT + LVT_LINT0 * 16), 0x700);
	assert_int_equal(rdmsr(f, 0, MSR_BASE), 0xfee00900);
	assert_int_equal(rdmsr(f, 1, MSR_BASE), 0xfee00800);
}

static void the_highest_class_goes_first_and_equals_wait_for_eoi(void **state)
{
	struct fixture *f = *state;

	ipi(f, 0, 1, 0x45);
	ipi(f, 0, 1, 0x4a);
	ipi(f, 0, 1, 0x81);
	assert_int_equal(rd(f, 1, APIC_IRR + 0x20), 1 << 5 | 1 << 10);
	assert_int_equal(ack(f, 1), 0x81);
	assert_int_equal(rd(f, 1, APIC_ISR + 0x40), 1 << 1);
	assert_int_equal(rd(f, 1, APIC_PPR), 0x80);
	assert_int_equal(ack(f, 1), -1);
	eoi(f, 1);
	assert_int_equal(ack(f, 1), 0x4a);
	assert_int_equal(ack(f, 1), -1); /* 0x45 is of the same class */
	ipi(f, 0, 1, 0x51);
	assert_int_equal(ack(f, 1), 0x51);
	eoi(f, 1);
	eoi(f, 1);
	assert_int_equal(ack(f, 1), 0x45);
}

static void tpr_holds_back_its_class_and_below(void **state)
{
	struct fixture *f = *state;

	lapic_set_cr8(f->chip, 1, 5);
	assert_int_equal(rd(f, 1, APIC_TPR), 0x50);
	ipi(f, 0, 1, 0x5f);
	assert_false(softchip_pending(f->chip, 1));
	wr(f, 1, APIC_TPR, 0x4f);
	assert_int_equal(lapic_get_cr8(f->chip, 1), 4);
	assert_int_equal(rd(f, 1, APIC_PPR), 0x4f);
	assert_int_equal(f->events[1][SOFT_EVENT_IRQ], 1);
	assert_int_equal(ack(f, 1), 0x5f);
}

static void the_flag_follows_what_can_be_delivered(void **state)
{
	struct fixture *f = *state;

	ipi(f, 0, 1, 0x45);
	assert_true(softchip_pending(f->chip, 1));
	wr(f, 1, APIC_TPR, 0xf0);
	assert_false(softchip_pending(f->chip, 1));
	assert_int_equal(ack(f, 1), -1);
	wr(f, 1, APIC_TPR, 0);
	assert_true(softchip_pending(f->chip, 1));
	assert_int_equal(f->events[1][SOFT_EVENT_IRQ], 2);
}

static void an_apic_disabled_by_software_takes_nothing_new(void **state)
{
	struct fixture *f = *state;

	ipi(f, 0, 1, 0x45);
	wr(f, 1, APIC_SVR, 0xff);
	ipi(f, 0, 1, 0x46);
	assert_int_equal(rd(f, 1, APIC_LVT + LVT_TIMER * 16), LVT_MASKED);
	wr(f, 1, APIC_LVT + LVT_TIMER * 16, 0x30);
	assert_int_equal(rd(f, 1, APIC_LVT + LVT_TIMER * 16), LVT_MASKED | 0x30);
	assert_int_equal(ack(f, 1), 0x45); /* what was accepted stays */
	eoi(f, 1);
	assert_int_equal(ack(f, 1), -1);
	ipi(f, 0, 1, DM_NMI << 8);
	assert_int_equal(f->events[1][SOFT_EVENT_NMI], 1);
}

/* --- IPIs ------------------------------------------------------------------------ */

static void shorthands_reach_self_all_and_others(void **state)
{
	struct fixture *f = *state;

	wr(f, 1, APIC_ICR, ICR_SELF | 0x41);
	assert_int_equal(ack(f, 1), 0x41);
	assert_false(softchip_pending(f->chip, 0));
	eoi(f, 1);
	wr(f, 1, APIC_ICR, ICR_OTHERS | 0x42);
	assert_int_equal(ack(f, 1), -1);
	assert_int_equal(ack(f, 0), 0x42);
	assert_int_equal(ack(f, 3), 0x42);
	wr(f, 1, APIC_ICR, ICR_ALL | 0x53);
	for (unsigned i = 0; i < FX_CPUS; i++)
		assert_int_equal(ack(f, i), 0x53);
}

static void init_and_startup_are_passed_on_with_their_vector(void **state)
{
	struct fixture *f = *state;

	ipi(f, 0, 2, 0xc500); /* INIT, level, assert */
	ipi(f, 0, 2, 0x8500); /* de-assert: nothing */
	assert_int_equal(f->events[2][SOFT_EVENT_INIT], 1);
	ipi(f, 0, 2, 0x0600 | 0x9a);
	assert_int_equal(f->events[2][SOFT_EVENT_SIPI], 1);
	assert_int_equal(f->arg[2], 0x9a);
	wr(f, 0, APIC_ICR, ICR_OTHERS | DM_SMI << 8);
	assert_int_equal(f->events[3][SOFT_EVENT_SMI], 1);
	assert_int_equal(f->events[0][SOFT_EVENT_SMI], 0);
	assert_int_equal(rd(f, 0, APIC_ICR) & RTE_STATUS, 0);
}

static void init_resets_all_but_identity_and_base(void **state)
{
	struct fixture *f = *state;

	enter_x2(f, 2);
	assert_int_equal(wrmsr(f, 2, X2 + 0x38, 1000000), 0);
	softchip_init_cpu(f->chip, 2);
	assert_int_equal(rdmsr(f, 2, X2 + 2), 2);
	assert_int_equal(rdmsr(f, 2, X2 + 0xf), 0xff);
	assert_int_equal(rdmsr(f, 2, X2 + 0x39), 0);
	assert_int_equal(rdmsr(f, 2, MSR_BASE), 0xfee00c00);
}

static void illegal_vectors_are_errors_of_sender_and_receiver(void **state)
{
	struct fixture *f = *state;

	wr(f, 0, APIC_LVT + LVT_ERROR * 16, 0xfe);
	ipi(f, 0, 1, 0x0f);
	assert_int_equal(ack(f, 0), 0xfe);
	assert_int_equal(rd(f, 0, APIC_ESR), 0); /* shown after a write */
	wr(f, 0, APIC_ESR, 0);
	assert_int_equal(rd(f, 0, APIC_ESR), 1 << 5);
	irqchip_send_msi(f->irqchip, (struct msi){0xfee01000, 0x05});
	wr(f, 1, APIC_ESR, 0);
	assert_int_equal(rd(f, 1, APIC_ESR), 1 << 6);
	rd(f, 1, 0x3d0);
	wr(f, 1, APIC_ESR, 0);
	assert_int_equal(rd(f, 1, APIC_ESR), 1 << 7);
	/* an error entry with an illegal vector does not recurse */
	wr(f, 2, APIC_LVT + LVT_ERROR * 16, 3);
	rd(f, 2, 0x3d0);
	wr(f, 2, APIC_ESR, 0);
	assert_int_equal(rd(f, 2, APIC_ESR), 1 << 7 | 1 << 6);
}

/* --- LINT0 and the PIC -------------------------------------------------------------- */

static void lint0_passes_the_pic_only_as_extint(void **state)
{
	struct fixture *f = *state;

	fx_init_pics(f, 0x30, 0x38);
	fx_line(f, 4, true);
	assert_true(softchip_pending(f->chip, 0));
	wr(f, 0, APIC_LVT + LVT_LINT0 * 16, LVT_MASKED | 0x700);
	assert_false(softchip_pending(f->chip, 0));
	wr(f, 3, APIC_LVT + LVT_LINT0 * 16, 0x700);
	assert_int_equal(ack(f, 3), 0x34);
	/* no priority holds ExtINT back */
	wr(f, 3, APIC_TPR, 0xff);
	pic_port_write(f->chip, 0x20, 0x20);
	fx_line(f, 4, false);
	fx_pulse(f, 4);
	assert_int_equal(ack(f, 3), 0x34);
}

static void lint0_as_nmi_makes_each_pic_edge_an_nmi(void **state)
{
	struct fixture *f = *state;

	fx_init_pics(f, 0x30, 0x38);
	wr(f, 0, APIC_LVT + LVT_LINT0 * 16, DM_NMI << 8);
	fx_line(f, 4, true);
	assert_int_equal(f->events[0][SOFT_EVENT_NMI], 1);
	assert_int_equal(ack(f, 0), -1);
}

static void a_disabled_apic_leaves_the_pin_to_the_pic(void **state)
{
	struct fixture *f = *state;

	fx_init_pics(f, 0x30, 0x38);
	ipi(f, 1, 0, 0x45);
	assert_int_equal(wrmsr(f, 0, MSR_BASE, 0xfee00100), 0);
	assert_int_equal(ack(f, 0), -1);
	assert_true(rd(f, 0, APIC_ID) == 0xffffffff);
	fx_line(f, 4, true);
	assert_int_equal(ack(f, 0), 0x34);
}

/* --- x2APIC --------------------------------------------------------------------------- */

static void base_transitions_follow_the_diagram(void **state)
{
	struct fixture *f = *state;
	const uint64_t off = 0xfee00000, x = 0xfee00800, x2 = 0xfee00c00, bad = 0xfee00400;

	assert_int_equal(wrmsr(f, 1, MSR_BASE, bad), -1);
	assert_int_equal(wrmsr(f, 1, MSR_BASE, x | 1), -1);
	assert_int_equal(wrmsr(f, 1, MSR_BASE, x | 1ULL << 60), -1);
	assert_int_equal(wrmsr(f, 1, MSR_BASE, x2), 0);
	assert_int_equal(wrmsr(f, 1, MSR_BASE, x), -1);
	assert_int_equal(wrmsr(f, 1, MSR_BASE, x2), 0);
	assert_int_equal(wrmsr(f, 1, MSR_BASE, off), 0);
	assert_int_equal(wrmsr(f, 1, MSR_BASE, x2), -1);
	assert_int_equal(wrmsr(f, 1, MSR_BASE, x), 0);
	assert_int_equal(rd(f, 1, APIC_SVR), 0xff); /* as after power-up */
	assert_int_equal(wrmsr(f, 1, MSR_BASE, x2), 0);
}

static void x2apic_msrs_fault_as_the_manual_says(void **state)
{
	struct fixture *f = *state;
	static const uint16_t readonly[] = {0x02, 0x03, 0x0a, 0x0d, 0x10, 0x18, 0x20, 0x39};
	static const uint16_t none[] = {0x00, 0x04, 0x09, 0x0c, 0x0e, 0x2f, 0x31, 0x3a, 0xff};
	uint64_t v;

	assert_int_equal(lapic_msr_read(f->chip, 1, X2 + 2, &v), -1);
	enter_x2(f, 1);
	assert_true(rd(f, 1, APIC_ID) == 0xffffffff);
	for (size_t i = 0; i < ARRAY_SIZE(readonly); i++) {
		assert_int_equal(lapic_msr_read(f->chip, 1, X2 + readonly[i], &v), 0);
		assert_int_equal(wrmsr(f, 1, X2 + readonly[i], 0), -1);
	}
	for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
		assert_int_equal(lapic_msr_read(f->chip, 1, X2 + none[i], &v), -1);
		assert_int_equal(wrmsr(f, 1, X2 + none[i], 0), -1);
	}
	assert_int_equal(lapic_msr_read(f->chip, 1, X2 + 0x0b, &v), -1);
	assert_int_equal(lapic_msr_read(f->chip, 1, X2 + 0x3f, &v), -1);
	assert_int_equal(wrmsr(f, 1, X2 + 0x0b, 1), -1);
	assert_int_equal(wrmsr(f, 1, X2 + 0x28, 1), -1);
	assert_int_equal(wrmsr(f, 1, X2 + 0x08, 0x100), -1);
	assert_int_equal(wrmsr(f, 1, X2 + 0x0f, 0x1000), -1);
	assert_int_equal(wrmsr(f, 1, X2 + 0x32, 1 << 20), -1);
	assert_int_equal(wrmsr(f, 1, X2 + 0x38, 1ULL << 32), -1);
	assert_int_equal(wrmsr(f, 1, X2 + 0x3e, 4), -1);
	assert_int_equal(wrmsr(f, 1, X2 + 0x30, 1 << 20), -1);
	assert_int_equal(wrmsr(f, 1, X2 + 0x3f, 0x100), -1);
}

static void x2apic_has_wide_ids_and_derived_logical_ids(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < FX_CPUS; i++) {
		enter_x2(f, i);
		assert_int_equal(wrmsr(f, i, X2 + 0xf, 0x1ff), 0);
		assert_int_equal(rdmsr(f, i, X2 + 2), i);
		assert_int_equal(rdmsr(f, i, X2 + 0xd), 1 << i);
	}
	assert_int_equal(wrmsr(f, 0, X2 + 0x30, 2ULL << 32 | 0x41), 0);
	assert_int_equal(ack(f, 2), 0x41);
	assert_int_equal(rdmsr(f, 0, X2 + 0x30) == (2ULL << 32 | 0x41), 1);
	assert_int_equal(wrmsr(f, 0, X2 + 0x30, 0xaULL << 32 | RTE_LOGICAL | 0x52), 0);
	assert_int_equal(ack(f, 1), 0x52);
	assert_int_equal(ack(f, 3), 0x52);
	assert_int_equal(ack(f, 0), -1);
	/* 255 is an ordinary ID here, all ones the broadcast */
	assert_int_equal(wrmsr(f, 0, X2 + 0x30, 0xffULL << 32 | 0x60), 0);
	assert_int_equal(ack(f, 0), -1);
	assert_int_equal(wrmsr(f, 0, X2 + 0x30, 0xffffffffULL << 32 | 0x63), 0);
	for (unsigned i = 0; i < FX_CPUS; i++)
		assert_int_equal(ack(f, i), 0x63);
	assert_int_equal(wrmsr(f, 0, X2 + 0x3f, 0x71), 0);
	assert_int_equal(ack(f, 0), 0x71);
	assert_int_equal(wrmsr(f, 0, X2 + 0x0b, 0), 0);
}

/* --- timer ----------------------------------------------------------------------------- */

static void a_one_shot_counts_down_in_bus_clocks_and_fires_once(void **state)
{
	struct fixture *f = *state;

	wr(f, 1, APIC_TDCR, 0xb); /* by 1 */
	wr(f, 1, APIC_LVT, 0x40);
	wr(f, 1, APIC_TICR, 1000000000);
	f->clock.base_ns += 400000000;
	assert_int_equal(rd(f, 1, APIC_TCCR), 600000000);
	fx_advance(f, 100000000);
	assert_int_equal(ack(f, 1), -1);
	fx_advance(f, 600000000);
	assert_int_equal(rd(f, 1, APIC_TCCR), 0);
	assert_int_equal(ack(f, 1), 0x40);
	eoi(f, 1);
	fx_advance(f, 5000000);
	assert_int_equal(ack(f, 1), -1);
}

static void all_divisors_divide(void **state)
{
	struct fixture *f = *state;
	static const struct {
		uint8_t code, shift;
	} d[] = {{0xb, 0}, {0, 1}, {1, 2}, {2, 3}, {3, 4}, {8, 5}, {9, 6}, {10, 7}};

	for (size_t i = 0; i < ARRAY_SIZE(d); i++) {
		wr(f, 1, APIC_TDCR, d[i].code);
		wr(f, 1, APIC_TICR, 1000000);
		f->clock.base_ns += 1000ULL << d[i].shift;
		assert_int_equal(rd(f, 1, APIC_TCCR), 999000);
	}
	/* a change of rate goes on from the count that is left */
	wr(f, 1, APIC_TDCR, 0xb);
	assert_int_equal(rd(f, 1, APIC_TCCR), 999000);
}

static void a_periodic_timer_fires_again_and_drops_what_was_missed(void **state)
{
	struct fixture *f = *state;
	unsigned n = 0;

	wr(f, 1, APIC_TDCR, 0xb);
	wr(f, 1, APIC_LVT, LVT_TIMER_PERIODIC | 0x40);
	wr(f, 1, APIC_TICR, 50000000);
	for (unsigned i = 0; i < 3; i++) {
		fx_advance(f, 50000000);
		if (ack(f, 1) == 0x40) {
			n++;
			eoi(f, 1);
		}
	}
	assert_int_equal(n, 3);
	fx_advance(f, 50000000ULL * 1000000);
	assert_int_equal(ack(f, 1), 0x40);
	eoi(f, 1);
	assert_int_equal(ack(f, 1), -1);
	assert_in_range(rd(f, 1, APIC_TCCR), 1, 50000000);
	wr(f, 1, APIC_TICR, 0);
	fx_advance(f, 100000000);
	assert_int_equal(ack(f, 1), -1);
}

static void a_masked_timer_counts_silently(void **state)
{
	struct fixture *f = *state;

	wr(f, 1, APIC_TDCR, 0xb);
	wr(f, 1, APIC_LVT, LVT_MASKED | 0x40);
	wr(f, 1, APIC_TICR, 1000);
	fx_advance(f, 2000000);
	assert_int_equal(rd(f, 1, APIC_TCCR), 0);
	assert_int_equal(ack(f, 1), -1);
}

static void a_tsc_deadline_fires_at_its_tsc_and_clears_itself(void **state)
{
	struct fixture *f = *state;
	uint64_t now = fx_tsc(f, 1);

	assert_int_equal(wrmsr(f, 1, MSR_DEADLINE, now + 1000), 0);
	assert_int_equal(rdmsr(f, 1, MSR_DEADLINE), 0); /* not in that mode */
	wr(f, 1, APIC_LVT, LVT_TIMER_DEADLINE | 0x40);
	assert_int_equal(wrmsr(f, 1, MSR_DEADLINE, now + 2000000000), 0);
	assert_true(rdmsr(f, 1, MSR_DEADLINE) == now + 2000000000);
	assert_int_equal(rd(f, 1, APIC_TCCR), 0);
	fx_advance(f, 500000000);
	assert_int_equal(ack(f, 1), -1);
	fx_advance(f, 600000000);
	assert_int_equal(ack(f, 1), 0x40);
	assert_int_equal(rdmsr(f, 1, MSR_DEADLINE), 0);
	eoi(f, 1);
	/* one in the past fires at once, zero disarms, one far away overflows nothing */
	assert_int_equal(wrmsr(f, 1, MSR_DEADLINE, 1), 0);
	assert_int_equal(ack(f, 1), 0x40);
	eoi(f, 1);
	assert_int_equal(wrmsr(f, 1, MSR_DEADLINE, fx_tsc(f, 1) + 2000), 0);
	assert_int_equal(wrmsr(f, 1, MSR_DEADLINE, 0), 0);
	assert_int_equal(wrmsr(f, 1, MSR_DEADLINE, UINT64_MAX), 0);
	fx_advance(f, 2000000);
	assert_int_equal(ack(f, 1), -1);
	/* leaving the mode disarms */
	assert_int_equal(wrmsr(f, 1, MSR_DEADLINE, fx_tsc(f, 1) + 2000), 0);
	wr(f, 1, APIC_LVT, 0x40);
	assert_int_equal(rdmsr(f, 1, MSR_DEADLINE), 0);
	fx_advance(f, 2000000);
	assert_int_equal(ack(f, 1), -1);
}

static void a_deadline_waits_for_a_tsc_that_was_set_back(void **state)
{
	struct fixture *f = *state;

	f->tsc = 1000000000;
	wr(f, 1, APIC_LVT, LVT_TIMER_DEADLINE | 0x40);
	assert_int_equal(wrmsr(f, 1, MSR_DEADLINE, 3000000000), 0);
	f->tsc = 2000000000;
	fx_advance(f, 1100000000);
	assert_int_equal(ack(f, 1), -1);
	assert_true(rdmsr(f, 1, MSR_DEADLINE) == 3000000000);
	f->tsc = 3000000000;
	fx_advance(f, 600000000);
	assert_int_equal(ack(f, 1), 0x40);
}

/* --- state -------------------------------------------------------------------------------- */

static void a_page_carries_the_registers_to_another_chip(void **state)
{
	struct fixture *f = *state, other;
	uint8_t page[1024], again[1024];

	wr(f, 1, APIC_TDCR, 0xb);
	wr(f, 1, APIC_LVT, 0x40);
	wr(f, 1, APIC_TICR, 3000000);
	wr(f, 1, APIC_TPR, 0x20);
	wr(f, 1, APIC_LDR, 0x02000000);
	f->clock.base_ns += 1000000;
	ipi(f, 0, 1, 0x91);
	ipi(f, 0, 1, 0xa1);
	assert_int_equal(ack(f, 1), 0xa1);
	softchip_lapic_get_page(f->chip, 1, page);
	fx_init(&other);
	assert_int_equal(softchip_lapic_set_page(other.chip, 1, page), 0);
	softchip_lapic_get_page(other.chip, 1, again);
	assert_memory_equal(page, again, sizeof(page));
	assert_false(softchip_pending(other.chip, 1));
	eoi(&other, 1);
	assert_int_equal(ack(&other, 1), 0x91);
	eoi(&other, 1);
	assert_int_equal(rd(&other, 1, APIC_TCCR), 2000000);
	fx_advance(&other, 2500000);
	assert_int_equal(ack(&other, 1), 0x40);
	assert_true(softchip_lapic_set_page(other.chip, 2, page) < 0); /* another's ID */
	fx_fini(&other);
}

static void a_loaded_state_is_validated_and_its_timer_goes_on(void **state)
{
	struct fixture *f = *state;
	struct lapic *l = softchip_lapic_object(f->chip, 1);
	struct errbuf err = {0};

	l->lvt[LVT_TIMER] = 0x40;
	l->ticr = 1000;
	l->timer_on = true;
	l->timer_ns = f->clock.base_ns + 1000000;
	assert_int_equal(softchip_lapic_state.post_load(l, &err), 0);
	fx_advance(f, 2000000);
	assert_int_equal(ack(f, 1), 0x40);
	l->irr[0] = 1 << 3;
	assert_true(softchip_lapic_state.post_load(l, &err) < 0);
	l->base = APIC_BASE_X2;
	assert_true(softchip_lapic_state.post_load(l, &err) < 0);
	*(uint8_t *)&l->timer_on = 2;
	assert_true(softchip_lapic_state.post_load(l, &err) < 0);
	assert_int_not_equal(err.msg[0], 0);
}

static void junk_is_refused_or_harmless(void **state)
{
	struct fixture *f = *state;
	unsigned seed = (unsigned)time(NULL), refused = 0;
	struct lapic *l = softchip_lapic_object(f->chip, 1);

	print_message("seed %u\n", seed);
	for (unsigned i = 0; i < 20000; i++) {
		const struct state_field *fld = softchip_lapic_state.fields;
		struct errbuf err = {0};

		for (; fld->kind != STATE_END; fld++)
			for (unsigned k = 0; k < fld->size * fld->count; k++)
				if (!(rand_r(&seed) % 300))
					((uint8_t *)l)[fld->offset + k] = (uint8_t)rand_r(&seed);
		refused += softchip_lapic_state.post_load(l, &err) < 0;
		rd(f, 1, APIC_TCCR);
		rd(f, 1, APIC_PPR);
		ack(f, 1);
		eoi(f, 1);
		ipi(f, 1, 1, 0x41);
		if (i % 500 == 0)
			fx_advance(f, 1000000);
	}
	assert_in_range(refused, 1, 19999);
}

#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(power_on_values_are_those_of_the_manual),
		T(the_highest_class_goes_first_and_equals_wait_for_eoi),
		T(tpr_holds_back_its_class_and_below),
		T(the_flag_follows_what_can_be_delivered),
		T(an_apic_disabled_by_software_takes_nothing_new),
		T(shorthands_reach_self_all_and_others),
		T(init_and_startup_are_passed_on_with_their_vector),
		T(init_resets_all_but_identity_and_base),
		T(illegal_vectors_are_errors_of_sender_and_receiver),
		T(lint0_passes_the_pic_only_as_extint),
		T(lint0_as_nmi_makes_each_pic_edge_an_nmi),
		T(a_disabled_apic_leaves_the_pin_to_the_pic),
		T(base_transitions_follow_the_diagram),
		T(x2apic_msrs_fault_as_the_manual_says),
		T(x2apic_has_wide_ids_and_derived_logical_ids),
		T(a_one_shot_counts_down_in_bus_clocks_and_fires_once),
		T(all_divisors_divide),
		T(a_periodic_timer_fires_again_and_drops_what_was_missed),
		T(a_masked_timer_counts_silently),
		T(a_tsc_deadline_fires_at_its_tsc_and_clears_itself),
		T(a_deadline_waits_for_a_tsc_that_was_set_back),
		T(a_page_carries_the_registers_to_another_chip),
		T(a_loaded_state_is_validated_and_its_timer_goes_on),
		T(junk_is_refused_or_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
