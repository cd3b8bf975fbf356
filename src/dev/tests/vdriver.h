/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vdriver.h - a small virtio driver in the test's process: what a guest would do.
 *
 * A vboard is guest RAM, buses, an interrupt controller that counts, and a real loop
 * on a thread of its own.  A vdrv finds a device by ECAM, negotiates, lays queues
 * out in guest RAM and drives them through the device's registers.  No assertions
 * here: fuzzers use it, too.
 */
#pragma once

#include "dev/virtio/virtio.h"

enum { VB_RAM = 4 << 20, VB_RAM2 = 1 << 20, VB_MSI = 256 };
#define VB_RAM2_BASE 0x1000000ULL /* a second region, away from the first */

struct vboard { /* the counters are atomic */
	struct irqchip chip;
	unsigned msi[VB_MSI];	     /* messages by data */
	unsigned lines;		     /* bit: GSI is high */
	int bell[VIRTIO_MAX_QUEUES]; /* ioeventfds by (gpa & 0xfff) / 4, -1 */
	uint64_t bell_gpa[VIRTIO_MAX_QUEUES];
	struct vclock clock;
	struct iothread *io;
	struct loop_watch round_watch; /* of an eventfd: vboard_settle() */
	unsigned rounds;	       /* in which it was met */
	struct dev_env env;
	struct device *host;
};

/* 0 or -errno.  @ioeventfds: lend the devices doorbells, as KVM does. */
MUST_CHECK int vboard_init(struct vboard *b, bool ioeventfds);
void vboard_fini(struct vboard *b);
MUST_CHECK int vboard_add(struct vboard *b, const struct dev_ops *ops, const void *cfg,
			  struct device **out);
static inline struct loop *vboard_loop(struct vboard *b)
{
	return iothread_loop(b->io);
}
/* All that was posted to the I/O loop so far, and kicks it has seen, are served. */
void vboard_settle(struct vboard *b);
unsigned vboard_msis(struct vboard *b, unsigned data);
bool vboard_line(struct vboard *b, unsigned gsi);
static inline uint8_t *vboard_ram(struct vboard *b, uint64_t gpa)
{
	return mem_ptr(b->env.mem, gpa, 1);
}

uint32_t vcfg_read(struct vboard *b, unsigned slot, unsigned off, unsigned size);
void vcfg_write(struct vboard *b, unsigned slot, unsigned off, uint32_t val, unsigned size);

struct vseg {
	uint64_t gpa;
	uint32_t len;
	bool in; /* device writes */
};

struct vqueue {
	uint16_t size, avail_idx, used_idx, free_head;
	uint64_t desc, avail, used; /* gpa */
	uint64_t indirect;	    /* gpa of a table for the next chain, 0: direct */
};

struct vdrv {
	struct vboard *b;
	unsigned slot;
	uint64_t common, notify, isr, device; /* addresses */
	uint32_t notify_mult, msix_cap;
	uint64_t msix_table, msix_pba;
	uint64_t features;
	uint64_t next_gpa; /* of the driver's allocator */
	struct vqueue q[VIRTIO_MAX_QUEUES];
};

enum { /* common configuration registers */
       VC_DEVICE_FEATURE_SELECT = 0x00,
       VC_DEVICE_FEATURE = 0x04,
       VC_DRIVER_FEATURE_SELECT = 0x08,
       VC_DRIVER_FEATURE = 0x0c,
       VC_CONFIG_VECTOR = 0x10,
       VC_NUM_QUEUES = 0x12,
       VC_STATUS = 0x14,
       VC_GENERATION = 0x15,
       VC_QUEUE_SELECT = 0x16,
       VC_QUEUE_SIZE = 0x18,
       VC_QUEUE_VECTOR = 0x1a,
       VC_QUEUE_ENABLE = 0x1c,
       VC_QUEUE_NOTIFY_OFF = 0x1e,
       VC_QUEUE_DESC = 0x20,
       VC_QUEUE_DRIVER = 0x28,
       VC_QUEUE_DEVICE = 0x30,
};
enum { VS_ACK = 1, VS_DRIVER = 2, VS_DRIVER_OK = 4, VS_FEATURES_OK = 8, VS_NEEDS_RESET = 64 };

/* Find the virtio device in @slot; @d is zeroed or was used before.  False: it is none. */
bool vdrv_probe(struct vdrv *d, struct vboard *b, unsigned slot);
uint64_t vdrv_read(struct vdrv *d, unsigned reg, unsigned size);
void vdrv_write(struct vdrv *d, unsigned reg, uint64_t val, unsigned size);
uint64_t vdrv_device_features(struct vdrv *d);
/* Reset, negotiate @want (those offered of them); false: refused. */
bool vdrv_negotiate(struct vdrv *d, uint64_t want);
uint64_t vdrv_alloc(struct vdrv *d, uint64_t bytes, uint64_t align);
/* Lay queue @i out and enable it with MSI-X vector @i + 1. */
void vdrv_queue(struct vdrv *d, unsigned i, uint16_t size);
/* Enable MSI-X; vector n sends data 0x20 + n.  With @nvectors 0: off. */
void vdrv_msix(struct vdrv *d, unsigned nvectors);
void vdrv_go(struct vdrv *d);
/* All of it: negotiate, MSI-X, @nqueues queues of @size, DRIVER_OK. */
bool vdrv_start(struct vdrv *d, uint64_t want, unsigned nqueues, uint16_t size);

/* Write a chain and make it available.  Returns its head. */
uint16_t vdrv_add(struct vdrv *d, unsigned i, const struct vseg *seg, unsigned n);
void vdrv_desc(struct vdrv *d, unsigned i, unsigned n, uint64_t gpa, uint32_t len, unsigned flags,
	       unsigned next);
void vdrv_avail(struct vdrv *d, unsigned i, uint16_t head);
void vdrv_kick(struct vdrv *d, unsigned i);
/* Wait for the next used chain; false after some seconds without one. */
bool vdrv_used(struct vdrv *d, unsigned i, uint16_t *head, uint32_t *written);
/* Wait until the device asks for a reset. */
bool vdrv_wait_broken(struct vdrv *d);
