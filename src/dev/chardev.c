// SPDX-License-Identifier: Apache-2.0
/*
 * chardev.c - characters between a device and a terminal, file or socket.
 *
 * Output: chardev_write() appends to a bounded ring and wakes the loop, which
 * writes without ever blocking; what does not fit is dropped and counted, because
 * a guest must not stand still for a slow reader.  Output to a socket nobody is
 * connected to, or to a closed pipe, is dropped too.
 *
 * Input: the loop reads into a small ring, taking the escape key out on the way,
 * and gives the client as much as it can take.  With the ring full, a pipe or
 * socket is not read any more (its writer waits), while a terminal is read on and
 * the surplus dropped, so that the escape key works whatever the guest does.
 *
 * A terminal, and a pipe, is opened a second time through /proc/self/fd, so that
 * O_NONBLOCK is ours alone: the flag belongs to the open file, which we share with
 * the shell.  Input that epoll refuses (a regular file, /dev/null) is read whenever
 * the client has room, up to its end.
 */
#include "dev/chardev.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/thread.h"
#include "dev/chardev_open.h"

enum { OUT_RING = 256 * 1024, IN_RING = 4096, CHUNK = 4096, POLLED_CHUNK = 512 };
enum { FLUSH_TRIES = 20, FLUSH_WAIT_MS = 100 };
enum { KEY_ESCAPE = 1 }; /* Ctrl-A */

struct chardev { /* loop's thread, but for what @lock guards */
	struct loop *loop;
	struct chardev_ends ends;
	struct chardev_client *client;
	void (*escape)(void *ctx, int key);
	void *escape_ctx;
	struct loop_watch in_watch, out_watch, listen_watch, wake_watch;

	uint8_t in[IN_RING];
	size_t in_head, in_len;
	bool in_polled; /* epoll refused it */
	bool in_eof, escaped;
	bool in_blocked; /* atomic: the client had no room, chardev_accept() wakes us */

	pthread_mutex_t lock;
	uint8_t *out; /* guarded by lock: ring of OUT_RING bytes */
	size_t out_head, out_len;
	uint64_t dropped;
	bool connected, woken; /* guarded by lock */
};

static void wake(struct chardev *c)
{
	uint64_t one = 1;

	/* EAGAIN: the counter is full, so the loop is awake anyway */
	if (write(c->wake_watch.fd, &one, sizeof(one)) < 0)
		return;
}

/* --- output ----------------------------------------------------------------- */

void chardev_write(struct chardev *c, const uint8_t *buf, size_t len)
{
	bool need_wake;
	size_t room;

	pthread_mutex_lock(&c->lock);
	room = c->connected ? OUT_RING - c->out_len : 0;
	if (len > room) {
		c->dropped += len - room;
		len = room;
	}
	for (size_t i = 0; i < len; i++)
		c->out[(c->out_head + c->out_len++) % OUT_RING] = buf[i];
	need_wake = len && !c->woken;
	c->woken |= need_wake;
	pthread_mutex_unlock(&c->lock);
	if (need_wake)
		wake(c);
}

static ssize_t write_some(struct chardev *c, const uint8_t *buf, size_t len)
{
	struct pollfd p = {.fd = c->ends.out_fd, .events = POLLOUT};

	switch (c->ends.out_kind) {
	case CHARDEV_SOCKET: return send(c->ends.out_fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	case CHARDEV_BLOCKING:
		if (poll(&p, 1, 0) <= 0) {
			errno = EAGAIN;
			return -1;
		}
		return write(c->ends.out_fd, buf, MIN(len, (size_t)POLLED_CHUNK));
	default: return write(c->ends.out_fd, buf, len);
	}
}

static size_t peek_out(struct chardev *c, uint8_t *buf, size_t max)
{
	LOCK_SCOPE(&c->lock);
	size_t n = MIN(c->out_len, max);

	for (size_t i = 0; i < n; i++)
		buf[i] = c->out[(c->out_head + i) % OUT_RING];
	return n;
}

static void drop_out(struct chardev *c, size_t n)
{
	LOCK_SCOPE(&c->lock);
	c->out_head = (c->out_head + n) % OUT_RING;
	c->out_len -= n;
}

/* Nobody will read our output any more. */
static void out_gone(struct chardev *c)
{
	loop_del(&c->out_watch);
	LOCK_SCOPE(&c->lock);
	c->connected = false;
	c->dropped += c->out_len;
	c->out_len = 0;
}

/* Write what can be written now.  True when all is out (or lost for good). */
static bool run_out(struct chardev *c)
{
	uint8_t buf[CHUNK];
	size_t n;

	while ((n = peek_out(c, buf, sizeof(buf)))) {
		ssize_t done = write_some(c, buf, n);

		if (done > 0) {
			drop_out(c, (size_t)done);
		} else if (done < 0 && errno == EINTR) {
			continue;
		} else if (done < 0 && errno == EAGAIN) {
			return false;
		} else {
			out_gone(c);
			return true;
		}
	}
	return true;
}

/* Write, and be called again when there is room if there was not. */
static void pump_out(struct chardev *c)
{
	if (run_out(c)) {
		loop_del(&c->out_watch);
		return;
	}
	if (c->out_watch.loop)
		return;
	c->out_watch.fd = c->ends.out_fd;
	if (loop_add(c->loop, &c->out_watch, EPOLLOUT) < 0)
		out_gone(c);
}

void chardev_flush(struct chardev *c)
{
	for (int i = 0; i < FLUSH_TRIES && !run_out(c); i++) {
		struct pollfd p = {.fd = c->ends.out_fd, .events = POLLOUT};

		poll(&p, 1, FLUSH_WAIT_MS);
	}
}

/* --- input -------------------------------------------------------------------- */

/* Into the ring, without the escape key.  What does not fit is lost. */
static void take_input(struct chardev *c, const uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t key = buf[i];

		if (c->escape && c->escaped) {
			c->escaped = false;
			if (key != KEY_ESCAPE) {
				c->escape(c->escape_ctx, key);
				continue;
			}
		} else if (c->escape && key == KEY_ESCAPE) {
			c->escaped = true;
			continue;
		}
		if (c->in_len < IN_RING)
			c->in[(c->in_head + c->in_len++) % IN_RING] = key;
	}
}

/* Give the client what it takes; true when the ring is empty. */
static bool give_input(struct chardev *c)
{
	while (c->in_len && c->client) {
		size_t n = MIN(c->in_len, IN_RING - c->in_head);

		n = MIN(n, c->client->can_receive(c->client));
		if (!n) {
			/* pairs with chardev_accept(); look again, it may just have been */
			__atomic_store_n(&c->in_blocked, true, __ATOMIC_SEQ_CST);
			if (!c->client->can_receive(c->client))
				return false;
			continue;
		}
		c->client->receive(c->client, c->in + c->in_head, n);
		c->in_head = (c->in_head + n) % IN_RING;
		c->in_len -= n;
	}
	return !c->in_len;
}

/* The socket's client left: wait for the next one. */
static void hang_up(struct chardev *c)
{
	loop_del(&c->in_watch);
	out_gone(c);
	if (c->ends.in_fd >= 0)
		close(c->ends.in_fd);
	c->ends.in_fd = c->ends.out_fd = -1;
	c->escaped = false;
	if (!c->listen_watch.loop && loop_add(c->loop, &c->listen_watch, EPOLLIN) < 0)
		c->in_eof = true;
}

static void input_ended(struct chardev *c)
{
	if (c->ends.listen_fd >= 0) {
		hang_up(c);
		return;
	}
	loop_del(&c->in_watch);
	c->in_eof = true;
}

/* One read.  False when there is nothing more to read now. */
static bool read_input(struct chardev *c)
{
	uint8_t buf[CHUNK];
	size_t room = IN_RING - c->in_len;
	ssize_t n;

	if (!room && !c->ends.in_tty)
		return false;
	n = read(c->ends.in_fd, buf, c->ends.in_tty ? sizeof(buf) : MIN(room, sizeof(buf)));
	if (n > 0) {
		take_input(c, buf, (size_t)n);
		return true;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR))
		input_ended(c);
	return false;
}

/* Stop reading a writer that should wait, go on when there is room. */
static void adjust_in_watch(struct chardev *c)
{
	bool want = c->ends.in_fd >= 0 && !c->in_eof && !c->in_polled &&
		    (c->in_len < IN_RING || c->ends.in_tty);

	if (!want) {
		loop_del(&c->in_watch);
	} else if (!c->in_watch.loop) {
		c->in_watch.fd = c->ends.in_fd;
		if (loop_add(c->loop, &c->in_watch, EPOLLIN) < 0)
			c->in_polled = true;
	}
}

static void pump_in(struct chardev *c)
{
	bool empty = give_input(c);

	adjust_in_watch(c);
	while (empty && c->in_polled && !c->in_eof && c->client) {
		if (!read_input(c))
			break;
		empty = give_input(c);
	}
}

static void on_input(struct loop_watch *w, uint32_t events)
{
	struct chardev *c = container_of(w, struct chardev, in_watch);

	read_input(c);
	pump_in(c);
}

static void on_output(struct loop_watch *w, uint32_t events)
{
	pump_out(container_of(w, struct chardev, out_watch));
}

static void on_wake(struct loop_watch *w, uint32_t events)
{
	struct chardev *c = container_of(w, struct chardev, wake_watch);
	uint64_t n;

	if (read(w->fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		return;
	pthread_mutex_lock(&c->lock);
	c->woken = false;
	pthread_mutex_unlock(&c->lock);
	pump_out(c);
	pump_in(c);
}

static void on_connect(struct loop_watch *w, uint32_t events)
{
	struct chardev *c = container_of(w, struct chardev, listen_watch);
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	loop_del(w); /* one client at a time; the others wait in the backlog */
	c->ends.in_fd = c->ends.out_fd = fd;
	pthread_mutex_lock(&c->lock);
	c->connected = true;
	pthread_mutex_unlock(&c->lock);
	pump_in(c);
}

void chardev_accept(struct chardev *c)
{
	/* pairs with give_input() */
	if (__atomic_exchange_n(&c->in_blocked, false, __ATOMIC_SEQ_CST))
		wake(c);
}

void chardev_attach(struct chardev *c, struct chardev_client *client)
{
	c->client = client;
	wake(c);
}

/* --- life ------------------------------------------------------------------------ */

static int start(struct chardev *c)
{
	int ret;

	c->in_watch.fn = on_input;
	c->out_watch.fn = on_output;
	c->wake_watch.fn = on_wake;
	c->listen_watch = (struct loop_watch){.fd = c->ends.listen_fd, .fn = on_connect};
	c->wake_watch.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (c->wake_watch.fd < 0)
		return -errno;
	ret = loop_add(c->loop, &c->wake_watch, EPOLLIN);
	if (!ret && c->ends.listen_fd >= 0)
		ret = loop_add(c->loop, &c->listen_watch, EPOLLIN);
	c->connected = c->ends.out_fd >= 0;
	adjust_in_watch(c);
	return ret;
}

int chardev_new(struct loop *loop, const char *spec, void (*escape)(void *ctx, int key), void *ctx,
		struct chardev **out, struct errbuf *err)
{
	AUTO(chardev) struct chardev *c = calloc(1, sizeof(*c));
	int ret;

	if (!c)
		return err_set(err, -ENOMEM, "console '%s'", spec);
	c->loop = loop;
	c->ends = CHARDEV_ENDS_NONE;
	c->wake_watch.fd = -1;
	pthread_mutex_init(&c->lock, NULL);
	c->out = calloc(1, OUT_RING);
	if (!c->out)
		return err_set(err, -ENOMEM, "console '%s'", spec);
	ret = chardev_open_ends(spec, &c->ends, err);
	if (ret)
		return ret;
	if (c->ends.is_stdio) {
		c->escape = escape;
		c->escape_ctx = ctx;
	}
	ret = start(c);
	if (ret)
		return err_set(err, ret, "console '%s': %s", spec, strerror(-ret));
	*out = MOVE(c);
	return 0;
}

void chardev_free(struct chardev *c)
{
	if (!c)
		return;
	loop_del(&c->in_watch);
	loop_del(&c->out_watch);
	loop_del(&c->listen_watch);
	loop_del(&c->wake_watch);
	if (c->wake_watch.fd >= 0)
		close(c->wake_watch.fd);
	chardev_close_ends(&c->ends);
	pthread_mutex_destroy(&c->lock);
	free(c->out);
	free(c);
}
