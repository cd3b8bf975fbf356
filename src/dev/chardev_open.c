// SPDX-License-Identifier: Apache-2.0
/*
 * chardev_open.c - open what a chardev's specification names; the terminal's modes.
 *
 * The controlling terminal exists once per process, and chardev_restore_terminal()
 * must work from a signal handler: its saved modes are this module's only
 * file-scope state.  They are put back by chardev_free(), at exit(), and by
 * whoever ends the process on a signal.
 */
#include "dev/chardev_open.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>

#include "dev/chardev.h"

/* --- terminal ------------------------------------------------------------------ */

static struct {
	struct termios saved;
	volatile sig_atomic_t raw;
	bool at_exit;
} terminal;

/* From the background, tcsetattr() would stop us, unless SIGTTOU is blocked. */
static int set_modes(const struct termios *t)
{
	sigset_t ttou, old;
	int ret;

	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &ttou, &old);
	ret = tcsetattr(STDIN_FILENO, TCSANOW, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ret;
}

void chardev_restore_terminal(void)
{
	if (!terminal.raw)
		return;
	terminal.raw = 0;
	set_modes(&terminal.saved);
}

/* Every key to the guest; output processing stays, for our own messages. */
static void make_raw(void)
{
	struct termios t;

	if (terminal.raw || tcgetattr(STDIN_FILENO, &terminal.saved) < 0)
		return;
	if (!terminal.at_exit)
		terminal.at_exit = atexit(chardev_restore_terminal) == 0;
	t = terminal.saved;
	t.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
	t.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN | ISIG);
	t.c_cflag &= ~(tcflag_t)(CSIZE | PARENB);
	t.c_cflag |= CS8;
	t.c_cc[VMIN] = 1;
	t.c_cc[VTIME] = 0;
	terminal.raw = 1;
	if (set_modes(&t) < 0)
		terminal.raw = 0;
}

/* --- stdio ----------------------------------------------------------------------- */

/* A second, non-blocking open file for terminal or pipe @fd; @fd itself when that fails. */
static int reopen(int fd, int flags, bool *own)
{
	char path[32];
	struct stat st;
	int dup;

	*own = false;
	if (!isatty(fd) && (fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode)))
		return fd;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	dup = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (dup < 0)
		return fd;
	*own = true;
	return dup;
}

static enum chardev_out_kind kind_of(int fd, bool own)
{
	struct stat st;

	if (own || fstat(fd, &st) < 0 || S_ISREG(st.st_mode))
		return CHARDEV_PLAIN;
	return S_ISSOCK(st.st_mode) ? CHARDEV_SOCKET : CHARDEV_BLOCKING;
}

static int open_stdio(struct chardev_ends *e)
{
	struct sigaction sa;

	/* a reader that goes away is no reason to die, unless somebody decided otherwise */
	if (!sigaction(SIGPIPE, NULL, &sa) && sa.sa_handler == SIG_DFL)
		signal(SIGPIPE, SIG_IGN);
	e->is_stdio = true;
	if (fcntl(STDIN_FILENO, F_GETFD) >= 0)
		e->in_fd = reopen(STDIN_FILENO, O_RDONLY, &e->own_in);
	if (fcntl(STDOUT_FILENO, F_GETFD) >= 0) {
		e->out_fd = reopen(STDOUT_FILENO, O_WRONLY, &e->own_out);
		e->out_kind = kind_of(e->out_fd, e->own_out);
	}
	e->in_tty = e->in_fd >= 0 && isatty(STDIN_FILENO);
	if (e->in_tty)
		make_raw();
	return 0;
}

/* --- file, socket ------------------------------------------------------------------- */

static int open_file(const char *path, struct chardev_ends *e, struct errbuf *err)
{
	e->out_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
	if (e->out_fd < 0)
		return err_set(err, -errno, "console file '%s': %m", path);
	e->own_out = true;
	e->out_kind = kind_of(e->out_fd, false);
	return 0;
}

/* Remove a socket that nobody listens on any more. */
static void remove_stale(const struct sockaddr_un *sa)
{
	AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct stat st;

	if (lstat(sa->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode) || fd < 0)
		return;
	if (connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 && errno == ECONNREFUSED)
		unlink(sa->sun_path);
}

static int open_unix(const char *path, struct chardev_ends *e, struct errbuf *err)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	AUTO_FD int fd = -1;

	if (strlen(path) >= sizeof(sa.sun_path))
		return err_set(err, -ENAMETOOLONG,
			       "console socket '%s': the path is longer than %zu bytes", path,
			       sizeof(sa.sun_path) - 1);
	memcpy(sa.sun_path, path, strlen(path));
	remove_stale(&sa);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* the mode of the descriptor becomes that of the file: for the owner alone */
	if (fd < 0 || fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return err_set(err, -errno, "console socket '%s': %m", path);
	e->path = strdup(path);
	if (!e->path || listen(fd, 4) < 0)
		return err_set(err, -errno, "console socket '%s': %m", path);
	e->listen_fd = MOVE_FD(fd);
	e->out_kind = CHARDEV_SOCKET;
	e->own_in = true; /* the client's one descriptor */
	return 0;
}

int chardev_open_ends(const char *spec, struct chardev_ends *e, struct errbuf *err)
{
	if (!strcmp(spec, "none"))
		return 0;
	if (!strcmp(spec, "stdio"))
		return open_stdio(e);
	if (!strncmp(spec, "file=", 5) && spec[5])
		return open_file(spec + 5, e, err);
	if (!strncmp(spec, "unix=", 5) && spec[5])
		return open_unix(spec + 5, e, err);
	return err_set(err, -EINVAL,
		       "console '%s' is not known; use stdio, none, file=PATH or unix=PATH", spec);
}

void chardev_close_ends(struct chardev_ends *e)
{
	if (e->is_stdio)
		chardev_restore_terminal();
	if (e->own_in && e->in_fd >= 0)
		close(e->in_fd);
	if (e->own_out && e->out_fd >= 0)
		close(e->out_fd);
	if (e->listen_fd >= 0)
		close(e->listen_fd);
	if (e->path)
		unlink(e->path);
	free(e->path);
	*e = CHARDEV_ENDS_NONE;
}
