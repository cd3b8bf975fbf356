// SPDX-License-Identifier: Apache-2.0
/*
 * dev.c - life cycle that every device model shares.
 *
 * A device that fails in its init is taken apart by the same dev_free() as a whole
 * one: its regions leave the buses first, so that nothing calls into what fini is
 * about to release.
 */
#include "dev/dev.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/thread.h"

int dev_new(const struct dev_ops *ops, const struct dev_env *env, const char *id, unsigned instance,
	    const void *cfg, struct device **out, struct errbuf *err)
{
	struct device *dev = calloc(1, ops->size);
	int ret;

	if (!dev)
		return err_set(err, -ENOMEM, "device '%s'", id);
	dev->ops = ops;
	dev->env = env;
	dev->instance = instance;
	snprintf(dev->id, sizeof(dev->id), "%s", id);
	list_init(&dev->link);
	pthread_mutex_init(&dev->lock, NULL);
	ret = ops->init ? ops->init(dev, cfg, err) : 0;
	if (ret) {
		dev_free(dev);
		return ret;
	}
	*out = dev;
	return 0;
}

void dev_free(struct device *dev)
{
	if (!dev)
		return;
	if (dev->env->pio)
		bus_unmap_all(dev->env->pio, dev);
	if (dev->env->mmio)
		bus_unmap_all(dev->env->mmio, dev);
	if (dev->ops->fini)
		dev->ops->fini(dev);
	pthread_mutex_destroy(&dev->lock);
	free(dev);
}

void dev_reset(struct device *dev)
{
	LOCK_SCOPE(&dev->lock);
	if (dev->ops->reset)
		dev->ops->reset(dev);
}

void dev_guest_error_line(struct device *dev, const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	log_debug_line(LOG_GUEST, "%s: %s", dev->id, line);
}
