/* SPDX-License-Identifier: Apache-2.0 */
/* block_test.c - back ends against a model in memory, locks, and what users are told. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "block/internal.h"

enum { DISK = 1 << 20, NREQ = 48, MAX_BYTES = 96 << 10, NIOV = 6 };

struct fixture {
	struct loop *loop;
	char path[64];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	assert_non_null(f);
	snprintf(f->path, sizeof(f->path), "/tmp/caisson-block-XXXXXX");
	fd = mkstemp(f->path);
	assert_true(fd >= 0);
	assert_return_code(ftruncate(fd, DISK), errno);
	close(fd);
	assert_int_equal(loop_new(&f->loop), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	unlink(f->path);
	loop_free(f->loop);
	free(f);
	return 0;
}

enum backend { URING, POOL, OVERLAY };

static struct block *open_backend(struct fixture *fx, enum backend kind)
{
	struct block_open_opts opts = {.holder = "test", .ephemeral = kind == OVERLAY};
	struct file f = {.bytes = DISK, .path = fx->path};
	struct errbuf err = {0};
	struct block *b = NULL;

	if (kind != POOL) {
		if (block_open(fx->path, &opts, fx->loop, &b, &err))
			fail_msg("%s", err.msg);
		return b;
	}
	f.fd = open(fx->path, O_RDWR | O_CLOEXEC);
	assert_int_equal(block_pool_new(&f, fx->loop, &opts, &b), 0);
	return b;
}

/* --- a request that waits for itself --------------------------------------------------- */

struct sync {
	struct block_req req;
	bool done;
	int ret;
};

static void sync_done(struct block_req *req, int ret)
{
	struct sync *s = container_of(req, struct sync, req);

	s->done = true;
	s->ret = ret;
}

static int run(struct block *b, struct block_req req)
{
	struct sync s = {.req = req};

	s.req.done = sync_done;
	block_submit(b, &s.req);
	assert_false(s.done);
	block_kick(b);
	while (!s.done)
		assert_int_equal(loop_run_once(b->loop, -1), 0);
	return s.ret;
}

static int io(struct block *b, enum block_op op, uint64_t offset, void *buf, uint64_t bytes)
{
	struct iovec iov = {buf, bytes};

	return run(b, (struct block_req){
			      .op = op, .offset = offset, .bytes = bytes, .iov = &iov, .niov = 1});
}

/* --- random operations, mirrored -------------------------------------------------------- */

struct op {
	struct block_req req;
	struct iovec iov[NIOV];
	uint8_t *buf, *want;
	unsigned *left;
};

struct mirror {
	uint8_t disk[DISK];
	struct op op[NREQ];
	unsigned seed;
};

static unsigned next_random(struct mirror *m)
{
	m->seed = m->seed * 1664525u + 1013904223u;
	return m->seed >> 8;
}

static void op_done(struct block_req *req, int ret)
{
	struct op *o = container_of(req, struct op, req);

	assert_int_equal(ret, 0);
	if (req->op == BLOCK_READ)
		assert_memory_equal(o->buf, o->want, req->bytes);
	--*o->left;
}

/* Cut the buffer at random, unaligned places. */
static void cut(struct mirror *m, struct op *o)
{
	uint64_t at = 0;

	o->req.niov = 1 + next_random(m) % NIOV;
	for (unsigned i = 0; i < o->req.niov; i++) {
		uint64_t n = o->req.bytes - at;

		if (i + 1 < o->req.niov)
			n = next_random(m) % (n + 1);
		o->iov[i] = (struct iovec){o->buf + at, n};
		at += n;
	}
	o->req.iov = o->iov;
}

static void prepare(struct mirror *m, struct op *o, uint64_t from, uint64_t to)
{
	uint64_t sectors = (to - from) / 512, at = next_random(m) % sectors;
	uint64_t n = 1 + next_random(m) % MIN(sectors - at, (uint64_t)MAX_BYTES / 512);
	uint8_t *model;

	o->req = (struct block_req){.op = next_random(m) % 8, .done = op_done};
	if (o->req.op > BLOCK_ZERO)
		o->req.op = next_random(m) % 2; /* mostly reads and writes */
	o->req.offset = from + at * 512;
	o->req.bytes = n * 512;
	o->req.unmap = next_random(m) % 2;
	model = m->disk + o->req.offset;
	cut(m, o);
	if (o->req.op == BLOCK_READ) {
		memcpy(o->want, model, o->req.bytes);
	} else if (o->req.op == BLOCK_WRITE) {
		memset(o->buf, (int)next_random(m), o->req.bytes);
		memcpy(model, o->buf, o->req.bytes);
	} else if (o->req.op != BLOCK_FLUSH) {
		memset(model, 0, o->req.bytes);
	}
}

/* One round: NREQ requests at once, each in its own part of the disk. */
static void one_round(struct mirror *m, struct block *b)
{
	uint64_t part = DISK / NREQ / 512 * 512;
	unsigned left = NREQ;

	for (unsigned i = 0; i < NREQ; i++) {
		prepare(m, &m->op[i], i * part, (i + 1) * part);
		m->op[i].left = &left;
		block_submit(b, &m->op[i].req);
		if (next_random(m) % 8 == 0)
			block_kick(b);
	}
	if (next_random(m) % 4 == 0) {
		block_drain(b);
		assert_int_equal(left, 0);
	}
	block_kick(b);
	while (left)
		assert_int_equal(loop_run_once(b->loop, -1), 0);
	assert_int_equal(b->inflight, 0);
}

static void mirror(struct fixture *f, enum backend kind)
{
	struct mirror *m = calloc(1, sizeof(*m));
	struct block *b;
	uint8_t *all = malloc(DISK);

	m->seed = (unsigned)(host_ns() ^ (uint64_t)getpid());
	print_message("seed %u\n", m->seed);
	for (unsigned i = 0; i < DISK; i++)
		m->disk[i] = (uint8_t)(i * 7 + i / 512);
	AUTO_FD int fd = open(f->path, O_RDWR);
	assert_int_equal(pwrite(fd, m->disk, DISK, 0), DISK);
	for (unsigned i = 0; i < NREQ; i++) {
		m->op[i].buf = malloc(MAX_BYTES);
		m->op[i].want = malloc(MAX_BYTES);
	}
	b = open_backend(f, kind);
	for (unsigned i = 0; i < 60; i++)
		one_round(m, b);
	assert_int_equal(io(b, BLOCK_READ, 0, all, DISK), 0);
	assert_memory_equal(all, m->disk, DISK);
	block_free(b);
	assert_int_equal(pread(fd, all, DISK, 0), DISK);
	if (kind != OVERLAY)
		assert_memory_equal(all, m->disk, DISK);
	for (unsigned i = 0; i < DISK && kind == OVERLAY; i++)
		assert_int_equal(all[i], (uint8_t)(i * 7 + i / 512));
	for (unsigned i = 0; i < NREQ; i++) {
		free(m->op[i].buf);
		free(m->op[i].want);
	}
	free(m);
	free(all);
}

static void random_operations_by_io_uring_match_a_model(void **state)
{
	mirror(*state, URING);
}

static void random_operations_by_threads_match_a_model(void **state)
{
	mirror(*state, POOL);
}

static void random_operations_on_an_overlay_match_a_model_and_leave_the_file_alone(void **state)
{
	mirror(*state, OVERLAY);
}

/* --- single properties -------------------------------------------------------------------- */

static void more_requests_than_ring_slots_all_complete(void **state)
{
	enum { MANY = 2000 };
	struct block *b = open_backend(*state, URING);
	struct sync *s = calloc(MANY, sizeof(*s));
	uint8_t buf[512];
	struct iovec iov = {buf, sizeof(buf)};

	for (unsigned i = 0; i < MANY; i++) {
		s[i].req = (struct block_req){.op = BLOCK_READ,
					      .offset = i % 2048 * 512,
					      .bytes = 512,
					      .iov = &iov,
					      .niov = 1,
					      .done = sync_done};
		block_submit(b, &s[i].req);
	}
	block_drain(b);
	for (unsigned i = 0; i < MANY; i++)
		assert_true(s[i].done && s[i].ret == 0);
	free(s);
	block_free(b);
}

static void discard_gives_the_files_blocks_back_and_reads_as_zero(void **state)
{
	static const enum backend kinds[] = {URING, POOL};
	struct fixture *f = *state;
	uint8_t buf[65536];
	struct stat before, after;

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct block *b = open_backend(f, kinds[i]);

		memset(buf, 0x5a, sizeof(buf));
		assert_true(b->discard);
		assert_int_equal(io(b, BLOCK_WRITE, 0, buf, sizeof(buf)), 0);
		assert_int_equal(run(b, (struct block_req){.op = BLOCK_FLUSH}), 0);
		stat(f->path, &before);
		assert_int_equal(io(b, BLOCK_DISCARD, 0, NULL, sizeof(buf)), 0);
		stat(f->path, &after);
		assert_true(after.st_blocks < before.st_blocks);
		assert_int_equal(io(b, BLOCK_READ, 0, buf, sizeof(buf)), 0);
		for (unsigned k = 0; k < sizeof(buf); k++)
			assert_int_equal(buf[k], 0);
		block_free(b);
	}
}

static void bad_requests_complete_with_an_error(void **state)
{
	static const enum backend kinds[] = {URING, POOL, OVERLAY};
	uint8_t buf[1024];

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct block *b = open_backend(*state, kinds[i]);
		struct iovec iov = {buf, 512};

		assert_int_equal(io(b, BLOCK_READ, DISK, buf, 512), -EINVAL);
		assert_int_equal(io(b, BLOCK_READ, DISK - 512, buf, 1024), -EINVAL);
		assert_int_equal(io(b, BLOCK_READ, UINT64_MAX - 511, buf, 1024), -EINVAL);
		assert_int_equal(io(b, BLOCK_WRITE, 1, buf, 512), -EINVAL);
		assert_int_equal(io(b, BLOCK_WRITE, 0, buf, 0), -EINVAL);
		assert_int_equal(run(b, (struct block_req){.op = BLOCK_READ,
							   .bytes = 1024,
							   .iov = &iov,
							   .niov = 1}),
				 -EINVAL);
		assert_int_equal(run(b, (struct block_req){.op = 77, .bytes = 512}), -EINVAL);
		assert_int_equal(b->inflight, 0);
		block_free(b);
	}
}

static void a_read_only_disk_refuses_writes(void **state)
{
	struct fixture *f = *state;
	struct block_open_opts opts = {.readonly = true, .ephemeral = true};
	struct block *b;
	uint8_t buf[512];

	assert_int_equal(block_open(f->path, &opts, f->loop, &b, NULL), 0);
	assert_true(b->readonly);
	assert_false(b->discard);
	assert_int_equal(io(b, BLOCK_WRITE, 0, buf, 512), -EROFS);
	assert_int_equal(io(b, BLOCK_DISCARD, 0, NULL, 512), -EROFS);
	assert_int_equal(io(b, BLOCK_READ, 0, buf, 512), 0);
	assert_int_equal(run(b, (struct block_req){.op = BLOCK_FLUSH}), 0);
	block_free(b);
}

static void a_file_that_became_shorter_is_an_io_error(void **state)
{
	static const enum backend kinds[] = {URING, POOL};
	struct fixture *f = *state;
	uint8_t buf[4096];

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct block *b = open_backend(f, kinds[i]);

		assert_return_code(truncate(f->path, 2048), errno);
		assert_int_equal(io(b, BLOCK_READ, 0, buf, 4096), -EIO);
		assert_return_code(truncate(f->path, DISK), errno);
		block_free(b);
	}
}

static void a_short_transfer_goes_on_where_it_stopped(void **state)
{
	uint8_t buf[3][512];
	struct iovec iov[3] = {{buf[0], 512}, {buf[1], 512}, {buf[2], 512}};
	struct block_req req = {
		.op = BLOCK_READ, .offset = 4096, .bytes = 1536, .iov = iov, .niov = 3};
	struct xfer_step s;
	struct xfer x;

	xfer_init(&x, &req);
	xfer_next(&x, &s);
	assert_true(s.kind == XFER_READ && s.iov == iov && s.niov == 3 && s.offset == 4096);
	assert_false(xfer_result(&x, 600));
	xfer_next(&x, &s);
	assert_int_equal(s.offset, 4696);
	assert_ptr_equal(s.iov->iov_base, buf[1] + 88);
	assert_true(s.niov == 1 && s.iov->iov_len == 424);
	assert_false(xfer_result(&x, -EINTR));
	assert_false(xfer_result(&x, 424));
	xfer_next(&x, &s);
	assert_true(s.iov == iov + 2 && s.niov == 1 && s.offset == 5120);
	assert_true(xfer_result(&x, 512));
	assert_int_equal(x.ret, 0);
}

static void zeroes_are_written_where_the_file_system_cannot_make_them(void **state)
{
	struct block_req req = {.op = BLOCK_ZERO, .offset = 512, .bytes = 10 << 20};
	uint64_t total = 0;
	struct xfer_step s;
	struct xfer x;

	xfer_init(&x, &req);
	xfer_next(&x, &s);
	assert_int_equal(s.kind, XFER_ALLOCATE);
	assert_false(xfer_result(&x, -EOPNOTSUPP));
	do {
		uint64_t n = 0;

		xfer_next(&x, &s);
		assert_int_equal(s.kind, XFER_WRITE);
		assert_int_equal(s.offset, 512 + total);
		for (unsigned i = 0; i < s.niov; i++)
			n += s.iov[i].iov_len;
		assert_int_equal(n, s.bytes);
		n = MIN(n, 100000u); /* and shorter than asked for */
		total += n;
		if (xfer_result(&x, (int64_t)n))
			break;
	} while (total < req.bytes);
	assert_int_equal(total, req.bytes);
	assert_int_equal(x.ret, 0);
	req.op = BLOCK_DISCARD;
	xfer_init(&x, &req);
	assert_true(xfer_result(&x, -EOPNOTSUPP));
	assert_int_equal(x.ret, 0);
	xfer_init(&x, &req);
	assert_true(xfer_result(&x, -ENOSPC));
	assert_int_equal(x.ret, -ENOSPC);
}

/* --- as the machine uses it: opened on one thread, served on another -------------------- */

struct remote {
	struct block *b;
	struct sync sync;
	struct iovec iov;
	uint8_t buf[4096];
};

static void remote_submit(void *arg)
{
	struct remote *r = arg;

	block_submit(r->b, &r->sync.req);
	block_kick(r->b);
}

static void remote_free(void *arg)
{
	struct remote *r = arg;

	block_drain(r->b);
	block_free(r->b);
}

static void a_disk_may_be_opened_while_its_loop_runs(void **state)
{
	struct fixture *f = *state;
	struct remote r = {.iov = {r.buf, sizeof(r.buf)}};
	struct block_open_opts opts = {.ephemeral = true};
	struct iothread *t;

	assert_int_equal(iothread_new("io", NULL, NULL, &t), 0);
	assert_int_equal(block_open(f->path, &opts, iothread_loop(t), &r.b, NULL), 0);
	r.sync.req = (struct block_req){.op = BLOCK_READ,
					.bytes = sizeof(r.buf),
					.iov = &r.iov,
					.niov = 1,
					.done = sync_done};
	loop_call(iothread_loop(t), remote_submit, &r);
	/* drains inside a callback of the loop, beside the loop's own events */
	loop_call(iothread_loop(t), remote_free, &r);
	assert_true(r.sync.done);
	assert_int_equal(r.sync.ret, 0);
	iothread_free(t);
}

/* A host that forbids io_uring, as containers do. */
static int open_without_io_uring(struct fixture *f)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {ARRAY_SIZE(code), code};
	struct block_open_opts opts = {0};
	struct block *b;
	bool threads;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
		return 2;
	if (block_open(f->path, &opts, f->loop, &b, NULL))
		return 3;
	threads = !strcmp(b->ops->name, "threads");
	block_free(b);
	return threads ? 0 : 4;
}

static void threads_serve_the_disk_where_io_uring_is_refused(void **state)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(open_without_io_uring(*state));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* --- locks and sentences -------------------------------------------------------------------- */

static void refused(struct fixture *f, const char *path, struct block_open_opts opts,
		    const char *sentence)
{
	struct errbuf err = {0};
	struct block *b = NULL;

	assert_true(block_open(path, &opts, f->loop, &b, &err) < 0);
	assert_null(b);
	if (!strstr(err.msg, sentence))
		fail_msg("'%s' does not contain '%s'", err.msg, sentence);
}

static struct block *opened(struct fixture *f, struct block_open_opts opts)
{
	struct errbuf err = {0};
	struct block *b = NULL;

	if (block_open(f->path, &opts, f->loop, &b, &err))
		fail_msg("%s", err.msg);
	return b;
}

static void a_second_writer_is_refused_and_told_the_name_of_the_first(void **state)
{
	struct fixture *f = *state;
	struct block *b = opened(f, (struct block_open_opts){.holder = "web server \xc3\xa4 01"});

	refused(f, f->path, (struct block_open_opts){.holder = "b"},
		"in use by VM 'web server \xc3\xa4 01'");
	refused(f, f->path, (struct block_open_opts){.readonly = true},
		"in use by VM 'web server \xc3\xa4 01'");
	refused(f, f->path, (struct block_open_opts){.ephemeral = true}, "in use by VM 'web");
	block_free(b);
	b = opened(f, (struct block_open_opts){.holder = "b"});
	refused(f, f->path, (struct block_open_opts){.holder = "a"}, "in use by VM 'b'");
	block_free(b);
}

static void readers_share_a_disk_and_keep_a_writer_out(void **state)
{
	struct fixture *f = *state;
	struct block *a = opened(f, (struct block_open_opts){.ephemeral = true, .holder = "a-1"});
	struct block *b = opened(
		f, (struct block_open_opts){.readonly = true, .holder = "reader-number-two"});

	refused(f, f->path, (struct block_open_opts){.holder = "w"}, "being read by VM 'a-1'");
	block_free(a);
	refused(f, f->path, (struct block_open_opts){.holder = "w"},
		"being read by VM 'reader-number-two'");
	block_free(b);
	block_free(opened(f, (struct block_open_opts){.holder = "w"}));
}

static void a_long_name_is_cut_and_a_missing_one_is_not_invented(void **state)
{
	struct fixture *f = *state;
	char name[301];
	struct block *b;

	memset(name, 'x', 300);
	name[300] = '\0';
	b = opened(f, (struct block_open_opts){.holder = name});
	refused(f, f->path, (struct block_open_opts){0}, "VM 'xxxxxxxxxxx");
	block_free(b);
	b = opened(f, (struct block_open_opts){0});
	refused(f, f->path, (struct block_open_opts){0}, "in use by another program");
	block_free(b);
}

static void unusable_paths_are_refused_with_a_sentence(void **state)
{
	struct fixture *f = *state;
	struct block_open_opts none = {0};
	char fifo[80];

	refused(f, "/nonexistent/disk.img", none, "disk '/nonexistent/disk.img' does not exist");
	refused(f, "/tmp", none, "disk '/tmp' is a directory");
	refused(f, "/tmp", (struct block_open_opts){.readonly = true}, "is a directory");
	refused(f, "/dev/null", none, "neither a file nor a block device");
	snprintf(fifo, sizeof(fifo), "%s.fifo", f->path);
	assert_return_code(mkfifo(fifo, 0600), errno);
	refused(f, fifo, (struct block_open_opts){.readonly = true}, "neither a file");
	unlink(fifo);
	assert_return_code(truncate(f->path, 1000), errno);
	refused(f, f->path, none, "size 1000 is not a multiple of 512");
	assert_return_code(truncate(f->path, 0), errno);
	refused(f, f->path, none, "is empty");
}

static void an_image_of_another_format_is_not_taken_for_a_raw_disk(void **state)
{
	struct fixture *f = *state;
	AUTO_FD int fd = open(f->path, O_RDWR);

	assert_int_equal(pwrite(fd, "QFI\xfb\0\0\0\3", 8, 0), 8);
	refused(f, f->path, (struct block_open_opts){0}, "is a qcow2 image");
	refused(f, f->path, (struct block_open_opts){.readonly = true}, "qemu-img convert");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		T(random_operations_by_io_uring_match_a_model),
		T(random_operations_by_threads_match_a_model),
		T(random_operations_on_an_overlay_match_a_model_and_leave_the_file_alone),
		T(more_requests_than_ring_slots_all_complete),
		T(discard_gives_the_files_blocks_back_and_reads_as_zero),
		T(bad_requests_complete_with_an_error),
		T(a_read_only_disk_refuses_writes),
		T(a_file_that_became_shorter_is_an_io_error),
		T(a_short_transfer_goes_on_where_it_stopped),
		T(zeroes_are_written_where_the_file_system_cannot_make_them),
		T(a_disk_may_be_opened_while_its_loop_runs),
		T(threads_serve_the_disk_where_io_uring_is_refused),
		T(a_second_writer_is_refused_and_told_the_name_of_the_first),
		T(readers_share_a_disk_and_keep_a_writer_out),
		T(a_long_name_is_cut_and_a_missing_one_is_not_invented),
		T(unusable_paths_are_refused_with_a_sentence),
		T(an_image_of_another_format_is_not_taken_for_a_raw_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
