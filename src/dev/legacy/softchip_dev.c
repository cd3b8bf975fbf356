// SPDX-License-Identifier: Apache-2.0
/*
 * softchip_dev.c - puts the software PIC's ports and the IOAPIC's page on the buses.
 *
 * The registers, their lock, reset and state belong to irq/softchip.c; the machine
 * resets and saves them there.  Local APICs are per vCPU and never on a bus.
 */
#include "dev/devices.h"
#include "irq/soft.h"

enum { BAR_MASTER, BAR_SLAVE, BAR_ELCR, BAR_IOAPIC };
enum { IOAPIC_BASE = 0xfec00000u, IOAPIC_SIZE = 0x1000 };

static const uint16_t pic_base[] = {0x20, 0xa0, 0x4d0};

struct softchip_dev {
	struct device dev;
	struct softchip *chip;
};

/* The registers at 0x00 and 0x10 of each 256 bytes; only their low 32 bits exist. */
static uint64_t read_ioapic(struct softchip_dev *d, uint64_t off)
{
	return ioapic_mmio_read(d->chip, (uint32_t)off & 0xfc) >> ((off & 3) * 8);
}

static uint64_t softchip_dev_read(struct device *dev, unsigned bar, uint64_t off, unsigned size)
{
	struct softchip_dev *d = container_of(dev, struct softchip_dev, dev);

	if (bar == BAR_IOAPIC)
		return read_ioapic(d, off);
	return pic_port_read(d->chip, (uint16_t)(pic_base[bar] + off)) |
	       (size > 1 ? pic_port_read(d->chip, (uint16_t)(pic_base[bar] + 1)) << 8 : 0);
}

static void softchip_dev_write(struct device *dev, unsigned bar, uint64_t off, uint64_t val,
			       unsigned size)
{
	struct softchip_dev *d = container_of(dev, struct softchip_dev, dev);

	if (bar == BAR_IOAPIC) {
		if (!(off & 3))
			ioapic_mmio_write(d->chip, (uint32_t)off & 0xfc, (uint32_t)val);
		return;
	}
	pic_port_write(d->chip, (uint16_t)(pic_base[bar] + off), (uint8_t)val);
	if (size > 1) /* both ports of the pair, as on an ISA bus */
		pic_port_write(d->chip, (uint16_t)(pic_base[bar] + 1), (uint8_t)(val >> 8));
}

static int softchip_dev_init(struct device *dev, const void *cfg, struct errbuf *err)
{
	struct softchip_dev *d = container_of(dev, struct softchip_dev, dev);
	const struct softchip_dev_config *c = cfg;
	int ret = 0;

	d->chip = c->chip;
	for (unsigned bar = BAR_MASTER; !ret && bar <= BAR_ELCR; bar++)
		ret = bus_map(dev->env->pio, dev, bar, pic_base[bar], 2);
	if (!ret)
		ret = bus_map(dev->env->mmio, dev, BAR_IOAPIC, IOAPIC_BASE, IOAPIC_SIZE);
	return ret ? err_set(err, ret, "interrupt controllers: ports or page are taken") : 0;
}

const struct dev_ops softchip_dev_ops = {
	.name = "softchip",
	.size = sizeof(struct softchip_dev),
	.init = softchip_dev_init,
	.read = softchip_dev_read,
	.write = softchip_dev_write,
};
