// SPDX-License-Identifier: Apache-2.0
/* fw_cfg_test.c - items by port and by DMA, with addresses no guest should give. */
#include <endian.h>
#include <errno.h>
#include <stdio.h>

#include "dev/dev_fixture.h"

enum { SELECT = 0x510, DATA = 0x511, DMA = 0x514, DIR_KEY = 0x19 };
enum { ERROR = 1, READ = 2, SKIP = 4, SEL = 8, WRITE = 16 };

struct desc {
	uint32_t control, length;
	uint64_t address;
} __attribute__((packed));

static struct device *start(struct board *b)
{
	struct fw_cfg_config cfg = {0};

	dfx_init(b);
	return dfx_add(b, &fw_cfg_ops, &cfg);
}

static void stop(struct board *b, struct device *dev)
{
	dev_free(dev);
	dfx_fini(b);
}

static void get(struct board *b, uint16_t key, void *buf, size_t len)
{
	uint8_t *p = buf;

	bus_write(b->env.pio, SELECT, key, 2);
	while (len--)
		*p++ = dfx_in(b, DATA);
}

/* Run a descriptor that lies at @at; returns its control field afterwards. */
static uint32_t dma(struct board *b, gpa_t at, uint32_t control, uint32_t len, uint64_t addr)
{
	struct desc d = {htobe32(control), htobe32(len), htobe64(addr)};

	assert_int_equal(mem_write(b->env.mem, at, &d, sizeof(d)), 0);
	bus_write(b->env.pio, DMA, htobe32((uint32_t)(at >> 32)), 4);
	bus_write(b->env.pio, DMA + 4, htobe32((uint32_t)at), 4);
	assert_int_equal(mem_read(b->env.mem, at, &d, sizeof(d)), 0);
	return be32toh(d.control);
}

static uint16_t key_of(struct board *b, const char *name)
{
	struct {
		uint32_t size;
		uint16_t select, reserved;
		char name[56];
	} e;
	uint32_t n;

	get(b, DIR_KEY, &n, 4);
	for (n = be32toh(n); n--;) {
		for (size_t i = 0; i < sizeof(e); i++)
			((uint8_t *)&e)[i] = dfx_in(b, DATA);
		if (!strcmp(e.name, name))
			return be16toh(e.select);
	}
	fail_msg("no file %s", name);
	return 0;
}

static void the_signature_and_features_are_there(void **state)
{
	struct board b;
	struct device *dev = start(&b);
	char sig[5] = "";
	uint32_t id;

	get(&b, 0, sig, 4);
	assert_string_equal(sig, "QEMU");
	get(&b, 1, &id, 4);
	assert_int_equal(id, 3);
	assert_int_equal(dfx_in(&b, DATA), 0); /* behind the end */
	assert_int_equal(bus_read(b.env.pio, DMA, 4), htobe32(0x51454d55));
	assert_int_equal(bus_read(b.env.pio, DMA + 4, 4), htobe32(0x20434647));
	stop(&b, dev);
}

static void files_are_found_by_name_and_read_bytewise(void **state)
{
	struct board b;
	struct device *dev = start(&b);
	char buf[16] = "";
	uint64_t v = 0;

	assert_int_equal(fw_cfg_add(dev, "etc/one", "first", 5), 0);
	assert_int_equal(fw_cfg_add(dev, "etc/two", "second", 6), 0);
	assert_int_equal(fw_cfg_add(dev, "etc/two", "again", 5), -EEXIST);
	assert_int_equal(fw_cfg_add(dev, "", "x", 1), -EINVAL);
	assert_int_equal(fw_cfg_add_u64(dev, 3, 0x1122334455667788), 0);
	assert_int_equal(fw_cfg_add_u64(dev, 1, 0), -EINVAL);
	get(&b, key_of(&b, "etc/two"), buf, 7);
	assert_string_equal(buf, "second");
	get(&b, 3, &v, 8);
	assert_true(v == 0x1122334455667788);
	stop(&b, dev);
}

static void dma_selects_skips_and_reads(void **state)
{
	struct board b;
	struct device *dev = start(&b);
	char buf[8] = "";
	uint16_t key;

	assert_int_equal(fw_cfg_add(dev, "f", "0123456789", 10), 0);
	key = key_of(&b, "f");
	assert_int_equal(dma(&b, 0x100, (uint32_t)key << 16 | SEL | SKIP, 3, 0), 0);
	assert_int_equal(dma(&b, 0x100, READ, 4, 0x2000), 0);
	assert_int_equal(mem_read(b.env.mem, 0x2000, buf, 4), 0);
	assert_string_equal(buf, "3456");
	/* behind the end: zeros, up to a bound */
	assert_int_equal(mem_write(b.env.mem, 0x2000, "xxxxxxxx", 8), 0);
	assert_int_equal(dma(&b, 0x100, READ, 5, 0x2000), 0);
	assert_int_equal(mem_read(b.env.mem, 0x2000, buf, 6), 0);
	assert_memory_equal(buf, "789\0\0x", 6);
	assert_int_equal(dma(&b, 0x100, READ, 0xffffffff, 0), ERROR);
	stop(&b, dev);
}

static void hostile_dma_ends_in_an_error_not_in_the_host(void **state)
{
	struct board b;
	struct device *dev = start(&b);
	static const uint64_t bad[] = {DFX_RAM,	   DFX_RAM - 2,	   1ULL << 40,
				       UINT64_MAX, UINT64_MAX - 2, 1ULL << 63};
	uint16_t key;

	assert_int_equal(fw_cfg_add(dev, "f", "0123456789", 10), 0);
	key = key_of(&b, "f");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(dma(&b, 0x100, (uint32_t)key << 16 | SEL | READ, 10, bad[i]),
				 ERROR);
		/* the descriptor itself nowhere */
		bus_write(b.env.pio, DMA, htobe64(bad[i]), 8);
	}
	assert_int_equal(dma(&b, 0x100, (uint32_t)key << 16 | SEL | WRITE, 4, 0x2000), ERROR);
	assert_int_equal(dma(&b, 0x100, SKIP, 0xffffffff, 0), 0);
	assert_int_equal(dma(&b, 0x100, SKIP, 0xffffffff, 0), 0);
	assert_int_equal(dma(&b, 0x100, READ, 4, 0x2000), 0);
	/* onto the descriptor */
	assert_int_equal(dma(&b, 0x100, (uint32_t)key << 16 | SEL | READ, 10, 0x100), 0);
	stop(&b, dev);
}

static void more_items_than_fit_are_refused(void **state)
{
	struct board b;
	struct device *dev = start(&b);
	char name[16];
	int ret = 0;

	for (int i = 0; !ret && i < 1000; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		ret = fw_cfg_add(dev, name, &i, sizeof(i));
	}
	assert_int_equal(ret, -ENOSPC);
	assert_true(key_of(&b, "f100") > 0x20);
	stop(&b, dev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_signature_and_features_are_there),
		cmocka_unit_test(files_are_found_by_name_and_read_bytewise),
		cmocka_unit_test(dma_selects_skips_and_reads),
		cmocka_unit_test(hostile_dma_ends_in_an_error_not_in_the_host),
		cmocka_unit_test(more_items_than_fit_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
