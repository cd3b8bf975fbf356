/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bar.c - base address registers: sizing, and decoding into the MMIO space.
 *
 * The registers are ordinary bytes of the configuration space whose address bits
 * are writable, so sizing works by itself.  After each write the decoder is brought
 * in line with them.  A guest may write any address; decoded are those inside the
 * PCI windows only, which hold neither RAM nor the platform's registers.  Where two
 * functions claim one place, the first keeps it until it is moved.
 *
 * Source: PCI Local Bus 3.0, 6.2.5.1.
 */
#include "dev/pci/internal.h"

enum { BAR_64 = 4, BAR_PREFETCH = 8 };

void pci_dev_bar(struct pci_dev *p, unsigned n, uint64_t size, bool is64, bool prefetch)
{
	struct pci_bar *b = &p->bar[n];
	unsigned reg = CFG_BAR0 + n * 4;

	b->size = size;
	b->is64 = is64;
	b->prefetch = prefetch;
	b->home = pci_host_alloc(p->host, size, is64);
	cfg_put(p->wmask, reg, 4, (uint32_t) ~(size - 1));
	cfg_put(p->cfg, reg, 4,
		(uint32_t)b->home | (is64 ? BAR_64 : 0) | (prefetch ? BAR_PREFETCH : 0));
	if (is64) {
		cfg_put(p->wmask, reg + 4, 4, (uint32_t)(~(size - 1) >> 32));
		cfg_put(p->cfg, reg + 4, 4, (uint32_t)(b->home >> 32));
	}
}

static bool inside(uint64_t addr, uint64_t size, uint64_t base, uint64_t window)
{
	return addr >= base && size <= window && addr - base <= window - size;
}

static bool is_ram(const struct mem *mem, uint64_t addr, uint64_t size)
{
	for (unsigned i = 0; mem && i < mem->nregions; i++)
		if (addr < mem->region[i].gpa + mem->region[i].bytes &&
		    mem->region[i].gpa < addr + size)
			return true;
	return false;
}

static bool may_decode(const struct pci_dev *p, const struct pci_bar *b, uint64_t addr)
{
	if (!(cfg_get16(p, CFG_COMMAND) & CMD_MEMORY))
		return false;
	if (!inside(addr, b->size, PCI_MMIO32_BASE, PCI_MMIO32_SIZE) &&
	    !(b->is64 && inside(addr, b->size, PCI_MMIO64_BASE, PCI_MMIO64_SIZE)))
		return false;
	return !is_ram(p->dev.env->mem, addr, b->size);
}

static uint64_t address(const struct pci_dev *p, unsigned n)
{
	unsigned reg = CFG_BAR0 + n * 4;
	uint64_t addr = cfg_get32(p, reg);

	if (p->bar[n].is64)
		addr |= (uint64_t)cfg_get32(p, reg + 4) << 32;
	return addr & ~(p->bar[n].size - 1);
}

static void update(struct pci_dev *p, unsigned n)
{
	struct pci_bar *b = &p->bar[n];
	uint64_t addr = address(p, n);
	bool want = may_decode(p, b, addr), was = b->mapped;

	if (b->mapped && (!want || addr != b->addr)) {
		bus_unmap(p->dev.env->mmio, &p->dev, n);
		b->mapped = false;
	}
	if (want && !b->mapped) {
		b->addr = addr;
		b->mapped = bus_map(p->dev.env->mmio, &p->dev, n, addr, b->size) == 0;
		if (!b->mapped)
			guest_error(&p->dev, "BAR %u at %#llx overlaps another device", n,
				    (unsigned long long)addr);
	} else if (was == b->mapped) {
		return;
	}
	log_debug(LOG_PCI, "%s: BAR %u %s %#llx", p->dev.id, n, b->mapped ? "at" : "left",
		  (unsigned long long)b->addr);
	if (p->bar_moved)
		p->bar_moved(p, n);
}

void pci_bars_update(struct pci_dev *p)
{
	for (unsigned n = 0; n < PCI_NBARS; n++)
		if (p->bar[n].size)
			update(p, n);
}
