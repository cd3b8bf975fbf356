/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rng.c - virtio entropy device (virtio 1.2, 5.4): the host kernel's random bytes.
 *
 * Each buffer is filled at once, at most MAX_BYTES of it; a guest that asks without end
 * competes with itself only, one batch a kick.
 */
#include <sys/random.h>

#include "dev/virtio/virtio.h"

enum { QUEUE_SIZE = 8, MAX_BYTES = 256 };

struct rng {
	struct virtio_dev vd;
	struct virtq_elem elem; /* I/O loop's */
};

static void rng_queue_ready(struct virtio_dev *vd, struct virtq *q)
{
	struct virtq_elem *e = &container_of(vd, struct rng, vd)->elem;

	while (virtq_pop(q, e) > 0) {
		uint8_t buf[MAX_BYTES];
		uint32_t want = MIN(e->in_len, (uint32_t)MAX_BYTES);
		ssize_t n = getrandom(buf, want, 0);

		n = n < 0 ? 0 : n;
		virtq_in_copy(e, 0, buf, (size_t)n);
		virtq_push(q, e, (uint32_t)n);
		virtq_notify(q);
	}
}

static const struct virtio_ops rng_virtio_ops = {
	.name = "virtio-rng",
	.device_id = 4,
	.pci_class = 0x1000 << 8,
	.queue_ready = rng_queue_ready,
};

static int rng_init(struct device *dev, const void *cfg, struct errbuf *err)
{
	const struct virtio_rng_config *c = cfg;
	struct virtio_setup s = {
		.host = c->host, .loop = c->loop, .nqueues = 1, .queue_size = QUEUE_SIZE};

	return virtio_setup(&container_of(dev, struct rng, vd.pci.dev)->vd, &rng_virtio_ops, &s,
			    err);
}

static void rng_fini(struct device *dev)
{
	virtio_teardown(&container_of(dev, struct rng, vd.pci.dev)->vd);
}

static void rng_pre_save(void *obj)
{
	virtio_pre_save(&((struct rng *)obj)->vd);
}

static int rng_post_load(void *obj, struct errbuf *err)
{
	return virtio_post_load(&((struct rng *)obj)->vd, err);
}

static const struct state_field rng_fields[] = {
	STATE_STRUCT(struct rng, vd, virtio_dev_fields),
	STATE_FIELDS_END,
};
static const struct state_desc rng_state = {
	.name = "virtio-rng",
	.version = 1,
	.fields = rng_fields,
	.pre_save = rng_pre_save,
	.post_load = rng_post_load,
};

const struct dev_ops virtio_rng_ops = {
	.name = "virtio-rng",
	.size = sizeof(struct rng),
	.init = rng_init,
	.fini = rng_fini,
	.reset = virtio_reset,
	.read = virtio_read,
	.write = virtio_write,
	.pause = virtio_pause,
	.resume = virtio_resume,
	.state = &rng_state,
};
