// SPDX-License-Identifier: Apache-2.0
/*
 * debug_exit.c - a port through which a test guest ends its machine.
 *
 * A write of n ends the machine with exit status (n << 1) | 1, as test guests expect
 * of such a port elsewhere.  Exists only where it was asked for.
 */
#include "dev/devices.h"

struct debug_exit {
	struct device dev;
};

static uint64_t debug_exit_read(struct device *dev, unsigned bar, uint64_t off, unsigned size)
{
	return 0;
}

static void debug_exit_write(struct device *dev, unsigned bar, uint64_t off, uint64_t val,
			     unsigned size)
{
	dev->env->request(dev->env->ctx, DEV_REQ_DEBUG_EXIT, (int)((val & 0x7f) << 1 | 1));
}

static int debug_exit_init(struct device *dev, const void *cfg, struct errbuf *err)
{
	const struct debug_exit_config *c = cfg;
	int ret = bus_map(dev->env->pio, dev, 0, c->port, 4);

	return ret ? err_set(err, ret, "debug exit: port %#x is taken", c->port) : 0;
}

const struct dev_ops debug_exit_ops = {
	.name = "debug-exit",
	.size = sizeof(struct debug_exit),
	.init = debug_exit_init,
	.read = debug_exit_read,
	.write = debug_exit_write,
};
