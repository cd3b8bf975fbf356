/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vms.c - see vms.h.
 *
 * The registry is a folder of control sockets, one a VM, named NAME.PID; who connects
 * knows that the VM lives.  A socket whose process was killed is removed.  What a VM answers is not
 * trusted: lines are bounded, waiting for them is, and nothing of it reaches a terminal unseen.
 */
#include "cli/vms.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

enum { MAX_LINE = 1 << 20, PATIENCE_S = 5 };

/* --- the folder ------------------------------------------------------------------- */

static int choose_folder(char *buf, size_t len)
{
	const char *own = getenv("CAISSON_HOME"), *xdg = getenv("XDG_RUNTIME_DIR");
	int n;

	if (own && *own)
		n = snprintf(buf, len, "%s/run", own);
	else if (xdg && *xdg)
		n = snprintf(buf, len, "%s/caisson", xdg);
	else if (geteuid() == 0)
		n = snprintf(buf, len, "/run/caisson");
	else
		n = snprintf(buf, len, "/tmp/caisson-%u", (unsigned)geteuid());
	return n < 0 || (size_t)n >= len ? -ENAMETOOLONG : 0;
}

int vms_folder(char *buf, size_t len, struct errbuf *err)
{
	struct stat st;
	int ret = choose_folder(buf, len);

	if (ret)
		return err_set(err, ret, "folder of running VMs: the path is too long");
	if (mkdir(buf, 0700) < 0 && errno != EEXIST)
		return err_set(err, -errno, "folder of running VMs '%s': %m", buf);
	/* in /tmp somebody else may have been first */
	if (lstat(buf, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid())
		return err_set(err, -EPERM, "folder of running VMs '%s': it is not this user's",
			       buf);
	return 0;
}

int vms_own_socket(const char *name, char *buf, size_t len, struct errbuf *err)
{
	char dir[VM_PATH_MAX], file[VM_NAME_MAX + 1];
	int ret = vms_folder(dir, sizeof(dir), err), n;

	if (ret)
		return ret;
	snprintf(file, sizeof(file), "%s", name);
	for (char *p = file; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("._-", *p))
			*p = '_';
	n = snprintf(buf, len, "%s/%s.%d", dir, file, (int)getpid());
	if (n < 0 || (size_t)n >= len || n >= VM_PATH_MAX)
		return err_set(err, -ENAMETOOLONG, "control socket in '%s': the path is too long",
			       dir);
	return 0;
}

/* --- a connection ------------------------------------------------------------------ */

void make_printable(char *text)
{
	for (; *text; text++)
		if (!isprint((unsigned char)*text))
			*text = '?';
}

void vm_free(struct vm *vm)
{
	if (!vm)
		return;
	if (vm->fd >= 0)
		close(vm->fd);
	json_decref(vm->then);
	json_decref(vm->now);
	free(vm->in);
	free(vm);
}

/* The next line, without its end; valid until the next call.  NULL: none comes. */
static json_t *read_message(struct vm *vm)
{
	for (;;) {
		char *nl = memchr(vm->in, '\n', vm->in_len);
		ssize_t n;

		if (nl) {
			size_t used = (size_t)(nl - vm->in) + 1;
			json_t *msg = json_loadb(vm->in, used, 0, NULL);

			vm->in_len -= used;
			memmove(vm->in, nl + 1, vm->in_len);
			return msg;
		}
		if (vm->in_len == MAX_LINE)
			return NULL;
		n = recv(vm->fd, vm->in + vm->in_len, MAX_LINE - vm->in_len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return NULL;
		vm->in_len += (size_t)n;
	}
}

static int no_answer(struct vm *vm, struct errbuf *err)
{
	return err_set(err, -EPIPE, "VM '%s': its control socket gives no answer", vm->name);
}

json_t *vm_ask(struct vm *vm, const char *command, struct errbuf *err)
{
	char line[128];
	int n = snprintf(line, sizeof(line), "{\"execute\":\"%s\"}\n", command);

	if (send(vm->fd, line, (size_t)n, MSG_NOSIGNAL) != n) {
		no_answer(vm, err);
		return NULL;
	}
	for (json_t *msg; (msg = read_message(vm)); json_decref(msg)) {
		json_t *value = json_incref(json_object_get(msg, "return"));
		const char *why =
			json_string_value(json_object_get(json_object_get(msg, "error"), "desc"));

		if (!value && !json_object_get(msg, "error"))
			continue; /* an event */
		if (!value) {
			err_set(err, -EPROTO, "VM '%s': %s: %s", vm->name, command,
				why ? why : "refused");
			if (err)
				make_printable(err->msg);
		}
		json_decref(msg);
		return value;
	}
	no_answer(vm, err);
	return NULL;
}

int vm_sample(struct vm *vm, struct errbuf *err)
{
	json_t *now = vm_ask(vm, "query-vm-stats", err);

	if (!now)
		return -EPROTO;
	json_decref(vm->then);
	vm->then = vm->now;
	vm->now = now;
	return 0;
}

/* Greeting, capabilities, name. */
static int shake_hands(struct vm *vm, struct errbuf *err)
{
	json_t *greeting = read_message(vm), *answer;
	const char *name;

	if (!json_object_get(greeting, "QMP")) {
		json_decref(greeting);
		return no_answer(vm, err);
	}
	json_decref(greeting);
	answer = vm_ask(vm, "qmp_capabilities", err);
	if (!answer)
		return -EPROTO;
	json_decref(answer);
	answer = vm_ask(vm, "query-name", err);
	name = json_string_value(json_object_get(answer, "name"));
	if (name) {
		snprintf(vm->name, sizeof(vm->name), "%s", name);
		make_printable(vm->name);
	}
	json_decref(answer);
	return answer ? 0 : -EPROTO;
}

int vm_connect(const char *path, struct vm **out, struct errbuf *err)
{
	AUTO(vm) struct vm *vm = calloc(1, sizeof(*vm));
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = PATIENCE_S};
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int ret;

	if (vm)
		vm->fd = -1;
	if (!vm || !(vm->in = malloc(MAX_LINE)))
		return err_set(err, -ENOMEM, "VM at '%s': out of memory", path);
	if (strlen(path) >= sizeof(addr.sun_path))
		return err_set(err, -ENAMETOOLONG, "VM at '%s': the path is too long", path);
	strcpy(addr.sun_path, path);
	strcpy(vm->path, path);
	snprintf(vm->name, sizeof(vm->name), "%.64s", path);
	vm->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (vm->fd < 0 || connect(vm->fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		return err_set(err, -errno, "VM at '%s': %m", path);
	setsockopt(vm->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(vm->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (getsockopt(vm->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0)
		vm->pid = (int)peer.pid;
	ret = shake_hands(vm, err);
	if (ret)
		return ret;
	*out = MOVE(vm);
	return 0;
}

/* --- all of them ---------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	const struct vm *x = *(struct vm *const *)a, *y = *(struct vm *const *)b;
	int order = strcmp(x->name, y->name);

	return order ? order : x->pid - y->pid;
}

/* The process that made socket NAME.PID has ended. */
static bool is_left_over(const char *file)
{
	const char *dot = strrchr(file, '.');
	long pid = dot ? strtol(dot + 1, NULL, 10) : 0;

	return pid > 0 && kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

static bool is_among(struct vm *const *vms, unsigned n, const char *path)
{
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(vms[i]->path, path))
			return true;
	return false;
}

unsigned vm_list(struct vm **vms, unsigned n, unsigned max)
{
	char dir[VM_PATH_MAX], path[VM_PATH_MAX + 300];
	struct dirent *e;
	DIR *d;

	if (vms_folder(dir, sizeof(dir), NULL) < 0 || !(d = opendir(dir)))
		return n;
	while (n < max && (e = readdir(d))) {
		int ret;

		if (*e->d_name == '.' || (e->d_type != DT_SOCK && e->d_type != DT_UNKNOWN))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (is_among(vms, n, path))
			continue;
		ret = vm_connect(path, &vms[n], NULL);
		if (ret == -ECONNREFUSED && is_left_over(e->d_name))
			unlink(path);
		n += !ret;
	}
	closedir(d);
	qsort(vms, n, sizeof(*vms), by_name);
	return n;
}

static bool is_called(const struct vm *vm, const char *which)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", vm->pid);
	return !strcmp(vm->name, which) || !strcmp(pid, which);
}

int vm_find(const char *which, struct vm **out, struct errbuf *err)
{
	struct vm *vms[VM_LIST_MAX], *found = NULL;
	unsigned n, matches = 0;

	if (strchr(which, '/'))
		return vm_connect(which, out, err);
	n = vm_list(vms, 0, VM_LIST_MAX);
	for (unsigned i = 0; i < n; i++) {
		if (is_called(vms[i], which) && !matches++)
			found = MOVE(vms[i]);
		vm_free(vms[i]);
	}
	if (matches == 1) {
		*out = found;
		return 0;
	}
	vm_free(found);
	if (matches)
		return err_set(err, -ENOTUNIQ,
			       "VM '%s': %u VMs have this name; 'caisson top --all' shows their "
			       "process IDs, give one of those",
			       which, matches);
	return err_set(err, -ENOENT,
		       "VM '%s': no running VM has this name; 'caisson top --all' shows all",
		       which);
}
