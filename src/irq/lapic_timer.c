// SPDX-License-Identifier: Apache-2.0
/*
 * lapic_timer.c - the local APIC's timer: one-shot, periodic, TSC deadline.
 *
 * The bus clock is 1 GHz, so one undivided tick is one nanosecond of VM time.
 * Only the moment of expiry is kept (timer_ns, VM time); the current count is
 * computed from it when somebody reads it.  A host timer is armed for the same
 * moment; its callback checks timer_ns under the lock, because it may race with a
 * guest that has just set the timer anew.  Periods below LAPIC_MIN_PERIOD_NS are
 * stretched to it, and periods missed by a late host are dropped, so that no guest
 * can keep the loop's thread busy.
 *
 * Source: Intel SDM vol. 3A, 11.5.4.
 */
#include "irq/chip.h"

enum { REARM_MIN_NS = 1000 };
#define FAR_MS 315360000000ULL /* ten years: beyond it a deadline is "never soon" */

unsigned lapic_timer_divisor(uint32_t tdcr)
{
	unsigned code = (tdcr & 3) | (tdcr >> 1 & 4);

	return code == 7 ? 1 : 2u << code;
}

static bool is_deadline(uint32_t lvt)
{
	return (lvt & LVT_TIMER_MODE) == LVT_TIMER_DEADLINE;
}

static uint64_t period_ns(const struct lapic *l)
{
	return (uint64_t)l->ticr * lapic_timer_divisor(l->tdcr);
}

static void start(struct lapic *l, uint64_t at_ns)
{
	l->timer_on = true;
	l->timer_ns = at_ns;
	if (l->chip)
		timer_arm(&l->timer, at_ns);
}

void lapic_timer_stop(struct lapic *l)
{
	l->timer_on = false;
	if (l->chip)
		timer_stop(&l->timer);
}

static void restart_period(struct lapic *l, uint64_t now)
{
	uint64_t period = MAX(period_ns(l), (uint64_t)LAPIC_MIN_PERIOD_NS);
	uint64_t next = l->timer_ns + period;

	if (next <= now)
		next = now + period - (now - l->timer_ns) % period;
	start(l, next);
}

static void expire(struct lapic *l, uint64_t now)
{
	l->timer_on = false;
	if (is_deadline(l->lvt[LVT_TIMER]))
		l->tsc_deadline = 0;
	else if ((l->lvt[LVT_TIMER] & LVT_TIMER_MODE) == LVT_TIMER_PERIODIC && l->ticr)
		restart_period(l, now);
	lapic_local_irq(l, LVT_TIMER);
}

/* VM time until the guest's TSC has counted @delta, rounded up. */
static uint64_t tsc_to_ns(const struct lapic *l, uint64_t delta)
{
	uint64_t khz = l->chip->cfg.tsc_khz;

	if (delta / khz >= FAR_MS)
		delta = khz * FAR_MS;
	return mul_div64(delta, 1000000, khz) + 1;
}

/*
 * Is the deadline still ahead?  The guest may have set its TSC back, and over long
 * times VM clock and TSC drift apart: an interrupt before its deadline would be wrong.
 */
static bool wait_for_tsc(struct lapic *l, uint64_t now)
{
	const struct softchip_config *cfg = &l->chip->cfg;
	uint64_t tsc;

	if (!is_deadline(l->lvt[LVT_TIMER]) || !cfg->tsc_khz)
		return false;
	tsc = cfg->guest_tsc(cfg->ctx, l->index);
	if (tsc >= l->tsc_deadline)
		return false;
	start(l, now + MAX(tsc_to_ns(l, l->tsc_deadline - tsc), (uint64_t)REARM_MIN_NS));
	return true;
}

static void on_timer(struct timer *t)
{
	struct lapic *l = container_of(t, struct lapic, timer);
	uint64_t now;

	pthread_mutex_lock(&l->chip->lock);
	now = lapic_now(l);
	if (l->timer_on && l->timer_ns <= now && !wait_for_tsc(l, now))
		expire(l, now);
	pthread_mutex_unlock(&l->chip->lock);
}

void lapic_timer_init(struct lapic *l, struct loop *loop, const struct vclock *clock)
{
	timer_init(&l->timer, loop, clock, on_timer);
}

uint32_t lapic_timer_count(const struct lapic *l, uint64_t now_ns)
{
	unsigned div = lapic_timer_divisor(l->tdcr);
	uint64_t left;

	if (!l->timer_on || is_deadline(l->lvt[LVT_TIMER]))
		return 0;
	if (now_ns >= l->timer_ns)
		return 0;
	left = (l->timer_ns - now_ns + div - 1) / div;
	return (uint32_t)MIN(left, (uint64_t)l->ticr);
}

void lapic_timer_set_initial(struct lapic *l, uint32_t count)
{
	if (is_deadline(l->lvt[LVT_TIMER]))
		return;
	l->ticr = count;
	if (count)
		start(l, lapic_now(l) + period_ns(l));
	else
		lapic_timer_stop(l);
}

/* The count goes on from where it is, at the new rate. */
void lapic_timer_set_divide(struct lapic *l, uint32_t tdcr)
{
	uint64_t now = lapic_now(l);
	uint32_t left = lapic_timer_count(l, now);

	l->tdcr = tdcr;
	if (left)
		start(l, now + (uint64_t)left * lapic_timer_divisor(tdcr));
}

void lapic_timer_set_lvt(struct lapic *l, uint32_t lvt)
{
	bool was = is_deadline(l->lvt[LVT_TIMER]);

	l->lvt[LVT_TIMER] = lvt;
	if (was == is_deadline(lvt))
		return;
	lapic_timer_stop(l);
	l->tsc_deadline = 0;
	l->ticr = 0;
}

void lapic_timer_set_deadline(struct lapic *l, uint64_t tsc)
{
	const struct softchip_config *cfg = &l->chip->cfg;
	uint64_t now_tsc, now;

	if (!is_deadline(l->lvt[LVT_TIMER]) || !cfg->tsc_khz)
		return;
	l->tsc_deadline = tsc;
	if (!tsc) {
		lapic_timer_stop(l);
		return;
	}
	now_tsc = cfg->guest_tsc(cfg->ctx, l->index);
	now = lapic_now(l);
	if (tsc <= now_tsc) {
		lapic_timer_stop(l);
		expire(l, now);
		return;
	}
	start(l, now + tsc_to_ns(l, tsc - now_tsc));
}

void lapic_timer_resume(struct lapic *l)
{
	if (!l->chip)
		return;
	if (l->timer_on)
		timer_arm(&l->timer, l->timer_ns);
	else
		timer_stop(&l->timer);
}
