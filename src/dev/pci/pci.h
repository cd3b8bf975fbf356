/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pci.h - one PCIe host bridge and its functions (PCI Express Base 4.0, PCI Firmware 3.2).
 *
 * Bus 0 only.  The bridge owns ports 0xcf8/0xcfc and the ECAM window; a function
 * embeds struct pci_dev, declares BARs and capabilities in its init, and gets its
 * BAR accesses through its dev_ops read/write with bar = BAR number.
 */
#pragma once

#include "dev/dev.h"

enum { PCI_CFG_SIZE = 4096, PCI_MAX_DEV = 32, PCI_NBARS = 6, PCI_MAX_MSIX = 64 };
enum {				      /* memory map, shared with the ACPI tables */
       PCI_MMIO32_BASE = 0xc0000000u, /* BARs below 4 GiB: up to 0xdfffffff */
       PCI_MMIO32_SIZE = 0x20000000u,
       PCI_ECAM_BASE = 0xe0000000u,
       PCI_ECAM_SIZE = 0x10000000u, /* 256 buses */
};
#define PCI_MMIO64_BASE 0x8000000000ULL /* 512 GiB: 64-bit BARs */
#define PCI_MMIO64_SIZE 0x8000000000ULL

struct pci_host;			  /* the bridge, a struct device (pci_host_ops) */
extern const struct dev_ops pci_host_ops; /* cfg: NULL */

struct pci_bar {
	uint64_t size; /* 0: none */
	uint64_t addr; /* where it is mapped now */
	uint64_t home; /* where it is at reset */
	bool is64, prefetch, mapped;
};

struct pci_msix_entry {
	struct msi msi;
	uint32_t ctrl;	    /* bit 0: masked */
	int eventfd, route; /* kvm irqfd; -1 */
	struct msi routed;  /* what @route sends */
};

struct pci_dev { /* dev.lock, unless said otherwise */
	struct device dev;
	struct pci_host *host;
	uint8_t devfn; /* slot << 3 */
	uint8_t cfg[PCI_CFG_SIZE];
	uint8_t wmask[PCI_CFG_SIZE]; /* bits the guest may write */
	uint8_t w1cmask[PCI_CFG_SIZE];
	uint8_t cfg_reset[PCI_CFG_SIZE]; /* what @cfg is at reset: pci_dev_ready() */
	struct pci_bar bar[PCI_NBARS];
	uint8_t next_cap; /* end of the capability list, while building */

	unsigned nmsix; /* vectors; table and PBA live in BAR @msix_bar */
	uint8_t msix_bar, msix_cap;
	uint32_t msix_table_off, msix_pba_off;
	bool master; /* atomic: Bus Master Enable */
	/* Taken after dev.lock or alone, held while a message is sent; guards what follows. */
	pthread_mutex_t irq_lock;
	bool intx, intx_disabled; /* what the device wants of pin A; Interrupt Disable */
	bool msix_on;		  /* also read alone, atomic */
	bool msix_fmask;	  /* all vectors masked */
	struct pci_msix_entry msix[PCI_MAX_MSIX];
	uint64_t msix_pba;

	/* After a config write of the function's own capabilities.  May be NULL. */
	void (*cfg_written)(struct pci_dev *p, unsigned off, unsigned len);
	uint32_t (*cfg_read_hook)(struct pci_dev *p, unsigned off, unsigned len, uint32_t val);
	/* BAR @n was mapped at bar[n].addr, or unmapped.  May be NULL. */
	void (*bar_moved)(struct pci_dev *p, unsigned n);
};

struct pci_ids {
	uint16_t vendor, device, subvendor, subdevice;
	uint32_t class_rev; /* class << 8 | revision */
};

/* In init: fill the header and claim the next free slot of @host (or @slot >= 0). */
MUST_CHECK int pci_dev_setup(struct pci_dev *p, struct pci_host *host, int slot,
			     const struct pci_ids *ids, struct errbuf *err);
void pci_dev_teardown(struct pci_dev *p);
/* Declare BAR @n (memory).  Size is a power of two >= 4096.  An address is assigned at once
 * (there is no firmware), memory decoding enabled. */
void pci_dev_bar(struct pci_dev *p, unsigned n, uint64_t size, bool is64, bool prefetch);
/* Append a capability of @len bytes (id and next included); returns its offset. */
unsigned pci_dev_cap(struct pci_dev *p, uint8_t id, unsigned len);
/* MSI-X with @n vectors, table at @table_off and PBA at @pba_off of BAR @bar. */
void pci_dev_msix(struct pci_dev *p, unsigned n, unsigned bar, uint32_t table_off,
		  uint32_t pba_off);
/* Last in init: @cfg as it is now is what a reset restores and a loaded state must fit. */
void pci_dev_ready(struct pci_dev *p);
/* Under dev.lock: the configuration space as the guest sees it; @len 1 to 4, any offset. */
uint32_t pci_cfg_read(struct pci_dev *p, unsigned off, unsigned len);
void pci_cfg_write(struct pci_dev *p, unsigned off, unsigned len, uint32_t val);
/* The function routes accesses inside the table and PBA here.  Under the device's lock. */
bool pci_msix_read(struct pci_dev *p, unsigned bar, uint64_t off, unsigned size, uint64_t *val);
bool pci_msix_write(struct pci_dev *p, unsigned bar, uint64_t off, uint64_t val, unsigned size);
/* Send vector @n, or latch it in the PBA while masked.  Any thread. */
void pci_msix_notify(struct pci_dev *p, unsigned n);
bool pci_msix_enabled(const struct pci_dev *p);
/* Legacy INTx: level of pin A (GSI 16 + (slot & 3), as the ACPI _PRT says). */
void pci_intx_set(struct pci_dev *p, bool level);
void pci_intx_set_locked(struct pci_dev *p, bool level); /* irq_lock is held */
/* May the function access memory?  Any thread. */
static inline bool pci_bus_master(const struct pci_dev *p)
{
	return __atomic_load_n(&p->master, __ATOMIC_RELAXED);
}
void pci_dev_reset(struct pci_dev *p);
/* State table of the common part, for STATE_STRUCT in the function's own. */
extern const struct state_field pci_dev_fields[];
MUST_CHECK int pci_dev_post_load(struct pci_dev *p, struct errbuf *err); /* remaps BARs */
/*
 * Before resuming: map BARs whose place another function still held when this one was
 * loaded or reset.  Under dev.lock.
 */
void pci_dev_remap(struct pci_dev *p);
