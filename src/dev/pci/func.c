/* SPDX-License-Identifier: Apache-2.0 */
/*
 * func.c - what every PCI function has: header, capabilities, reset, saved state.
 *
 * The configuration space is bytes with three masks: writable, cleared by writing
 * ones, and the rest read-only.  Side effects follow from which bytes a write
 * touched.  There is no firmware, so a reset leaves what firmware would have: BARs at
 * their places, memory decoding and bus mastering on.
 *
 * A loaded state may change only what the guest itself could have written.
 */
#include <errno.h>
#include <string.h>

#include "dev/pci/internal.h"

enum { PCIE_CAP_LEN = 0x3c, PCIE_V2_RC_ENDPOINT = 0x0092, PCIE_ROLE_BASED_ERRORS = 0x8000 };
enum { PCIE_FLAGS = 2, PCIE_DEVCAP = 4, PCIE_DEVCTL = 8, PCIE_DEVSTA = 10, PCIE_DEVCTL2 = 0x28 };

/* --- building --------------------------------------------------------------------- */

static void fill_header(struct pci_dev *p, const struct pci_ids *ids)
{
	cfg_put(p->cfg, CFG_VENDOR, 2, ids->vendor);
	cfg_put(p->cfg, CFG_DEVICE, 2, ids->device);
	cfg_put(p->cfg, CFG_CLASS_REV, 4, ids->class_rev);
	cfg_put(p->cfg, CFG_SUBVENDOR, 2, ids->subvendor);
	cfg_put(p->cfg, CFG_SUBDEVICE, 2, ids->subdevice);
	cfg_put(p->cfg, CFG_COMMAND, 2, CMD_MEMORY | CMD_MASTER);
	p->cfg[CFG_INT_LINE] = (uint8_t)(16 + (p->devfn >> 3 & 3));
	p->cfg[CFG_INT_PIN] = 1;
	cfg_put(p->wmask, CFG_COMMAND, 2,
		CMD_MEMORY | CMD_MASTER | CMD_PARITY | CMD_SERR | CMD_INTX_OFF);
	cfg_put(p->w1cmask, CFG_STATUS, 2, STATUS_W1C);
	p->wmask[CFG_CACHE_LINE] = 0xff;
	p->wmask[CFG_INT_LINE] = 0xff;
}

/* PCI Express Base 4.0, 7.5.3: what sits on the root bus is an integrated endpoint. */
static void add_pcie_cap(struct pci_dev *p)
{
	unsigned cap = pci_dev_cap(p, CAP_PCIE, PCIE_CAP_LEN);

	cfg_put(p->cfg, cap + PCIE_FLAGS, 2, PCIE_V2_RC_ENDPOINT);
	cfg_put(p->cfg, cap + PCIE_DEVCAP, 4, PCIE_ROLE_BASED_ERRORS);
	cfg_put(p->wmask, cap + PCIE_DEVCTL, 2, 0x7fff & ~(7 << 5)); /* payload: 128 only */
	cfg_put(p->w1cmask, cap + PCIE_DEVSTA, 2, 0xf);
	cfg_put(p->wmask, cap + PCIE_DEVCTL2, 2, 0x1f);
}

int pci_dev_setup(struct pci_dev *p, struct pci_host *host, int slot, const struct pci_ids *ids,
		  struct errbuf *err)
{
	int ret = pci_host_claim(host, p, slot, err);

	if (ret)
		return ret;
	p->host = host;
	pthread_mutex_init(&p->irq_lock, NULL);
	for (unsigned i = 0; i < PCI_MAX_MSIX; i++)
		p->msix[i].eventfd = p->msix[i].route = -1;
	fill_header(p, ids);
	if (p != &host->pci)
		add_pcie_cap(p);
	return 0;
}

void pci_dev_teardown(struct pci_dev *p)
{
	if (!p->host)
		return;
	pci_irq_fini(p);
	pci_host_release(p->host, p);
	pthread_mutex_destroy(&p->irq_lock);
	p->host = NULL;
}

unsigned pci_dev_cap(struct pci_dev *p, uint8_t id, unsigned len)
{
	unsigned off = p->next_cap ? p->next_cap : CFG_HEADER_END;

	p->cfg[off] = id;
	p->cfg[off + 1] = p->cfg[CFG_CAP_PTR];
	p->cfg[CFG_CAP_PTR] = (uint8_t)off;
	p->cfg[CFG_STATUS] |= STATUS_CAPS;
	p->next_cap = (uint8_t)ALIGN_UP(off + len, 4u);
	return off;
}

void pci_dev_ready(struct pci_dev *p)
{
	memcpy(p->cfg_reset, p->cfg, sizeof(p->cfg));
	pci_dev_reset(p);
}

/* --- the guest's accesses ------------------------------------------------------------ */

static bool touches(unsigned off, unsigned len, unsigned reg, unsigned reg_len)
{
	return off < reg + reg_len && reg < off + len;
}

/* What follows from the bytes of cfg. */
static void apply(struct pci_dev *p)
{
	__atomic_store_n(&p->master, cfg_get16(p, CFG_COMMAND) & CMD_MASTER, __ATOMIC_RELAXED);
	pci_irq_update(p);
	pci_bars_update(p);
}

uint32_t pci_cfg_read(struct pci_dev *p, unsigned off, unsigned len)
{
	uint32_t val = 0;

	if (!len || len > 4 || off > PCI_CFG_SIZE - len)
		return UINT32_MAX;
	for (unsigned i = 0; i < len; i++) {
		uint8_t byte = p->cfg[off + i];

		if (off + i == CFG_STATUS && __atomic_load_n(&p->intx, __ATOMIC_RELAXED))
			byte |= STATUS_INTX;
		val |= (uint32_t)byte << (i * 8);
	}
	return p->cfg_read_hook ? p->cfg_read_hook(p, off, len, val) : val;
}

void pci_cfg_write(struct pci_dev *p, unsigned off, unsigned len, uint32_t val)
{
	if (!len || len > 4 || off > PCI_CFG_SIZE - len)
		return;
	for (unsigned i = 0; i < len; i++) {
		uint8_t byte = (uint8_t)(val >> (i * 8)), *reg = &p->cfg[off + i];
		uint8_t writable = p->wmask[off + i];

		*reg = (uint8_t)((*reg & ~writable) | (byte & writable));
		*reg &= (uint8_t) ~(byte & p->w1cmask[off + i]);
	}
	if (touches(off, len, CFG_COMMAND, 2) || touches(off, len, CFG_BAR0, 4 * PCI_NBARS) ||
	    (p->nmsix && touches(off, len, p->msix_cap + MSIX_CTRL, 2)))
		apply(p);
	if (p->cfg_written)
		p->cfg_written(p, off, len);
}

/* --- reset and state -------------------------------------------------------------------- */

void pci_dev_reset(struct pci_dev *p)
{
	memcpy(p->cfg, p->cfg_reset, sizeof(p->cfg));
	pci_irq_reset(p);
	apply(p);
}

void pci_dev_remap(struct pci_dev *p)
{
	pci_bars_update(p);
}

static const struct state_field msix_fields[] = {
	STATE_INT(struct pci_msix_entry, msi.addr),
	STATE_INT(struct pci_msix_entry, msi.data),
	STATE_INT(struct pci_msix_entry, ctrl),
	STATE_FIELDS_END,
};

const struct state_field pci_dev_fields[] = {
	{"cfg", STATE_BYTES, offsetof(struct pci_dev, cfg), CFG_CONVENTIONAL, 1, NULL},
	STATE_STRUCTS(struct pci_dev, msix, msix_fields),
	STATE_INT(struct pci_dev, msix_pba),
	STATE_INT(struct pci_dev, intx),
	STATE_FIELDS_END,
};

int pci_dev_post_load(struct pci_dev *p, struct errbuf *err)
{
	for (unsigned i = 0; i < PCI_CFG_SIZE; i++) {
		uint8_t fixed = (uint8_t) ~(p->wmask[i] | p->w1cmask[i]);

		if (!((p->cfg[i] ^ p->cfg_reset[i]) & fixed))
			continue;
		pci_dev_reset(p);
		return err_set(err, -EINVAL,
			       "%s: PCI configuration byte %#x of the state does not fit this "
			       "device; was it saved from a machine with other options?",
			       p->dev.id, i);
	}
	state_bool_ok(&p->intx);
	for (unsigned i = 0; i < PCI_MAX_MSIX; i++)
		p->msix[i].ctrl &= 1;
	p->msix_pba &= p->nmsix < 64 ? BIT(p->nmsix) - 1 : UINT64_MAX;
	apply(p);
	return 0;
}
