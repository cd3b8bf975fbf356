/* SPDX-License-Identifier: Apache-2.0 */
/* vrng.h - the entropy device on a board, for tests of what all virtio devices share. */
#pragma once

#include "dev/tests/vfixture.h"

enum { NEXT = 1, WRITE = 2, INDIRECT = 4, NO_VECTOR = 0xffff };

struct fixture {
	struct vboard b;
	struct device *dev;
	struct vdrv d;
	uint64_t buf; /* gpa */
};

static inline int set_up(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));
	struct virtio_rng_config c;

	vfx_board(&x->b, false);
	c = (struct virtio_rng_config){vfx_host(&x->b), vboard_loop(&x->b)};
	x->dev = vfx_add(&x->b, &virtio_rng_ops, &c);
	assert_true(vdrv_probe(&x->d, &x->b, 1));
	x->buf = vdrv_alloc(&x->d, 0x10000, 4096);
	*state = x;
	return 0;
}

static inline int tear_down(void **state)
{
	struct fixture *x = *state;

	dev_free(x->dev);
	vboard_fini(&x->b);
	free(x);
	return 0;
}

static inline struct virtio_dev *vd_of(struct fixture *x)
{
	return container_of(x->dev, struct virtio_dev, pci.dev);
}

static inline uint8_t status(struct fixture *x)
{
	return (uint8_t)vdrv_read(&x->d, VC_STATUS, 1);
}

static inline uint16_t post(struct fixture *x, uint32_t len)
{
	struct vseg s = {x->buf, len, true};

	return vdrv_add(&x->d, 0, &s, 1);
}

/* One buffer goes round: the device works. */
static inline void works(struct fixture *x)
{
	uint8_t zero[32] = {0};
	uint16_t head;

	/* before it is posted: the device may look without a kick, still busy with the last */
	memset(vboard_ram(&x->b, x->buf), 0, 32);
	head = post(x, 32);
	vdrv_kick(&x->d, 0);
	assert_int_equal(vfx_used(&x->d, 0, head), 32);
	assert_memory_not_equal(vboard_ram(&x->b, x->buf), zero, 32);
}

static inline void start(struct fixture *x, uint64_t features)
{
	assert_true(vdrv_start(&x->d, features, 1, 16));
}

/* The device gave up, says so by an interrupt, and works again after a reset. */
static inline void broke(struct fixture *x)
{
	assert_true(vdrv_wait_broken(&x->d));
	post(x, 16);
	vdrv_kick(&x->d, 0);
	vboard_settle(&x->b);
	assert_true(status(x) & VS_NEEDS_RESET);
	x->d.next_gpa = 0x200000;
	start(x, FEATURES_ALL);
	assert_false(status(x) & VS_NEEDS_RESET);
	works(x);
}

static inline void hostile(struct fixture *x)
{
	start(x, FEATURES_ALL);
	vdrv_write(&x->d, VC_CONFIG_VECTOR, 0, 2);
}
