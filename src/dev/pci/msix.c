/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msix.c - a function's interrupts: MSI-X vectors, and the INTx pin.
 *
 * Interrupts are sent by I/O threads while vCPUs reprogram them, so everything here
 * is under irq_lock, which is held while a message is sent: once a vCPU has masked a
 * vector, none is on its way any more.  A masked vector latches in the pending bits.
 *
 * With interrupt controllers in the kernel a vector gets a route and an eventfd, and
 * sending is a write to it.  The route follows the message lazily: it is made when
 * the vector is usable and changed only when the message is another, because each
 * change replaces the kernel's table.
 *
 * Source: PCI Local Bus 3.0, 6.8.2.
 */
#include <sys/eventfd.h>

#include "base/bitmap.h"
#include "base/thread.h"
#include "dev/pci/internal.h"

enum { ENTRY_SIZE = 16, MSIX_CAP_LEN = 12 };

/* --- sending -------------------------------------------------------------------- */

static void send_locked(struct pci_dev *p, unsigned n)
{
	struct pci_msix_entry *e = &p->msix[n];
	uint64_t one = 1;

	if (e->route >= 0 && write(e->eventfd, &one, sizeof(one)) == sizeof(one))
		return;
	irqchip_send_msi(p->dev.env->irqchip, e->msi);
}

static void unroute(struct pci_dev *p, struct pci_msix_entry *e)
{
	struct irqchip *chip = p->dev.env->irqchip;

	if (e->route >= 0)
		chip->ops->msi_unroute(chip, e->route, e->eventfd);
	e->route = -1;
}

static void route(struct pci_dev *p, struct pci_msix_entry *e)
{
	struct irqchip *chip = p->dev.env->irqchip;

	if (e->eventfd < 0 ||
	    (e->route >= 0 && e->routed.addr == e->msi.addr && e->routed.data == e->msi.data))
		return;
	unroute(p, e);
	if (chip->ops->msi_route(chip, e->msi, e->eventfd, &e->route) < 0)
		e->route = -1; /* then messages are sent one by one */
	e->routed = e->msi;
}

static bool masked(const struct pci_dev *p, unsigned n)
{
	return p->msix_fmask || p->msix[n].ctrl & 1;
}

/* The entry or its masks changed. */
static void refresh_locked(struct pci_dev *p, unsigned n)
{
	if (!p->msix_on) {
		unroute(p, &p->msix[n]);
		return;
	}
	if (masked(p, n))
		return;
	route(p, &p->msix[n]);
	if (!bitmap_test(&p->msix_pba, n))
		return;
	bitmap_clear(&p->msix_pba, n);
	send_locked(p, n);
}

void pci_msix_notify(struct pci_dev *p, unsigned n)
{
	LOCK_SCOPE(&p->irq_lock);

	if (n >= p->nmsix || !p->msix_on)
		return;
	if (masked(p, n))
		bitmap_set(&p->msix_pba, n);
	else
		send_locked(p, n);
}

bool pci_msix_enabled(const struct pci_dev *p)
{
	return __atomic_load_n(&p->msix_on, __ATOMIC_RELAXED);
}

/* --- table and pending bits --------------------------------------------------------- */

static uint32_t *entry_word(struct pci_msix_entry *e, unsigned i)
{
	switch (i) {
	case 0: return (uint32_t *)&e->msi.addr;
	case 1: return (uint32_t *)&e->msi.addr + 1;
	case 2: return &e->msi.data;
	default: return &e->ctrl;
	}
}

static uint32_t read_word(struct pci_dev *p, uint64_t off)
{
	return *entry_word(&p->msix[off / ENTRY_SIZE], off % ENTRY_SIZE / 4);
}

static void write_word(struct pci_dev *p, uint64_t off, uint32_t val)
{
	unsigned n = (unsigned)off / ENTRY_SIZE, word = off % ENTRY_SIZE / 4;

	if (word == 0)
		val &= ~3u;
	else if (word == 3)
		val &= 1;
	*entry_word(&p->msix[n], word) = val;
	refresh_locked(p, n);
}

static bool in_table(const struct pci_dev *p, unsigned bar, uint64_t off)
{
	return p->nmsix && bar == p->msix_bar &&
	       off - p->msix_table_off < (uint64_t)p->nmsix * ENTRY_SIZE;
}

bool pci_msix_read(struct pci_dev *p, unsigned bar, uint64_t off, unsigned size, uint64_t *val)
{
	bool aligned = (size == 4 || size == 8) && off % size == 0;
	LOCK_SCOPE(&p->irq_lock);

	if (in_table(p, bar, off)) {
		off -= p->msix_table_off;
		*val = aligned ? read_word(p, off) : 0;
		if (aligned && size == 8)
			*val |= (uint64_t)read_word(p, off + 4) << 32;
		return true;
	}
	if (!p->nmsix || bar != p->msix_bar || off - p->msix_pba_off >= 8)
		return false;
	*val = aligned ? p->msix_pba >> (off - p->msix_pba_off) * 8 : 0;
	return true;
}

bool pci_msix_write(struct pci_dev *p, unsigned bar, uint64_t off, uint64_t val, unsigned size)
{
	LOCK_SCOPE(&p->irq_lock);

	if (!in_table(p, bar, off))
		return false;
	off -= p->msix_table_off;
	if ((size != 4 && size != 8) || off % size)
		return true; /* undefined by the specification */
	write_word(p, off, (uint32_t)val);
	if (size == 8)
		write_word(p, off + 4, (uint32_t)(val >> 32));
	return true;
}

void pci_dev_msix(struct pci_dev *p, unsigned n, unsigned bar, uint32_t table_off, uint32_t pba_off)
{
	unsigned cap = pci_dev_cap(p, CAP_MSIX, MSIX_CAP_LEN);

	p->nmsix = n;
	p->msix_bar = (uint8_t)bar;
	p->msix_cap = (uint8_t)cap;
	p->msix_table_off = table_off;
	p->msix_pba_off = pba_off;
	cfg_put(p->cfg, cap + MSIX_CTRL, 2, n - 1);
	cfg_put(p->cfg, cap + 4, 4, table_off | bar);
	cfg_put(p->cfg, cap + 8, 4, pba_off | bar);
	cfg_put(p->wmask, cap + MSIX_CTRL, 2, MSIX_ENABLE | MSIX_FMASK);
	if (!p->dev.env->irqchip->ops->msi_route)
		return;
	/* now, because later no descriptors can be opened; without one: send_msi */
	for (unsigned i = 0; i < n; i++)
		p->msix[i].eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

/* --- INTx ----------------------------------------------------------------------------- */

void pci_intx_set_locked(struct pci_dev *p, bool level)
{
	__atomic_store_n(&p->intx, level, __ATOMIC_RELAXED); /* read by the Status register */
	pci_host_intx(p->host, p->devfn >> 3, level && !p->intx_disabled);
}

void pci_intx_set(struct pci_dev *p, bool level)
{
	LOCK_SCOPE(&p->irq_lock);

	pci_intx_set_locked(p, level);
}

/* --- changes of the configuration space -------------------------------------------------- */

void pci_irq_update(struct pci_dev *p)
{
	uint16_t ctrl = p->nmsix ? cfg_get16(p, p->msix_cap + MSIX_CTRL) : 0;
	LOCK_SCOPE(&p->irq_lock);

	__atomic_store_n(&p->msix_on, (ctrl & MSIX_ENABLE) != 0, __ATOMIC_RELAXED);
	p->msix_fmask = (ctrl & MSIX_FMASK) != 0;
	p->intx_disabled = (cfg_get16(p, CFG_COMMAND) & CMD_INTX_OFF) != 0;
	pci_intx_set_locked(p, p->intx);
	for (unsigned i = 0; i < p->nmsix; i++)
		refresh_locked(p, i);
}

/* All vectors masked, nothing pending, the pin low. */
void pci_irq_reset(struct pci_dev *p)
{
	LOCK_SCOPE(&p->irq_lock);

	for (unsigned i = 0; i < PCI_MAX_MSIX; i++) {
		p->msix[i].msi = (struct msi){0};
		p->msix[i].ctrl = 1;
	}
	p->msix_pba = 0;
	pci_intx_set_locked(p, false);
}

void pci_irq_fini(struct pci_dev *p)
{
	LOCK_SCOPE(&p->irq_lock);

	for (unsigned i = 0; i < PCI_MAX_MSIX; i++) {
		unroute(p, &p->msix[i]);
		if (p->msix[i].eventfd >= 0)
			close(p->msix[i].eventfd);
		p->msix[i].eventfd = -1;
	}
}
