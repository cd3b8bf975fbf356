// SPDX-License-Identifier: Apache-2.0
/*
 * pm.c - ACPI fixed hardware: PM1a event and control, PM timer, GPE0, reset register.
 *
 * The machine is always in ACPI mode (SCI_EN reads as one, there is no SMI port).
 * The 32-bit PM timer is computed from VM time; a host timer for its carry runs
 * only while the carry's interrupt is enabled.  The SCI is level: asserted while
 * any status bit with its enable bit is set.
 *
 * Source: ACPI 6.4, chapters 4.7 and 4.8.
 */
#include "dev/acpi/pm.h"

#include <errno.h>

#include "base/thread.h"
#include "dev/devices.h"

enum { /* PM1 status and enable */
       STS_TIMER = 1 << 0,
       STS_GLOBAL = 1 << 5,
       STS_POWER_BUTTON = 1 << 8,
       STS_SLEEP_BUTTON = 1 << 9,
       STS_RTC = 1 << 10,
       STS_WAKE = 1 << 15,
       STS_ALL = STS_TIMER | 1 << 4 | STS_GLOBAL | STS_POWER_BUTTON | STS_SLEEP_BUTTON | STS_RTC |
		 STS_WAKE,
       EN_ALL = STS_TIMER | STS_GLOBAL | STS_POWER_BUTTON | STS_SLEEP_BUTTON | STS_RTC,
};
enum { CNT_SCI_EN = 1, CNT_WRITABLE = 0x1c02, CNT_SLP_TYP_SHIFT = 10, CNT_SLP_EN = 1 << 13 };
enum { PM_TIMER_HZ = 3579545 };
#define CARRY_TICKS 0x80000000ULL /* bit 31 changes: TMR_STS */

struct pm { /* dev.lock */
	struct device dev;
	struct irq_line sci;
	struct timer carry;
	uint16_t sts, en, cnt;
	uint16_t gpe_sts, gpe_en;
	uint64_t carries; /* of the timer, up to which STS_TIMER is known */
};

static uint64_t ticks(const struct pm *p)
{
	return mul_div64(vclock_ns(p->dev.env->clock), PM_TIMER_HZ, 1000000000);
}

static void update_carry(struct pm *p)
{
	uint64_t n = ticks(p) / CARRY_TICKS;

	if (n != p->carries)
		p->sts |= STS_TIMER;
	p->carries = n;
}

static void update(struct pm *p)
{
	update_carry(p);
	irq_set(&p->sci, (p->sts & p->en & EN_ALL) || (p->gpe_sts & p->gpe_en));
	if (p->en & STS_TIMER)
		timer_arm(&p->carry,
			  mul_div64((p->carries + 1) * CARRY_TICKS, 1000000000, PM_TIMER_HZ) + 1);
	else
		timer_stop(&p->carry);
}

static void on_carry(struct timer *t)
{
	struct pm *p = container_of(t, struct pm, carry);
	LOCK_SCOPE(&p->dev.lock);

	update(p);
}

void pm_power_button(struct device *dev)
{
	struct pm *p = container_of(dev, struct pm, dev);
	LOCK_SCOPE(&dev->lock);

	p->sts |= STS_POWER_BUTTON;
	update(p);
}

/* --- registers, bytewise: drivers use 1, 2 and 4 byte accesses --------------------- */

static uint8_t byte_of(uint64_t val, uint64_t n)
{
	return (uint8_t)(val >> (n * 8));
}

static uint8_t read_byte(struct pm *p, uint64_t off, uint32_t timer)
{
	switch (off) {
	case PM_EVENT ... PM_EVENT + 1: return byte_of(p->sts, off - PM_EVENT);
	case PM_EVENT + 2 ... PM_EVENT + 3: return byte_of(p->en, off - PM_EVENT - 2);
	case PM_CONTROL ... PM_CONTROL + 1: return byte_of(p->cnt | CNT_SCI_EN, off - PM_CONTROL);
	case PM_TIMER ... PM_TIMER + 3: return byte_of(timer, off - PM_TIMER);
	case PM_GPE0 ... PM_GPE0 + 1: return byte_of(p->gpe_sts, off - PM_GPE0);
	case PM_GPE0 + 2 ... PM_GPE0 + 3: return byte_of(p->gpe_en, off - PM_GPE0 - 2);
	default: return 0;
	}
}

static uint64_t pm_read(struct device *dev, unsigned bar, uint64_t off, unsigned size)
{
	struct pm *p = container_of(dev, struct pm, dev);
	uint32_t timer = (uint32_t)ticks(p); /* one reading for all its bytes */
	uint64_t val = 0;

	update_carry(p);
	for (unsigned i = 0; i < size; i++)
		val |= (uint64_t)read_byte(p, off + i, timer) << (i * 8);
	return val;
}

static uint16_t put_byte(uint16_t reg, uint64_t n, uint8_t val)
{
	unsigned shift = (unsigned)n * 8;

	return (uint16_t)((reg & ~(0xff << shift)) | val << shift);
}

static void write_control(struct pm *p, uint64_t n, uint8_t val)
{
	uint16_t cnt = put_byte(p->cnt, n, val);
	bool sleep = n == 1 && (cnt & CNT_SLP_EN);

	p->cnt = cnt & CNT_WRITABLE;
	if (sleep && (p->cnt >> CNT_SLP_TYP_SHIFT & 7) == PM_SLP_TYP_S5)
		p->dev.env->request(p->dev.env->ctx, DEV_REQ_POWEROFF, 0);
}

static void write_byte(struct pm *p, uint64_t off, uint8_t val)
{
	switch (off) {
	case PM_EVENT ... PM_EVENT + 1:
		p->sts &= (uint16_t)~put_byte(0, off - PM_EVENT, val);
		break;
	case PM_EVENT + 2 ... PM_EVENT + 3:
		p->en = put_byte(p->en, off - PM_EVENT - 2, val) & EN_ALL;
		break;
	case PM_CONTROL ... PM_CONTROL + 1: write_control(p, off - PM_CONTROL, val); break;
	case PM_GPE0 ... PM_GPE0 + 1:
		p->gpe_sts &= (uint16_t)~put_byte(0, off - PM_GPE0, val);
		break;
	case PM_GPE0 + 2 ... PM_GPE0 + 3:
		p->gpe_en = put_byte(p->gpe_en, off - PM_GPE0 - 2, val);
		break;
	case PM_RESET:
		if (val == PM_RESET_VALUE)
			p->dev.env->request(p->dev.env->ctx, DEV_REQ_RESET, 0);
		break;
	default: break;
	}
}

static void pm_write(struct device *dev, unsigned bar, uint64_t off, uint64_t val, unsigned size)
{
	struct pm *p = container_of(dev, struct pm, dev);

	update_carry(p);
	for (unsigned i = 0; i < size; i++)
		write_byte(p, off + i, (uint8_t)(val >> (i * 8)));
	update(p);
}

/* --- life ------------------------------------------------------------------------------ */

static void pm_reset(struct device *dev)
{
	struct pm *p = container_of(dev, struct pm, dev);

	p->en = p->cnt = p->gpe_sts = p->gpe_en = 0;
	update(p);
	p->sts = 0;
}

static int pm_init(struct device *dev, const void *cfg, struct errbuf *err)
{
	struct pm *p = container_of(dev, struct pm, dev);
	const struct pm_config *c = cfg;
	int ret;

	p->sci = irqchip_line(dev->env->irqchip, c->sci_gsi);
	timer_init(&p->carry, dev->env->loop, dev->env->clock, on_carry);
	pm_reset(dev);
	ret = bus_map(dev->env->pio, dev, 0, c->port, PM_BLOCK_LEN);
	return ret ? err_set(err, ret, "ACPI registers: ports from %#x are taken", c->port) : 0;
}

static void pm_fini(struct device *dev)
{
	timer_stop(&container_of(dev, struct pm, dev)->carry);
}

static const struct state_field fields[] = {
	STATE_INT(struct pm, sts),
	STATE_INT(struct pm, en),
	STATE_INT(struct pm, cnt),
	STATE_INT(struct pm, gpe_sts),
	STATE_INT(struct pm, gpe_en),
	STATE_INT(struct pm, carries),
	STATE_FIELDS_END,
};

static int post_load(void *obj, struct errbuf *err)
{
	struct pm *p = obj;
	LOCK_SCOPE(&p->dev.lock);

	if ((p->sts & ~STS_ALL) || (p->en & ~EN_ALL) || (p->cnt & ~CNT_WRITABLE)) {
		p->sts = p->en = p->cnt = 0;
		return err_set(err, -EINVAL, "ACPI registers: reserved bits are set");
	}
	update(p);
	return 0;
}

static const struct state_desc state = {
	.name = "pm",
	.version = 1,
	.fields = fields,
	.post_load = post_load,
};

const struct dev_ops pm_ops = {
	.name = "pm",
	.size = sizeof(struct pm),
	.init = pm_init,
	.fini = pm_fini,
	.reset = pm_reset,
	.read = pm_read,
	.write = pm_write,
	.state = &state,
};
