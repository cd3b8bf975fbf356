// SPDX-License-Identifier: Apache-2.0
/* chardev_test.c - real terminals (ptys), pipes, files and sockets. */
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>

#include <cmocka.h>

#include "dev/chardev.h"

struct rig {
	struct loop *loop;
	struct chardev *chr;
	struct chardev_client client;
	int saved[2];
	size_t room;  /* what the client takes; SIZE_MAX: all */
	size_t grows; /* by this, behind the back of whoever asked */
	uint8_t got[70000];
	size_t ngot;
	int escapes[8], nescapes;
	char dir[32];
};

static size_t can_receive(struct chardev_client *c)
{
	struct rig *r = container_of(c, struct rig, client);
	size_t room = r->room;

	r->room += r->grows;
	return MIN(room, sizeof(r->got) - r->ngot);
}

static void receive(struct chardev_client *c, const uint8_t *buf, size_t len)
{
	struct rig *r = container_of(c, struct rig, client);

	assert_true(len <= r->room);
	memcpy(r->got + r->ngot, buf, len);
	r->ngot += len;
	if (r->room != SIZE_MAX)
		r->room -= len;
}

static void on_escape(void *ctx, int key)
{
	struct rig *r = ctx;

	r->escapes[r->nescapes++ % 8] = key;
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	assert_int_equal(loop_new(&r->loop), 0);
	r->client = (struct chardev_client){can_receive, receive};
	r->room = SIZE_MAX;
	r->saved[0] = dup(0);
	r->saved[1] = dup(1);
	strcpy(r->dir, "/tmp/chardev-test-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	chardev_free(r->chr);
	loop_free(r->loop);
	rmdir(r->dir);
	close(r->saved[0]);
	close(r->saved[1]);
	free(r);
	return 0;
}

/* Open @spec with @in and @out (taken) as stdin and stdout, then put ours back. */
static void start(struct rig *r, const char *spec, int in, int out)
{
	struct errbuf err = {0};
	int ret;

	fflush(stdout);
	if (in >= 0)
		dup2(in, 0);
	if (out >= 0)
		dup2(out, 1);
	ret = chardev_new(r->loop, spec, on_escape, r, &r->chr, &err);
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	dup2(r->saved[1], 1);
	if (ret)
		fail_msg("%s", err.msg);
	chardev_attach(r->chr, &r->client);
}

/* Stdin stays the chardev's while a terminal is to be put back. */
static void put_stdin_back(struct rig *r)
{
	dup2(r->saved[0], 0);
}

static void run(struct rig *r)
{
	for (int i = 0; i < 20; i++)
		loop_run_once(r->loop, 0);
}

static void put(struct rig *r, const char *text)
{
	chardev_write(r->chr, (const uint8_t *)text, strlen(text));
	run(r);
}

/* Terminals hand data on from a kernel worker: wait until it is there. */
static void expect_got(struct rig *r, const char *text)
{
	run(r);
	while (r->ngot < strlen(text))
		loop_run_once(r->loop, -1);
	assert_int_equal(r->ngot, strlen(text));
	assert_memory_equal(r->got, text, r->ngot);
	r->ngot = 0;
}

static void expect_escape(struct rig *r, int key)
{
	int n = r->nescapes + 1;

	while (r->nescapes < n)
		loop_run_once(r->loop, -1);
	assert_int_equal(r->escapes[(n - 1) % 8], key);
}

static void expect_at(int fd, const char *text)
{
	char buf[256] = "";
	ssize_t n = read(fd, buf, sizeof(buf) - 1);

	assert_int_equal(n, strlen(text));
	assert_string_equal(buf, text);
}

/* The loop has nothing to do: it sleeps its whole time-out. */
static void expect_idle(struct rig *r)
{
	uint64_t t = host_ns();

	loop_run_once(r->loop, 30);
	assert_true(host_ns() - t >= 29000000);
}

/* --- terminal ------------------------------------------------------------------ */

static void a_terminal_is_raw_while_open_and_as_before_afterwards(void **state)
{
	struct rig *r = *state;
	struct termios before = {0}, now = {0};
	int master, slave;

	assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
	assert_int_equal(tcgetattr(slave, &before), 0);
	start(r, "stdio", dup(slave), dup(slave));
	assert_int_equal(tcgetattr(slave, &now), 0);
	assert_int_equal(now.c_lflag & (ICANON | ECHO | ISIG), 0);
	assert_int_equal(now.c_iflag & (ICRNL | IXON), 0);
	/* our file status flags are not the shell's */
	assert_int_equal(fcntl(slave, F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(write(master, "a\r\003z", 4), 4);
	expect_got(r, "a\r\003z");
	put(r, "out");
	expect_at(master, "out");

	chardev_restore_terminal();
	assert_int_equal(tcgetattr(slave, &now), 0);
	assert_memory_equal(&now, &before, sizeof(now));
	chardev_restore_terminal();
	chardev_free(r->chr);
	start(r, "stdio", dup(slave), dup(slave));
	chardev_free(r->chr);
	r->chr = NULL;
	assert_int_equal(tcgetattr(slave, &now), 0);
	assert_memory_equal(&now, &before, sizeof(now));
	put_stdin_back(r);
	close(master);
	close(slave);
}

static void the_escape_key_calls_and_doubled_is_itself(void **state)
{
	struct rig *r = *state;
	int master, slave;

	assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
	start(r, "stdio", dup(slave), dup(slave));
	assert_int_equal(write(master, "a\001xb\001\001c\001", 8), 8);
	expect_got(r, "ab\001c");
	assert_int_equal(r->nescapes, 1);
	assert_int_equal(r->escapes[0], 'x');
	assert_int_equal(write(master, "q", 1), 1);
	expect_escape(r, 'q');
	assert_int_equal(r->ngot, 0);
	chardev_free(MOVE(r->chr));
	put_stdin_back(r);
	close(master);
	close(slave);
}

static void the_escape_key_works_while_the_guest_takes_nothing(void **state)
{
	struct rig *r = *state;
	char junk[1024];
	int master, slave;

	memset(junk, 'j', sizeof(junk));
	assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
	start(r, "stdio", dup(slave), dup(slave));
	r->room = 0;
	fcntl(master, F_SETFL, O_NONBLOCK);
	for (size_t sent = 0; sent < 20000;) {
		ssize_t n = write(master, junk, sizeof(junk));

		sent += n > 0 ? (size_t)n : 0;
		loop_run_once(r->loop, 1);
	}
	while (write(master, "\001x", 2) != 2)
		loop_run_once(r->loop, 1);
	expect_escape(r, 'x');
	assert_int_equal(r->ngot, 0);
	chardev_free(MOVE(r->chr));
	put_stdin_back(r);
	close(master);
	close(slave);
}

static void a_terminal_that_hangs_up_is_the_end_of_input(void **state)
{
	struct rig *r = *state;
	int master, slave;

	assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
	start(r, "stdio", dup(slave), dup(slave));
	close(slave);
	close(master);
	run(r);
	expect_idle(r);
	put(r, "nobody reads this");
	expect_idle(r);
	chardev_free(MOVE(r->chr));
	put_stdin_back(r);
}

/* --- pipes and files as stdin ------------------------------------------------------- */

static void the_end_of_input_does_not_spin(void **state)
{
	struct rig *r = *state;
	int in[2], out[2];

	assert_int_equal(pipe(in) | pipe(out), 0);
	assert_int_equal(write(in[1], "last words", 10), 10);
	start(r, "stdio", in[0], out[1]);
	put_stdin_back(r);
	close(in[1]);
	expect_got(r, "last words");
	expect_idle(r);
	put(r, "still talking");
	expect_at(out[0], "still talking");
	close(out[0]);
}

static void dev_null_and_a_closed_stdin_are_no_input(void **state)
{
	struct rig *r = *state;

	start(r, "stdio", open("/dev/null", O_RDONLY), open("/dev/null", O_WRONLY));
	put(r, "into the void");
	expect_got(r, "");
	expect_idle(r);
	chardev_free(MOVE(r->chr));
	close(0);
	start(r, "stdio", -1, open("/dev/null", O_WRONLY));
	put_stdin_back(r);
	run(r);
	expect_idle(r);
}

static void a_file_as_stdin_is_read_as_fast_as_the_guest_takes_it(void **state)
{
	struct rig *r = *state;
	uint8_t data[10000];
	char path[64];
	int fd;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i % 251 + 2); /* no escape key */
	snprintf(path, sizeof(path), "%s/in", r->dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	unlink(path);
	assert_int_equal(write(fd, data, sizeof(data)), sizeof(data));
	lseek(fd, 0, SEEK_SET);
	r->room = 7;
	start(r, "stdio", fd, open("/dev/null", O_WRONLY));
	run(r);
	assert_int_equal(r->ngot, 7);
	for (int i = 0; i < 2000 && r->ngot < sizeof(data); i++) {
		r->room = 16;
		chardev_accept(r->chr);
		loop_run_once(r->loop, 0);
	}
	assert_int_equal(r->ngot, sizeof(data));
	assert_memory_equal(r->got, data, sizeof(data));
	expect_idle(r);
	chardev_free(MOVE(r->chr));
	put_stdin_back(r);
}

/* A vCPU empties the FIFO whenever it likes: also between two looks at its room. */
static void room_that_grows_meanwhile_is_not_input(void **state)
{
	struct rig *r = *state;
	int in[2];

	assert_int_equal(pipe2(in, O_NONBLOCK), 0);
	r->room = 8;
	r->grows = 8;
	start(r, "stdio", in[0], open("/dev/null", O_WRONLY));
	put_stdin_back(r);
	assert_int_equal(write(in[1], "0123456789", 10), 10);
	expect_got(r, "0123456789");
	assert_int_equal(write(in[1], "abc", 3), 3);
	expect_got(r, "abc");
	expect_idle(r);
	close(in[1]);
}

static void a_writer_that_is_too_fast_waits(void **state)
{
	struct rig *r = *state;
	uint8_t junk[65536];
	size_t sent = 0;
	ssize_t n;
	int in[2];

	for (size_t i = 0; i < sizeof(junk); i++)
		junk[i] = (uint8_t)(i % 251 + 2);
	assert_int_equal(pipe2(in, O_NONBLOCK), 0);
	r->room = 0;
	start(r, "stdio", in[0], open("/dev/null", O_WRONLY));
	put_stdin_back(r);
	for (int i = 0; i < 100; i++) {
		n = write(in[1], junk, 1000);
		sent += n > 0 ? (size_t)n : 0;
		run(r);
	}
	assert_true(sent < 100000); /* the pipe is full */
	expect_idle(r);
	r->room = SIZE_MAX;
	chardev_accept(r->chr);
	close(in[1]);
	for (int i = 0; i < 100; i++)
		run(r);
	assert_int_equal(r->ngot, MIN(sent, sizeof(r->got)));
}

/* --- output ----------------------------------------------------------------------------- */

static void output_never_blocks_and_what_was_taken_keeps_its_order(void **state)
{
	struct rig *r = *state;
	uint8_t block[1024], buf[4096];
	unsigned next = 0;
	size_t total = 0;
	int in[2], out[2];
	ssize_t n;

	assert_int_equal(pipe(in) | pipe(out), 0);
	start(r, "stdio", in[0], out[1]);
	put_stdin_back(r);
	for (unsigned i = 0; i < 2000; i++) { /* nobody reads */
		for (size_t k = 0; k < sizeof(block); k++)
			block[k] = (uint8_t)((i * sizeof(block) + k) % 253);
		chardev_write(r->chr, block, sizeof(block));
		loop_run_once(r->loop, 0);
	}
	expect_idle(r);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	for (int idle = 0; idle < 5;) {
		n = read(out[0], buf, sizeof(buf));
		if (n <= 0) {
			idle++;
			run(r);
			continue;
		}
		for (ssize_t k = 0; k < n; k++)
			assert_int_equal(buf[k], next++ % 253);
		total += (size_t)n;
		idle = 0;
	}
	assert_in_range(total, 256 * 1024, 2000 * 1024 - 1);
	put(r, "!");
	expect_at(out[0], "!");
	close(in[1]);
	close(out[0]);
}

static void a_reader_that_goes_away_does_not_kill_us(void **state)
{
	struct rig *r = *state;
	int in[2], out[2];

	assert_int_equal(pipe(in) | pipe(out), 0);
	start(r, "stdio", in[0], out[1]);
	put_stdin_back(r);
	close(out[0]);
	put(r, "x");
	put(r, "y");
	expect_idle(r);
	chardev_flush(r->chr);
	close(in[1]);
}

static void flush_writes_what_is_queued_without_the_loop(void **state)
{
	struct rig *r = *state;
	int in[2], out[2];

	assert_int_equal(pipe(in) | pipe(out), 0);
	start(r, "stdio", in[0], out[1]);
	put_stdin_back(r);
	chardev_write(r->chr, (const uint8_t *)"bye", 3);
	chardev_flush(r->chr);
	expect_at(out[0], "bye");
	close(in[1]);
	close(out[0]);
}

static void a_file_gets_the_output_appended(void **state)
{
	struct rig *r = *state;
	char spec[64], buf[16] = "";
	struct stat st;
	FILE *f;

	snprintf(spec, sizeof(spec), "file=%s/log", r->dir);
	for (int i = 0; i < 2; i++) {
		start(r, spec, -1, -1);
		put(r, i ? "two" : "one ");
		expect_got(r, "");
		chardev_free(MOVE(r->chr));
	}
	f = fopen(spec + 5, "r");
	assert_non_null(f);
	assert_int_equal(fread(buf, 1, sizeof(buf), f), 7);
	assert_string_equal(buf, "one two");
	assert_int_equal(fstat(fileno(f), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	fclose(f);
	unlink(spec + 5);
}

/* --- sockets ------------------------------------------------------------------------------ */

static int dial(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(sa.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static void one_client_at_a_time_talks_to_a_socket(void **state)
{
	struct rig *r = *state;
	char spec[64];
	struct stat st;
	int a, b;

	snprintf(spec, sizeof(spec), "unix=%s/s", r->dir);
	start(r, spec, -1, -1);
	assert_int_equal(stat(spec + 5, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	put(r, "to nobody");
	a = dial(spec + 5);
	run(r);
	put(r, "to a");
	expect_at(a, "to a");
	assert_int_equal(write(a, "from a\001x", 8), 8);
	expect_got(r, "from a\001x"); /* no escape key on a socket */
	b = dial(spec + 5);
	assert_int_equal(write(b, "from b", 6), 6);
	expect_got(r, "");
	close(a);
	expect_got(r, "from b");
	put(r, "to b");
	expect_at(b, "to b");
	close(b);
	run(r);
	expect_idle(r);
	put(r, "to nobody");
	chardev_free(MOVE(r->chr));
	assert_int_equal(stat(spec + 5, &st), -1);
}

static void a_stale_socket_is_replaced_and_a_live_one_is_not(void **state)
{
	struct rig *r = *state;
	struct errbuf err = {0};
	struct chardev *other;
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	char spec[64];
	int fd;

	snprintf(spec, sizeof(spec), "unix=%s/s", r->dir);
	strcpy(sa.sun_path, spec + 5);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(fd);
	start(r, spec, -1, -1);
	assert_true(chardev_new(r->loop, spec, NULL, NULL, &other, &err) < 0);
	assert_non_null(strstr(err.msg, spec + 5));
	close(dial(spec + 5));
}

static void unknown_specifications_are_refused_with_a_sentence(void **state)
{
	static const char *const bad[] = {
		"",	 "tty", "file=", "unix=", "file=/nonexistent/x", "unix=/nonexistent/x",
		"stdio "};
	struct rig *r = *state;
	char longpath[256] = "unix=";

	memset(longpath + 5, 'x', 200);
	for (size_t i = 0; i <= ARRAY_SIZE(bad); i++) {
		const char *spec = i < ARRAY_SIZE(bad) ? bad[i] : longpath;
		struct errbuf err = {0};

		assert_true(chardev_new(r->loop, spec, NULL, NULL, &r->chr, &err) < 0);
		assert_int_not_equal(err.msg[0], 0);
	}
	start(r, "none", -1, -1);
	put(r, "nothing");
	expect_idle(r);
	chardev_flush(r->chr);
}

#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_terminal_is_raw_while_open_and_as_before_afterwards),
		T(the_escape_key_calls_and_doubled_is_itself),
		T(the_escape_key_works_while_the_guest_takes_nothing),
		T(a_terminal_that_hangs_up_is_the_end_of_input),
		T(the_end_of_input_does_not_spin),
		T(dev_null_and_a_closed_stdin_are_no_input),
		T(a_file_as_stdin_is_read_as_fast_as_the_guest_takes_it),
		T(room_that_grows_meanwhile_is_not_input),
		T(a_writer_that_is_too_fast_waits),
		T(output_never_blocks_and_what_was_taken_keeps_its_order),
		T(a_reader_that_goes_away_does_not_kill_us),
		T(flush_writes_what_is_queued_without_the_loop),
		T(a_file_gets_the_output_appended),
		T(one_client_at_a_time_talks_to_a_socket),
		T(a_stale_socket_is_replaced_and_a_live_one_is_not),
		T(unknown_specifications_are_refused_with_a_sentence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
