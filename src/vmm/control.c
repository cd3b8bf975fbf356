/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.c - see control.h.
 *
 * A client is a small state machine: greeting sent, capabilities not yet
 * negotiated (only qmp_capabilities is taken), then commands.  Input is cut at
 * newlines; a line longer than MAX_LINE is dropped up to its end and answered with
 * an error.  Output waits in a buffer; a client that does not read until
 * MAX_OUTPUT is full is closed, as it would hold the VM's memory.
 */
#include "vmm/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/log.h"
#include "vmm/commands.h"

enum { MAX_LINE = 64 << 10, MAX_OUTPUT = 1 << 20, MAX_CLIENTS = 16 };

struct client { /* owner: the loop's thread */
	struct control *ctl;
	struct loop_watch watch;
	struct list link;
	bool negotiated, overlong, closing;
	char *in; /* MAX_LINE bytes */
	size_t in_len;
	char *out;
	size_t out_len, out_cap;
};

struct control {
	struct loop *loop;
	struct loop_watch watch;
	struct list clients;
	unsigned nclients;
	struct command_env env;
	/* to unlink the socket at the end, when the process has another root */
	int dir_fd;
	char base[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

static void client_free(struct client *cl)
{
	loop_del(&cl->watch);
	if (cl->watch.fd >= 0)
		close(cl->watch.fd);
	list_del(&cl->link);
	cl->ctl->nclients--;
	free(cl->in);
	free(cl->out);
	free(cl);
}

/* --- output ------------------------------------------------------------------------ */

static void flush(struct client *cl)
{
	size_t done = 0;

	while (done < cl->out_len) {
		ssize_t n = send(cl->watch.fd, cl->out + done, cl->out_len - done,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			cl->closing = true;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	memmove(cl->out, cl->out + done, cl->out_len - done);
	cl->out_len -= done;
	loop_mod(&cl->watch, EPOLLIN | (cl->out_len ? EPOLLOUT : 0));
}

static bool reserve_output(struct client *cl, size_t more)
{
	size_t cap = MAX(cl->out_cap, (size_t)4096);
	char *p;

	if (cl->out_len + more > MAX_OUTPUT)
		return false;
	while (cap < cl->out_len + more)
		cap *= 2;
	p = cap == cl->out_cap ? cl->out : realloc(cl->out, cap);
	if (!p)
		return false;
	cl->out = p;
	cl->out_cap = cap;
	return true;
}

/* Takes @msg. */
static void reply(struct client *cl, json_t *msg)
{
	AUTO_PTR char *text = msg ? json_dumps(msg, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
	size_t len = text ? strlen(text) : 0;

	json_decref(msg);
	if (!text || !reserve_output(cl, len + 2)) {
		cl->closing = true;
		return;
	}
	memcpy(cl->out + cl->out_len, text, len);
	memcpy(cl->out + cl->out_len + len, "\r\n", 2);
	cl->out_len += len + 2;
	flush(cl);
}

static void reply_error(struct client *cl, json_t *id, const char *class, const char *desc)
{
	json_t *msg = json_pack("{s:{s:s,s:s}}", "error", "class", class, "desc", desc);

	if (msg && id)
		json_object_set(msg, "id", id);
	reply(cl, msg);
}

static void reply_return(struct client *cl, json_t *id, json_t *value)
{
	json_t *msg = json_pack("{s:o}", "return", value);

	if (msg && id)
		json_object_set(msg, "id", id);
	reply(cl, msg);
}

/* --- commands ------------------------------------------------------------------------ */

static bool known_arg(const struct command *cmd, const char *name)
{
	for (const char *const *a = cmd->args; a && *a; a++)
		if (!strcmp(*a, name))
			return true;
	return false;
}

/* Names the first argument that @cmd does not take, or NULL. */
static const char *unknown_arg(const struct command *cmd, json_t *args)
{
	const char *name;
	json_t *val;

	json_object_foreach(args, name, val) if (!known_arg(cmd, name)) return name;
	return NULL;
}

static void run_command(struct client *cl, const char *name, json_t *args, json_t *id)
{
	const struct command *cmd = command_find(name);
	struct errbuf err = {0};
	const char *bad;
	char desc[256];
	json_t *ret;

	if (!cmd) {
		snprintf(desc, sizeof(desc), "The command %.128s has not been found", name);
		reply_error(cl, id, "CommandNotFound", desc);
		return;
	}
	bad = unknown_arg(cmd, args);
	if (bad) {
		snprintf(desc, sizeof(desc), "Parameter '%.128s' is unexpected", bad);
		reply_error(cl, id, "GenericError", desc);
		return;
	}
	ret = cmd->run(&cl->ctl->env, args, &err);
	if (ret)
		reply_return(cl, id, ret);
	else
		reply_error(cl, id, "GenericError", err.msg);
}

static void dispatch(struct client *cl, const char *name, json_t *args, json_t *id)
{
	bool is_caps = !strcmp(name, "qmp_capabilities");

	log_debug(LOG_QMP, "command %.64s", name);
	if (!cl->negotiated && !is_caps) {
		reply_error(cl, id, "CommandNotFound",
			    "Expecting capabilities negotiation with 'qmp_capabilities'");
	} else if (cl->negotiated && is_caps) {
		reply_error(cl, id, "CommandNotFound",
			    "Capabilities negotiation is already complete, command ignored");
	} else if (is_caps) {
		cl->negotiated = true;
		reply_return(cl, id, json_object());
	} else {
		run_command(cl, name, args, id);
	}
}

/* The members of a request besides "execute", "arguments" and "id" are mistakes. */
static const char *unknown_member(json_t *req)
{
	const char *name;
	json_t *val;

	json_object_foreach(req, name, val) if (strcmp(name, "execute") != 0 &&
						strcmp(name, "arguments") != 0 &&
						strcmp(name, "id") != 0) return name;
	return NULL;
}

static void handle_request(struct client *cl, json_t *req)
{
	json_t *exec = json_object_get(req, "execute"), *id = json_object_get(req, "id");
	json_t *args = json_object_get(req, "arguments");
	const char *bad = unknown_member(req);
	char desc[256];

	if (!json_is_object(req)) {
		reply_error(cl, NULL, "GenericError", "QMP input must be a JSON object");
	} else if (bad) {
		snprintf(desc, sizeof(desc), "QMP input member '%.128s' is unexpected", bad);
		reply_error(cl, id, "GenericError", desc);
	} else if (!exec) {
		reply_error(cl, id, "GenericError", "QMP input lacks member 'execute'");
	} else if (!json_is_string(exec)) {
		reply_error(cl, id, "GenericError", "QMP input member 'execute' must be a string");
	} else if (args && !json_is_object(args)) {
		reply_error(cl, id, "GenericError",
			    "QMP input member 'arguments' must be an object");
	} else {
		dispatch(cl, json_string_value(exec), args, id);
	}
}

static void handle_line(struct client *cl, const char *line, size_t len)
{
	json_error_t jerr;
	json_t *req;

	while (len && strchr(" \t\r", line[len - 1]))
		len--;
	if (!len)
		return;
	req = json_loadb(line, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &jerr);
	if (!req) {
		reply_error(cl, NULL, "GenericError", "Invalid JSON syntax");
		return;
	}
	handle_request(cl, req);
	json_decref(req);
}

/* --- input ---------------------------------------------------------------------------- */

/* Handle every complete line of the buffer. */
static void take_lines(struct client *cl)
{
	char *nl;

	while (!cl->closing && (nl = memchr(cl->in, '\n', cl->in_len))) {
		size_t len = (size_t)(nl - cl->in);

		if (cl->overlong)
			reply_error(cl, NULL, "GenericError", "The line is longer than 64 KiB");
		else
			handle_line(cl, cl->in, len);
		cl->overlong = false;
		memmove(cl->in, nl + 1, cl->in_len - len - 1);
		cl->in_len -= len + 1;
	}
	if (cl->in_len == MAX_LINE) {
		cl->overlong = true;
		cl->in_len = 0;
	}
}

static void on_client(struct loop_watch *w, uint32_t events)
{
	struct client *cl = container_of(w, struct client, watch);

	if (events & EPOLLOUT)
		flush(cl);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		ssize_t n = recv(w->fd, cl->in + cl->in_len, MAX_LINE - cl->in_len, MSG_DONTWAIT);

		if (n > 0) {
			cl->in_len += (size_t)n;
			take_lines(cl);
		} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
			cl->closing = true;
		}
	}
	if (cl->closing)
		client_free(cl);
}

static void greet(struct client *cl)
{
	reply(cl, json_pack("{s:{s:o,s:[]}}", "QMP", "version", command_version(), "capabilities"));
}

/* Takes @fd. */
void control_add_client(struct control *c, int fd)
{
	struct client *cl = c->nclients < MAX_CLIENTS ? calloc(1, sizeof(*cl)) : NULL;

	if (!cl) {
		close(fd);
		return;
	}
	cl->ctl = c;
	cl->watch = (struct loop_watch){.fd = fd, .fn = on_client};
	cl->in = malloc(MAX_LINE);
	list_add(&c->clients, &cl->link);
	c->nclients++;
	if (!cl->in || loop_add(c->loop, &cl->watch, EPOLLIN) < 0) {
		client_free(cl);
		return;
	}
	greet(cl);
}

static void on_listen(struct loop_watch *w, uint32_t events)
{
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		control_add_client(container_of(w, struct control, watch), fd);
}

void control_event(struct control *c, const char *name, json_t *data)
{
	uint64_t now = host_wall_ns();
	json_t *msg = json_pack("{s:s,s:{s:I,s:I}}", "event", name, "timestamp", "seconds",
				(json_int_t)(now / 1000000000u), "microseconds",
				(json_int_t)(now / 1000 % 1000000));

	if (msg && data)
		json_object_set_new(msg, "data", data);
	list_for_each (l, &c->clients) {
		struct client *cl = list_entry(l, struct client, link);

		/* a client that must be closed is closed when it next has an event */
		if (cl->negotiated && !cl->closing)
			reply(cl, json_incref(msg));
	}
	json_decref(msg);
}

/* --- life cycle -------------------------------------------------------------------------- */

static int bind_socket(int fd, const struct sockaddr_un *addr)
{
	struct stat st;

	if (bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
		return 0;
	if (errno != EADDRINUSE || lstat(addr->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return -errno;
	/* somebody listening?  then it is theirs */
	AUTO_FD int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(probe, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
		return -EADDRINUSE;
	unlink(addr->sun_path);
	return bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;
}

/* Remember where the socket is in a way that outlives a change of root. */
static int remember_place(struct control *c, const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[sizeof(c->base)] = ".";

	strcpy(c->base, slash ? slash + 1 : path);
	if (slash)
		snprintf(dir, sizeof(dir), "%.*s", (int)MAX(slash - path, 1), path);
	c->dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return c->dir_fd < 0 ? -errno : 0;
}

int control_new(struct loop *loop, const char *path, struct control **out, struct errbuf *err)
{
	AUTO(control) struct control *c = calloc(1, sizeof(*c));
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int ret;

	if (!c)
		return err_set(err, -ENOMEM, "control socket '%s'", path);
	c->loop = loop;
	c->dir_fd = -1;
	list_init(&c->clients);
	c->watch = (struct loop_watch){.fd = -1, .fn = on_listen};
	if (strlen(path) >= sizeof(addr.sun_path))
		return err_set(err, -ENAMETOOLONG, "control socket '%s': longer than %zu bytes",
			       path, sizeof(addr.sun_path) - 1);
	strcpy(addr.sun_path, path);
	c->watch.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->watch.fd < 0)
		return err_set(err, -errno, "control socket: %m");
	ret = bind_socket(c->watch.fd, &addr);
	if (ret == -EADDRINUSE)
		return err_set(err, ret, "control socket '%s': another process listens there",
			       path);
	if (ret)
		return err_set(err, ret, "control socket '%s': %s", path, strerror(-ret));
	ret = remember_place(c, path);
	if (ret)
		return err_set(err, ret, "control socket '%s': %s", path, strerror(-ret));
	if (listen(c->watch.fd, 8) < 0 || loop_add(loop, &c->watch, EPOLLIN) < 0)
		return err_set(err, -errno, "control socket '%s': %m", path);
	*out = MOVE(c);
	return 0;
}

void control_free(struct control *c)
{
	if (!c)
		return;
	while (!list_empty(&c->clients)) {
		struct client *cl = list_first(&c->clients, struct client, link);

		flush(cl);
		client_free(cl);
	}
	loop_del(&c->watch);
	if (c->watch.fd >= 0)
		close(c->watch.fd);
	if (c->dir_fd >= 0) {
		unlinkat(c->dir_fd, c->base, 0);
		close(c->dir_fd);
	}
	free(c);
}

void control_attach(struct control *c, struct machine *m, void (*quit)(void *ctx), void *ctx)
{
	c->env = (struct command_env){m, quit, ctx};
}
