/* SPDX-License-Identifier: Apache-2.0 */
/*
 * controllers.c - the interrupt controllers, wherever they are.
 *
 * In software they are struct softchip; with KVM they are in the kernel, and
 * irq/kernel.c holds objects of the same tables that are fetched from it and stored
 * to it.  So one set of sections serves both, and a machine can move between engines.
 * The kernel has no "reset": its power-on state is kept as records and loaded again.
 */
#include <errno.h>
#include <string.h>

#include "irq/kernel.h"
#include "machine/internal.h"

static void *pic_object(struct machine *m)
{
	return m->chip ? softchip_pic_object(m->chip) : irqchip_kernel_pic_object(m->irqchip);
}

static void *ioapic_object(struct machine *m)
{
	return m->chip ? softchip_ioapic_object(m->chip) : irqchip_kernel_ioapic_object(m->irqchip);
}

static void *lapic_object(struct machine *m, unsigned cpu)
{
	return m->chip ? softchip_lapic_object(m->chip, cpu)
		       : irqchip_kernel_lapic_object(m->irqchip, cpu);
}

static int fetch(struct machine *m, struct errbuf *err)
{
	int ret = m->chip ? 0 : irqchip_kernel_fetch(m->irqchip, err);

	for (unsigned i = 0; !m->chip && !ret && i < m->cfg.ncpus; i++)
		ret = irqchip_kernel_fetch_lapic(m->irqchip, i,
						 m->cfg.engine->vcpu_fd(m->vcpu[i].ev),
						 vclock_ns(&m->clock), err);
	return ret;
}

static int store(struct machine *m, struct errbuf *err)
{
	int ret = m->chip ? 0 : irqchip_kernel_store(m->irqchip, err);

	for (unsigned i = 0; !m->chip && !ret && i < m->cfg.ncpus; i++)
		ret = irqchip_kernel_store_lapic(m->irqchip, i,
						 m->cfg.engine->vcpu_fd(m->vcpu[i].ev),
						 vclock_ns(&m->clock), err);
	return ret;
}

int controllers_save(struct machine *m, struct record_buf *out, struct errbuf *err)
{
	int ret = fetch(m, err);

	if (ret)
		return ret;
	ret = record_save(out, &softchip_pic_state, 0, pic_object(m));
	if (!ret)
		ret = record_save(out, &softchip_ioapic_state, 0, ioapic_object(m));
	for (unsigned i = 0; !ret && i < m->cfg.ncpus; i++)
		ret = record_save(out, &softchip_lapic_state, i, lapic_object(m, i));
	return ret ? err_set(err, ret, "interrupt controllers: %s", strerror(-ret)) : 0;
}

int controllers_load(struct machine *m, const uint8_t *data, size_t len, struct errbuf *err)
{
	int ret = record_load(data, len, &softchip_pic_state, 0, pic_object(m), err);

	if (!ret)
		ret = record_load(data, len, &softchip_ioapic_state, 0, ioapic_object(m), err);
	for (unsigned i = 0; !ret && i < m->cfg.ncpus; i++)
		ret = record_load(data, len, &softchip_lapic_state, i, lapic_object(m, i), err);
	return ret ? ret : store(m, err);
}

int controllers_power_on(struct machine *m, struct errbuf *err)
{
	return m->chip ? 0 : controllers_save(m, &m->power_on, err);
}

int controllers_reset(struct machine *m, struct errbuf *err)
{
	if (!m->chip)
		return controllers_load(m, m->power_on.data, m->power_on.len, err);
	softchip_reset(m->chip);
	return 0;
}
