/* SPDX-License-Identifier: Apache-2.0 */
/* internal.h - what the files of src/dev/pci/ share. */
#pragma once

#include "dev/pci/pci.h"

enum { /* configuration header, type 0 (PCI Local Bus 3.0, 6.1) */
       CFG_VENDOR = 0x00,
       CFG_DEVICE = 0x02,
       CFG_COMMAND = 0x04,
       CFG_STATUS = 0x06,
       CFG_CLASS_REV = 0x08,
       CFG_CACHE_LINE = 0x0c,
       CFG_BAR0 = 0x10,
       CFG_SUBVENDOR = 0x2c,
       CFG_SUBDEVICE = 0x2e,
       CFG_CAP_PTR = 0x34,
       CFG_INT_LINE = 0x3c,
       CFG_INT_PIN = 0x3d,
       CFG_HEADER_END = 0x40,
       CFG_CONVENTIONAL = 256, /* nothing writable is beyond */
};
enum {
	CMD_MEMORY = 1 << 1,
	CMD_MASTER = 1 << 2,
	CMD_PARITY = 1 << 6,
	CMD_SERR = 1 << 8,
	CMD_INTX_OFF = 1 << 10
};
enum { STATUS_INTX = 1 << 3, STATUS_CAPS = 1 << 4, STATUS_W1C = 0xf900 };
enum { CAP_PCIE = 0x10, CAP_MSIX = 0x11 };
enum { MSIX_CTRL = 2, MSIX_ENABLE = 1 << 15, MSIX_FMASK = 1 << 14 }; /* in the capability */

struct pci_host { /* dev.lock of its own function; @func fixed before a vCPU runs */
	struct pci_dev pci;
	uint32_t address; /* port 0xcf8 */
	struct pci_dev *func[PCI_MAX_DEV];
	uint64_t next32, next64;   /* where the next BAR goes */
	pthread_mutex_t intx_lock; /* after any irq_lock; guards intx */
	uint32_t intx[4];	   /* slots that assert GSI 16 + index */
};

static inline uint16_t cfg_get16(const struct pci_dev *p, unsigned off)
{
	return (uint16_t)(p->cfg[off] | p->cfg[off + 1] << 8);
}

static inline uint32_t cfg_get32(const struct pci_dev *p, unsigned off)
{
	return cfg_get16(p, off) | (uint32_t)cfg_get16(p, off + 2) << 16;
}

static inline void cfg_put(uint8_t *cfg, unsigned off, unsigned len, uint32_t val)
{
	for (unsigned i = 0; i < len; i++)
		cfg[off + i] = (uint8_t)(val >> (i * 8));
}

/* host.c */
MUST_CHECK int pci_host_claim(struct pci_host *h, struct pci_dev *p, int slot, struct errbuf *err);
void pci_host_release(struct pci_host *h, struct pci_dev *p);
uint64_t pci_host_alloc(struct pci_host *h, uint64_t size, bool is64);
void pci_host_intx(struct pci_host *h, unsigned slot, bool level);

/* bar.c: decode as cfg says.  Under dev.lock. */
void pci_bars_update(struct pci_dev *p);

/* msix.c: after MSI-X or Interrupt Disable bits of cfg changed. */
void pci_irq_update(struct pci_dev *p);
void pci_irq_reset(struct pci_dev *p);
void pci_irq_fini(struct pci_dev *p);
