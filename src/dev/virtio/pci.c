/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pci.c - virtio over PCI: registers, negotiation, reset, saved state.
 *
 * The structures lie in one BAR, a page each (internal.h), and are also reachable
 * through a window in the configuration space.  Register accesses come from vCPUs
 * under the device's lock.  Queue registers are frozen once a queue is enabled, so
 * the I/O loop reads them without a lock; serve.c describes how both sides meet.
 * A reset has taken place when the write of 0 to the status returns.
 *
 * Source: virtio 1.2, 2.1 to 2.4 and 4.1.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/thread.h"
#include "dev/virtio/internal.h"

enum { VENDOR_ID = 0x1af4, DEVICE_ID_BASE = 0x1040, SUBSYSTEM_ID = 0x1100, REVISION = 1 };
enum { CAP_VENDOR = 9, CAP_LEN = 16, CAP_LEN_LONG = 20 };
enum {
	CAP_CFG_LEN = 2,
	CAP_TYPE = 3,
	CAP_BAR = 4,
	CAP_OFFSET = 8,
	CAP_LENGTH = 12,
	CAP_EXTRA = 16
};
enum { TYPE_COMMON = 1, TYPE_NOTIFY, TYPE_ISR, TYPE_DEVICE, TYPE_PCI_CFG };

struct common { /* 4.1.4.3 */
	uint32_t device_feature_select, device_feature;
	uint32_t driver_feature_select, driver_feature;
	uint16_t config_vector, num_queues;
	uint8_t status, config_generation;
	uint16_t queue_select, queue_size, queue_vector, queue_enable, queue_notify_off;
	uint64_t queue_desc, queue_driver, queue_device;
};
#define COMMON(field) offsetof(struct common, field)

static struct virtio_dev *to_virtio(struct device *dev)
{
	return container_of(dev, struct virtio_dev, pci.dev);
}

static struct virtq *selected(struct virtio_dev *vd)
{
	return vd->queue_sel < vd->nqueues ? &vd->vq[vd->queue_sel] : NULL;
}

/* --- reading ---------------------------------------------------------------------- */

static uint32_t feature_word(uint64_t features, uint32_t sel)
{
	return sel < 2 ? (uint32_t)(features >> (sel * 32)) : 0;
}

static void fill_common(struct virtio_dev *vd, struct common *c)
{
	const struct virtq *q = selected(vd);

	*c = (struct common){
		.device_feature_select = vd->feature_sel,
		.device_feature = feature_word(vd->features_offered, vd->feature_sel),
		.driver_feature_select = vd->driver_feature_sel,
		.driver_feature = feature_word(vd->features, vd->driver_feature_sel),
		.config_vector = vd->config_vector,
		.num_queues = (uint16_t)vd->nqueues,
		.status = vd->status | (virtio_is_broken(vd) ? STATUS_NEEDS_RESET : 0),
		.config_generation = __atomic_load_n(&vd->config_generation, __ATOMIC_SEQ_CST),
		.queue_select = vd->queue_sel,
	};
	if (!q)
		return; /* size 0: there is no such queue */
	c->queue_size = q->size;
	c->queue_vector = q->msix_vector;
	c->queue_enable = q->enabled;
	c->queue_notify_off = (uint16_t)q->index;
	c->queue_desc = q->desc;
	c->queue_driver = q->avail;
	c->queue_device = q->used;
}

static uint64_t read_common(struct virtio_dev *vd, uint64_t off, unsigned size)
{
	struct common c;
	uint64_t val = 0;

	if (off > sizeof(c) - size)
		return 0;
	fill_common(vd, &c);
	memcpy(&val, (const uint8_t *)&c + off, size);
	return val;
}

static uint64_t read_isr(struct virtio_dev *vd)
{
	LOCK_SCOPE(&vd->pci.irq_lock);
	uint8_t isr = vd->isr;

	vd->isr = 0;
	pci_intx_set_locked(&vd->pci, false);
	return isr;
}

static uint64_t read_device(struct virtio_dev *vd, uint64_t off, unsigned size)
{
	uint64_t val = 0;

	if (vd->ops->config_read && off < vd->config_len)
		vd->ops->config_read(vd, (unsigned)off, &val,
				     MIN(size, vd->config_len - (unsigned)off));
	return val;
}

uint64_t virtio_read(struct device *dev, unsigned bar, uint64_t off, unsigned size)
{
	struct virtio_dev *vd = to_virtio(dev);
	uint64_t val;

	switch (off & ~0xfffULL) {
	case BAR_COMMON: return read_common(vd, off, size);
	case BAR_ISR: return off == BAR_ISR ? read_isr(vd) : 0;
	case BAR_DEVICE: return read_device(vd, off - BAR_DEVICE, size);
	case BAR_MSIX: return pci_msix_read(&vd->pci, bar, off, size, &val) ? val : 0;
	default: return 0;
	}
}

/* --- status ------------------------------------------------------------------------- */

/* Everything as after power-on; nothing is being served. */
void virtio_clear(struct virtio_dev *vd)
{
	vd->features = 0;
	vd->feature_sel = vd->driver_feature_sel = 0;
	vd->status = vd->config_generation = 0;
	vd->queue_sel = 0;
	__atomic_store_n(&vd->config_vector, VIRTIO_NO_VECTOR, __ATOMIC_RELAXED);
	__atomic_store_n(&vd->broken, false, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++) {
		struct virtq *q = &vd->vq[i];

		q->size = q->max_size;
		q->enabled = q->signalled_valid = false;
		q->desc = q->avail = q->used = 0;
		q->last_avail = q->used_idx = q->signalled_used = 0;
		__atomic_store_n(&q->msix_vector, VIRTIO_NO_VECTOR, __ATOMIC_RELAXED);
	}
	read_isr(vd);
	if (vd->ops->reset)
		vd->ops->reset(vd);
}

static bool features_acceptable(struct virtio_dev *vd)
{
	return !(vd->features & ~vd->features_offered) && (vd->features & VIRTIO_F_VERSION_1) &&
	       (!vd->ops->features_ok || vd->ops->features_ok(vd, vd->features));
}

static void write_status(struct virtio_dev *vd, uint8_t val)
{
	uint8_t was = vd->status;

	if (!val) {
		virtio_stop(vd);
		virtio_clear(vd);
		return;
	}
	val = (val & STATUS_DRIVERS) | was; /* bits go away by reset only */
	if (val & ~was & STATUS_FEATURES_OK && !features_acceptable(vd))
		val &= (uint8_t)~STATUS_FEATURES_OK;
	if (val & STATUS_DRIVER_OK && !(val & STATUS_FEATURES_OK))
		val &= (uint8_t)~STATUS_DRIVER_OK; /* a legacy driver: not served */
	vd->status = val;
	if (val & ~was & STATUS_DRIVER_OK)
		virtio_start(vd);
}

/* --- writing -------------------------------------------------------------------------- */

static void write_features(struct virtio_dev *vd, uint32_t val)
{
	unsigned shift = vd->driver_feature_sel * 32;

	if (vd->driver_feature_sel > 1 || vd->status & STATUS_FEATURES_OK)
		return;
	vd->features = (vd->features & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)val << shift;
}

static uint16_t existing_vector(const struct virtio_dev *vd, uint16_t vector)
{
	return vector < vd->pci.nmsix ? vector : VIRTIO_NO_VECTOR;
}

static void enable_queue(struct virtio_dev *vd, struct virtq *q)
{
	bool late = vd->started;

	if (!virtq_placed(q)) {
		virtio_broken(vd, "a queue is enabled that is misaligned or not in RAM");
		return;
	}
	if (late) /* the I/O loop reads what we write */
		virtio_stop(vd);
	q->enabled = true;
	if (late)
		virtio_start(vd);
}

static void write_half(uint64_t *reg, bool high, uint64_t val, unsigned size)
{
	if (size == 8)
		*reg = val;
	else if (high)
		*reg = (uint32_t)*reg | val << 32;
	else
		*reg = (*reg & ~(uint64_t)UINT32_MAX) | (uint32_t)val;
}

static void write_queue(struct virtio_dev *vd, struct virtq *q, uint64_t off, uint64_t val,
			unsigned size)
{
	if (off == COMMON(queue_vector)) {
		__atomic_store_n(&q->msix_vector, existing_vector(vd, (uint16_t)val),
				 __ATOMIC_RELAXED);
		return;
	}
	if (q->enabled) {
		guest_error(&vd->pci.dev, "queue %u is enabled and cannot change", q->index);
		return;
	}
	switch (off) {
	case COMMON(queue_size):
		if (val && val <= q->max_size && !(val & (val - 1)))
			q->size = (uint16_t)val;
		else
			guest_error(&vd->pci.dev, "queue size %u", (unsigned)val);
		break;
	case COMMON(queue_enable):
		if (val == 1)
			enable_queue(vd, q);
		break;
	case COMMON(queue_desc):
	case COMMON(queue_desc) + 4: write_half(&q->desc, off & 4, val, size); break;
	case COMMON(queue_driver):
	case COMMON(queue_driver) + 4: write_half(&q->avail, off & 4, val, size); break;
	case COMMON(queue_device):
	case COMMON(queue_device) + 4: write_half(&q->used, off & 4, val, size); break;
	}
}

/* How wide the register at @off is, 0: none starts there. */
static unsigned register_size(uint64_t off)
{
	if (off < COMMON(config_vector))
		return off % 4 ? 0 : 4;
	if (off == COMMON(status) || off == COMMON(config_generation))
		return 1;
	if (off < COMMON(queue_desc))
		return off % 2 ? 0 : 2;
	return off % 4 ? 0 : 4; /* halves of 64-bit registers */
}

static void write_common(struct virtio_dev *vd, uint64_t off, uint64_t val, unsigned size)
{
	struct virtq *q = selected(vd);
	bool whole = off >= COMMON(queue_desc) && size == 8 && off % 8 == 0;

	if (off >= sizeof(struct common) || (size != register_size(off) && !whole)) {
		guest_error(&vd->pci.dev, "write of %u bytes to common register %#x", size,
			    (unsigned)off);
		return;
	}
	switch (off) {
	case COMMON(device_feature_select): vd->feature_sel = (uint32_t)val; break;
	case COMMON(driver_feature_select): vd->driver_feature_sel = (uint32_t)val; break;
	case COMMON(driver_feature): write_features(vd, (uint32_t)val); break;
	case COMMON(config_vector):
		__atomic_store_n(&vd->config_vector, existing_vector(vd, (uint16_t)val),
				 __ATOMIC_RELAXED);
		break;
	case COMMON(status): write_status(vd, (uint8_t)val); break;
	case COMMON(queue_select): vd->queue_sel = (uint16_t)val; break;
	default:
		if (q)
			write_queue(vd, q, off, val, size);
		break;
	}
}

static void write_device(struct virtio_dev *vd, uint64_t off, uint64_t val, unsigned size)
{
	if (vd->ops->config_write && off < vd->config_len && size <= vd->config_len - off)
		vd->ops->config_write(vd, (unsigned)off, &val, size);
}

static void write_notify(struct virtio_dev *vd, uint64_t off)
{
	uint64_t n = off / NOTIFY_STRIDE;

	if (vd->started && n < vd->nqueues)
		virtio_kick(vd, (unsigned)n);
}

void virtio_write(struct device *dev, unsigned bar, uint64_t off, uint64_t val, unsigned size)
{
	struct virtio_dev *vd = to_virtio(dev);

	switch (off & ~0xfffULL) {
	case BAR_NOTIFY: write_notify(vd, off - BAR_NOTIFY); break;
	case BAR_COMMON: write_common(vd, off, val, size); break;
	case BAR_DEVICE: write_device(vd, off - BAR_DEVICE, val, size); break;
	case BAR_MSIX: pci_msix_write(&vd->pci, bar, off, val, size); break;
	}
}

/* --- configuration space: 4.1.4.9 and what follows from Bus Master --------------------------- */

/* Does the access touch the window's data, and is the window set up sensibly? */
static bool window(struct virtio_dev *vd, unsigned off, unsigned len, uint32_t *to, uint32_t *size)
{
	const uint8_t *cap = &vd->pci.cfg[vd->pci_cfg_cap];
	unsigned data = vd->pci_cfg_cap + CAP_EXTRA;

	if (off >= data + 4 || off + len <= data)
		return false;
	memcpy(to, cap + CAP_OFFSET, 4);
	memcpy(size, cap + CAP_LENGTH, 4);
	return cap[CAP_BAR] == VIRTIO_BAR && (*size == 1 || *size == 2 || *size == 4) &&
	       *to % *size == 0 && *to < BAR_SIZE;
}

static uint32_t cfg_read(struct pci_dev *p, unsigned off, unsigned len, uint32_t val)
{
	struct virtio_dev *vd = container_of(p, struct virtio_dev, pci);
	unsigned data = vd->pci_cfg_cap + CAP_EXTRA;
	uint32_t from, size;
	uint64_t got;

	if (!window(vd, off, len, &from, &size))
		return val;
	got = virtio_read(&p->dev, VIRTIO_BAR, from, size);
	memcpy(&p->cfg[data], &got, size);
	memcpy(&val, &p->cfg[off], len);
	return val;
}

static void cfg_written(struct pci_dev *p, unsigned off, unsigned len)
{
	struct virtio_dev *vd = container_of(p, struct virtio_dev, pci);
	uint32_t to, size, val = 0;

	if (window(vd, off, len, &to, &size)) {
		memcpy(&val, &p->cfg[vd->pci_cfg_cap + CAP_EXTRA], size);
		virtio_write(&p->dev, VIRTIO_BAR, to, val, size);
	}
	/* Bus Master may have been set: queues were not looked at without it */
	for (unsigned i = 0; off <= 4 && vd->started && i < vd->nqueues; i++)
		virtio_kick(vd, i);
}

static void bar_moved(struct pci_dev *p, unsigned n)
{
	virtio_ioeventfds_update(container_of(p, struct virtio_dev, pci));
}

static unsigned add_cap(struct virtio_dev *vd, unsigned type, uint32_t off, uint32_t len)
{
	bool is_long = type == TYPE_NOTIFY || type == TYPE_PCI_CFG;
	unsigned cap_len = is_long ? CAP_LEN_LONG : CAP_LEN;
	unsigned at = pci_dev_cap(&vd->pci, CAP_VENDOR, cap_len);
	uint8_t *cap = &vd->pci.cfg[at];

	cap[CAP_CFG_LEN] = (uint8_t)cap_len;
	cap[CAP_TYPE] = (uint8_t)type;
	cap[CAP_BAR] = VIRTIO_BAR;
	memcpy(cap + CAP_OFFSET, &off, 4);
	memcpy(cap + CAP_LENGTH, &len, 4);
	return at;
}

static void add_caps(struct virtio_dev *vd)
{
	unsigned notify;

	add_cap(vd, TYPE_COMMON, BAR_COMMON, sizeof(struct common));
	notify = add_cap(vd, TYPE_NOTIFY, BAR_NOTIFY, vd->nqueues * NOTIFY_STRIDE);
	vd->pci.cfg[notify + CAP_EXTRA] = NOTIFY_STRIDE;
	add_cap(vd, TYPE_ISR, BAR_ISR, 1);
	if (vd->config_len)
		add_cap(vd, TYPE_DEVICE, BAR_DEVICE, vd->config_len);
	vd->pci_cfg_cap = (uint8_t)add_cap(vd, TYPE_PCI_CFG, 0, 0);
	vd->pci.wmask[vd->pci_cfg_cap + CAP_BAR] = 0xff;
	memset(&vd->pci.wmask[vd->pci_cfg_cap + CAP_OFFSET], 0xff, 12);
}

/* --- life --------------------------------------------------------------------------------------
 */

static int open_eventfds(struct virtio_dev *vd, struct errbuf *err)
{
	bool doorbells = vd->pci.dev.env->ioeventfd != NULL;

	vd->kick_watch.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (vd->kick_watch.fd < 0)
		return err_set(err, -errno, "%s: eventfd: %m", vd->pci.dev.id);
	for (unsigned i = 0; doorbells && i < vd->nqueues; i++)
		vd->vq[i].watch.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return 0;
}

int virtio_setup(struct virtio_dev *vd, const struct virtio_ops *ops, const struct virtio_setup *s,
		 struct errbuf *err)
{
	const struct pci_ids ids = {
		.vendor = VENDOR_ID,
		.device = (uint16_t)(DEVICE_ID_BASE + ops->device_id),
		.subvendor = VENDOR_ID,
		.subdevice = SUBSYSTEM_ID,
		.class_rev = ops->pci_class | REVISION,
	};
	int ret;

	vd->ops = ops;
	vd->loop = s->loop;
	vd->nqueues = s->nqueues;
	vd->config_len = s->config_len;
	vd->features_offered =
		s->features | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;
	vd->kick_watch.fd = -1;
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++) {
		vd->vq[i].vd = vd;
		vd->vq[i].index = i;
		vd->vq[i].max_size = i < s->nqueues ? s->queue_size : 0;
		vd->vq[i].watch.fd = -1;
	}
	ret = open_eventfds(vd, err);
	if (!ret)
		ret = pci_dev_setup(&vd->pci, s->host, -1, &ids, err);
	if (ret)
		return ret;
	pci_dev_bar(&vd->pci, VIRTIO_BAR, BAR_SIZE, false, false);
	add_caps(vd);
	pci_dev_msix(&vd->pci, vd->nqueues + 1, VIRTIO_BAR, BAR_MSIX, BAR_PBA);
	vd->pci.cfg_read_hook = cfg_read;
	vd->pci.cfg_written = cfg_written;
	vd->pci.bar_moved = bar_moved;
	pci_dev_ready(&vd->pci);
	virtio_clear(vd);
	return 0;
}

void virtio_teardown(struct virtio_dev *vd)
{
	if (!vd->ops)
		return; /* virtio_setup() was not reached */
	virtio_stop(vd);
	if (vd->kick_watch.fd >= 0)
		close(vd->kick_watch.fd);
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
		if (vd->vq[i].watch.fd >= 0)
			close(vd->vq[i].watch.fd);
	pci_dev_teardown(&vd->pci);
}

void virtio_reset(struct device *dev)
{
	struct virtio_dev *vd = to_virtio(dev);

	virtio_stop(vd);
	virtio_clear(vd);
	pci_dev_reset(&vd->pci);
}

/* --- state ---------------------------------------------------------------------------------------
 */

static const struct state_field virtq_fields[] = {
	STATE_INT(struct virtq, size),
	STATE_INT(struct virtq, enabled),
	STATE_INT(struct virtq, msix_vector),
	STATE_INT(struct virtq, desc),
	STATE_INT(struct virtq, avail),
	STATE_INT(struct virtq, used),
	STATE_INT(struct virtq, last_avail),
	STATE_INT(struct virtq, used_idx),
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
	STATE_STRUCTS(struct virtio_dev, vq, virtq_fields),
	STATE_FIELDS_END,
};

/* Could a driver have brought the queue into this state?  Its bytes are any. */
static bool queue_possible(const struct virtio_dev *vd, struct virtq *q)
{
	if (!state_bool_ok(&q->enabled) || q->size > q->max_size || q->size & (q->size - 1) ||
	    (!q->size && q->max_size))
		return false;
	q->msix_vector = existing_vector(vd, q->msix_vector);
	return !q->enabled ||
	       (virtq_placed(q) && (uint16_t)(q->last_avail - q->used_idx) <= q->size);
}

static bool state_possible(struct virtio_dev *vd)
{
	bool bools = state_bool_ok(&vd->broken);

	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
		if (!queue_possible(vd, &vd->vq[i]))
			return false;
	if (vd->status & STATUS_DRIVER_OK && !(vd->status & STATUS_FEATURES_OK))
		return false;
	if (vd->status & STATUS_FEATURES_OK && !features_acceptable(vd))
		return false;
	return bools && !(vd->status & ~STATUS_DRIVERS);
}

int virtio_post_load(struct virtio_dev *vd, struct errbuf *err)
{
	int ret = pci_dev_post_load(&vd->pci, err);

	if (!ret && !state_possible(vd))
		ret = err_set(err, -EINVAL,
			      "%s: the saved queues or features (%#llx, offered here: %#llx) do "
			      "not fit this device; start it with the options it was saved with",
			      vd->pci.dev.id, (unsigned long long)vd->features,
			      (unsigned long long)vd->features_offered);
	if (ret) {
		virtio_clear(vd);
		return ret;
	}
	vd->config_vector = existing_vector(vd, vd->config_vector);
	vd->isr &= ISR_QUEUE | ISR_CONFIG;
	pci_intx_set(&vd->pci, vd->isr && !pci_msix_enabled(&vd->pci));
	return 0;
}
