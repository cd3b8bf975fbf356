/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.c - the host bridge: configuration ports, ECAM window, slots, INTx wires.
 *
 * The bridge is function 00:00.0 of the only bus.  A configuration access takes the
 * bridge's lock (the bus did that) and then the addressed function's: always in this
 * order, and no function ever enters the bridge.  What does not exist reads as ones.
 *
 * Sources: PCI Local Bus 3.0, 3.2.2.3.2 (mechanism #1); PCI Express Base 4.0, 7.2.2.
 */
#include <errno.h>

#include "base/thread.h"
#include "dev/pci/internal.h"

enum { REG_ADDRESS, REG_DATA, REG_ECAM }; /* regions on the buses */
enum { PORT_ADDRESS = 0xcf8, PORT_DATA = 0xcfc };
#define ADDRESS_ENABLE 0x80000000u

static struct pci_host *to_host(struct device *dev)
{
	return container_of(dev, struct pci_host, pci.dev);
}

static uint32_t cfg_read(struct pci_host *h, struct pci_dev *p, unsigned off, unsigned len)
{
	if (p == &h->pci)
		return pci_cfg_read(p, off, len);
	LOCK_SCOPE(&p->dev.lock);
	return pci_cfg_read(p, off, len);
}

static void cfg_write(struct pci_host *h, struct pci_dev *p, unsigned off, unsigned len,
		      uint32_t val)
{
	if (p == &h->pci) {
		pci_cfg_write(p, off, len, val);
		return;
	}
	LOCK_SCOPE(&p->dev.lock);
	pci_cfg_write(p, off, len, val);
}

/* The function that offset @off of the ECAM window belongs to, or NULL. */
static struct pci_dev *ecam_func(struct pci_host *h, uint64_t off)
{
	unsigned devfn = (off >> 12) & 0xff;

	return off >> 20 || devfn & 7 ? NULL : h->func[devfn >> 3];
}

/* The function and register that the data port shows, or NULL. */
static struct pci_dev *port_func(struct pci_host *h, unsigned *off)
{
	unsigned devfn = h->address >> 8 & 0xff;

	if (!(h->address & ADDRESS_ENABLE) || h->address >> 16 & 0xff || devfn & 7)
		return NULL;
	*off += h->address & 0xfc;
	return h->func[devfn >> 3];
}

static uint64_t host_read(struct device *dev, unsigned bar, uint64_t off, unsigned size)
{
	struct pci_host *h = to_host(dev);
	struct pci_dev *p;
	unsigned reg;
	uint64_t val = UINT64_MAX;

	switch (bar) {
	case REG_ADDRESS: return size == 4 ? h->address : val;
	case REG_DATA:
		reg = (unsigned)off;
		p = port_func(h, &reg);
		return p ? cfg_read(h, p, reg, size) : val;
	case REG_ECAM:
		p = ecam_func(h, off);
		reg = off & (PCI_CFG_SIZE - 1);
		if (!p)
			return val;
		val = cfg_read(h, p, reg, MIN(size, 4u));
		return size <= 4 ? val : val | (uint64_t)cfg_read(h, p, reg + 4, size - 4) << 32;
	default: return val;
	}
}

static void host_write(struct device *dev, unsigned bar, uint64_t off, uint64_t val, unsigned size)
{
	struct pci_host *h = to_host(dev);
	struct pci_dev *p;
	unsigned reg;

	switch (bar) {
	case REG_ADDRESS:
		if (size == 4) /* narrower ones are other ports' */
			h->address = (uint32_t)val & 0x80fffffcu;
		break;
	case REG_DATA:
		reg = (unsigned)off;
		p = port_func(h, &reg);
		if (p)
			cfg_write(h, p, reg, size, (uint32_t)val);
		break;
	case REG_ECAM:
		p = ecam_func(h, off);
		reg = off & (PCI_CFG_SIZE - 1);
		if (!p)
			break;
		cfg_write(h, p, reg, MIN(size, 4u), (uint32_t)val);
		if (size > 4)
			cfg_write(h, p, reg + 4, size - 4, (uint32_t)(val >> 32));
		break;
	}
}

/* --- what functions ask for ---------------------------------------------------- */

int pci_host_claim(struct pci_host *h, struct pci_dev *p, int slot, struct errbuf *err)
{
	for (unsigned i = 1; slot < 0 && i < PCI_MAX_DEV; i++)
		if (!h->func[i])
			slot = (int)i;
	if (slot < 0)
		return err_set(err, -ENOSPC, "the PCI bus is full: %d devices at most",
			       PCI_MAX_DEV - 1);
	if (slot >= PCI_MAX_DEV || h->func[slot])
		return err_set(err, -EEXIST, "PCI slot %d is taken or does not exist", slot);
	h->func[slot] = p;
	p->devfn = (uint8_t)(slot << 3);
	return 0;
}

void pci_host_release(struct pci_host *h, struct pci_dev *p)
{
	if (h->func[p->devfn >> 3] == p)
		h->func[p->devfn >> 3] = NULL;
}

/* A place for a BAR of @size, 0 when the window is full. */
uint64_t pci_host_alloc(struct pci_host *h, uint64_t size, bool is64)
{
	uint64_t *next = is64 ? &h->next64 : &h->next32;
	uint64_t end = is64 ? PCI_MMIO64_BASE + PCI_MMIO64_SIZE
			    : (uint64_t)PCI_MMIO32_BASE + PCI_MMIO32_SIZE;
	uint64_t at = ALIGN_UP(*next, size);

	if (size > end || at > end - size)
		return 0;
	*next = at + size;
	return at;
}

/* Wires of all functions on one GSI are or-ed; the lock keeps changes in order. */
void pci_host_intx(struct pci_host *h, unsigned slot, bool level)
{
	uint32_t *wires = &h->intx[slot & 3], old;
	struct irqchip *chip = h->pci.dev.env->irqchip;
	LOCK_SCOPE(&h->intx_lock);

	old = *wires;
	*wires = level ? old | 1u << slot : old & ~(1u << slot);
	if (!old != !*wires)
		chip->ops->set_line(chip, 16 + (slot & 3), level);
}

/* --- life ---------------------------------------------------------------------- */

static int map_registers(struct device *dev)
{
	int ret = bus_map(dev->env->pio, dev, REG_ADDRESS, PORT_ADDRESS, 4);

	if (!ret)
		ret = bus_map(dev->env->pio, dev, REG_DATA, PORT_DATA, 4);
	if (!ret)
		ret = bus_map(dev->env->mmio, dev, REG_ECAM, PCI_ECAM_BASE, PCI_ECAM_SIZE);
	return ret;
}

static int host_init(struct device *dev, const void *cfg, struct errbuf *err)
{
	static const struct pci_ids ids = {
		.vendor = 0x1b36, /* Red Hat: the generic PCIe host bridge */
		.device = 0x0008,
		.subvendor = 0x1af4,
		.subdevice = 0x1100,
		.class_rev = 0x060000 << 8,
	};
	struct pci_host *h = to_host(dev);
	int ret;

	pthread_mutex_init(&h->intx_lock, NULL);
	h->next32 = PCI_MMIO32_BASE;
	h->next64 = PCI_MMIO64_BASE;
	ret = pci_dev_setup(&h->pci, h, 0, &ids, err);
	if (ret)
		return ret;
	h->pci.cfg[0x3d] = 0; /* no interrupt pin */
	pci_dev_ready(&h->pci);
	ret = map_registers(dev);
	return ret ? err_set(err, ret, "PCI host bridge: its registers overlap another device's")
		   : 0;
}

static void host_fini(struct device *dev)
{
	struct pci_host *h = to_host(dev);

	pci_dev_teardown(&h->pci);
	pthread_mutex_destroy(&h->intx_lock);
}

static void host_reset(struct device *dev)
{
	struct pci_host *h = to_host(dev);

	h->address = 0;
	pci_dev_reset(&h->pci);
}

static int host_post_load(void *obj, struct errbuf *err)
{
	struct pci_host *h = obj;

	h->address &= 0x80fffffcu;
	return pci_dev_post_load(&h->pci, err);
}

static const struct state_field host_fields[] = {
	STATE_STRUCT(struct pci_host, pci, pci_dev_fields),
	STATE_INT(struct pci_host, address),
	STATE_FIELDS_END,
};

static const struct state_desc host_state = {
	.name = "pci-host",
	.version = 1,
	.fields = host_fields,
	.post_load = host_post_load,
};

const struct dev_ops pci_host_ops = {
	.name = "pci-host",
	.size = sizeof(struct pci_host),
	.init = host_init,
	.fini = host_fini,
	.reset = host_reset,
	.read = host_read,
	.write = host_write,
	.state = &host_state,
};
