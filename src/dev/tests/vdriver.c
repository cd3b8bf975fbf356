/* SPDX-License-Identifier: Apache-2.0 */
/* vdriver.c - see vdriver.h. */
#include "vdriver.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_STEPS = 20000, STEP_NS = 500000 }; /* ten seconds, only ever spent on failure */
enum { CAP_VENDOR = 9, CAP_MSIX = 0x11 };

/* --- the board -------------------------------------------------------------------- */

static void set_line(struct irqchip *chip, unsigned gsi, bool level)
{
	struct vboard *b = container_of(chip, struct vboard, chip);

	if (level)
		__atomic_fetch_or(&b->lines, 1u << gsi, __ATOMIC_SEQ_CST);
	else
		__atomic_fetch_and(&b->lines, ~(1u << gsi), __ATOMIC_SEQ_CST);
}

static void send_msi(struct irqchip *chip, struct msi msi)
{
	struct vboard *b = container_of(chip, struct vboard, chip);

	__atomic_fetch_add(&b->msi[msi.data % VB_MSI], 1, __ATOMIC_SEQ_CST);
}

static const struct irqchip_ops chip_ops = {.set_line = set_line, .send_msi = send_msi};

static void request(void *ctx, enum dev_request req, int arg)
{
}

static int ioeventfd(void *ctx, int fd, uint64_t gpa, unsigned size, bool add)
{
	struct vboard *b = ctx;
	unsigned i = (gpa & 0xfff) / 4;

	if (i >= VIRTIO_MAX_QUEUES)
		return -1;
	b->bell[i] = add ? fd : -1;
	b->bell_gpa[i] = add ? gpa : 0;
	return 0;
}

static void on_round(struct loop_watch *w, uint32_t events)
{
	__atomic_fetch_add(&container_of(w, struct vboard, round_watch)->rounds, 1,
			   __ATOMIC_SEQ_CST);
}

static int watch_rounds(struct vboard *b)
{
	b->round_watch = (struct loop_watch){.fd = eventfd(0, EFD_CLOEXEC), .fn = on_round};
	return b->round_watch.fd < 0 ? -errno
				     : loop_add(vboard_loop(b), &b->round_watch, EPOLLIN | EPOLLET);
}

int vboard_init(struct vboard *b, bool ioeventfds)
{
	int ret;

	memset(b, 0, sizeof(*b));
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
		b->bell[i] = -1;
	b->round_watch.fd = -1;
	b->chip.ops = &chip_ops;
	vclock_start(&b->clock);
	b->env = (struct dev_env){
		.irqchip = &b->chip, .clock = &b->clock, .request = request, .ctx = b};
	if (ioeventfds)
		b->env.ioeventfd = ioeventfd;
	ret = mem_new(&b->env.mem);
	if (!ret)
		ret = mem_add_ram(b->env.mem, "ram", 0, VB_RAM, NULL);
	if (!ret)
		ret = mem_add_ram(b->env.mem, "ram2", VB_RAM2_BASE, VB_RAM2, NULL);
	if (!ret)
		ret = bus_new(0xffff, &b->env.pio);
	if (!ret)
		ret = bus_new(UINT64_MAX, &b->env.mmio);
	if (!ret)
		ret = iothread_new("io", NULL, NULL, &b->io);
	if (!ret)
		ret = watch_rounds(b);
	if (ret)
		return ret;
	b->env.loop = b->env.io_loop = b->env.net_loop = iothread_loop(b->io);
	return vboard_add(b, &pci_host_ops, NULL, &b->host);
}

void vboard_fini(struct vboard *b)
{
	dev_free(b->host);
	iothread_free(b->io);
	close(b->round_watch.fd);
	bus_free(b->env.pio);
	bus_free(b->env.mmio);
	mem_free(b->env.mem);
}

int vboard_add(struct vboard *b, const struct dev_ops *ops, const void *cfg, struct device **out)
{
	int ret = dev_new(ops, &b->env, ops->name, 0, cfg, out, NULL);

	if (!ret)
		dev_reset(*out);
	return ret;
}

/*
 * A round of the loop may have begun before the kick, and what is posted meanwhile still runs
 * in it.  What comes by a descriptor does not: the first event is met in a round that knows of
 * the kick, the second in one after it.  Two more are for queues that kick themselves.
 */
void vboard_settle(struct vboard *b)
{
	for (unsigned i = 0; i < 4; i++) {
		unsigned seen = __atomic_load_n(&b->rounds, __ATOMIC_SEQ_CST);

		if (eventfd_write(b->round_watch.fd, 1) < 0)
			return;
		while (__atomic_load_n(&b->rounds, __ATOMIC_SEQ_CST) == seen)
			sched_yield();
	}
}

unsigned vboard_msis(struct vboard *b, unsigned data)
{
	return __atomic_load_n(&b->msi[data], __ATOMIC_SEQ_CST);
}

bool vboard_line(struct vboard *b, unsigned gsi)
{
	return __atomic_load_n(&b->lines, __ATOMIC_SEQ_CST) >> gsi & 1;
}

/* --- discovery ------------------------------------------------------------------------ */

uint32_t vcfg_read(struct vboard *b, unsigned slot, unsigned off, unsigned size)
{
	return (uint32_t)bus_read(b->env.mmio, PCI_ECAM_BASE + (slot << 15) + off, size);
}

void vcfg_write(struct vboard *b, unsigned slot, unsigned off, uint32_t val, unsigned size)
{
	bus_write(b->env.mmio, PCI_ECAM_BASE + (slot << 15) + off, val, size);
}

static uint64_t bar_address(struct vdrv *d, unsigned bar)
{
	return vcfg_read(d->b, d->slot, 0x10 + bar * 4, 4) & ~0xfu;
}

static void take_vendor_cap(struct vdrv *d, unsigned cap)
{
	unsigned type = vcfg_read(d->b, d->slot, cap + 3, 1);
	uint64_t at = bar_address(d, vcfg_read(d->b, d->slot, cap + 4, 1)) +
		      vcfg_read(d->b, d->slot, cap + 8, 4);

	switch (type) {
	case 1: d->common = at; break;
	case 2:
		d->notify = at;
		d->notify_mult = vcfg_read(d->b, d->slot, cap + 16, 4);
		break;
	case 3: d->isr = at; break;
	case 4: d->device = at; break;
	}
}

bool vdrv_probe(struct vdrv *d, struct vboard *b, unsigned slot)
{
	unsigned left = 48;

	uint64_t next_gpa = d->next_gpa ? d->next_gpa : 0x10000;

	*d = (struct vdrv){.b = b, .slot = slot, .next_gpa = next_gpa};
	if (vcfg_read(b, slot, 0, 2) != 0x1af4)
		return false;
	for (unsigned cap = vcfg_read(b, slot, 0x34, 1); cap && left--;
	     cap = vcfg_read(b, slot, cap + 1, 1)) {
		unsigned id = vcfg_read(b, slot, cap, 1);

		if (id == CAP_VENDOR) {
			take_vendor_cap(d, cap);
		} else if (id == CAP_MSIX) {
			uint32_t table = vcfg_read(b, slot, cap + 4, 4);
			uint32_t pba = vcfg_read(b, slot, cap + 8, 4);

			d->msix_cap = cap;
			d->msix_table = bar_address(d, table & 7) + (table & ~7u);
			d->msix_pba = bar_address(d, pba & 7) + (pba & ~7u);
		}
	}
	return d->common && d->notify && d->isr;
}

/* --- set-up ----------------------------------------------------------------------------- */

uint64_t vdrv_read(struct vdrv *d, unsigned reg, unsigned size)
{
	return bus_read(d->b->env.mmio, d->common + reg, size);
}

void vdrv_write(struct vdrv *d, unsigned reg, uint64_t val, unsigned size)
{
	bus_write(d->b->env.mmio, d->common + reg, val, size);
}

uint64_t vdrv_device_features(struct vdrv *d)
{
	uint64_t f;

	vdrv_write(d, VC_DEVICE_FEATURE_SELECT, 1, 4);
	f = vdrv_read(d, VC_DEVICE_FEATURE, 4) << 32;
	vdrv_write(d, VC_DEVICE_FEATURE_SELECT, 0, 4);
	return f | vdrv_read(d, VC_DEVICE_FEATURE, 4);
}

bool vdrv_negotiate(struct vdrv *d, uint64_t want)
{
	vdrv_write(d, VC_STATUS, 0, 1);
	vdrv_write(d, VC_STATUS, VS_ACK, 1);
	vdrv_write(d, VC_STATUS, VS_ACK | VS_DRIVER, 1);
	d->features = vdrv_device_features(d) & want;
	vdrv_write(d, VC_DRIVER_FEATURE_SELECT, 0, 4);
	vdrv_write(d, VC_DRIVER_FEATURE, (uint32_t)d->features, 4);
	vdrv_write(d, VC_DRIVER_FEATURE_SELECT, 1, 4);
	vdrv_write(d, VC_DRIVER_FEATURE, d->features >> 32, 4);
	vdrv_write(d, VC_STATUS, VS_ACK | VS_DRIVER | VS_FEATURES_OK, 1);
	return vdrv_read(d, VC_STATUS, 1) & VS_FEATURES_OK;
}

uint64_t vdrv_alloc(struct vdrv *d, uint64_t bytes, uint64_t align)
{
	uint64_t gpa = ALIGN_UP(d->next_gpa, align);

	d->next_gpa = gpa + bytes;
	return gpa;
}

static void write64(struct vdrv *d, unsigned reg, uint64_t val)
{
	vdrv_write(d, reg, (uint32_t)val, 4);
	vdrv_write(d, reg + 4, val >> 32, 4);
}

void vdrv_queue(struct vdrv *d, unsigned i, uint16_t size)
{
	struct vqueue *q = &d->q[i];

	*q = (struct vqueue){.size = size};
	q->desc = vdrv_alloc(d, size * 16u, 16);
	q->avail = vdrv_alloc(d, 6 + size * 2u, 2);
	q->used = vdrv_alloc(d, 6 + size * 8u, 4);
	memset(vboard_ram(d->b, q->desc), 0, q->used + 6 + size * 8u - q->desc);
	vdrv_write(d, VC_QUEUE_SELECT, i, 2);
	vdrv_write(d, VC_QUEUE_SIZE, size, 2);
	vdrv_write(d, VC_QUEUE_VECTOR, i + 1, 2);
	write64(d, VC_QUEUE_DESC, q->desc);
	write64(d, VC_QUEUE_DRIVER, q->avail);
	write64(d, VC_QUEUE_DEVICE, q->used);
	vdrv_write(d, VC_QUEUE_ENABLE, 1, 2);
}

void vdrv_msix(struct vdrv *d, unsigned nvectors)
{
	for (unsigned i = 0; i < nvectors; i++) {
		uint64_t e = d->msix_table + i * 16;

		bus_write(d->b->env.mmio, e, 0xfee00000, 4);
		bus_write(d->b->env.mmio, e + 4, 0, 4);
		bus_write(d->b->env.mmio, e + 8, 0x20 + i, 4);
		bus_write(d->b->env.mmio, e + 12, 0, 4);
	}
	vcfg_write(d->b, d->slot, d->msix_cap + 2, nvectors ? 0x8000 : 0, 2);
}

void vdrv_go(struct vdrv *d)
{
	vdrv_write(d, VC_STATUS, VS_ACK | VS_DRIVER | VS_FEATURES_OK | VS_DRIVER_OK, 1);
}

bool vdrv_start(struct vdrv *d, uint64_t want, unsigned nqueues, uint16_t size)
{
	if (!vdrv_negotiate(d, want | VIRTIO_F_VERSION_1))
		return false;
	vdrv_msix(d, nqueues + 1);
	for (unsigned i = 0; i < nqueues; i++)
		vdrv_queue(d, i, size);
	vdrv_go(d);
	return true;
}

/* --- queues -------------------------------------------------------------------------------- */

static void put_desc(struct vboard *b, uint64_t table, unsigned n, const struct vseg *s,
		     unsigned flags, unsigned next)
{
	uint8_t *p = vboard_ram(b, table) + n * 16;
	uint16_t f = (uint16_t)flags, nx = (uint16_t)next;

	memcpy(p, &s->gpa, 8);
	memcpy(p + 8, &s->len, 4);
	memcpy(p + 12, &f, 2);
	memcpy(p + 14, &nx, 2);
}

void vdrv_desc(struct vdrv *d, unsigned i, unsigned n, uint64_t gpa, uint32_t len, unsigned flags,
	       unsigned next)
{
	struct vseg s = {gpa, len, false};

	put_desc(d->b, d->q[i].desc, n, &s, flags, next);
}

void vdrv_avail(struct vdrv *d, unsigned i, uint16_t head)
{
	struct vqueue *q = &d->q[i];
	uint16_t *avail = (uint16_t *)vboard_ram(d->b, q->avail);

	__atomic_store_n(&avail[2 + (q->avail_idx & (q->size - 1))], head, __ATOMIC_RELAXED);
	__atomic_store_n(&avail[1], ++q->avail_idx, __ATOMIC_SEQ_CST);
}

/* Descriptors are handed out round the table: tests never have more under way than fit. */
uint16_t vdrv_add(struct vdrv *d, unsigned i, const struct vseg *seg, unsigned n)
{
	struct vqueue *q = &d->q[i];
	uint16_t head = q->free_head, at = head;

	for (unsigned k = 0; k < n; k++) {
		unsigned flags = (seg[k].in ? 2u : 0u) | (k + 1 < n ? 1u : 0u);
		uint16_t next = (uint16_t)((at + 1) & (q->size - 1));

		if (q->indirect)
			put_desc(d->b, q->indirect, k, &seg[k], flags, k + 1);
		else
			put_desc(d->b, q->desc, at, &seg[k], flags, next);
		if (!q->indirect || k == 0)
			at = next;
	}
	if (q->indirect) {
		struct vseg table = {q->indirect, n * 16, false};

		put_desc(d->b, q->desc, head, &table, 4, 0);
	}
	q->free_head = at;
	vdrv_avail(d, i, head);
	return head;
}

void vdrv_kick(struct vdrv *d, unsigned i)
{
	uint64_t gpa = d->notify + i * d->notify_mult, one = 1;

	if (d->b->bell[i] >= 0 && d->b->bell_gpa[i] == gpa) {
		if (write(d->b->bell[i], &one, sizeof(one)) < 0)
			return;
	} else {
		bus_write(d->b->env.mmio, gpa, i, 2);
	}
}

static bool step(unsigned *left)
{
	const struct timespec ts = {0, STEP_NS};

	if (!*left)
		return false;
	if (--*left < WAIT_STEPS - 20)
		nanosleep(&ts, NULL);
	else
		sched_yield();
	return true;
}

bool vdrv_used(struct vdrv *d, unsigned i, uint16_t *head, uint32_t *written)
{
	struct vqueue *q = &d->q[i];
	uint8_t *used = vboard_ram(d->b, q->used);
	unsigned left = WAIT_STEPS;
	uint32_t e[2];

	while (__atomic_load_n((uint16_t *)(used + 2), __ATOMIC_ACQUIRE) == q->used_idx)
		if (!step(&left))
			return false;
	memcpy(e, used + 4 + (q->used_idx++ & (q->size - 1)) * 8, sizeof(e));
	/* with EVENT_IDX: interrupt at the next one */
	__atomic_store_n((uint16_t *)(vboard_ram(d->b, q->avail) + 4 + q->size * 2), q->used_idx,
			 __ATOMIC_SEQ_CST);
	if (head)
		*head = (uint16_t)e[0];
	if (written)
		*written = e[1];
	return true;
}

bool vdrv_wait_broken(struct vdrv *d)
{
	unsigned left = WAIT_STEPS;

	while (!(vdrv_read(d, VC_STATUS, 1) & VS_NEEDS_RESET))
		if (!step(&left))
			return false;
	return true;
}
