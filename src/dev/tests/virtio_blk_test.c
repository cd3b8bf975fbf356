/* SPDX-License-Identifier: Apache-2.0 */
/* virtio_blk_test.c - the block device driven through its registers, on memory and on a file. */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>

#include "dev/tests/vfixture.h"

enum {
	DISK = 1 << 20,
	SLOTS = 64,
	IN = 0,
	OUT = 1,
	FLUSH = 4,
	GET_ID = 8,
	DISCARD = 11,
	ZEROES = 13
};
enum { OK = 0, IOERR = 1, UNSUPP = 2 };
enum { F_SEG_MAX = 2, F_FLUSH = 9, F_CONFIG_WCE = 11, F_DISCARD = 13 };
enum { WRITEBACK = 32 };

struct fixture {
	struct vboard b;
	struct memdisk disk;
	struct device *dev;
	struct vdrv d;
	uint64_t hdrs, data, statuses; /* gpa */
	uint64_t hdr, status;	       /* of the latest request, each in a place of its own */
	unsigned nposts;
};

static struct device *add_disk(struct fixture *x, struct block *block, unsigned nqueues)
{
	struct virtio_blk_config c = {vfx_host(&x->b), vboard_loop(&x->b), block, "serial-0123",
				      nqueues};

	return vfx_add(&x->b, &virtio_blk_ops, &c);
}

static int set_up_with(void **state, bool bells)
{
	struct fixture *x = calloc(1, sizeof(*x));

	vfx_board(&x->b, bells);
	assert_int_equal(memdisk_init(&x->disk, vboard_loop(&x->b), DISK), 0);
	x->dev = add_disk(x, &x->disk.block, 2);
	assert_true(vdrv_probe(&x->d, &x->b, 1));
	x->hdrs = x->hdr = vdrv_alloc(&x->d, SLOTS * 16, 16);
	x->statuses = x->status = vdrv_alloc(&x->d, SLOTS, 1);
	x->data = vdrv_alloc(&x->d, 256 << 10, 4096);
	*state = x;
	return 0;
}

static int set_up(void **state)
{
	return set_up_with(state, false);
}

static int set_up_bells(void **state)
{
	return set_up_with(state, true);
}

static int tear_down(void **state)
{
	struct fixture *x = *state;

	dev_free(x->dev);
	memdisk_fini(&x->disk);
	vboard_fini(&x->b);
	free(x);
	return 0;
}

static void start(struct fixture *x, uint64_t features)
{
	assert_true(vdrv_start(&x->d, features, 2, 64));
}

static uint8_t *ram(struct fixture *x, uint64_t gpa)
{
	return vboard_ram(&x->b, gpa);
}

static void header(struct fixture *x, uint64_t gpa, uint32_t type, uint64_t sector)
{
	uint32_t h[4] = {type, 0, (uint32_t)sector, (uint32_t)(sector >> 32)};

	memcpy(ram(x, gpa), h, sizeof(h));
}

/* Make one request available: header, @len bytes of data, status. */
static uint16_t post(struct fixture *x, unsigned q, uint32_t type, uint64_t sector, uint32_t len)
{
	unsigned slot = x->nposts++ % SLOTS;
	struct vseg s[3] = {{x->hdrs + slot * 16, 16, false},
			    {x->data, len, type == IN || type == GET_ID},
			    {x->statuses + slot, 1, true}};

	x->hdr = s[0].gpa;
	x->status = s[2].gpa;
	header(x, x->hdr, type, sector);
	*ram(x, x->status) = 0xff;
	if (len)
		return vdrv_add(&x->d, q, s, 3);
	s[1] = s[2];
	return vdrv_add(&x->d, q, s, 2);
}

static uint8_t request(struct fixture *x, uint32_t type, uint64_t sector, uint32_t len)
{
	uint16_t head = post(x, 0, type, sector, len);

	vdrv_kick(&x->d, 0);
	vfx_used(&x->d, 0, head);
	return *ram(x, x->status);
}

static uint32_t config(struct fixture *x, unsigned off, unsigned size)
{
	return (uint32_t)bus_read(x->b.env.mmio, x->d.device + off, size);
}

/* --- the data path ---------------------------------------------------------------------- */

static void what_is_written_is_on_the_disk_and_reads_back(void **state)
{
	struct fixture *x = *state;

	start(x, FEATURES_ALL);
	memset(ram(x, x->data), 0x5a, 8192);
	assert_int_equal(request(x, OUT, 3, 8192), OK);
	assert_int_equal(x->disk.data[3 * 512], 0x5a);
	assert_int_equal(x->disk.data[3 * 512 + 8191], 0x5a);
	assert_int_equal(x->disk.data[3 * 512 + 8192], 0);
	memset(ram(x, x->data), 0, 8192);
	assert_int_equal(request(x, IN, 3, 8192), OK);
	assert_int_equal(*ram(x, x->data + 8191), 0x5a);
	assert_int_equal(vboard_msis(&x->b, 0x21), 2);
}

static void random_requests_keep_disk_and_model_equal(void **state)
{
	struct fixture *x = *state;
	unsigned seed = (unsigned)time(NULL);
	uint8_t *model = calloc(1, DISK);

	print_message("seed %u\n", seed);
	start(x, FEATURES_ALL);
	for (unsigned i = 0; i < 2000; i++) {
		uint32_t sectors = 1 + (uint32_t)rand_r(&seed) % 64;
		uint64_t sector = (uint64_t)rand_r(&seed) % (DISK / 512 - sectors + 1);
		bool write = rand_r(&seed) & 1;

		if (write) {
			memset(ram(x, x->data), rand_r(&seed), sectors * 512);
			memcpy(model + sector * 512, ram(x, x->data), sectors * 512);
		}
		x->d.q[0].indirect = rand_r(&seed) & 1 ? 0x8000 : 0;
		assert_int_equal(request(x, write ? OUT : IN, sector, sectors * 512), OK);
		assert_memory_equal(ram(x, x->data), model + sector * 512, sectors * 512);
	}
	assert_memory_equal(x->disk.data, model, DISK);
	free(model);
}

static void header_and_status_may_be_cut_anywhere(void **state)
{
	struct fixture *x = *state;
	struct vseg s[] = {{x->hdr, 5, false},
			   {x->hdr + 5, 0, false},
			   {x->hdr + 5, 11, false},
			   {x->data, 100, true},
			   {x->data + 100, 413, true} /* 512 of data and the status */};
	uint16_t head;

	start(x, FEATURES_ALL);
	memset(x->disk.data, 0x77, 512);
	header(x, x->hdr, IN, 0);
	head = vdrv_add(&x->d, 0, s, ARRAY_SIZE(s));
	vdrv_kick(&x->d, 0);
	assert_int_equal(vfx_used(&x->d, 0, head), 513);
	assert_int_equal(*ram(x, x->data + 511), 0x77);
	assert_int_equal(*ram(x, x->data + 512), OK);
}

static void a_batch_costs_one_kick_of_the_back_end(void **state)
{
	struct fixture *x = *state;
	bool seen[64] = {0};
	unsigned kicks;

	start(x, FEATURES_ALL);
	vboard_settle(&x->b);
	kicks = x->disk.kicks;
	for (unsigned i = 0; i < 16; i++)
		post(x, 0, IN, i, 512);
	vdrv_kick(&x->d, 0);
	for (unsigned i = 0; i < 16; i++) {
		uint16_t head;

		assert_true(vdrv_used(&x->d, 0, &head, NULL));
		assert_false(seen[head]); /* in any order, but once each */
		seen[head] = true;
	}
	vboard_settle(&x->b);
	assert_int_equal(x->disk.kicks, kicks + 1);
}

static void more_requests_than_the_pool_are_all_served(void **state)
{
	struct fixture *x = *state;
	struct vseg s[3];

	assert_true(vdrv_negotiate(&x->d, FEATURES_ALL));
	vdrv_msix(&x->d, 2);
	vdrv_queue(&x->d, 0, 256);
	vdrv_go(&x->d);
	header(x, x->hdr, IN, 0);
	for (unsigned i = 0; i < 256; i++) {
		s[0] = (struct vseg){x->hdr, 16, false};
		s[1] = (struct vseg){x->data + i * 512, 512, true};
		s[2] = (struct vseg){x->status, 1, true};
		x->d.q[0].indirect = vdrv_alloc(&x->d, 48, 16);
		vdrv_add(&x->d, 0, s, 3);
	}
	memset(x->disk.data, 0x11, 512);
	vdrv_kick(&x->d, 0);
	for (unsigned i = 0; i < 256; i++)
		assert_true(vdrv_used(&x->d, 0, NULL, NULL));
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(*ram(x, x->data + i * 512), 0x11);
}

static void queues_have_interrupts_of_their_own(void **state)
{
	struct fixture *x = *state;
	uint16_t head;

	start(x, FEATURES_BASIC);
	head = post(x, 1, IN, 0, 512);
	vdrv_kick(&x->d, 1);
	vfx_used(&x->d, 1, head);
	vfx_wait_msi(&x->b, 0x22, 1);
	assert_int_equal(vboard_msis(&x->b, 0x21), 0);
}

static void doorbells_by_eventfd_serve_requests(void **state)
{
	struct fixture *x = *state;
	unsigned bells = 0;

	start(x, FEATURES_ALL);
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
		bells += x->b.bell[i] >= 0;
	assert_int_equal(bells, 2);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(request(x, IN, i, 512), OK);
	/* the BAR moves and the doorbell with it */
	vcfg_write(&x->b, 1, 0x10, PCI_MMIO32_BASE + 0x1000000, 4);
	assert_int_equal(x->b.bell_gpa[0], PCI_MMIO32_BASE + 0x1003000);
	x->d.notify = PCI_MMIO32_BASE + 0x1003000;
	x->d.common = PCI_MMIO32_BASE + 0x1000000;
	assert_int_equal(request(x, IN, 0, 512), OK);
	vdrv_write(&x->d, VC_STATUS, 0, 1);
	assert_int_equal(x->b.bell[0], -1);
	vcfg_write(&x->b, 1, 4, 0, 2);
}

/* --- the other requests -------------------------------------------------------------------- */

static void flush_discard_zeroes_and_id_do_what_they_say(void **state)
{
	struct fixture *x = *state;
	struct range {
		uint64_t sector;
		uint32_t n, flags;
	} r[2] = {{1, 2, 0}, {8, 1, 1}};

	start(x, FEATURES_ALL);
	assert_int_equal(request(x, FLUSH, 0, 0), OK);
	assert_int_equal(x->disk.flushes, 1);
	memset(x->disk.data, 0xff, DISK);
	memcpy(ram(x, x->data), r, sizeof(r));
	assert_int_equal(request(x, ZEROES, 0, sizeof(r)), OK);
	assert_int_equal(x->disk.data[511], 0xff);
	assert_int_equal(x->disk.data[512], 0);
	assert_int_equal(x->disk.data[3 * 512 - 1], 0);
	assert_int_equal(x->disk.data[3 * 512], 0xff);
	assert_int_equal(x->disk.data[8 * 512], 0);
	assert_int_equal(request(x, DISCARD, 0, sizeof(r)), UNSUPP); /* no unmap flag there */
	assert_int_equal(request(x, DISCARD, 0, sizeof(r[0])), OK);
	assert_int_equal(x->disk.discards, 3);
	assert_int_equal(request(x, GET_ID, 0, 20), OK);
	assert_string_equal((char *)ram(x, x->data), "serial-0123");
	assert_int_equal(request(x, 99, 0, 512), UNSUPP);
}

static void impossible_requests_end_in_errors_and_break_nothing(void **state)
{
	static const struct {
		uint32_t type, len;
		uint64_t sector;
	} bad[] = {
		{IN, 512, DISK / 512},
		{IN, 1024, DISK / 512 - 1},
		{IN, 512, UINT64_MAX},
		{IN, 513, 0},
		{IN, 0, 0},
		{OUT, 512, 1ULL << 55},
		{OUT, 1, 0},
		{OUT, 0, 0},
		{ZEROES, 15, 0},
		{ZEROES, 0, 0},
		{DISCARD, 17 * 16, 0},
	};
	struct fixture *x = *state;

	start(x, FEATURES_ALL);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(request(x, bad[i].type, bad[i].sector, bad[i].len), IOERR);
		assert_int_equal(vdrv_read(&x->d, VC_STATUS, 1) & VS_NEEDS_RESET, 0);
	}
	memset(ram(x, x->data), 0xff, 16);
	assert_int_equal(request(x, ZEROES, 0, 16), UNSUPP); /* flags of all ones */
	assert_int_equal(request(x, IN, 0, 512), OK);
}

static void a_failing_disk_is_an_io_error(void **state)
{
	struct fixture *x = *state;

	start(x, FEATURES_ALL);
	__atomic_store_n(&x->disk.fail, true, __ATOMIC_RELAXED);
	assert_int_equal(request(x, IN, 0, 512), IOERR);
	assert_int_equal(request(x, FLUSH, 0, 0), IOERR);
	__atomic_store_n(&x->disk.fail, false, __ATOMIC_RELAXED);
	assert_int_equal(request(x, IN, 0, 512), OK);
}

static void write_through_flushes_after_each_write(void **state)
{
	struct fixture *x = *state;

	start(x, FEATURES_ALL);
	assert_int_equal(config(x, WRITEBACK, 1), 1);
	assert_int_equal(request(x, OUT, 0, 512), OK);
	assert_int_equal(x->disk.flushes, 0);
	bus_write(x->b.env.mmio, x->d.device + WRITEBACK, 0, 1);
	assert_int_equal(config(x, WRITEBACK, 1), 0);
	assert_int_equal(request(x, OUT, 0, 512), OK);
	assert_int_equal(x->disk.flushes, 1);
	start(x, ~(BIT(F_CONFIG_WCE) | BIT(F_FLUSH)));
	assert_int_equal(request(x, OUT, 0, 512), OK);
	assert_int_equal(x->disk.flushes, 2);
}

static void a_read_only_disk_says_so_and_takes_no_writes(void **state)
{
	struct fixture *x = *state;
	struct device *dev;

	x->disk.block.readonly = true;
	dev = add_disk(x, &x->disk.block, 1);
	assert_true(vdrv_probe(&x->d, &x->b, 2));
	assert_true(vdrv_device_features(&x->d) & BIT(5));
	assert_false(vdrv_device_features(&x->d) & BIT(F_DISCARD));
	assert_true(vdrv_start(&x->d, FEATURES_ALL, 1, 64));
	assert_int_equal(request(x, OUT, 0, 512), IOERR);
	assert_int_equal(request(x, ZEROES, 0, 16), IOERR);
	assert_int_equal(request(x, IN, 0, 512), OK);
	dev_free(dev);
}

static void the_configuration_describes_the_disk(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(config(x, 0, 4), DISK / 512);
	assert_int_equal(config(x, 12, 4), 254);
	assert_int_equal(config(x, 20, 4), 512);
	assert_int_equal(config(x, 34, 2), 2);
	assert_int_equal(config(x, 60, 4), 0); /* beyond its end */
	assert_int_equal(bus_read(x->b.env.mmio, x->d.device + 56, 8), 1);
}

/* --- reset, pause, state -------------------------------------------------------------------- */

static void a_reset_waits_for_requests_under_way(void **state)
{
	struct fixture *x = *state;

	start(x, FEATURES_ALL);
	__atomic_store_n(&x->disk.hold, true, __ATOMIC_RELAXED);
	memset(x->disk.data, 0x33, 512);
	post(x, 0, IN, 0, 512);
	vdrv_kick(&x->d, 0);
	vboard_settle(&x->b);
	assert_int_equal(*ram(x, x->status), 0xff);
	vdrv_write(&x->d, VC_STATUS, 0, 1);
	assert_int_equal(*ram(x, x->status), OK); /* was done before the write returned */
	assert_int_equal(*ram(x, x->data), 0x33);
	assert_int_equal(x->disk.block.inflight, 0);
	assert_int_equal(vdrv_read(&x->d, VC_STATUS, 1), 0);
	__atomic_store_n(&x->disk.hold, false, __ATOMIC_RELAXED);
	start(x, FEATURES_ALL);
	assert_int_equal(request(x, IN, 0, 512), OK);
}

static void resets_under_load_never_lose_the_device(void **state)
{
	struct fixture *x = *state;
	unsigned seed = (unsigned)time(NULL);

	print_message("seed %u\n", seed);
	for (unsigned i = 0; i < 300; i++) {
		x->d.next_gpa = 0x100000;
		start(x, FEATURES_ALL);
		for (unsigned k = (unsigned)rand_r(&seed) % 20; k--;) {
			post(x, k & 1, IN, k, 512);
			if (rand_r(&seed) & 1)
				vdrv_kick(&x->d, k & 1);
		}
		if (i % 3 == 0)
			dev_reset(x->dev);
		else
			vdrv_write(&x->d, VC_STATUS, 0, 1);
		assert_int_equal(x->disk.block.inflight, 0);
	}
}

static void a_paused_disk_is_idle_and_goes_on_where_it_was(void **state)
{
	struct fixture *x = *state;
	struct errbuf err = {0};
	uint16_t head;

	start(x, FEATURES_ALL);
	bus_write(x->b.env.mmio, x->d.device + WRITEBACK, 0, 1);
	assert_int_equal(request(x, IN, 0, 512), OK);
	head = post(x, 0, OUT, 0, 512);
	/* no kick: the ring is looked at when the device goes on */
	assert_int_equal(vfx_transplant(x->dev, x->dev, &err), 0);
	vfx_used(&x->d, 0, head);
	assert_int_equal(config(x, WRITEBACK, 1), 0);
	assert_int_equal(request(x, IN, 0, 512), OK);
	vfx_wait_msi(&x->b, 0x21, 3);
}

static void pause_completes_what_is_under_way(void **state)
{
	struct fixture *x = *state;

	start(x, FEATURES_ALL);
	__atomic_store_n(&x->disk.hold, true, __ATOMIC_RELAXED);
	post(x, 0, IN, 0, 512);
	vdrv_kick(&x->d, 0);
	vboard_settle(&x->b);
	virtio_pause(x->dev);
	assert_int_equal(*ram(x, x->status), OK);
	assert_int_equal(x->disk.block.inflight, 0);
	virtio_resume(x->dev);
}

static void a_file_keeps_what_the_guest_wrote(void **state)
{
	struct fixture *x = *state;
	struct block_open_opts o = {.holder = "test"};
	char path[] = "/tmp/virtio-blk-XXXXXX";
	int fd = mkstemp(path);
	struct errbuf err = {0};
	struct block *block;
	struct device *dev;
	uint8_t buf[4096];

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 64 << 10), 0);
	assert_int_equal(block_open(path, &o, vboard_loop(&x->b), &block, &err), 0);
	dev = add_disk(x, block, 2);
	assert_true(vdrv_probe(&x->d, &x->b, 2));
	start(x, FEATURES_ALL);
	for (unsigned i = 0; i < 16; i++) {
		memset(ram(x, x->data), (int)(0x40 + i), sizeof(buf));
		assert_int_equal(request(x, OUT, i * 8, sizeof(buf)), OK);
	}
	assert_int_equal(request(x, FLUSH, 0, 0), OK);
	for (unsigned i = 0; i < 16; i++) {
		assert_int_equal(pread(fd, buf, sizeof(buf), i * 4096), sizeof(buf));
		assert_int_equal(buf[4095], 0x40 + i);
	}
	assert_int_equal(request(x, IN, 8, sizeof(buf)), OK);
	assert_int_equal(*ram(x, x->data), 0x41);
	dev_free(dev);
	assert_int_equal(loop_call(vboard_loop(&x->b), (void (*)(void *))block_free, block), 0);
	close(fd);
	unlink(path);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_is_written_is_on_the_disk_and_reads_back),
		T(random_requests_keep_disk_and_model_equal),
		T(header_and_status_may_be_cut_anywhere),
		T(a_batch_costs_one_kick_of_the_back_end),
		T(more_requests_than_the_pool_are_all_served),
		T(queues_have_interrupts_of_their_own),
		cmocka_unit_test_setup_teardown(doorbells_by_eventfd_serve_requests, set_up_bells,
						tear_down),
		T(flush_discard_zeroes_and_id_do_what_they_say),
		T(impossible_requests_end_in_errors_and_break_nothing),
		T(a_failing_disk_is_an_io_error),
		T(write_through_flushes_after_each_write),
		T(a_read_only_disk_says_so_and_takes_no_writes),
		T(the_configuration_describes_the_disk),
		T(a_reset_waits_for_requests_under_way),
		T(resets_under_load_never_lose_the_device),
		T(a_paused_disk_is_idle_and_goes_on_where_it_was),
		T(pause_completes_what_is_under_way),
		T(a_file_keeps_what_the_guest_wrote),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
