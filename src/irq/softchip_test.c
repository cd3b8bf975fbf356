// SPDX-License-Identifier: Apache-2.0
/*
 * softchip_test.c - the whole chip with threads: vCPUs that acknowledge and end
 * interrupts, devices that raise lines and send messages, timers on a loop.
 *
 * Meant to run under the thread sanitizer too.  Nothing is measured in time: the
 * vCPU threads count until each expected interrupt has come.
 */
#include "irq/irq_fixture.h"

#include <sched.h>
#include <stdio.h>
#include <time.h>

#include "base/thread.h"

enum { VEC_IPI = 0x51, VEC_MSI = 0x61, VEC_LEVEL = 0x71, VEC_TIMER = 0xe1 };
enum { ROUNDS = 1000 };

struct world {
	struct loop *loop;
	struct vclock clock;
	struct softchip *chip;
	struct irqchip *irqchip;
	bool stop;		    /* atomic */
	unsigned wakes[FX_CPUS];    /* atomic: notify calls */
	unsigned got[FX_CPUS][256]; /* atomic */
	pthread_mutex_t dev_lock;   /* the level device's: taken before the chip's */
	bool level_up;		    /* it wants service; guarded by dev_lock */
};

struct vcpu {
	struct world *w;
	unsigned cpu;
	unsigned seed;
};

static void notify(void *ctx, unsigned cpu, enum soft_event ev, unsigned arg)
{
	struct world *w = ctx;

	if (ev == SOFT_EVENT_IRQ)
		__atomic_add_fetch(&w->wakes[cpu], 1, __ATOMIC_RELAXED);
}

static uint64_t tsc(void *ctx, unsigned cpu)
{
	struct world *w = ctx;

	return vclock_ns(&w->clock);
}

static bool stopped(struct world *w)
{
	return __atomic_load_n(&w->stop, __ATOMIC_ACQUIRE);
}

static unsigned count(struct world *w, unsigned cpu, unsigned vec)
{
	return __atomic_load_n(&w->got[cpu][vec], __ATOMIC_ACQUIRE);
}

static void set_level(struct world *w, bool up)
{
	LOCK_SCOPE(&w->dev_lock);
	w->level_up = up;
	w->irqchip->ops->set_line(w->irqchip, 20, up);
}

static bool is_level_up(struct world *w)
{
	LOCK_SCOPE(&w->dev_lock);
	return w->level_up;
}

/* What a guest does in its handlers. */
static void handle(struct vcpu *v, int vec)
{
	struct world *w = v->w;

	__atomic_add_fetch(&w->got[v->cpu][vec], 1, __ATOMIC_ACQ_REL);
	if (vec == VEC_LEVEL)
		set_level(w, false);
	lapic_mmio_write(w->chip, v->cpu, APIC_EOI, 0);
}

static void *vcpu_main(void *arg)
{
	struct vcpu *v = arg;
	struct world *w = v->w;

	while (!stopped(w)) {
		int vec = softchip_ack(w->chip, v->cpu);

		if (vec >= 0)
			handle(v, vec);
		else
			sched_yield();
		switch (rand_r(&v->seed) % 16) {
		case 0: lapic_set_cr8(w->chip, v->cpu, 15); break;
		case 1: lapic_set_cr8(w->chip, v->cpu, 0); break;
		case 2: lapic_mmio_read(w->chip, v->cpu, APIC_TCCR); break;
		default: break;
		}
		if (!softchip_pending(w->chip, v->cpu))
			lapic_set_cr8(w->chip, v->cpu, 0);
	}
	return NULL;
}

/* Wait until vCPU @cpu got more than @had of @vec: an interrupt must not be lost. */
static void expect_more(struct world *w, unsigned cpu, unsigned vec, unsigned had)
{
	while (count(w, cpu, vec) == had)
		sched_yield();
}

static void *ipi_main(void *arg)
{
	struct world *w = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned had = count(w, 1, VEC_IPI);

		lapic_mmio_write(w->chip, 0, APIC_ICR_HI, 1 << 24);
		lapic_mmio_write(w->chip, 0, APIC_ICR, VEC_IPI);
		expect_more(w, 1, VEC_IPI, had);
	}
	return NULL;
}

static void *msi_main(void *arg)
{
	struct world *w = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned had = count(w, 2, VEC_MSI);

		irqchip_send_msi(w->irqchip, (struct msi){0xfee02000, VEC_MSI});
		expect_more(w, 2, VEC_MSI, had);
	}
	return NULL;
}

static void *level_main(void *arg)
{
	struct world *w = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		set_level(w, true);
		while (is_level_up(w))
			sched_yield();
	}
	return NULL;
}

static void *loop_main(void *arg)
{
	struct world *w = arg;

	loop_run(w->loop);
	return NULL;
}

static void start_world(struct world *w)
{
	struct softchip_config cfg = {
		.ncpus = FX_CPUS,
		.clock = &w->clock,
		.guest_tsc = tsc,
		.tsc_khz = 1000000,
		.notify = notify,
		.ctx = w,
	};

	pthread_mutex_init(&w->dev_lock, NULL);
	assert_int_equal(loop_new(&w->loop), 0);
	vclock_start(&w->clock);
	cfg.loop = w->loop;
	assert_int_equal(softchip_new(&cfg, &w->chip), 0);
	w->irqchip = softchip_irqchip(w->chip);
	for (unsigned i = 0; i < FX_CPUS; i++) {
		lapic_mmio_write(w->chip, i, APIC_SVR, 0x1ff);
		lapic_mmio_write(w->chip, i, APIC_TDCR, 0xb);
		lapic_mmio_write(w->chip, i, APIC_LVT, LVT_TIMER_PERIODIC | VEC_TIMER);
		lapic_mmio_write(w->chip, i, APIC_TICR, i ? 1000000 : 1);
	}
	ioapic_mmio_write(w->chip, 0, 0x10 + 20 * 2 + 1);
	ioapic_mmio_write(w->chip, 0x10, 3 << 24);
	ioapic_mmio_write(w->chip, 0, 0x10 + 20 * 2);
	ioapic_mmio_write(w->chip, 0x10, RTE_LEVEL | VEC_LEVEL);
}

static void no_interrupt_is_lost_between_threads(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct vcpu v[FX_CPUS];
	pthread_t vt[FX_CPUS], lt, t[3];
	void *(*const devices[3])(void *) = {ipi_main, msi_main, level_main};
	unsigned seed = (unsigned)time(NULL);

	print_message("seed %u\n", seed);
	start_world(w);
	assert_int_equal(pthread_create(&lt, NULL, loop_main, w), 0);
	for (unsigned i = 0; i < FX_CPUS; i++) {
		v[i] = (struct vcpu){w, i, seed + i};
		assert_int_equal(pthread_create(&vt[i], NULL, vcpu_main, &v[i]), 0);
	}
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, devices[i], w), 0);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	for (unsigned i = 0; i < FX_CPUS; i++)
		expect_more(w, i, VEC_TIMER, 0);
	__atomic_store_n(&w->stop, true, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < FX_CPUS; i++)
		pthread_join(vt[i], NULL);
	loop_stop(w->loop);
	pthread_join(lt, NULL);
	assert_true(count(w, 1, VEC_IPI) >= ROUNDS);
	assert_true(count(w, 2, VEC_MSI) >= ROUNDS);
	assert_true(count(w, 3, VEC_LEVEL) > 0);
	assert_true(w->wakes[1] > 0);
	softchip_free(w->chip);
	loop_free(w->loop);
	pthread_mutex_destroy(&w->dev_lock);
	free(w);
}

/* What register writes lead to, loading must accept. */
static void expect_valid(struct fixture *f)
{
	struct errbuf err = {0};
	int ret = softchip_pic_state.post_load(softchip_pic_object(f->chip), &err);

	if (!ret)
		ret = softchip_ioapic_state.post_load(softchip_ioapic_object(f->chip), &err);
	for (unsigned i = 0; !ret && i < FX_CPUS; i++)
		ret = softchip_lapic_state.post_load(softchip_lapic_object(f->chip, i), &err);
	if (ret)
		fail_msg("%s", err.msg);
}

/* Anything a guest can write, anywhere: nothing breaks, and the lines keep working. */
static void random_register_traffic_breaks_nothing(void **state)
{
	static const uint16_t ports[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1};
	unsigned seed = (unsigned)time(NULL);
	struct fixture f;

	print_message("seed %u\n", seed);
	fx_init(&f);
	for (unsigned i = 0; i < 300000; i++) {
		unsigned r = (unsigned)rand_r(&seed), cpu = (unsigned)rand_r(&seed) % FX_CPUS;
		uint32_t val = (uint32_t)rand_r(&seed) ^ (uint32_t)rand_r(&seed) << 16;
		uint64_t out;

		switch (r % 10) {
		case 0: lapic_mmio_write(f.chip, cpu, r >> 8 & 0xff0, val); break;
		case 1: lapic_mmio_read(f.chip, cpu, r >> 8 & 0xfff); break;
		case 2: lapic_msr_write(f.chip, cpu, 0x800 + (r >> 8 & 0xff), val & 0xff); break;
		case 3: lapic_msr_read(f.chip, cpu, 0x800 + (r >> 8 & 0xff), &out); break;
		case 4:
			lapic_msr_write(f.chip, cpu, r & 0x100 ? 0x6e0 : 0x1b,
					0xfee00000 | (val & 0xd00));
			break;
		case 5: ioapic_mmio_write(f.chip, r >> 8 & 0x10, val >> (val & 15)); break;
		case 6: ioapic_mmio_read(f.chip, r >> 8 & 0x1f); break;
		case 7: pic_port_write(f.chip, ports[val % 6], (uint8_t)(r >> 8)); break;
		case 8: f.irqchip->ops->set_line(f.irqchip, r >> 8 & 31, val & 1); break;
		default:
			softchip_ack(f.chip, cpu);
			irqchip_send_msi(f.irqchip, (struct msi){0xfee00000 | (val & 0xff00c),
								 r >> 8 & 0xc7ff});
			break;
		}
		if (i % 1000 == 0) {
			fx_advance(&f, 100000);
			expect_valid(&f);
		}
	}
	/* whatever was done, the flag is what an acknowledge finds */
	for (unsigned i = 0; i < FX_CPUS; i++) {
		bool pending = softchip_pending(f.chip, i);

		assert_int_equal(softchip_ack(f.chip, i) >= 0, pending);
	}
	softchip_reset(f.chip);
	fx_enable_lapics(&f);
	fx_rte(&f, 20, RTE_LEVEL | 0x77);
	fx_line(&f, 20, true);
	assert_int_equal(softchip_ack(f.chip, 0), 0x77);
	fx_fini(&f);
}

static void a_reset_chip_has_nothing_pending(void **state)
{
	struct fixture f;

	fx_init(&f);
	fx_enable_lapics(&f);
	irqchip_send_msi(f.irqchip, (struct msi){0xfeeff000, 0x55});
	assert_true(softchip_pending(f.chip, 3));
	softchip_reset(f.chip);
	for (unsigned i = 0; i < FX_CPUS; i++)
		assert_false(softchip_pending(f.chip, i));
	fx_fini(&f);
}

static void sizes_that_make_no_sense_are_refused(void **state)
{
	struct softchip_config cfg = {.ncpus = 0};
	struct softchip *chip;

	assert_true(softchip_new(&cfg, &chip) < 0);
	cfg.ncpus = 256;
	assert_true(softchip_new(&cfg, &chip) < 0);
	softchip_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_interrupt_is_lost_between_threads),
		cmocka_unit_test(random_register_traffic_breaks_nothing),
		cmocka_unit_test(a_reset_chip_has_nothing_pending),
		cmocka_unit_test(sizes_that_make_no_sense_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
