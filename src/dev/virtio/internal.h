/* SPDX-License-Identifier: Apache-2.0 */
/* internal.h - what the transport's files share: registers, serving, queues. */
#pragma once

#include "dev/virtio/virtio.h"

enum { VIRTIO_BAR = 0, VIRTIO_NO_VECTOR = 0xffff, DESC_SIZE = 16 };
enum { /* layout of the BAR: a page for each structure */
       BAR_COMMON = 0x0000,
       BAR_ISR = 0x1000,
       BAR_DEVICE = 0x2000,
       BAR_NOTIFY = 0x3000,
       BAR_MSIX = 0x4000,
       BAR_PBA = 0x4800,
       BAR_SIZE = 0x8000,
       NOTIFY_STRIDE = 4,
};
enum { /* device status, 2.1 */
       STATUS_ACKNOWLEDGE = 1,
       STATUS_DRIVER = 2,
       STATUS_DRIVER_OK = 4,
       STATUS_FEATURES_OK = 8,
       STATUS_NEEDS_RESET = 64,
       STATUS_FAILED = 128,
       STATUS_DRIVERS = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_DRIVER_OK | STATUS_FEATURES_OK |
			STATUS_FAILED,
};
enum { ISR_QUEUE = 1, ISR_CONFIG = 2 };

static inline bool virtio_is_broken(const struct virtio_dev *vd)
{
	return __atomic_load_n(&vd->broken, __ATOMIC_ACQUIRE); /* pairs with virtio_broken() */
}

static inline bool virtio_running(const struct virtio_dev *vd)
{
	return __atomic_load_n(&vd->running, __ATOMIC_RELAXED);
}

/* queue.c: is an enabled queue's ring aligned, of legal size and in RAM? */
bool virtq_placed(const struct virtq *q);
/* Look the ring up before serving.  I/O loop. */
bool virtq_start(struct virtq *q);

/* serve.c.  Both under dev.lock, from any thread but the I/O loop's. */
void virtio_start(struct virtio_dev *vd);
void virtio_stop(struct virtio_dev *vd);
/* The notification registers moved: so do the ioeventfds. */
void virtio_ioeventfds_update(struct virtio_dev *vd);
void virtio_interrupt(struct virtio_dev *vd, uint16_t vector, uint8_t isr);

/* pci.c */
void virtio_clear(struct virtio_dev *vd);
