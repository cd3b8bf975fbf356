/* SPDX-License-Identifier: Apache-2.0 */
/* virtio_misc_test.c - the entropy device's rate, and the console on a real socket. */
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "dev/chardev.h"
#include "dev/tests/vfixture.h"

enum { QSIZE = 16, RX = 0, TX = 1 };

/* --- entropy ------------------------------------------------------------------------- */

struct rng_fixture {
	struct vboard b;
	struct device *dev;
	struct vdrv d;
	uint64_t buf;
};

static int rng_set_up(void **state)
{
	struct rng_fixture *x = calloc(1, sizeof(*x));
	struct virtio_rng_config c;

	vfx_board(&x->b, false);
	c = (struct virtio_rng_config){vfx_host(&x->b), vboard_loop(&x->b)};
	x->dev = vfx_add(&x->b, &virtio_rng_ops, &c);
	assert_true(vdrv_probe(&x->d, &x->b, 1));
	x->buf = vdrv_alloc(&x->d, 1 << 20, 4096);
	*state = x;
	return 0;
}

static int rng_tear_down(void **state)
{
	struct rng_fixture *x = *state;

	dev_free(x->dev);
	vboard_fini(&x->b);
	free(x);
	return 0;
}

static void a_huge_buffer_gets_a_bucket_at_most(void **state)
{
	struct rng_fixture *x = *state;
	struct vseg s = {x->buf, 1 << 20, true};
	uint32_t n;

	assert_true(vdrv_start(&x->d, FEATURES_ALL, 1, QSIZE));
	vdrv_add(&x->d, 0, &s, 1);
	vdrv_kick(&x->d, 0);
	n = vfx_used(&x->d, 0, 0);
	assert_true(n > 0 && n <= 64 << 10);
}

static void an_empty_bucket_fills_with_vm_time(void **state)
{
	struct rng_fixture *x = *state;
	struct vseg s = {x->buf, 1 << 20, true};
	struct vclock stopped = x->b.clock;
	uint16_t head;

	assert_true(vdrv_start(&x->d, FEATURES_ALL, 1, QSIZE));
	for (unsigned i = 0; i < 3; i++) {
		head = vdrv_add(&x->d, 0, &s, 1);
		vdrv_kick(&x->d, 0);
		assert_true(vfx_used(&x->d, 0, head) > 0); /* later, but not never */
	}
	assert_true(stopped.running);
}

static void readable_buffers_are_returned_empty(void **state)
{
	struct rng_fixture *x = *state;
	struct vseg s = {x->buf, 64, false};

	assert_true(vdrv_start(&x->d, FEATURES_ALL, 1, QSIZE));
	vdrv_add(&x->d, 0, &s, 1);
	vdrv_kick(&x->d, 0);
	assert_int_equal(vfx_used(&x->d, 0, 0), 0);
}

/* --- console ------------------------------------------------------------------------------ */

struct con_fixture {
	struct vboard b;
	struct iothread *machine; /* the loop characters come on */
	struct chardev *chr;
	struct device *dev;
	struct vdrv d;
	uint64_t buf;
	int fd;
	char dir[32], path[64];
};

static int connect_to(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static int con_set_up(void **state)
{
	struct con_fixture *x = calloc(1, sizeof(*x));
	struct virtio_console_config c;
	struct errbuf err = {0};
	char spec[80];

	vfx_board(&x->b, false);
	snprintf(x->dir, sizeof(x->dir), "/tmp/virtio-con-XXXXXX");
	assert_non_null(mkdtemp(x->dir));
	snprintf(x->path, sizeof(x->path), "%s/s", x->dir);
	snprintf(spec, sizeof(spec), "unix=%s", x->path);
	assert_int_equal(iothread_new("machine", NULL, NULL, &x->machine), 0);
	assert_int_equal(chardev_new(iothread_loop(x->machine), spec, NULL, NULL, &x->chr, &err),
			 0);
	x->fd = connect_to(x->path);
	c = (struct virtio_console_config){vfx_host(&x->b), vboard_loop(&x->b), x->chr};
	x->dev = vfx_add(&x->b, &virtio_console_ops, &c);
	assert_true(vdrv_probe(&x->d, &x->b, 1));
	x->buf = vdrv_alloc(&x->d, 0x10000, 4096);
	*state = x;
	return 0;
}

static void free_chr(void *arg)
{
	chardev_free(arg);
}

static void free_dev(void *arg)
{
	dev_free(arg);
}

static int con_tear_down(void **state)
{
	struct con_fixture *x = *state;

	/* on the thread that owns the characters, as the machine does */
	assert_int_equal(loop_call(iothread_loop(x->machine), free_dev, x->dev), 0);
	assert_int_equal(loop_call(iothread_loop(x->machine), free_chr, x->chr), 0);
	iothread_free(x->machine);
	close(x->fd);
	unlink(x->path);
	rmdir(x->dir);
	vboard_fini(&x->b);
	free(x);
	return 0;
}

static void expect(int fd, const char *text)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char got[256];
	size_t n = 0, want = strlen(text);

	while (n < want) {
		ssize_t k;

		assert_int_equal(poll(&p, 1, 10000), 1);
		k = read(fd, got + n, want - n);
		assert_true(k > 0);
		n += (size_t)k;
	}
	assert_memory_equal(got, text, want);
}

static void output_goes_to_the_socket(void **state)
{
	struct con_fixture *x = *state;
	struct vseg s[2] = {{x->buf, 6, false}, {x->buf + 6, 5, false}};

	assert_true(vdrv_start(&x->d, FEATURES_ALL, 2, QSIZE));
	memcpy(vboard_ram(&x->b, x->buf), "hello world", 11);
	/* until the connection has been accepted output is dropped */
	bus_write(x->b.env.mmio, x->d.device, 0, 4);
	assert_int_equal(write(x->fd, "x", 1), 1);
	for (unsigned i = 0; i < 100; i++)
		vboard_settle(&x->b);
	vdrv_add(&x->d, RX, &(struct vseg){x->buf + 0x100, 16, true}, 1);
	vdrv_kick(&x->d, RX);
	assert_true(vdrv_used(&x->d, RX, NULL, NULL));
	vdrv_add(&x->d, TX, s, 2);
	vdrv_kick(&x->d, TX);
	assert_true(vdrv_used(&x->d, TX, NULL, NULL));
	expect(x->fd, "hello world");
	bus_write(x->b.env.mmio, x->d.device + 8, '!', 4); /* emergency write */
	expect(x->fd, "!");
}

static void input_comes_in_order_however_much_there_is(void **state)
{
	enum { TOTAL = 20000, CHUNK = 100 };
	struct con_fixture *x = *state;
	uint8_t *sent = malloc(TOTAL);
	unsigned got = 0;

	for (unsigned i = 0; i < TOTAL; i++)
		sent[i] = (uint8_t)(i * 7 + i / 256);
	assert_true(vdrv_start(&x->d, FEATURES_ALL, 2, QSIZE));
	assert_int_equal(write(x->fd, sent, TOTAL), TOTAL);
	while (got < TOTAL) {
		struct vseg s = {x->buf, CHUNK, true};
		uint32_t n;

		vdrv_add(&x->d, RX, &s, 1);
		vdrv_kick(&x->d, RX);
		assert_true(vdrv_used(&x->d, RX, NULL, &n));
		assert_true(n > 0 && n <= CHUNK);
		assert_memory_equal(vboard_ram(&x->b, x->buf), sent + got, n);
		got += n;
	}
	free(sent);
}

static void the_console_has_a_size(void **state)
{
	struct con_fixture *x = *state;

	assert_true(vdrv_device_features(&x->d) & 1);
	assert_int_equal(bus_read(x->b.env.mmio, x->d.device, 4), 25 << 16 | 80);
}

static void buffered_input_survives_saving(void **state)
{
	struct con_fixture *x = *state;
	struct vseg s = {x->buf, 16, true};
	struct errbuf err = {0};
	uint32_t n;

	assert_true(vdrv_start(&x->d, FEATURES_ALL, 2, QSIZE));
	vdrv_add(&x->d, RX, &(struct vseg){x->buf, 1, true}, 1);
	vdrv_kick(&x->d, RX);
	assert_int_equal(write(x->fd, "abcdef", 6), 6);
	assert_true(vdrv_used(&x->d, RX, NULL, &n)); /* so the rest is in the device */
	assert_int_equal(n, 1);
	assert_int_equal(vfx_transplant(x->dev, x->dev, &err), 0);
	vdrv_add(&x->d, RX, &s, 1);
	vdrv_kick(&x->d, RX);
	assert_true(vdrv_used(&x->d, RX, NULL, &n));
	assert_int_equal(n, 5);
	assert_memory_equal(vboard_ram(&x->b, x->buf), "bcdef", 5);
}

static void a_console_without_characters_swallows_output(void **state)
{
	struct rng_fixture *x = *state;
	struct virtio_console_config c = {vfx_host(&x->b), vboard_loop(&x->b), NULL};
	struct device *dev = vfx_add(&x->b, &virtio_console_ops, &c);

	assert_true(vdrv_probe(&x->d, &x->b, 2));
	assert_true(vdrv_start(&x->d, FEATURES_ALL, 2, QSIZE));
	vdrv_add(&x->d, TX, &(struct vseg){x->buf, 100, false}, 1);
	vdrv_kick(&x->d, TX);
	assert_true(vdrv_used(&x->d, TX, NULL, NULL));
	dev_free(dev);
}

#define R(f) cmocka_unit_test_setup_teardown(f, rng_set_up, rng_tear_down)
#define C(f) cmocka_unit_test_setup_teardown(f, con_set_up, con_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		R(a_huge_buffer_gets_a_bucket_at_most),
		R(an_empty_bucket_fills_with_vm_time),
		R(readable_buffers_are_returned_empty),
		C(output_goes_to_the_socket),
		C(input_comes_in_order_however_much_there_is),
		C(the_console_has_a_size),
		C(buffered_input_survives_saving),
		R(a_console_without_characters_swallows_output),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
