// SPDX-License-Identifier: Apache-2.0
/*
 * i8042.c - the keyboard controller's part in resetting a PC; no keyboard.
 *
 * Drivers find a controller that never answers and give up.  What remains is what
 * an operating system uses to reboot: the pulse commands (0xf0..0xff) with bit 0
 * clear, the output port's bit 0, and bit 0 of port 0x92.  The A20 gate is always
 * open; its bits read back as set.
 *
 * Source: Intel 8042 in the IBM PC/AT Technical Reference; 82371 data sheet (port 92).
 */
#include <errno.h>

#include "dev/devices.h"

enum { BAR_DATA, BAR_COMMAND, BAR_PORT92 };
enum { STATUS_OBF = 1, STATUS_SYS = 4 };
enum { CMD_READ_OUTPUT = 0xd0, CMD_WRITE_OUTPUT = 0xd1, CMD_PULSE = 0xf0 };
enum { OUT_RESET_N = 1, OUT_A20 = 2 };

struct i8042 { /* dev.lock */
	struct device dev;
	bool want_output; /* the next data byte goes to the output port */
	bool has_output;  /* the output port can be read from the data port */
};

static void reset_machine(struct device *dev)
{
	dev->env->request(dev->env->ctx, DEV_REQ_RESET, 0);
}

static uint64_t i8042_read(struct device *dev, unsigned bar, uint64_t off, unsigned size)
{
	struct i8042 *k = container_of(dev, struct i8042, dev);

	switch (bar) {
	case BAR_DATA:
		if (!k->has_output)
			return 0;
		k->has_output = false;
		return OUT_RESET_N | OUT_A20;
	case BAR_COMMAND: return k->has_output ? STATUS_OBF | STATUS_SYS : STATUS_SYS;
	default: return OUT_A20;
	}
}

static void command(struct i8042 *k, uint8_t cmd)
{
	k->want_output = cmd == CMD_WRITE_OUTPUT;
	if (cmd == CMD_READ_OUTPUT)
		k->has_output = true;
	else if (cmd >= CMD_PULSE && !(cmd & OUT_RESET_N))
		reset_machine(&k->dev);
}

static void i8042_write(struct device *dev, unsigned bar, uint64_t off, uint64_t val, unsigned size)
{
	struct i8042 *k = container_of(dev, struct i8042, dev);

	switch (bar) {
	case BAR_DATA:
		if (k->want_output && !(val & OUT_RESET_N))
			reset_machine(dev);
		k->want_output = false;
		break;
	case BAR_COMMAND: command(k, (uint8_t)val); break;
	default:
		if (val & 1)
			reset_machine(dev);
		break;
	}
}

static void i8042_reset(struct device *dev)
{
	struct i8042 *k = container_of(dev, struct i8042, dev);

	k->want_output = k->has_output = false;
}

static int i8042_init(struct device *dev, const void *cfg, struct errbuf *err)
{
	int ret = bus_map(dev->env->pio, dev, BAR_DATA, 0x60, 1);

	if (!ret)
		ret = bus_map(dev->env->pio, dev, BAR_COMMAND, 0x64, 1);
	if (!ret)
		ret = bus_map(dev->env->pio, dev, BAR_PORT92, 0x92, 1);
	return ret ? err_set(err, ret, "keyboard controller: ports 60, 64 or 92 are taken") : 0;
}

static const struct state_field fields[] = {
	STATE_INT(struct i8042, want_output),
	STATE_INT(struct i8042, has_output),
	STATE_FIELDS_END,
};

static int post_load(void *obj, struct errbuf *err)
{
	struct i8042 *k = obj;
	bool ok = state_bool_ok(&k->want_output);

	ok &= state_bool_ok(&k->has_output);
	return ok ? 0 : err_set(err, -EINVAL, "keyboard controller: invalid flags");
}

static const struct state_desc state = {
	.name = "i8042",
	.version = 1,
	.fields = fields,
	.post_load = post_load,
};

const struct dev_ops i8042_ops = {
	.name = "i8042",
	.size = sizeof(struct i8042),
	.init = i8042_init,
	.reset = i8042_reset,
	.read = i8042_read,
	.write = i8042_write,
	.state = &state,
};
