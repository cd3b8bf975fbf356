/* SPDX-License-Identifier: Apache-2.0 */
/* pcifunc.h - a PCI function of the tests' own: a 32-bit and a 64-bit BAR, three vectors. */
#pragma once

#include "dev/tests/vfixture.h"

enum { BAR_A = 0, BAR_B = 2, SIZE_A = 0x4000, SIZE_B = 0x100000, VECTORS = 3 };

struct func {
	struct pci_dev pci;
	uint64_t last_write, last_off;
	unsigned last_bar, moves;
	int slot;
};

static inline uint64_t func_read(struct device *dev, unsigned bar, uint64_t off, unsigned size)
{
	struct func *f = container_of(dev, struct func, pci.dev);
	uint64_t val;

	return pci_msix_read(&f->pci, bar, off, size, &val) ? val : 0x1000 * bar + off;
}

static inline void func_write(struct device *dev, unsigned bar, uint64_t off, uint64_t val,
			      unsigned size)
{
	struct func *f = container_of(dev, struct func, pci.dev);

	if (pci_msix_write(&f->pci, bar, off, val, size))
		return;
	f->last_write = val;
	f->last_off = off;
	f->last_bar = bar;
}

static inline void moved(struct pci_dev *p, unsigned n)
{
	container_of(p, struct func, pci)->moves++;
}

struct func_config {
	struct pci_host *host;
	int slot;
};

static inline int func_init(struct device *dev, const void *cfg, struct errbuf *err)
{
	static const struct pci_ids ids = {0x1234, 0x5678, 0x9abc, 0xdef0, 0x12345601};
	struct func *f = container_of(dev, struct func, pci.dev);
	const struct func_config *c = cfg;
	int ret = pci_dev_setup(&f->pci, c->host, c->slot, &ids, err);

	if (ret)
		return ret;
	pci_dev_bar(&f->pci, BAR_A, SIZE_A, false, false);
	pci_dev_bar(&f->pci, BAR_B, SIZE_B, true, true);
	pci_dev_msix(&f->pci, VECTORS, BAR_A, 0x1000, 0x2000);
	f->pci.bar_moved = moved;
	pci_dev_ready(&f->pci);
	return 0;
}

static inline void func_fini(struct device *dev)
{
	pci_dev_teardown(&container_of(dev, struct func, pci.dev)->pci);
}

static inline void func_reset(struct device *dev)
{
	pci_dev_reset(&container_of(dev, struct func, pci.dev)->pci);
}

static inline void func_pause(struct device *dev)
{
}

static inline void func_resume(struct device *dev)
{
	pci_dev_remap(&container_of(dev, struct func, pci.dev)->pci);
}

static inline int func_post_load(void *obj, struct errbuf *err)
{
	return pci_dev_post_load(&((struct func *)obj)->pci, err);
}

static const struct state_field func_fields[] = {
	STATE_STRUCT(struct func, pci, pci_dev_fields),
	STATE_FIELDS_END,
};
static const struct state_desc func_state = {
	.name = "func", .version = 1, .fields = func_fields, .post_load = func_post_load};

static const struct dev_ops func_ops = {
	.name = "func",
	.size = sizeof(struct func),
	.init = func_init,
	.fini = func_fini,
	.reset = func_reset,
	.read = func_read,
	.write = func_write,
	.pause = func_pause,
	.resume = func_resume,
	.state = &func_state,
};

struct fixture {
	struct vboard b;
	struct func *f;
};

static inline struct func *add_func(struct vboard *b, int slot)
{
	struct func_config c = {vfx_host(b), slot};

	return container_of(vfx_add(b, &func_ops, &c), struct func, pci.dev);
}

static inline int set_up(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));

	vfx_board(&x->b, false);
	x->f = add_func(&x->b, 5);
	*state = x;
	return 0;
}

static inline int tear_down(void **state)
{
	struct fixture *x = *state;

	dev_free(&x->f->pci.dev);
	vboard_fini(&x->b);
	free(x);
	return 0;
}

static inline uint64_t mmio(struct fixture *x, uint64_t addr, unsigned size)
{
	return bus_read(x->b.env.mmio, addr, size);
}

static inline uint32_t cfg(struct fixture *x, unsigned off, unsigned size)
{
	return vcfg_read(&x->b, 5, off, size);
}

static inline void put(struct fixture *x, unsigned off, uint32_t val, unsigned size)
{
	vcfg_write(&x->b, 5, off, val, size);
}

static inline unsigned find_cap(struct fixture *x, unsigned id)
{
	unsigned cap = cfg(x, 0x34, 1);

	while (cap && cfg(x, cap, 1) != id)
		cap = cfg(x, cap + 1, 1);
	return cap;
}
