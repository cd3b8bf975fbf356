/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.c - between the vCPUs that touch registers and the loop that serves queues.
 *
 * Starting and stopping go from a thread that holds the device's lock to the I/O
 * loop by loop_call(), which waits.  That cannot deadlock, because nothing on the
 * I/O loop ever takes a device's lock: what both sides look at is atomic (broken,
 * running, kicks, vectors) or under pci.irq_lock, which is never held across a call.
 * For the same reason the loop must not be one whose thread pauses or resets
 * machines (the machine loop).  Stopping returns when no request is under way.
 *
 * A kick sets the queue's bit and writes the eventfd only if no bit was set, so a
 * burst costs one wake-up.  The eventfd is watched edge-triggered and never read.
 * A handler that has served its share kicks its own queue and returns, so that
 * other descriptors of the loop get their turn.
 */
#include <sys/epoll.h>
#include <time.h>

#include "base/thread.h"
#include "dev/virtio/internal.h"

/* --- I/O loop ------------------------------------------------------------------------ */

static void serve(struct virtio_dev *vd, uint32_t queues)
{
	for (; queues; queues &= queues - 1) {
		struct virtq *q = &vd->vq[__builtin_ctz(queues)];

		if (virtio_running(vd) && q->enabled && !virtio_is_broken(vd))
			vd->ops->queue_ready(vd, q);
	}
}

static void on_kick(struct loop_watch *w, uint32_t events)
{
	struct virtio_dev *vd = container_of(w, struct virtio_dev, kick_watch);

	serve(vd, __atomic_exchange_n(&vd->kicks, 0, __ATOMIC_SEQ_CST));
}

static void on_ioeventfd(struct loop_watch *w, uint32_t events)
{
	struct virtq *q = container_of(w, struct virtq, watch);

	serve(q->vd, 1u << q->index);
}

static bool add_watches(struct virtio_dev *vd)
{
	vd->kick_watch.fn = on_kick;
	if (loop_add(vd->loop, &vd->kick_watch, EPOLLIN | EPOLLET) < 0)
		return false;
	for (unsigned i = 0; i < vd->nqueues; i++) {
		struct virtq *q = &vd->vq[i];

		q->watch.fn = on_ioeventfd;
		if (q->enabled && q->watch.fd >= 0 &&
		    loop_add(vd->loop, &q->watch, EPOLLIN | EPOLLET) < 0)
			return false;
	}
	return true;
}

static void start_on_loop(void *arg)
{
	struct virtio_dev *vd = arg;
	uint32_t queues = 0;

	for (unsigned i = 0; i < vd->nqueues; i++) {
		if (!vd->vq[i].enabled)
			continue;
		if (!virtq_start(&vd->vq[i]))
			virtio_broken(vd, "a ring is not in RAM");
		queues |= 1u << i;
	}
	if (!add_watches(vd))
		virtio_broken(vd, "the host is out of memory");
	__atomic_store_n(&vd->running, true, __ATOMIC_RELAXED);
	if (vd->ops->start)
		vd->ops->start(vd);
	/* what the driver made available before, or while the machine was paused */
	for (; queues; queues &= queues - 1)
		virtio_kick(vd, (unsigned)__builtin_ctz(queues));
}

static void stop_on_loop(void *arg)
{
	struct virtio_dev *vd = arg;

	__atomic_store_n(&vd->running, false, __ATOMIC_RELAXED);
	if (vd->ops->stop)
		vd->ops->stop(vd);
	loop_del(&vd->kick_watch);
	for (unsigned i = 0; i < vd->nqueues; i++)
		loop_del(&vd->vq[i].watch);
}

/* --- any thread -------------------------------------------------------------------------- */

void virtio_kick(struct virtio_dev *vd, unsigned n)
{
	const uint64_t one = 1;

	if (__atomic_fetch_or(&vd->kicks, 1u << n, __ATOMIC_SEQ_CST))
		return; /* the loop has yet to look */
	if (write(vd->kick_watch.fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: 584 years of kicks */
}

void virtio_interrupt(struct virtio_dev *vd, uint16_t vector, uint8_t isr)
{
	struct pci_dev *p = &vd->pci;

	if (pci_msix_enabled(p)) {
		if (vector != VIRTIO_NO_VECTOR)
			pci_msix_notify(p, vector);
		return;
	}
	LOCK_SCOPE(&p->irq_lock);
	vd->isr |= isr;
	pci_intx_set_locked(p, true);
}

static void interrupt_config(struct virtio_dev *vd)
{
	if (virtio_running(vd))
		virtio_interrupt(vd, __atomic_load_n(&vd->config_vector, __ATOMIC_RELAXED),
				 ISR_CONFIG);
}

void virtio_config_changed(struct virtio_dev *vd)
{
	__atomic_fetch_add(&vd->config_generation, 1, __ATOMIC_SEQ_CST);
	interrupt_config(vd);
}

void virtio_broken(struct virtio_dev *vd, const char *why)
{
	enum { MAX_LINES = 100 };

	if (__atomic_exchange_n(&vd->broken, true, __ATOMIC_SEQ_CST))
		return;
	if (__atomic_fetch_add(&vd->nbroken, 1, __ATOMIC_RELAXED) < MAX_LINES)
		log_debug(LOG_GUEST, "%s: needs a reset: %s", vd->pci.dev.id, why);
	interrupt_config(vd);
}

/* --- under the device's lock --------------------------------------------------------------- */

/* Without memory for the message nothing can be stopped, so wait for some. */
static void call_loop(struct virtio_dev *vd, void (*fn)(void *arg))
{
	const struct timespec ms = {0, 1000000};

	while (loop_call(vd->loop, fn, vd) < 0)
		nanosleep(&ms, NULL);
}

static void place_ioeventfd(struct virtio_dev *vd, struct virtq *q, uint64_t gpa)
{
	const struct dev_env *env = vd->pci.dev.env;

	if (q->watch.fd < 0 || gpa == q->ioevent_gpa)
		return;
	if (q->ioevent_gpa && env->ioeventfd(env->ctx, q->watch.fd, q->ioevent_gpa, 2, false) < 0)
		log_debug(LOG_VIRTIO, "%s: an eventfd stays behind", vd->pci.dev.id);
	q->ioevent_gpa = 0;
	/* refused: then the guest's writes come to virtio_write() */
	if (gpa && env->ioeventfd(env->ctx, q->watch.fd, gpa, 2, true) == 0)
		q->ioevent_gpa = gpa;
}

void virtio_ioeventfds_update(struct virtio_dev *vd)
{
	const struct pci_bar *b = &vd->pci.bar[VIRTIO_BAR];

	for (unsigned i = 0; i < vd->nqueues; i++) {
		bool on = vd->started && b->mapped && vd->vq[i].enabled;

		place_ioeventfd(vd, &vd->vq[i], on ? b->addr + BAR_NOTIFY + i * NOTIFY_STRIDE : 0);
	}
}

void virtio_start(struct virtio_dev *vd)
{
	if (vd->started)
		return;
	vd->started = true;
	call_loop(vd, start_on_loop);
	virtio_ioeventfds_update(vd);
}

void virtio_stop(struct virtio_dev *vd)
{
	if (!vd->started)
		return;
	vd->started = false;
	virtio_ioeventfds_update(vd);
	call_loop(vd, stop_on_loop);
}

void virtio_pause(struct device *dev)
{
	struct virtio_dev *vd = container_of(dev, struct virtio_dev, pci.dev);
	LOCK_SCOPE(&dev->lock);

	virtio_stop(vd);
}

void virtio_resume(struct device *dev)
{
	struct virtio_dev *vd = container_of(dev, struct virtio_dev, pci.dev);
	LOCK_SCOPE(&dev->lock);

	pci_dev_remap(&vd->pci);
	if (vd->status & STATUS_DRIVER_OK)
		virtio_start(vd);
}
