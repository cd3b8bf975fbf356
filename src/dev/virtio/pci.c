/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pci.c - the virtio transport over PCI (virtio 1.2, 4.1).
 *
 * Registers are touched by vCPU threads under the device's lock; queues by the
 * device's I/O loop.  The two meet as follows.  Queue registers can be written only
 * while the device is not running.  DRIVER_OK, reset and pause call over to the I/O
 * loop and wait (loop_call()) with the device's lock held, so the I/O loop never
 * takes that lock; what it tells back (broken, ISR) is atomic, and interrupts go
 * through pci_msix_notify(), which has a leaf lock.  A kick posts one message to the
 * loop however often it is repeated before that is served; with KVM it is an
 * ioeventfd and no vCPU exit at all.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "dev/virtio/virtio.h"

enum { /* BAR 0 */
       VBAR = 0,
       OFF_COMMON = 0x0000,
       OFF_ISR = 0x1000,
       OFF_DEVICE = 0x2000,
       OFF_NOTIFY = 0x3000,
       OFF_MSIX = 0x4000,
       OFF_PBA = 0x4800,
       BAR_SIZE = 0x8000,
       REGION = 0x1000,
       COMMON_LEN = 0x38,
       NOTIFY_MULTIPLIER = 4,
};

enum { /* common configuration, 4.1.4.3 */
       C_DEVICE_FEATURE_SELECT = 0x00,
       C_DEVICE_FEATURE = 0x04,
       C_DRIVER_FEATURE_SELECT = 0x08,
       C_DRIVER_FEATURE = 0x0c,
       C_CONFIG_MSIX_VECTOR = 0x10,
       C_NUM_QUEUES = 0x12,
       C_STATUS = 0x14,
       C_CONFIG_GENERATION = 0x15,
       C_QUEUE_SELECT = 0x16,
       C_QUEUE_SIZE = 0x18,
       C_QUEUE_MSIX_VECTOR = 0x1a,
       C_QUEUE_ENABLE = 0x1c,
       C_QUEUE_NOTIFY_OFF = 0x1e,
       C_QUEUE_DESC = 0x20,
       C_QUEUE_DRIVER = 0x28,
       C_QUEUE_DEVICE = 0x30,
};

enum {
	S_ACKNOWLEDGE = 1,
	S_DRIVER = 2,
	S_DRIVER_OK = 4,
	S_FEATURES_OK = 8,
	S_NEEDS_RESET = 64,
	S_FAILED = 128,
};

enum { CAP_VENDOR = 9, CFG_COMMON = 1, CFG_NOTIFY, CFG_ISR, CFG_DEVICE, CFG_PCI };
enum { NO_VECTOR = 0xffff, VIRTIO_VENDOR = 0x1af4, DEVICE_BASE = 0x1040, CAP_DATA = 16 };

/* --- on the I/O loop ---------------------------------------------------------------- */

static void start_queues(void *arg)
{
	struct virtio_dev *vd = arg;

	if (vd->running || vd->broken)
		return;
	vd->running = true;
	if (vd->ops->start)
		vd->ops->start(vd);
	/* buffers may have come before DRIVER_OK, or while paused */
	for (unsigned i = 0; i < vd->nqueues && vd->running; i++)
		if (vd->vq[i].enabled)
			vd->ops->queue_ready(vd, &vd->vq[i]);
}

static void stop_queues(void *arg)
{
	struct virtio_dev *vd = arg;

	if (!vd->running)
		return;
	if (vd->ops->stop)
		vd->ops->stop(vd);
	vd->running = false;
}

static void serve_kick(void *arg)
{
	struct virtq *q = arg;

	__atomic_store_n(&q->kick_pending, false,
			 __ATOMIC_SEQ_CST); /* before looking at the ring */
	if (q->vd->running && q->enabled)
		q->vd->ops->queue_ready(q->vd, q);
}

static void on_eventfd(struct loop_watch *w, uint32_t events)
{
	uint64_t n;

	if (read(w->fd, &n, sizeof(n)) == sizeof(n))
		serve_kick(container_of(w, struct virtq, watch));
}

static void raise_config(struct virtio_dev *vd)
{
	if (pci_msix_enabled(&vd->pci)) {
		pci_msix_notify(&vd->pci, __atomic_load_n(&vd->config_vector, __ATOMIC_RELAXED));
		return;
	}
	__atomic_fetch_or(&vd->isr, 2, __ATOMIC_SEQ_CST);
	pci_intx_set(&vd->pci, true);
}

void virtio_config_changed(struct virtio_dev *vd)
{
	__atomic_fetch_add(&vd->config_generation, 1, __ATOMIC_SEQ_CST);
	raise_config(vd);
}

void virtio_broken(struct virtio_dev *vd, const char *why)
{
	if (__atomic_exchange_n(&vd->broken, true, __ATOMIC_SEQ_CST))
		return;
	guest_error(&vd->pci.dev, "%s: the device needs a reset", why);
	if (vd->status & S_DRIVER_OK)
		raise_config(vd);
}

/* --- registers ------------------------------------------------------------------------- */

static struct virtq *selected(struct virtio_dev *vd)
{
	return vd->queue_sel < vd->nqueues ? &vd->vq[vd->queue_sel] : NULL;
}

static void reset_queue(struct virtq *q)
{
	q->size = q->max_size;
	q->enabled = false;
	q->msix_vector = NO_VECTOR;
	q->desc = q->avail = q->used = 0;
	q->last_avail = q->used_idx = q->signalled_used = 0;
	q->signalled_valid = false;
}

static void reset_registers(struct virtio_dev *vd)
{
	vd->status = 0;
	vd->features = 0;
	vd->feature_sel = vd->driver_feature_sel = 0;
	vd->config_vector = NO_VECTOR;
	vd->queue_sel = 0;
	__atomic_store_n(&vd->broken, false, __ATOMIC_SEQ_CST);
	__atomic_store_n(&vd->isr, 0, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < vd->nqueues; i++)
		reset_queue(&vd->vq[i]);
	pci_intx_set(&vd->pci, false);
}

static void transport_reset(struct virtio_dev *vd)
{
	loop_call(vd->loop, stop_queues, vd);
	reset_registers(vd);
}

/* An enabled queue's addresses are aligned (2.7) and its size is one the device can do. */
static bool queue_usable(const struct virtq *q)
{
	return q->size && q->size <= q->max_size && !(q->size & (q->size - 1)) &&
	       q->desc % 16 == 0 && q->avail % 2 == 0 && q->used % 4 == 0;
}

static void driver_ok(struct virtio_dev *vd)
{
	for (unsigned i = 0; i < vd->nqueues; i++) {
		if (vd->vq[i].enabled && !queue_usable(&vd->vq[i])) {
			virtio_broken(vd, "an enabled queue of bad size or alignment");
			return;
		}
	}
	loop_call(vd->loop, start_queues, vd);
}

static void write_status(struct virtio_dev *vd, uint8_t val)
{
	uint8_t set = (uint8_t)(val & ~vd->status);

	if (!val) {
		transport_reset(vd);
		return;
	}
	val &= (uint8_t)~S_NEEDS_RESET;
	if (set & S_FEATURES_OK &&
	    (vd->features & ~vd->features_offered || !(vd->features & VIRTIO_F_VERSION_1) ||
	     (vd->ops->features_ok && !vd->ops->features_ok(vd, vd->features))))
		val &= (uint8_t)~S_FEATURES_OK;
	/* bits are only added; running without agreed features is not possible */
	vd->status |= val;
	if (!(vd->status & S_FEATURES_OK))
		vd->status &= (uint8_t)~S_DRIVER_OK;
	if (set & S_DRIVER_OK && vd->status & S_DRIVER_OK)
		driver_ok(vd);
}

static uint64_t read_queue(struct virtio_dev *vd, unsigned off)
{
	const struct virtq *q = selected(vd);

	if (!q)
		return 0;
	switch (off) {
	case C_QUEUE_SIZE: return q->size;
	case C_QUEUE_MSIX_VECTOR: return q->msix_vector;
	case C_QUEUE_ENABLE: return q->enabled;
	case C_QUEUE_NOTIFY_OFF: return q->index;
	case C_QUEUE_DESC: return (uint32_t)q->desc;
	case C_QUEUE_DESC + 4: return q->desc >> 32;
	case C_QUEUE_DRIVER: return (uint32_t)q->avail;
	case C_QUEUE_DRIVER + 4: return q->avail >> 32;
	case C_QUEUE_DEVICE: return (uint32_t)q->used;
	case C_QUEUE_DEVICE + 4: return q->used >> 32;
	default: return 0;
	}
}

static uint64_t read_common(struct virtio_dev *vd, unsigned off)
{
	switch (off) {
	case C_DEVICE_FEATURE_SELECT: return vd->feature_sel;
	case C_DEVICE_FEATURE:
		return vd->feature_sel < 2
			       ? (uint32_t)(vd->features_offered >> 32 * vd->feature_sel)
			       : 0;
	case C_DRIVER_FEATURE_SELECT: return vd->driver_feature_sel;
	case C_DRIVER_FEATURE:
		return vd->driver_feature_sel < 2
			       ? (uint32_t)(vd->features >> 32 * vd->driver_feature_sel)
			       : 0;
	case C_CONFIG_MSIX_VECTOR: return vd->config_vector;
	case C_NUM_QUEUES: return vd->nqueues;
	case C_STATUS:
		return vd->status |
		       (__atomic_load_n(&vd->broken, __ATOMIC_SEQ_CST) ? S_NEEDS_RESET : 0);
	case C_CONFIG_GENERATION: return __atomic_load_n(&vd->config_generation, __ATOMIC_SEQ_CST);
	case C_QUEUE_SELECT: return vd->queue_sel;
	default: return read_queue(vd, off);
	}
}

static void set_half(uint64_t *addr, unsigned high, uint64_t val)
{
	*addr = high ? (*addr & 0xffffffff) | val << 32 : (*addr & ~0xffffffffULL) | (uint32_t)val;
}

static uint16_t checked_vector(const struct virtio_dev *vd, uint64_t val)
{
	return val < vd->pci.nmsix ? (uint16_t)val : NO_VECTOR;
}

/* Queue registers: only before DRIVER_OK, when the I/O loop does not look at them. */
static void write_queue(struct virtio_dev *vd, unsigned off, uint64_t val)
{
	struct virtq *q = selected(vd);

	if (!q)
		return;
	if (off == C_QUEUE_MSIX_VECTOR) {
		__atomic_store_n(&q->msix_vector, checked_vector(vd, val), __ATOMIC_RELAXED);
		return;
	}
	if (vd->status & S_DRIVER_OK || q->enabled) {
		guest_error(&vd->pci.dev, "queue %u: register %#x while it is in use", q->index,
			    off);
		return;
	}
	switch (off) {
	case C_QUEUE_SIZE: q->size = (uint16_t)val; break;
	case C_QUEUE_ENABLE: q->enabled = val == 1; break;
	case C_QUEUE_DESC: set_half(&q->desc, 0, val); break;
	case C_QUEUE_DESC + 4: set_half(&q->desc, 1, val); break;
	case C_QUEUE_DRIVER: set_half(&q->avail, 0, val); break;
	case C_QUEUE_DRIVER + 4: set_half(&q->avail, 1, val); break;
	case C_QUEUE_DEVICE: set_half(&q->used, 0, val); break;
	case C_QUEUE_DEVICE + 4: set_half(&q->used, 1, val); break;
	default: break;
	}
}

static void write_features(struct virtio_dev *vd, uint32_t val)
{
	if (vd->status & S_FEATURES_OK || vd->driver_feature_sel > 1)
		return;
	set_half(&vd->features, vd->driver_feature_sel, val);
}

static void write_common(struct virtio_dev *vd, unsigned off, uint64_t val)
{
	switch (off) {
	case C_DEVICE_FEATURE_SELECT: vd->feature_sel = (uint32_t)val; break;
	case C_DRIVER_FEATURE_SELECT: vd->driver_feature_sel = (uint32_t)val; break;
	case C_DRIVER_FEATURE: write_features(vd, (uint32_t)val); break;
	case C_CONFIG_MSIX_VECTOR:
		__atomic_store_n(&vd->config_vector, checked_vector(vd, val), __ATOMIC_RELAXED);
		break;
	case C_STATUS: write_status(vd, (uint8_t)val); break;
	case C_QUEUE_SELECT: vd->queue_sel = (uint16_t)val; break;
	default: write_queue(vd, off, val); break;
	}
}

static void kick(struct virtio_dev *vd, unsigned index)
{
	struct virtq *q = index < vd->nqueues ? &vd->vq[index] : NULL;

	if (!q || !(vd->status & S_DRIVER_OK))
		return;
	if (!__atomic_exchange_n(&q->kick_pending, true, __ATOMIC_SEQ_CST) &&
	    loop_post(vd->loop, serve_kick, q) < 0)
		__atomic_store_n(&q->kick_pending, false, __ATOMIC_SEQ_CST);
}

/* 64-bit registers are two 32-bit ones (4.1.3.1); an 8-byte access is split. */
static uint64_t read_common_any(struct virtio_dev *vd, unsigned off, unsigned size)
{
	if (size == 8)
		return read_common(vd, off) | read_common(vd, off + 4) << 32;
	return read_common(vd, off);
}

static uint64_t read_device_config(struct virtio_dev *vd, unsigned off, unsigned size)
{
	uint64_t val = 0;

	if (off < vd->config_len && vd->ops->config_read)
		vd->ops->config_read(vd, off, &val, MIN(size, vd->config_len - off));
	return val;
}

static uint64_t read_isr(struct virtio_dev *vd)
{
	uint8_t isr = __atomic_exchange_n(&vd->isr, 0, __ATOMIC_SEQ_CST);

	pci_intx_set(&vd->pci, false);
	return isr;
}

uint64_t virtio_read(struct device *dev, unsigned bar, uint64_t off, unsigned size)
{
	struct virtio_dev *vd = container_of(dev, struct virtio_dev, pci.dev);
	uint64_t val;

	if (bar != VBAR)
		return 0;
	if (off < OFF_COMMON + COMMON_LEN)
		return read_common_any(vd, (unsigned)off, size);
	if (off == OFF_ISR)
		return read_isr(vd);
	if (off >= OFF_DEVICE && off < OFF_DEVICE + REGION)
		return read_device_config(vd, (unsigned)(off - OFF_DEVICE), size);
	return pci_msix_read(&vd->pci, bar, off, size, &val) ? val : 0;
}

void virtio_write(struct device *dev, unsigned bar, uint64_t off, uint64_t val, unsigned size)
{
	struct virtio_dev *vd = container_of(dev, struct virtio_dev, pci.dev);

	if (bar != VBAR)
		return;
	if (off < OFF_COMMON + COMMON_LEN) {
		write_common(vd, (unsigned)off, size == 8 ? (uint32_t)val : val);
		if (size == 8)
			write_common(vd, (unsigned)off + 4, val >> 32);
	} else if (off >= OFF_DEVICE && off < OFF_DEVICE + REGION) {
		unsigned at = (unsigned)(off - OFF_DEVICE);

		if (at < vd->config_len && vd->ops->config_write)
			vd->ops->config_write(vd, at, &val, MIN(size, vd->config_len - at));
	} else if (off >= OFF_NOTIFY && off < OFF_NOTIFY + REGION) {
		kick(vd, (unsigned)(off - OFF_NOTIFY) / NOTIFY_MULTIPLIER);
	} else {
		pci_msix_write(&vd->pci, bar, off, val, size);
	}
}

/* --- the window in configuration space (4.1.4.9) ------------------------------------------ */

static bool window(struct pci_dev *p, unsigned cap, uint32_t *off, uint32_t *len)
{
	memcpy(off, p->cfg + cap + 8, 4);
	memcpy(len, p->cfg + cap + 12, 4);
	return p->cfg[cap + 4] == VBAR && (*len == 1 || *len == 2 || *len == 4) &&
	       *off % *len == 0 && *off < BAR_SIZE - 4;
}

static uint32_t window_read(struct pci_dev *p, unsigned off, unsigned len, uint32_t val)
{
	struct virtio_dev *vd = container_of(p, struct virtio_dev, pci);
	uint32_t at, size;

	if (!vd->cfg_cap || off != vd->cfg_cap + CAP_DATA || !window(p, vd->cfg_cap, &at, &size) ||
	    len != size)
		return val;
	return (uint32_t)virtio_read(&p->dev, VBAR, at, size);
}

static void window_written(struct pci_dev *p, unsigned off, unsigned len)
{
	struct virtio_dev *vd = container_of(p, struct virtio_dev, pci);
	uint32_t at, size, val;

	if (!vd->cfg_cap || off < vd->cfg_cap + CAP_DATA || off >= vd->cfg_cap + CAP_DATA + 4u ||
	    !window(p, vd->cfg_cap, &at, &size))
		return;
	memcpy(&val, p->cfg + vd->cfg_cap + CAP_DATA, 4);
	virtio_write(&p->dev, VBAR, at, size == 4 ? val : val & (BIT(size * 8) - 1), size);
}

/* --- set-up -------------------------------------------------------------------------------- */

static void add_cap(struct virtio_dev *vd, uint8_t type, uint32_t off, uint32_t len)
{
	unsigned extra = type == CFG_NOTIFY || type == CFG_PCI ? 4 : 0;
	unsigned cap = pci_dev_cap(&vd->pci, CAP_VENDOR, 16 + extra);
	uint8_t *c = vd->pci.cfg + cap;

	c[2] = (uint8_t)(16 + extra);
	c[3] = type;
	c[4] = VBAR;
	memcpy(c + 8, &off, 4);
	memcpy(c + 12, &len, 4);
	if (type == CFG_NOTIFY)
		c[16] = NOTIFY_MULTIPLIER;
	if (type == CFG_PCI) {
		memset(vd->pci.wmask + cap + 4, 0xff, 1);
		memset(vd->pci.wmask + cap + 8, 0xff, 12);
		vd->cfg_cap = (uint8_t)cap;
	}
}

/* With KVM a queue's doorbell is an eventfd: the BAR's home address is where drivers leave it. */
static int add_ioeventfd(struct virtio_dev *vd, struct virtq *q)
{
	const struct dev_env *env = vd->pci.dev.env;
	uint64_t gpa = vd->pci.bar[VBAR].home + OFF_NOTIFY + q->index * NOTIFY_MULTIPLIER;

	q->watch.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	q->watch.fn = on_eventfd;
	if (q->watch.fd < 0)
		return -errno;
	if (env->ioeventfd(env->ctx, q->watch.fd, gpa, 2, true) < 0)
		return -ENOTSUP;
	return loop_add(vd->loop, &q->watch, EPOLLIN);
}

static void set_up_queues(struct virtio_dev *vd, const struct virtio_setup *s)
{
	vd->nqueues = s->nqueues;
	for (unsigned i = 0; i < s->nqueues; i++) {
		struct virtq *q = &vd->vq[i];

		q->vd = vd;
		q->index = i;
		q->max_size = s->queue_size;
		q->watch.fd = -1;
	}
}

static void drop_ioeventfds(struct virtio_dev *vd)
{
	for (unsigned i = 0; i < vd->nqueues; i++) {
		loop_del(&vd->vq[i].watch);
		if (vd->vq[i].watch.fd >= 0)
			close(vd->vq[i].watch.fd);
		vd->vq[i].watch.fd = -1;
	}
}

/* Doorbells that could not be wired up still work as register writes. */
static void add_ioeventfds(void *arg)
{
	struct virtio_dev *vd = arg;

	for (unsigned i = 0; i < vd->nqueues; i++) {
		if (add_ioeventfd(vd, &vd->vq[i]) < 0) {
			drop_ioeventfds(vd);
			return;
		}
	}
}

int virtio_setup(struct virtio_dev *vd, const struct virtio_ops *ops, const struct virtio_setup *s,
		 struct errbuf *err)
{
	struct pci_ids ids = {
		.vendor = VIRTIO_VENDOR,
		.device = (uint16_t)(DEVICE_BASE + ops->device_id),
		.subvendor = VIRTIO_VENDOR,
		.subdevice = ops->device_id,
		.class_rev = ops->pci_class << 8 | 1,
	};
	int ret = pci_dev_setup(&vd->pci, s->host, -1, &ids, err);

	if (ret)
		return ret;
	vd->ops = ops;
	vd->loop = s->loop;
	vd->features_offered =
		s->features | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;
	vd->config_len = s->config_len;
	set_up_queues(vd, s);
	pci_dev_bar(&vd->pci, VBAR, BAR_SIZE, false, false);
	add_cap(vd, CFG_COMMON, OFF_COMMON, COMMON_LEN);
	add_cap(vd, CFG_NOTIFY, OFF_NOTIFY, s->nqueues * NOTIFY_MULTIPLIER);
	add_cap(vd, CFG_ISR, OFF_ISR, 1);
	if (s->config_len)
		add_cap(vd, CFG_DEVICE, OFF_DEVICE, s->config_len);
	add_cap(vd, CFG_PCI, 0, 0);
	pci_dev_msix(&vd->pci, s->nqueues + 1, VBAR, OFF_MSIX, OFF_PBA);
	vd->pci.cfg_read_hook = window_read;
	vd->pci.cfg_written = window_written;
	pci_dev_ready(&vd->pci);
	reset_registers(vd);
	if (vd->pci.dev.env->ioeventfd)
		loop_call(vd->loop, add_ioeventfds, vd);
	return 0;
}

static void teardown_on_loop(void *arg)
{
	stop_queues(arg);
	drop_ioeventfds(arg);
}

void virtio_teardown(struct virtio_dev *vd)
{
	if (vd->loop)
		loop_call(vd->loop, teardown_on_loop, vd);
	pci_dev_teardown(&vd->pci);
}

void virtio_reset(struct device *dev)
{
	struct virtio_dev *vd = container_of(dev, struct virtio_dev, pci.dev);

	transport_reset(vd);
	pci_dev_reset(&vd->pci);
}

void virtio_pause(struct device *dev)
{
	struct virtio_dev *vd = container_of(dev, struct virtio_dev, pci.dev);

	loop_call(vd->loop, stop_queues, vd);
}

void virtio_resume(struct device *dev)
{
	struct virtio_dev *vd = container_of(dev, struct virtio_dev, pci.dev);

	pci_dev_remap(&vd->pci);
	if (vd->status & S_DRIVER_OK)
		loop_call(vd->loop, start_queues, vd);
}

/* --- state ------------------------------------------------------------------------------------ */

static const struct state_field vq_fields[] = {
	STATE_INT(struct virtq, size),
	STATE_INT(struct virtq, enabled),
	STATE_INT(struct virtq, msix_vector),
	STATE_INT(struct virtq, desc),
	STATE_INT(struct virtq, avail),
	STATE_INT(struct virtq, used),
	STATE_INT(struct virtq, last_avail),
	STATE_INT(struct virtq, used_idx),
	STATE_INT(struct virtq, signalled_used),
	STATE_INT(struct virtq, signalled_valid),
	STATE_FIELDS_END,
};

const struct state_field virtio_dev_fields[] = {
	STATE_STRUCT(struct virtio_dev, pci, pci_dev_fields),
	STATE_INT(struct virtio_dev, features),
	STATE_INT(struct virtio_dev, feature_sel),
	STATE_INT(struct virtio_dev, driver_feature_sel),
	STATE_INT(struct virtio_dev, status),
	STATE_INT(struct virtio_dev, config_generation),
	STATE_INT(struct virtio_dev, config_vector),
	STATE_INT(struct virtio_dev, queue_sel),
	STATE_INT(struct virtio_dev, broken),
	STATE_INT(struct virtio_dev, isr),
	STATE_STRUCTS(struct virtio_dev, vq, vq_fields),
	STATE_FIELDS_END,
};

void virtio_pre_save(struct virtio_dev *vd)
{
	pci_dev_pre_save(&vd->pci);
}

int virtio_post_load(struct virtio_dev *vd, struct errbuf *err)
{
	const char *id = vd->pci.dev.id;
	int ret = pci_dev_post_load(&vd->pci, err);

	if (ret)
		return ret;
	if (vd->features & ~vd->features_offered)
		return err_set(err, -EINVAL,
			       "%s: the state uses features %#llx, this device has %#llx", id,
			       (unsigned long long)vd->features,
			       (unsigned long long)vd->features_offered);
	for (unsigned i = 0; i < vd->nqueues; i++) {
		struct virtq *q = &vd->vq[i];

		q->kick_pending = false;
		if (q->enabled && vd->status & S_DRIVER_OK && !queue_usable(q))
			return err_set(err, -EINVAL, "%s: queue %u has size %u", id, i, q->size);
		if (q->msix_vector != NO_VECTOR && q->msix_vector >= vd->pci.nmsix)
			return err_set(err, -EINVAL, "%s: queue %u has vector %u", id, i,
				       q->msix_vector);
	}
	return 0;
}
