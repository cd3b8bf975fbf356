/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console.c - virtio console with one port of 80x25 (virtio 1.2, 5.3).
 *
 * Output goes from the ring to the character back end, which copies and never blocks.
 * Input comes on the back end's loop, which need not be the one that serves the
 * queues, so it passes through a small buffer with a lock of its own; the back end
 * waits while that is full.
 */
#include <errno.h>
#include <string.h>

#include "base/thread.h"
#include "dev/chardev.h"
#include "dev/virtio/virtio.h"

enum { F_SIZE = 0, F_EMERG_WRITE = 2 };
enum { RX, TX, NQUEUES, QUEUE_SIZE = 64, BATCH = 64, INPUT = 256, COLS = 80, ROWS = 25 };

struct console_config { /* 5.3.4 */
	uint16_t cols, rows;
	uint32_t max_nr_ports, emerg_wr;
};

struct console {
	struct virtio_dev vd;
	struct chardev *chr;
	struct chardev_client client;
	struct virtq_elem e;  /* I/O loop */
	pthread_mutex_t lock; /* leaf; guards input */
	uint8_t input[INPUT];
	uint16_t input_len;
};

static struct console *to_console(struct virtio_dev *vd)
{
	return container_of(vd, struct console, vd);
}

/* --- input ------------------------------------------------------------------------ */

static size_t can_receive(struct chardev_client *client)
{
	struct console *c = container_of(client, struct console, client);
	LOCK_SCOPE(&c->lock);

	return INPUT - c->input_len;
}

static void receive(struct chardev_client *client, const uint8_t *buf, size_t len)
{
	struct console *c = container_of(client, struct console, client);

	pthread_mutex_lock(&c->lock);
	len = MIN(len, (size_t)(INPUT - c->input_len));
	memcpy(c->input + c->input_len, buf, len);
	c->input_len = (uint16_t)(c->input_len + len);
	pthread_mutex_unlock(&c->lock);
	virtio_kick(&c->vd, RX);
}

/* Move buffered input into the popped chain; returns the bytes. */
static uint32_t take_input(struct console *c)
{
	LOCK_SCOPE(&c->lock);
	size_t n = virtq_in_copy(&c->e, 0, c->input, c->input_len);

	memmove(c->input, c->input + n, c->input_len - n);
	c->input_len = (uint16_t)(c->input_len - n);
	return (uint32_t)n;
}

static bool has_input(struct console *c)
{
	LOCK_SCOPE(&c->lock);
	return c->input_len;
}

static void fill_rx(struct console *c, struct virtq *q)
{
	unsigned n = 0;

	while (n < BATCH && has_input(c) && virtq_pop(q, &c->e) > 0) {
		virtq_push(q, &c->e, take_input(c));
		n++;
	}
	if (!n)
		return;
	virtq_notify(q);
	if (c->chr)
		chardev_accept(c->chr);
	if (n == BATCH)
		virtio_kick(&c->vd, RX);
}

/* --- output ------------------------------------------------------------------------ */

static void drain_tx(struct console *c, struct virtq *q)
{
	unsigned n = 0;

	while (n < BATCH && virtq_pop(q, &c->e) > 0) {
		for (unsigned i = 0; c->chr && i < c->e.nout; i++)
			chardev_write(c->chr, c->e.out[i].iov_base, c->e.out[i].iov_len);
		virtq_push(q, &c->e, 0);
		n++;
	}
	if (n)
		virtq_notify(q);
	if (n == BATCH)
		virtio_kick(&c->vd, TX);
}

static void console_queue_ready(struct virtio_dev *vd, struct virtq *q)
{
	if (q->index == RX)
		fill_rx(to_console(vd), q);
	else
		drain_tx(to_console(vd), q);
}

/* --- configuration ------------------------------------------------------------------- */

static void console_config_read(struct virtio_dev *vd, unsigned off, void *buf, unsigned len)
{
	const struct console_config cfg = {.cols = COLS, .rows = ROWS, .max_nr_ports = 1};

	memcpy(buf, (const uint8_t *)&cfg + off, len);
}

static void console_config_write(struct virtio_dev *vd, unsigned off, const void *buf, unsigned len)
{
	struct console *c = to_console(vd);

	if (off == offsetof(struct console_config, emerg_wr) && c->chr)
		chardev_write(c->chr, buf, 1); /* works before the driver does */
}

static void console_reset(struct virtio_dev *vd)
{
	struct console *c = to_console(vd);

	pthread_mutex_lock(&c->lock);
	c->input_len = 0;
	pthread_mutex_unlock(&c->lock);
	if (c->chr)
		chardev_accept(c->chr);
}

static const struct virtio_ops ops = {
	.name = "virtio-console",
	.device_id = 3,
	.pci_class = 0x078000 << 8,
	.config_read = console_config_read,
	.config_write = console_config_write,
	.reset = console_reset,
	.queue_ready = console_queue_ready,
};

/* --- life and state -------------------------------------------------------------------- */

static int console_init(struct device *dev, const void *cfg, struct errbuf *err)
{
	struct console *c = container_of(dev, struct console, vd.pci.dev);
	const struct virtio_console_config *cc = cfg;
	struct virtio_setup s = {
		.host = cc->host,
		.loop = cc->loop,
		.nqueues = NQUEUES,
		.queue_size = QUEUE_SIZE,
		.config_len = sizeof(struct console_config),
		.features = BIT(F_SIZE) | BIT(F_EMERG_WRITE),
	};
	int ret;

	pthread_mutex_init(&c->lock, NULL);
	ret = virtio_setup(&c->vd, &ops, &s, err);
	if (ret || !cc->chr)
		return ret;
	c->chr = cc->chr;
	c->client = (struct chardev_client){.can_receive = can_receive, .receive = receive};
	chardev_attach(c->chr, &c->client);
	return 0;
}

static void console_fini(struct device *dev)
{
	struct console *c = container_of(dev, struct console, vd.pci.dev);

	if (c->chr)
		chardev_attach(c->chr, NULL);
	virtio_teardown(&c->vd);
	pthread_mutex_destroy(&c->lock);
}

static int console_post_load(void *obj, struct errbuf *err)
{
	struct console *c = obj;

	if (c->input_len > INPUT) {
		c->input_len = 0;
		return err_set(err, -EINVAL, "%s: more input saved than it can hold",
			       c->vd.pci.dev.id);
	}
	return virtio_post_load(&c->vd, err);
}

static const struct state_field fields[] = {
	STATE_STRUCT(struct console, vd, virtio_dev_fields),
	STATE_BYTES(struct console, input),
	STATE_INT(struct console, input_len),
	STATE_FIELDS_END,
};

static const struct state_desc state = {
	.name = "virtio-console",
	.version = 1,
	.fields = fields,
	.post_load = console_post_load,
};

const struct dev_ops virtio_console_ops = {
	.name = "virtio-console",
	.size = sizeof(struct console),
	.init = console_init,
	.fini = console_fini,
	.reset = virtio_reset,
	.read = virtio_read,
	.write = virtio_write,
	.pause = virtio_pause,
	.resume = virtio_resume,
	.state = &state,
};
