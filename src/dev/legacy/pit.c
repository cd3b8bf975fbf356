// SPDX-License-Identifier: Apache-2.0
/*
 * pit.c - i8254 interval timer with the PC's port 0x61.
 *
 * A counter is not counted: its value, and its output, are computed from the VM
 * time at which it was loaded.  Only channel 0's rising edges need a host timer.
 * Edges that a busy host was too late for are dropped, not sent later in a burst:
 * systems that care keep time by TSC or PM timer, and a burst helps none of the
 * others to meet a deadline.  Edges closer than PIT_MIN_PERIOD_NS are thinned out.
 * A new count takes effect at once in every mode (the chip finishes the period in
 * modes 2 and 3).
 *
 * Sources: Intel 8254 data sheet (231164), 82371 data sheet (port 61h).
 */
#include <errno.h>

#include "base/thread.h"
#include "dev/devices.h"

enum { PIT_HZ = 1193182, PIT_MIN_PERIOD_NS = 100000, REFRESH_NS = 15085, NCHANNELS = 3 };
enum { BAR_TIMER, BAR_PORT61 };
enum { CONTROL = 3 };
enum { RW_LATCH, RW_LOW, RW_HIGH, RW_BOTH };
enum { P61_GATE = 1, P61_SPEAKER = 2, P61_REFRESH = 0x10, P61_OUT = 0x20 };
enum { STATUS_OUT = 0x80, STATUS_NULL = 0x40 };

struct channel {
	uint64_t start_ns; /* VM time of tick 0 */
	uint64_t frozen;   /* ticks counted when the gate fell */
	uint32_t count;	   /* 1..65536 (10000 in BCD) */
	uint16_t latched;
	uint8_t mode, rw;
	uint8_t write_low; /* first byte of a two-byte write */
	uint8_t status;	   /* latched */
	bool bcd, gate, loaded, running;
	bool write_high_next, read_high_next;
	bool have_latch, have_status;
};

struct pit { /* dev.lock */
	struct device dev;
	struct irq_line irq;
	struct timer timer;
	uint64_t next_ns; /* channel 0's next edge; 0: none */
	struct channel ch[NCHANNELS];
	uint8_t port61;
};

static uint64_t now_ns(const struct pit *p)
{
	return vclock_ns(p->dev.env->clock);
}

static uint64_t ticks(const struct channel *c, uint64_t now)
{
	if (!c->running)
		return c->frozen;
	return now > c->start_ns ? mul_div64(now - c->start_ns, PIT_HZ, 1000000000) : 0;
}

static uint64_t tick_ns(const struct channel *c, uint64_t tick)
{
	return c->start_ns + mul_div64(tick, 1000000000, PIT_HZ) + 1;
}

static uint32_t modulus(const struct channel *c)
{
	return c->bcd ? 10000 : 65536;
}

static bool periodic(const struct channel *c)
{
	return c->mode == 2 || c->mode == 3;
}

static bool output(const struct channel *c, uint64_t now)
{
	uint64_t t = ticks(c, now);

	if (!c->loaded)
		return c->mode != 0;
	switch (c->mode) {
	case 0: return t >= c->count;
	case 1: return !c->running || t >= c->count;
	case 2: return !c->gate || t % c->count != c->count - 1;
	case 3: return !c->gate || t % c->count < (c->count + 1) / 2;
	default: return t != c->count;
	}
}

static uint16_t to_bcd(uint32_t v)
{
	return (uint16_t)(v / 1000 % 10 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10);
}

static uint32_t from_bcd(uint16_t v)
{
	return (v >> 12) * 1000u + (v >> 8 & 15) * 100u + (v >> 4 & 15) * 10u + (v & 15);
}

static uint16_t value(const struct channel *c, uint64_t now)
{
	uint64_t t = ticks(c, now);
	uint32_t m = modulus(c), v;

	if (!c->loaded)
		return 0;
	if (c->mode == 3)
		v = (uint32_t)(c->count - t * 2 % c->count) & ~1u;
	else if (c->mode == 2)
		v = (uint32_t)(c->count - t % c->count);
	else
		v = (uint32_t)(c->count + m - t % m) % m;
	return c->bcd ? to_bcd(v) : (uint16_t)v;
}

/* --- channel 0's edges --------------------------------------------------------- */

/* Arm the host timer for the next rising edge after @now. */
static void schedule(struct pit *p, uint64_t now)
{
	const struct channel *c = &p->ch[0];
	uint64_t t = ticks(c, now), edge;

	p->next_ns = 0;
	if (!c->loaded || !c->running) {
		timer_stop(&p->timer);
		return;
	}
	if (periodic(c)) {
		edge = (t / c->count + 1) * c->count;
	} else {
		edge = c->mode >= 4 ? c->count + 1 : c->count;
		if (t >= edge) {
			timer_stop(&p->timer);
			return;
		}
	}
	p->next_ns = MAX(tick_ns(c, edge), now + PIT_MIN_PERIOD_NS);
	timer_arm(&p->timer, p->next_ns);
}

static void on_timer(struct timer *t)
{
	struct pit *p = container_of(t, struct pit, timer);
	LOCK_SCOPE(&p->dev.lock);
	uint64_t now = now_ns(p);

	if (!p->next_ns || now < p->next_ns)
		return; /* set anew meanwhile */
	irq_set(&p->irq, false);
	irq_set(&p->irq, true);
	if (periodic(&p->ch[0]))
		schedule(p, now);
	else
		p->next_ns = 0;
}

/* --- programming ------------------------------------------------------------------ */

static void load(struct pit *p, struct channel *c, uint16_t raw)
{
	uint64_t now = now_ns(p);

	c->count = c->bcd ? from_bcd(raw) : raw;
	if (!c->count)
		c->count = modulus(c);
	if (c->count == 1 && periodic(c))
		c->count = 2; /* 1 is not allowed in these modes */
	c->loaded = true;
	c->frozen = 0;
	/* modes 1 and 5 wait for the gate's rising edge */
	c->running = c->gate && c->mode != 1 && c->mode != 5;
	c->start_ns = now;
	if (c != &p->ch[0])
		return;
	if (c->mode == 0)
		irq_set(&p->irq, false);
	schedule(p, now);
}

static void write_count(struct pit *p, struct channel *c, uint8_t val)
{
	switch (c->rw) {
	case RW_LOW: load(p, c, val); break;
	case RW_HIGH: load(p, c, (uint16_t)(val << 8)); break;
	case RW_BOTH:
		if (c->write_high_next)
			load(p, c, (uint16_t)(val << 8 | c->write_low));
		else
			c->write_low = val;
		c->write_high_next = !c->write_high_next;
		break;
	default: break; /* never programmed */
	}
}

static void latch_count(struct channel *c, uint64_t now)
{
	if (c->have_latch)
		return;
	c->latched = value(c, now);
	c->have_latch = true;
	c->read_high_next = false;
}

static void latch_status(struct channel *c, uint64_t now)
{
	if (c->have_status)
		return;
	c->status = (uint8_t)((output(c, now) ? STATUS_OUT : 0) | (c->loaded ? 0 : STATUS_NULL) |
			      c->rw << 4 | c->mode << 1 | c->bcd);
	c->have_status = true;
}

static void read_back(struct pit *p, uint8_t val)
{
	uint64_t now = now_ns(p);

	for (unsigned i = 0; i < NCHANNELS; i++) {
		if (!(val >> (i + 1) & 1))
			continue;
		if (!(val & 0x20))
			latch_count(&p->ch[i], now);
		if (!(val & 0x10))
			latch_status(&p->ch[i], now);
	}
}

static void write_control(struct pit *p, uint8_t val)
{
	unsigned n = val >> 6, rw = val >> 4 & 3, mode = val >> 1 & 7;
	struct channel *c = &p->ch[n % NCHANNELS];

	if (n == 3) {
		read_back(p, val);
		return;
	}
	if (rw == RW_LATCH) {
		latch_count(c, now_ns(p));
		return;
	}
	c->rw = (uint8_t)rw;
	c->mode = (uint8_t)(mode > 5 ? mode - 4 : mode); /* 6 and 7 are 2 and 3 */
	c->bcd = val & 1;
	c->loaded = c->running = false;
	c->frozen = 0;
	c->write_high_next = c->read_high_next = c->have_latch = c->have_status = false;
	if (c == &p->ch[0]) {
		irq_set(&p->irq, false);
		schedule(p, 0);
	}
}

static uint8_t read_count(struct pit *p, struct channel *c)
{
	uint16_t v;
	bool high;

	if (c->have_status) {
		c->have_status = false;
		return c->status;
	}
	v = c->have_latch ? c->latched : value(c, now_ns(p));
	high = c->rw == RW_HIGH || (c->rw == RW_BOTH && c->read_high_next);
	if (c->rw == RW_BOTH)
		c->read_high_next = !c->read_high_next;
	if (c->rw != RW_BOTH || high)
		c->have_latch = false;
	return (uint8_t)(high ? v >> 8 : v);
}

/* --- port 0x61 ----------------------------------------------------------------------- */

static void set_gate(struct pit *p, struct channel *c, bool gate)
{
	uint64_t now = now_ns(p);

	if (c->gate == gate)
		return;
	if (!gate) {
		if (c->mode != 1 && c->mode != 5) { /* these are triggered, not gated */
			c->frozen = ticks(c, now);
			c->running = false;
		}
	} else if (c->loaded) {
		if (c->mode == 0 || c->mode == 4)
			c->start_ns = now - mul_div64(c->frozen, 1000000000, PIT_HZ);
		else
			c->start_ns = now;
		c->running = true;
	}
	c->gate = gate;
}

static uint8_t read_port61(struct pit *p)
{
	uint64_t now = now_ns(p);

	return p->port61 | (now / REFRESH_NS & 1 ? P61_REFRESH : 0) |
	       (output(&p->ch[2], now) ? P61_OUT : 0);
}

/* --- entry ----------------------------------------------------------------------------- */

static uint64_t pit_read(struct device *dev, unsigned bar, uint64_t off, unsigned size)
{
	struct pit *p = container_of(dev, struct pit, dev);

	if (bar == BAR_PORT61)
		return read_port61(p);
	return off < NCHANNELS ? read_count(p, &p->ch[off]) : 0xff;
}

static void pit_write(struct device *dev, unsigned bar, uint64_t off, uint64_t val, unsigned size)
{
	struct pit *p = container_of(dev, struct pit, dev);

	if (bar == BAR_PORT61) {
		p->port61 = val & (P61_GATE | P61_SPEAKER);
		set_gate(p, &p->ch[2], val & P61_GATE);
	} else if (off == CONTROL) {
		write_control(p, (uint8_t)val);
	} else if (off < NCHANNELS) {
		write_count(p, &p->ch[off], (uint8_t)val);
	}
}

static void pit_reset(struct device *dev)
{
	struct pit *p = container_of(dev, struct pit, dev);

	for (unsigned i = 0; i < NCHANNELS; i++)
		p->ch[i] =
			(struct channel){.gate = i != 2, .rw = RW_BOTH, .mode = 2, .count = 65536};
	p->port61 = 0;
	p->next_ns = 0;
	timer_stop(&p->timer);
	irq_set(&p->irq, false);
}

static int pit_init(struct device *dev, const void *cfg, struct errbuf *err)
{
	struct pit *p = container_of(dev, struct pit, dev);
	int ret;

	p->irq = irqchip_line(dev->env->irqchip, 0);
	timer_init(&p->timer, dev->env->loop, dev->env->clock, on_timer);
	pit_reset(dev);
	ret = bus_map(dev->env->pio, dev, BAR_TIMER, 0x40, 4);
	if (!ret)
		ret = bus_map(dev->env->pio, dev, BAR_PORT61, 0x61, 1);
	return ret ? err_set(err, ret, "interval timer: ports 40..43 or 61 are taken") : 0;
}

static void pit_fini(struct device *dev)
{
	timer_stop(&container_of(dev, struct pit, dev)->timer);
}

/* --- state ---------------------------------------------------------------------------- */

static const struct state_field channel_fields[] = {
	STATE_INT(struct channel, start_ns),
	STATE_INT(struct channel, frozen),
	STATE_INT(struct channel, count),
	STATE_INT(struct channel, latched),
	STATE_INT(struct channel, mode),
	STATE_INT(struct channel, rw),
	STATE_INT(struct channel, write_low),
	STATE_INT(struct channel, status),
	STATE_INT(struct channel, bcd),
	STATE_INT(struct channel, gate),
	STATE_INT(struct channel, loaded),
	STATE_INT(struct channel, running),
	STATE_INT(struct channel, write_high_next),
	STATE_INT(struct channel, read_high_next),
	STATE_INT(struct channel, have_latch),
	STATE_INT(struct channel, have_status),
	STATE_FIELDS_END,
};

static const struct state_field fields[] = {
	STATE_STRUCTS(struct pit, ch, channel_fields),
	STATE_INT(struct pit, port61),
	STATE_FIELDS_END,
};

static bool channel_valid(struct channel *c)
{
	bool ok = state_bool_ok(&c->bcd);

	ok &= state_bool_ok(&c->gate);
	ok &= state_bool_ok(&c->loaded);
	ok &= state_bool_ok(&c->running);
	ok &= state_bool_ok(&c->write_high_next);
	ok &= state_bool_ok(&c->read_high_next);
	ok &= state_bool_ok(&c->have_latch);
	ok &= state_bool_ok(&c->have_status);
	return ok && c->count >= 1 && c->count <= 65536 && c->mode <= 5 && c->rw <= RW_BOTH &&
	       !(periodic(c) && c->count == 1) && c->frozen <= 1ULL << 60;
}

static int post_load(void *obj, struct errbuf *err)
{
	struct pit *p = obj;
	LOCK_SCOPE(&p->dev.lock);
	bool ok = !(p->port61 & ~(P61_GATE | P61_SPEAKER));

	for (unsigned i = 0; i < NCHANNELS; i++)
		ok &= channel_valid(&p->ch[i]);
	if (!ok) {
		pit_reset(&p->dev);
		return err_set(err, -EINVAL, "interval timer: registers that no 8254 can hold");
	}
	schedule(p, now_ns(p));
	return 0;
}

static const struct state_desc state = {
	.name = "pit",
	.version = 1,
	.fields = fields,
	.post_load = post_load,
};

const struct dev_ops pit_ops = {
	.name = "pit",
	.size = sizeof(struct pit),
	.init = pit_init,
	.fini = pit_fini,
	.reset = pit_reset,
	.read = pit_read,
	.write = pit_write,
	.state = &state,
};
