/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dev.h - what every device model is: an ops table, a lock, declared state.
 *
 * A device is created with dev_new(), configured by its own init, mapped on the
 * buses by its own init, and freed by dev_free().  Register handlers run on the
 * vCPU's thread with the device's lock held; nothing in them may block.
 * Offsets, sizes and values in handlers come from a hostile guest.
 */
#pragma once

#include <pthread.h>
#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/state.h"
#include "dev/bus.h"
#include "irq/irq.h"
#include "mem/mem.h"

struct device;

/* What the machine lends to its devices.  Outlives them; immutable. */
struct dev_env {
	struct mem *mem;
	struct bus *pio, *mmio;
	struct irqchip *irqchip;
	struct loop *loop;     /* machine loop: timers, characters */
	struct loop *io_loop;  /* block queues */
	struct loop *net_loop; /* network queues and back ends */
	const struct vclock *clock;
	/* Requests to the machine, callable from any thread. */
	void (*request)(void *ctx, enum dev_request req, int arg);
	void *ctx;
	/* kvm: an eventfd signalled by guest writes to @gpa, -1: none (handle the write). */
	int (*ioeventfd)(void *ctx, int fd, uint64_t gpa, unsigned size, bool add);
};

struct dev_ops {
	const char *name;
	size_t size; /* of the whole device struct, struct device first */
	int (*init)(struct device *dev, const void *cfg, struct errbuf *err);
	void (*fini)(struct device *dev);  /* takes a half-built object */
	void (*reset)(struct device *dev); /* power-on values; under the lock */
	/* Register access to region @bar (the device's own numbering). */
	uint64_t (*read)(struct device *dev, unsigned bar, uint64_t off, unsigned size);
	void (*write)(struct device *dev, unsigned bar, uint64_t off, uint64_t val, unsigned size);
	/* Stop own I/O and wait for requests under way / go on.  May be NULL. */
	void (*pause)(struct device *dev);
	void (*resume)(struct device *dev);
	const struct state_desc *state; /* of the device struct; NULL: stateless */
};

struct device {
	const struct dev_ops *ops;
	const struct dev_env *env;
	char id[24]; /* unique in the machine: "serial0" */
	unsigned instance;
	pthread_mutex_t lock; /* guards the model's registers */
	struct list link;     /* of the machine's devices */
	uint64_t guest_errors;
};

/*
 * Allocate ops->size zeroed bytes, set up the head, call ops->init(), which maps
 * regions.  @cfg is the device's own config struct, borrowed during the call.
 */
MUST_CHECK int dev_new(const struct dev_ops *ops, const struct dev_env *env, const char *id,
		       unsigned instance, const void *cfg, struct device **out, struct errbuf *err);
void dev_free(struct device *dev); /* unmaps its regions, calls fini */
void dev_reset(struct device *dev);

/* Count and (rate-limited, -d guest) log a guest's mistake. */
#define guest_error(dev, ...)                                        \
	do {                                                         \
		struct device *gdev_ = (dev);                        \
		gdev_->guest_errors++;                               \
		if (log_on(LOG_GUEST) && gdev_->guest_errors < 1000) \
			dev_guest_error_line(gdev_, __VA_ARGS__);    \
	} while (0)
void dev_guest_error_line(struct device *dev, const char *fmt, ...) PRINTF_LIKE(2, 3);
