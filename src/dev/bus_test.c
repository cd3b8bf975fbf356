// SPDX-License-Identifier: Apache-2.0
/* bus_test.c - regions, misses, and handlers that remap while others access. */
#include "dev/dev_fixture.h"

#include <errno.h>

struct probe {
	struct device dev;
	unsigned bar;
	uint64_t off, val;
	unsigned size, reads, writes;
	bool remap;
};

static uint64_t probe_read(struct device *dev, unsigned bar, uint64_t off, unsigned size)
{
	struct probe *p = container_of(dev, struct probe, dev);

	p->bar = bar;
	p->off = off;
	p->size = size;
	p->reads++;
	if (p->remap) {
		bus_unmap(dev->env->mmio, dev, 9);
		assert_int_equal(bus_map(dev->env->mmio, dev, 9, 0x9000, 0x1000), 0);
	}
	return 0x1122334455667788;
}

static void probe_write(struct device *dev, unsigned bar, uint64_t off, uint64_t val, unsigned size)
{
	struct probe *p = container_of(dev, struct probe, dev);

	p->bar = bar;
	p->off = off;
	p->val = val;
	p->size = size;
	p->writes++;
}

static int failing_init(struct device *dev, const void *cfg, struct errbuf *err)
{
	assert_int_equal(bus_map(dev->env->mmio, dev, 0, 0x1000, 0x1000), 0);
	return err_set(err, -EIO, "as ordered");
}

static void count_fini(struct device *dev)
{
	struct board *b = dev->env->ctx;

	b->request_arg++;
}

static const struct dev_ops probe_ops = {
	.name = "probe",
	.size = sizeof(struct probe),
	.read = probe_read,
	.write = probe_write,
};

static void an_access_reaches_its_region_with_offset_and_bar(void **state)
{
	struct board b;
	struct probe *p;

	dfx_init(&b);
	p = container_of(dfx_add(&b, &probe_ops, NULL), struct probe, dev);
	assert_int_equal(bus_map(b.env.mmio, &p->dev, 3, 0x2000, 0x100), 0);
	assert_int_equal(bus_map(b.env.mmio, &p->dev, 1, 0x1000, 0x100), 0);
	assert_true(bus_read(b.env.mmio, 0x2010, 8) == 0x1122334455667788);
	assert_int_equal(p->bar, 3);
	assert_int_equal(p->off, 0x10);
	assert_int_equal(bus_read(b.env.mmio, 0x1002, 2), 0x7788);
	assert_int_equal(p->bar, 1);
	bus_write(b.env.mmio, 0x10ff, 0xabcd, 1);
	assert_int_equal(p->off, 0xff);
	assert_int_equal(p->val, 0xcd);
	dev_free(&p->dev);
	dfx_fini(&b);
}

static void what_is_not_mapped_reads_as_ones_and_swallows_writes(void **state)
{
	struct board b;
	struct probe *p;

	dfx_init(&b);
	p = container_of(dfx_add(&b, &probe_ops, NULL), struct probe, dev);
	assert_int_equal(bus_map(b.env.pio, &p->dev, 0, 0x100, 8), 0);
	assert_int_equal(bus_read(b.env.pio, 0xff, 1), 0xff);
	assert_int_equal(bus_read(b.env.pio, 0x108, 2), 0xffff);
	assert_true(bus_read(b.env.pio, 0xff, 8) == UINT64_MAX);  /* crosses the start */
	assert_true(bus_read(b.env.pio, 0x106, 4) == 0xffffffff); /* crosses the end */
	bus_write(b.env.pio, 0x105, 0, 4);
	assert_int_equal(p->reads + p->writes, 0);
	bus_unmap(b.env.pio, &p->dev, 0);
	assert_int_equal(bus_read(b.env.pio, 0x100, 1), 0xff);
	assert_int_equal(p->reads, 0);
	dev_free(&p->dev);
	dfx_fini(&b);
}

static void overlaps_and_ends_beyond_the_limit_are_refused(void **state)
{
	struct board b;
	struct device *p;

	dfx_init(&b);
	p = dfx_add(&b, &probe_ops, NULL);
	assert_int_equal(bus_map(b.env.pio, p, 0, 0x100, 0x10), 0);
	assert_int_equal(bus_map(b.env.pio, p, 1, 0x10f, 1), -EEXIST);
	assert_int_equal(bus_map(b.env.pio, p, 1, 0xf0, 0x11), -EEXIST);
	assert_int_equal(bus_map(b.env.pio, p, 1, 0, 0x1000), -EEXIST);
	assert_int_equal(bus_map(b.env.pio, p, 1, 0xf0, 0x10), 0);
	assert_int_equal(bus_map(b.env.pio, p, 1, 0x110, 0x10), 0);
	assert_int_equal(bus_map(b.env.pio, p, 2, 0xfff0, 0x11), -EINVAL);
	assert_int_equal(bus_map(b.env.pio, p, 2, 0xfff0, 0x10), 0);
	assert_int_equal(bus_map(b.env.pio, p, 2, 0x5000, 0), -EINVAL);
	assert_int_equal(bus_map(b.env.mmio, p, 2, UINT64_MAX - 1, 4), -EINVAL);
	assert_int_equal(bus_map(b.env.mmio, p, 2, UINT64_MAX - 3, 4), 0);
	assert_int_equal(bus_read(b.env.mmio, UINT64_MAX - 3, 4), 0x55667788);
	assert_int_equal(bus_read(b.env.mmio, UINT64_MAX, 4), 0xffffffff);
	dev_free(p);
	dfx_fini(&b);
}

static void a_device_that_fails_to_start_leaves_nothing_mapped(void **state)
{
	static const struct dev_ops ops = {
		.name = "bad",
		.size = sizeof(struct probe),
		.init = failing_init,
		.fini = count_fini,
		.read = probe_read,
	};
	struct errbuf err = {0};
	struct device *dev;
	struct board b;

	dfx_init(&b);
	assert_int_equal(dev_new(&ops, &b.env, "bad0", 0, NULL, &dev, &err), -EIO);
	assert_string_equal(err.msg, "as ordered");
	assert_int_equal(b.request_arg, 1);
	assert_int_equal(bus_read(b.env.mmio, 0x1000, 1), 0xff);
	dev_free(NULL);
	dfx_fini(&b);
}

struct hammer {
	struct board *b;
	struct device *dev;
	bool *stop;
};

static void *hammer_reads(void *arg)
{
	struct hammer *h = arg;

	while (!__atomic_load_n(h->stop, __ATOMIC_RELAXED)) {
		bus_read(h->b->env.mmio, 0x9000, 4);
		bus_read(h->b->env.mmio, 0x1000, 4);
	}
	return NULL;
}

static void a_handler_may_remap_itself_while_others_wait_for_it(void **state)
{
	pthread_t t[3];
	bool stop = false;
	struct board b;
	struct probe *p;
	struct hammer h;

	dfx_init(&b);
	p = container_of(dfx_add(&b, &probe_ops, NULL), struct probe, dev);
	p->remap = true;
	assert_int_equal(bus_map(b.env.mmio, &p->dev, 0, 0x1000, 0x1000), 0);
	h = (struct hammer){&b, &p->dev, &stop};
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, hammer_reads, &h), 0);
	for (unsigned i = 0; i < 5000; i++)
		bus_read(b.env.mmio, 0x1000, 4);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	assert_true(p->reads >= 5000);
	dev_free(&p->dev);
	dfx_fini(&b);
}

static void guest_errors_are_counted(void **state)
{
	struct device *dev;
	struct board b;

	dfx_init(&b);
	dev = dfx_add(&b, &probe_ops, NULL);
	guest_error(dev, "nonsense %d", 1);
	guest_error(dev, "nonsense %d", 2);
	assert_int_equal(dev->guest_errors, 2);
	dev_free(dev);
	dfx_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_access_reaches_its_region_with_offset_and_bar),
		cmocka_unit_test(what_is_not_mapped_reads_as_ones_and_swallows_writes),
		cmocka_unit_test(overlaps_and_ends_beyond_the_limit_are_refused),
		cmocka_unit_test(a_device_that_fails_to_start_leaves_nothing_mapped),
		cmocka_unit_test(a_handler_may_remap_itself_while_others_wait_for_it),
		cmocka_unit_test(guest_errors_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
