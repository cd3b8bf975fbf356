/* SPDX-License-Identifier: Apache-2.0 */
/* vfixture.h - vdriver for cmocka: the same, with assertions, and state records. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "dev/tests/vbackends.h"
#include "dev/tests/vdriver.h"
#include "migrate/record.h"

#define FEATURES_BASIC VIRTIO_F_VERSION_1
#define FEATURES_ALL   (~0ULL)

static inline struct device *vfx_add(struct vboard *b, const struct dev_ops *ops, const void *cfg)
{
	struct device *dev = NULL;

	assert_int_equal(vboard_add(b, ops, cfg, &dev), 0);
	return dev;
}

static inline void vfx_board(struct vboard *b, bool ioeventfds)
{
	assert_int_equal(vboard_init(b, ioeventfds), 0);
}

static inline struct pci_host *vfx_host(struct vboard *b)
{
	return (struct pci_host *)b->host;
}

/* The next used chain of queue @i must be @head; returns the bytes written. */
static inline uint32_t vfx_used(struct vdrv *d, unsigned i, uint16_t head)
{
	uint32_t written = 0;
	uint16_t got = 0;

	assert_true(vdrv_used(d, i, &got, &written));
	assert_int_equal(got, head);
	return written;
}

static inline void vfx_wait_msi(struct vboard *b, unsigned data, unsigned count)
{
	for (unsigned i = 0; i < 10000 && vboard_msis(b, data) < count; i++)
		usleep(500);
	assert_int_equal(vboard_msis(b, data), count);
}

/* Pause, save, load into @to (may be @dev itself after a reset) and resume. */
static inline int vfx_transplant(struct device *from, struct device *to, struct errbuf *err)
{
	struct record_buf rec = {0};
	int ret;

	from->ops->pause(from);
	assert_int_equal(record_save(&rec, from->ops->state, 0, from), 0);
	if (from == to)
		dev_reset(to);
	ret = record_load(rec.data, rec.len, to->ops->state, 0, to, err);
	record_buf_fini(&rec);
	if (!ret)
		to->ops->resume(to);
	return ret;
}
