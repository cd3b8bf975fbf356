/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio.h - modern virtio over PCI: the transport, and what a device type supplies.
 *
 * (Virtual I/O Device specification 1.2: ch. 2 split rings, 4.1 PCI transport.)
 * A device type is an ops table and a queue handler; the transport does
 * discovery, negotiation, notification and interrupts.  Queues are served on
 * the device's I/O loop; register accesses come on vCPU threads under the
 * device's lock and only post work there.  The I/O loop never takes that lock.
 *
 * The guest is hostile: rings are read through mem_read()/mem_ptr() with bounds,
 * each descriptor is copied once, chains are bounded by the queue size.  A broken
 * ring sets DEVICE_NEEDS_RESET and stops the device until the driver resets it.
 */
#pragma once

#include <sys/uio.h>
#include "dev/pci/pci.h"

enum { VIRTIO_MAX_QUEUES = 24, VIRTQ_MAX_SIZE = 1024, VIRTQ_MAX_SEGS = 256 };

#define VIRTIO_F_INDIRECT_DESC BIT(28)
#define VIRTIO_F_EVENT_IDX     BIT(29)
#define VIRTIO_F_VERSION_1     BIT(32)

struct virtio_dev;

struct virtq { /* owner: the I/O loop's thread while enabled */
	struct virtio_dev *vd;
	unsigned index;
	uint16_t size; /* chosen by the driver, <= max_size, power of two */
	uint16_t max_size;
	bool enabled;
	uint16_t msix_vector;	    /* 0xffff: none */
	uint64_t desc, avail, used; /* gpa */
	uint16_t last_avail, used_idx;
	uint16_t signalled_used;
	bool signalled_valid;
	uint8_t *desc_hva, *avail_hva, *used_hva; /* the ring; set when serving starts */
	bool quiet;		 /* the driver was told not to kick (without EVENT_IDX) */
	struct loop_watch watch; /* kvm ioeventfd; fd -1: none */
	uint64_t ioevent_gpa;	 /* dev.lock: where it is registered, 0: nowhere */
};

struct virtq_elem { /* one descriptor chain, copied and validated */
	uint16_t head;
	unsigned nout, nin;	  /* out: device reads; in: device writes */
	uint32_t out_len, in_len; /* total bytes */
	struct iovec out[VIRTQ_MAX_SEGS], in[VIRTQ_MAX_SEGS]; /* host addresses of guest RAM */
	gpa_t in_gpa[VIRTQ_MAX_SEGS]; /* for the dirty log: virtq_push() marks them */
};

struct virtio_ops {
	const char *name;
	uint16_t device_id; /* virtio's: 1 net, 2 block, 3 console, 4 entropy */
	uint32_t pci_class; /* class code << 8 */
	/* Device-specific configuration space.  Bounds are checked by the transport. */
	void (*config_read)(struct virtio_dev *vd, unsigned off, void *buf, unsigned len);
	void (*config_write)(struct virtio_dev *vd, unsigned off, const void *buf, unsigned len);
	/* Negotiated features are final (FEATURES_OK): false refuses them. */
	bool (*features_ok)(struct virtio_dev *vd, uint64_t features);
	/* Device reset: the type's own registers as after power-on.  Nothing is being served. */
	void (*reset)(struct virtio_dev *vd);
	/* DRIVER_OK: serve queues from now on.  On the I/O loop. */
	void (*start)(struct virtio_dev *vd);
	/* Device reset or pause: on return no request is under way.  On the I/O loop. */
	void (*stop)(struct virtio_dev *vd);
	/* The driver kicked queue @q.  On the I/O loop. */
	void (*queue_ready)(struct virtio_dev *vd, struct virtq *q);
};

struct virtio_dev {
	struct pci_dev pci;
	const struct virtio_ops *ops;
	struct loop *loop; /* serves the queues */
	uint64_t features_offered, features;
	uint32_t feature_sel, driver_feature_sel;
	uint8_t status, config_generation;
	uint16_t config_vector, queue_sel;
	unsigned nqueues, config_len;
	bool started;		      /* queues are being served: vCPUs' view, dev.lock */
	bool running;		      /* the same: I/O loop's view; atomic */
	bool broken;		      /* DEVICE_NEEDS_RESET until reset; atomic */
	unsigned nbroken;	      /* how often; atomic */
	uint8_t isr;		      /* pci.irq_lock */
	uint8_t pci_cfg_cap;	      /* offset of the configuration access capability */
	uint32_t kicks;		      /* bit: queue to be served; atomic */
	struct loop_watch kick_watch; /* eventfd: kicks became non-zero */
	struct virtq vq[VIRTIO_MAX_QUEUES];
};

struct virtio_setup {
	struct pci_host *host;
	struct loop *loop;
	uint64_t features;
	unsigned nqueues, config_len;
	uint16_t queue_size;
};

/* In a type's init / fini / dev_ops. */
MUST_CHECK int virtio_setup(struct virtio_dev *vd, const struct virtio_ops *ops,
			    const struct virtio_setup *s, struct errbuf *err);
void virtio_teardown(struct virtio_dev *vd);
void virtio_reset(struct device *dev); /* dev_ops.reset */
uint64_t virtio_read(struct device *dev, unsigned bar, uint64_t off, unsigned size);
void virtio_write(struct device *dev, unsigned bar, uint64_t off, uint64_t val, unsigned size);
void virtio_pause(struct device *dev); /* dev_ops.pause / resume */
void virtio_resume(struct device *dev);
extern const struct state_field virtio_dev_fields[]; /* for the type's state table */
MUST_CHECK int virtio_post_load(struct virtio_dev *vd, struct errbuf *err);

/* Have queue @n served on the I/O loop (soon, after its other events).  Any thread. */
void virtio_kick(struct virtio_dev *vd, unsigned n);

/*
 * Take the next chain.  1: *e filled in, 0: none (notifications re-enabled and
 * checked again), -1: the ring is broken, the device is stopped.  I/O loop only.
 */
int virtq_pop(struct virtq *q, struct virtq_elem *e);
/* Return a chain with @written bytes written to its in part; marks them dirty. */
void virtq_push(struct virtq *q, const struct virtq_elem *e, uint32_t written);
/* The parts of virtq_push(): mark written bytes dirty, fill used entries, publish @n of them. */
void virtq_mark(struct virtq *q, const struct virtq_elem *e, uint32_t written);
void virtq_fill(struct virtq *q, unsigned nth, uint16_t head, uint32_t written);
void virtq_publish(struct virtq *q, unsigned n);
/* Interrupt the driver if it wants that. */
void virtq_notify(struct virtq *q);
/* Give the latest element back as not taken (no more room): the next pop returns it again. */
void virtq_unpop(struct virtq *q);
/* The configuration changed: bump the generation, interrupt.  I/O loop. */
void virtio_config_changed(struct virtio_dev *vd);
/* The driver broke the contract: DEVICE_NEEDS_RESET.  I/O loop, or dev.lock held. */
void virtio_broken(struct virtio_dev *vd, const char *why);

/* Copy between an element and a buffer from byte @off on; returns bytes copied. */
size_t virtq_out_copy(const struct virtq_elem *e, size_t off, void *buf, size_t len);
size_t virtq_in_copy(struct virtq_elem *e, size_t off, const void *buf, size_t len);

/* --- the device types ------------------------------------------------------ */

struct block;
struct net;
struct pci_host;

struct virtio_blk_config {
	struct pci_host *host;
	struct loop *loop;
	struct block *block; /* borrowed; outlives the device */
	const char *serial;  /* up to 20 characters */
	unsigned nqueues;    /* 1..vCPUs, at most 16 */
};
struct virtio_net_config {
	struct pci_host *host;
	struct loop *loop;
	struct net *net; /* borrowed */
	uint8_t mac[6];
	unsigned nqueues; /* queue pairs */
};
struct virtio_rng_config {
	struct pci_host *host;
	struct loop *loop;
};
struct virtio_console_config {
	struct pci_host *host;
	struct loop *loop;
	struct chardev *chr; /* borrowed; NULL: output is dropped */
};
extern const struct dev_ops virtio_blk_ops, virtio_net_ops, virtio_rng_ops, virtio_console_ops;
