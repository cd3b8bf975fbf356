// SPDX-License-Identifier: Apache-2.0
/*
 * rtc.c - MC146818 real-time clock with 128 bytes of CMOS memory.
 *
 * Time is the host's wall clock in UTC plus an offset, which changes when the
 * guest sets the clock; the offset is saved, so a restored guest sees true time.
 * Registers 0..9 are computed when they are read, unless the SET bit holds them
 * still.  The flags of register C are brought up to date when it is read; host
 * timers run only while an interrupt is enabled.  The CMOS memory-size bytes are
 * where PC firmware keeps them.
 *
 * Source: Motorola MC146818 data sheet.
 */
#include <errno.h>

#include "base/thread.h"
#include "dev/devices.h"
#include "dev/legacy/rtc_time.h"

enum { RTC_PORT = 0x70, RTC_GSI = 8, CMOS_SIZE = 128 };
enum { REG_A = 10, REG_B = 11, REG_C = 12, REG_D = 13 };
enum { A_UIP = 0x80, A_RATE = 0x0f, A_DIVIDER = 0x70, A_RUNNING = 0x20 };
enum { B_SET = 0x80, B_PIE = 0x40, B_AIE = 0x20, B_UIE = 0x10 };
enum { C_IRQF = 0x80, C_PF = 0x40, C_AF = 0x20, C_UF = 0x10 };
enum { D_VALID = 0x80 };
enum { XTAL_HZ = 32768, UIP_NS = 244000 };
#define NS_PER_S 1000000000ULL

struct rtc { /* dev.lock */
	struct device dev;
	struct irq_line irq;
	struct timer second, periodic;
	struct rtc_config cfg;
	uint8_t cmos[CMOS_SIZE];
	uint8_t index;
	int64_t offset_s;      /* guest time - host time */
	int64_t checked_s;     /* guest second up to which UF and AF are known */
	uint64_t checked_tick; /* 32768 Hz tick up to which PF is known */
};

static uint64_t vm_ns(const struct rtc *r)
{
	return vclock_ns(r->dev.env->clock);
}

static int64_t guest_s(const struct rtc *r)
{
	return (int64_t)(host_wall_ns() / NS_PER_S) + r->offset_s;
}

static bool counting(const struct rtc *r)
{
	return !(r->cmos[REG_B] & B_SET) && (r->cmos[REG_A] & A_DIVIDER) == A_RUNNING;
}

/* Ticks of the crystal between periodic interrupts, 0: off (table 5 of the data sheet). */
static unsigned period_ticks(const struct rtc *r)
{
	unsigned rate = r->cmos[REG_A] & A_RATE;

	if (!rate || !(r->cmos[REG_A] & A_RUNNING))
		return 0;
	return 1u << (rate < 3 ? rate + 6 : rate - 1);
}

static uint64_t tick_of(uint64_t ns)
{
	return mul_div64(ns, XTAL_HZ, NS_PER_S);
}

/* --- flags and interrupts -------------------------------------------------------- */

static void update_irq(struct rtc *r)
{
	uint8_t c = r->cmos[REG_C] & (C_PF | C_AF | C_UF);

	/* flags and enables have the same bits */
	if (c & r->cmos[REG_B])
		c |= C_IRQF;
	r->cmos[REG_C] = c;
	irq_set(&r->irq, c & C_IRQF);
}

/* Set the flags for what happened since the last look. */
static void update_flags(struct rtc *r)
{
	uint64_t tick = tick_of(vm_ns(r));
	unsigned period = period_ticks(r);
	int64_t now = guest_s(r);

	if (counting(r) && now > r->checked_s) {
		r->cmos[REG_C] |= C_UF;
		if (rtc_alarm_between(r->cmos, r->checked_s, now))
			r->cmos[REG_C] |= C_AF;
	}
	r->checked_s = now;
	if (period && tick / period != r->checked_tick / period)
		r->cmos[REG_C] |= C_PF;
	r->checked_tick = tick;
	update_irq(r);
}

static void schedule(struct rtc *r)
{
	uint64_t now = vm_ns(r), sub = host_wall_ns() % NS_PER_S;
	unsigned period = period_ticks(r);

	if (counting(r) && (r->cmos[REG_B] & (B_AIE | B_UIE)))
		timer_arm(&r->second, now + NS_PER_S - sub);
	else
		timer_stop(&r->second);
	if (period && (r->cmos[REG_B] & B_PIE))
		timer_arm(&r->periodic,
			  mul_div64((tick_of(now) / period + 1) * period, NS_PER_S, XTAL_HZ) + 1);
	else
		timer_stop(&r->periodic);
}

static void tick(struct rtc *r)
{
	LOCK_SCOPE(&r->dev.lock);
	update_flags(r);
	schedule(r);
}

static void on_second(struct timer *t)
{
	tick(container_of(t, struct rtc, second));
}

static void on_periodic(struct timer *t)
{
	tick(container_of(t, struct rtc, periodic));
}

/* --- registers --------------------------------------------------------------------- */

static bool is_time(unsigned reg)
{
	return reg < REG_A && reg != RTC_ALARM_SECOND && reg != RTC_ALARM_MINUTE &&
	       reg != RTC_ALARM_HOUR;
}

/* Bring the time registers up to date. */
static void latch_time(struct rtc *r)
{
	if (counting(r))
		rtc_time_to_regs(guest_s(r), r->cmos);
}

static void set_time(struct rtc *r)
{
	r->offset_s += rtc_regs_to_time(r->cmos) - guest_s(r);
	r->checked_s = guest_s(r);
}

static void write_time(struct rtc *r, unsigned reg, uint8_t val)
{
	latch_time(r);
	r->cmos[reg] = val;
	if (counting(r))
		set_time(r);
}

static void write_ab(struct rtc *r, unsigned reg, uint8_t val)
{
	bool was = counting(r);

	update_flags(r);
	latch_time(r);
	r->cmos[reg] = reg == REG_A ? val & (uint8_t)~A_UIP : val;
	if (reg == REG_B && (val & B_SET))
		r->cmos[REG_B] &= (uint8_t)~B_UIE;
	if (!was && counting(r))
		set_time(r);
}

static void write_reg(struct rtc *r, unsigned reg, uint8_t val)
{
	if (reg == REG_A || reg == REG_B) {
		write_ab(r, reg, val);
	} else if (reg == REG_C || reg == REG_D) {
		return;
	} else if (is_time(reg) || reg == RTC_CENTURY) {
		write_time(r, reg, val);
	} else {
		if (reg <= RTC_ALARM_HOUR)
			update_flags(r); /* by the old alarm time */
		r->cmos[reg] = val;
	}
	update_irq(r);
	schedule(r);
}

static uint8_t read_reg(struct rtc *r, unsigned reg)
{
	uint64_t sub;
	uint8_t val;

	switch (reg) {
	case REG_A:
		sub = host_wall_ns() % NS_PER_S;
		return r->cmos[REG_A] | (counting(r) && sub > NS_PER_S - UIP_NS ? A_UIP : 0);
	case REG_C:
		update_flags(r);
		val = r->cmos[REG_C];
		r->cmos[REG_C] = 0;
		update_irq(r);
		return val;
	case REG_D: return D_VALID;
	default:
		if (is_time(reg) || reg == RTC_CENTURY)
			latch_time(r);
		return r->cmos[reg];
	}
}

static uint64_t rtc_read(struct device *dev, unsigned bar, uint64_t off, unsigned size)
{
	struct rtc *r = container_of(dev, struct rtc, dev);

	return off == 1 ? read_reg(r, r->index) : 0xff;
}

static void rtc_write(struct device *dev, unsigned bar, uint64_t off, uint64_t val, unsigned size)
{
	struct rtc *r = container_of(dev, struct rtc, dev);

	if (off == 1) {
		write_reg(r, r->index, (uint8_t)val);
		return;
	}
	r->index = val & 0x7f; /* bit 7 masks NMIs, which nothing here raises */
	if (size > 1)
		write_reg(r, r->index, (uint8_t)(val >> 8));
}

/* --- life -------------------------------------------------------------------------- */

static void put16(struct rtc *r, unsigned reg, uint64_t val)
{
	r->cmos[reg] = (uint8_t)val;
	r->cmos[reg + 1] = (uint8_t)(val >> 8);
}

static void fill_memory_sizes(struct rtc *r)
{
	uint64_t low = r->cfg.ram_low_bytes, high = r->cfg.ram_high_bytes;
	uint64_t above_1m = low > 1 << 20 ? (low - (1 << 20)) >> 10 : 0;
	uint64_t above_16m = low > 16 << 20 ? (low - (16 << 20)) >> 16 : 0;

	put16(r, 0x15, 640);
	put16(r, 0x17, MIN(above_1m, 0xffffULL));
	put16(r, 0x30, MIN(above_1m, 0xffffULL));
	put16(r, 0x34, MIN(above_16m, 0xffffULL));
	put16(r, 0x5b, high >> 16);
	r->cmos[0x5d] = (uint8_t)(high >> 32);
}

/* The clock has a battery: a reset clears enables and flags only. */
static void rtc_reset(struct device *dev)
{
	struct rtc *r = container_of(dev, struct rtc, dev);

	r->cmos[REG_B] &= (uint8_t) ~(B_SET | B_PIE | B_AIE | B_UIE);
	r->cmos[REG_C] = 0;
	r->index = 0;
	fill_memory_sizes(r);
	update_irq(r);
	schedule(r);
}

static int rtc_init(struct device *dev, const void *cfg, struct errbuf *err)
{
	struct rtc *r = container_of(dev, struct rtc, dev);
	int ret;

	r->cfg = *(const struct rtc_config *)cfg;
	r->irq = irqchip_line(dev->env->irqchip, RTC_GSI);
	timer_init(&r->second, dev->env->loop, dev->env->clock, on_second);
	timer_init(&r->periodic, dev->env->loop, dev->env->clock, on_periodic);
	r->cmos[REG_A] = A_RUNNING | 6; /* 32768 Hz crystal, 1024 Hz */
	r->cmos[REG_B] = RTC_B_24H;
	r->checked_s = guest_s(r);
	r->checked_tick = tick_of(vm_ns(r));
	rtc_reset(dev);
	ret = bus_map(dev->env->pio, dev, 0, RTC_PORT, 2);
	return ret ? err_set(err, ret, "real-time clock: ports 70 and 71 are taken") : 0;
}

static void rtc_fini(struct device *dev)
{
	struct rtc *r = container_of(dev, struct rtc, dev);

	timer_stop(&r->second);
	timer_stop(&r->periodic);
}

static const struct state_field fields[] = {
	STATE_BYTES(struct rtc, cmos),	     STATE_INT(struct rtc, index),
	STATE_INT(struct rtc, offset_s),     STATE_INT(struct rtc, checked_s),
	STATE_INT(struct rtc, checked_tick), STATE_FIELDS_END,
};

static int post_load(void *obj, struct errbuf *err)
{
	struct rtc *r = obj;
	LOCK_SCOPE(&r->dev.lock);

	if (r->index >= CMOS_SIZE || (r->cmos[REG_A] & A_UIP) || r->offset_s < -RTC_MAX_S ||
	    r->offset_s > RTC_MAX_S || r->checked_s < -2 * RTC_MAX_S ||
	    r->checked_s > 2 * RTC_MAX_S) {
		r->index = 0;
		r->cmos[REG_A] &= (uint8_t)~A_UIP;
		r->offset_s = r->checked_s = 0;
		return err_set(err, -EINVAL, "real-time clock: impossible registers");
	}
	update_irq(r);
	schedule(r);
	return 0;
}

static const struct state_desc state = {
	.name = "rtc",
	.version = 1,
	.fields = fields,
	.post_load = post_load,
};

const struct dev_ops rtc_ops = {
	.name = "rtc",
	.size = sizeof(struct rtc),
	.init = rtc_init,
	.fini = rtc_fini,
	.reset = rtc_reset,
	.read = rtc_read,
	.write = rtc_write,
	.state = &state,
};
