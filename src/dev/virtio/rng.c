/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rng.c - virtio entropy device (virtio 1.2, 5.4): the host kernel's random bytes.
 *
 * A bucket of bytes bounds the rate: it fills with VM time, and when it is empty the
 * ring waits for a timer.  A buffer may be filled partly, as the device pleases.
 */
#include <sys/random.h>

#include "dev/virtio/virtio.h"

enum { QUEUE_SIZE = 64, BATCH = 64, CHUNK = 256 };
enum { BYTES_PER_S = 1 << 20, BUCKET = 64 * 1024, REFILL_MS = 10 };
#define NS_PER_MS 1000000ULL
#define NS_PER_S  1000000000ULL

struct rng { /* I/O loop */
	struct virtio_dev vd;
	struct virtq_elem e;
	struct timer refill;
	uint64_t tokens, counted_ns; /* bytes that may be given; VM time they are counted to */
};

static void refill(struct rng *r)
{
	uint64_t now = vclock_ns(r->vd.pci.dev.env->clock);
	uint64_t add = mul_div64(now - r->counted_ns, BYTES_PER_S, NS_PER_S);

	if (now < r->counted_ns) /* the clock was loaded */
		add = BUCKET;
	if (!add)
		return;
	r->tokens = MIN(r->tokens + add, (uint64_t)BUCKET);
	r->counted_ns = now;
}

/* Fill the writable part of the chain as far as the tokens go; returns the bytes. */
static uint32_t fill(struct rng *r)
{
	uint32_t want = (uint32_t)MIN((uint64_t)r->e.in_len, r->tokens), done = 0;

	while (done < want) {
		uint8_t buf[CHUNK];
		ssize_t n = getrandom(buf, MIN(want - done, (uint32_t)CHUNK), GRND_NONBLOCK);

		if (n <= 0)
			break; /* the host has just booted: the guest asks again */
		done += (uint32_t)virtq_in_copy(&r->e, done, buf, (size_t)n);
	}
	r->tokens -= done;
	return done;
}

static void rng_queue_ready(struct virtio_dev *vd, struct virtq *q)
{
	struct rng *r = container_of(vd, struct rng, vd);
	unsigned n = 0;

	refill(r);
	while (n < BATCH && r->tokens && virtq_pop(q, &r->e) > 0) {
		virtq_push(q, &r->e, fill(r));
		n++;
	}
	if (n)
		virtq_notify(q);
	if (!r->tokens)
		timer_arm(&r->refill, r->counted_ns + REFILL_MS * NS_PER_MS);
	else if (n == BATCH)
		virtio_kick(vd, q->index);
}

static void on_refill(struct timer *t)
{
	virtio_kick(&container_of(t, struct rng, refill)->vd, 0);
}

static void rng_stop(struct virtio_dev *vd)
{
	timer_stop(&container_of(vd, struct rng, vd)->refill);
}

static const struct virtio_ops ops = {
	.name = "virtio-rng",
	.device_id = 4,
	.pci_class = 0x00ff00 << 8, /* no class fits */
	.stop = rng_stop,
	.queue_ready = rng_queue_ready,
};

static int rng_init(struct device *dev, const void *cfg, struct errbuf *err)
{
	struct rng *r = container_of(dev, struct rng, vd.pci.dev);
	const struct virtio_rng_config *c = cfg;
	struct virtio_setup s = {
		.host = c->host, .loop = c->loop, .nqueues = 1, .queue_size = QUEUE_SIZE};

	r->tokens = BUCKET;
	timer_init(&r->refill, c->loop, dev->env->clock, on_refill);
	return virtio_setup(&r->vd, &ops, &s, err);
}

static void rng_fini(struct device *dev)
{
	virtio_teardown(&container_of(dev, struct rng, vd.pci.dev)->vd);
}

static int rng_post_load(void *obj, struct errbuf *err)
{
	return virtio_post_load(&((struct rng *)obj)->vd, err);
}

static const struct state_field fields[] = {
	STATE_STRUCT(struct rng, vd, virtio_dev_fields),
	STATE_FIELDS_END,
};

static const struct state_desc state = {
	.name = "virtio-rng",
	.version = 1,
	.fields = fields,
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
	.state = &state,
};
