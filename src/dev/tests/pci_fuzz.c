/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pci_fuzz.c - configuration accesses of any width, by ports and by ECAM, to the bridge
 * and two functions; then a reset must bring both back to where they were.
 */
#include <string.h>

#include "dev/tests/vdriver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { RECORD = 8, NFUNCS = 2, MAX_RECORDS = 500 };

struct access { /* one record of the input */
	uint8_t how, slot;
	uint16_t off;
	uint32_t val;
};

static void carry_out(struct vboard *b, const struct access *a)
{
	unsigned size = 1u << (a->how & 3), off = a->off & 0xfff;
	uint64_t val = a->val | (uint64_t)a->val << 32;
	uint64_t addr = PCI_ECAM_BASE + ((uint64_t)(a->slot & 3) << 15) + off;

	switch (a->how >> 2 & 7) {
	case 0:
	case 1: bus_write(b->env.mmio, addr, val, size); break;
	case 2: bus_read(b->env.mmio, addr, size); break;
	case 3:
		bus_write(b->env.pio, 0xcf8, 0x80000000 | (a->slot & 31u) << 11 | (off & 0x7fc),
			  size);
		break;
	case 4: bus_write(b->env.pio, 0xcfc + (off & 3), val, size); break;
	case 5: bus_read(b->env.pio, 0xcfc + (off & 3), size); break;
	case 6: bus_write(b->env.mmio, PCI_MMIO32_BASE + a->val % 0x40000, val, size); break;
	default: bus_read(b->env.mmio, PCI_MMIO32_BASE + a->val % 0x40000, size); break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint32_t home[NFUNCS + 1][64];
	struct virtio_rng_config c;
	struct device *dev[NFUNCS];
	struct vboard b;

	if (vboard_init(&b, false) < 0)
		abort();
	c = (struct virtio_rng_config){(struct pci_host *)b.host, vboard_loop(&b)};
	for (unsigned i = 0; i < NFUNCS; i++)
		if (vboard_add(&b, &virtio_rng_ops, &c, &dev[i]) < 0)
			abort();
	for (unsigned i = 0; i <= NFUNCS; i++)
		for (unsigned k = 0; k < 64; k++)
			home[i][k] = vcfg_read(&b, i, k * 4, 4);
	for (unsigned n = 0; n < MAX_RECORDS && len >= RECORD; n++, data += RECORD, len -= RECORD) {
		struct access a;

		memcpy(&a, data, RECORD);
		carry_out(&b, &a);
	}
	for (unsigned k = 0; k < 2; k++) { /* twice: a place may have been taken at first */
		for (unsigned i = 0; i < NFUNCS; i++)
			dev_reset(dev[i]);
		dev_reset(b.host);
	}
	for (unsigned i = 0; i <= NFUNCS; i++)
		for (unsigned k = 0; k < 64; k++)
			if (vcfg_read(&b, i, k * 4, 4) != home[i][k])
				abort();
	for (unsigned i = 0; i < NFUNCS; i++) {
		struct vdrv d = {0};

		if (!vdrv_probe(&d, &b, i + 1) || vdrv_read(&d, VC_NUM_QUEUES, 2) != 1)
			abort();
		dev_free(dev[i]);
	}
	vboard_fini(&b);
	return 0;
}
