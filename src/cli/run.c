/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - "caisson run": one VM in a process of its own, on this terminal.
 *
 * The VM's process is a child, so that the terminal is put back by somebody who
 * lives on whatever way the VM ends.  Signals that would end this process go to
 * the child, which shuts its disks down and ends; then so do we, with its status.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>

#include "api/vm_config.h"
#include "cli/cli.h"
#include "cli/vms.h"

static volatile sig_atomic_t child_pid;

static void forward_signal(int sig)
{
	if (child_pid > 0)
		kill(child_pid, sig);
}

static void usage(void)
{
	printf("usage: caisson run [IMAGE] [OPTION]...\n\n"
	       "Runs a VM until it powers off.  IMAGE is one that 'caisson image build' made;\n"
	       "without it, --kernel names what to boot.  Ctrl-A h shows a menu: power button,\n"
	       "reset, quit.\n\n%s",
	       vm_config_help());
}

/* The arguments for caisson-vmm: what an image supplies first, then what was given. */
struct args {
	char **v;
	int n;
};

static void push(struct args *a, const char *s)
{
	a->v[a->n++] = (char *)s;
}

static void push_image(struct args *a, const struct vm_config *c, const struct image *img)
{
	if (!c->kernel) {
		push(a, "--kernel");
		push(a, img->kernel);
		push(a, "--initrd");
		push(a, img->initrd);
	}
	push(a, "--disk");
	push(a, img->disk);
	if (!c->append) {
		push(a, "--append");
		push(a, img->append);
	}
	if (!c->name) {
		push(a, "--name");
		push(a, c->image);
	}
}

/* So that the VM can be found by others.  Where there is no place for that, it runs without. */
static void push_control(struct args *a, const struct vm_config *c, char *socket, size_t len)
{
	const char *slash = c->kernel ? strrchr(c->kernel, '/') : NULL;
	const char *kernel = slash ? slash + 1 : c->kernel;
	const char *name = c->name ? c->name : c->image ? c->image : kernel;

	if (c->control || !name || vms_own_socket(name, socket, len, NULL) < 0)
		return;
	push(a, "--control");
	push(a, socket);
}

static int run_child(char **argv)
{
	char path[PATH_MAX];
	const char *vmm = cli_find_program("caisson-vmm", path, sizeof(path));

	if (!vmm) {
		fprintf(stderr, "caisson: caisson-vmm is missing beside this program; build or "
				"install it\n");
		return CLI_FAILED;
	}
	argv[0] = path;
	execv(path, argv);
	fprintf(stderr, "caisson: %s: %m\n", path);
	return CLI_FAILED;
}

static int wait_child(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return CLI_FAILED;
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	fprintf(stderr, "\r\ncaisson: the VM's process was ended by %s%s\r\n",
		strsignal(WTERMSIG(status)),
		WTERMSIG(status) == SIGSYS ? " (a system call its sandbox does not allow)" : "");
	return 128 + WTERMSIG(status);
}

static void forward_signals(void)
{
	static const int sigs[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
	struct sigaction sa = {.sa_handler = forward_signal};

	for (size_t i = 0; i < ARRAY_SIZE(sigs); i++)
		sigaction(sigs[i], &sa, NULL);
}

static int start_and_wait(char **argv)
{
	struct termios tio;
	bool tty = tcgetattr(STDIN_FILENO, &tio) == 0;
	pid_t pid;
	int status;

	fflush(stdout);
	pid = fork();
	if (pid < 0) {
		fprintf(stderr, "caisson: fork: %m\n");
		return CLI_FAILED;
	}
	if (pid == 0)
		_exit(run_child(argv));
	child_pid = pid;
	forward_signals();
	status = wait_child(pid);
	if (tty)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &tio);
	return status;
}

static int complain(const struct errbuf *err, int status)
{
	fprintf(stderr, "caisson: error: %s\n", err->msg);
	return status;
}

/* Everything but the image's name goes on as it was given. */
static bool is_image_arg(const struct vm_config *c, int argc, char **argv, int i)
{
	/* getopt moved the operand to the end */
	return c->image && i == argc - 1 && !strcmp(argv[i], c->image);
}

int cli_run(int argc, char **argv)
{
	struct args a = {calloc((size_t)argc + 16, sizeof(char *)), 1};
	struct errbuf err = {0};
	struct vm_config c;
	char socket[VM_PATH_MAX];
	struct image img;
	int status = CLI_OK;

	vm_config_init(&c);
	if (!a.v || vm_config_parse(&c, argc, argv, &err) < 0) {
		status = complain(&err, CLI_USAGE);
	} else if (c.help) {
		usage();
	} else if (c.image && image_open(c.image, &img, &err) < 0) {
		status = complain(&err, CLI_FAILED);
	} else {
		if (c.image)
			push_image(&a, &c, &img);
		push_control(&a, &c, socket, sizeof(socket));
		for (int i = 1; i < argc; i++)
			if (!is_image_arg(&c, argc, argv, i) && strcmp(argv[i], "--") != 0)
				push(&a, argv[i]);
		status = start_and_wait(a.v);
	}
	vm_config_fini(&c);
	free(a.v);
	return status;
}
