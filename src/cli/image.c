/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.c - the store of VM images: a folder each, with disk.raw, kernel, initrd
 * and append (the kernel's command line).
 *
 * Building is the work of a script (image-build.sh), because it is a sequence of
 * other programs; it works in a hidden folder and renames it when all is done.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cli/cli.h"

static const char *const parts[] = {"disk.raw", "kernel", "initrd", "append"};

static int make_dirs(char *path)
{
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	return mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

int image_store(char *buf, size_t len, struct errbuf *err)
{
	const char *own = getenv("CAISSON_HOME"), *xdg = getenv("XDG_DATA_HOME");
	const char *home = getenv("HOME");
	int ret;

	if (own && *own)
		snprintf(buf, len, "%s/images", own);
	else if (xdg && *xdg)
		snprintf(buf, len, "%s/caisson/images", xdg);
	else if (home && *home)
		snprintf(buf, len, "%s/.local/share/caisson/images", home);
	else
		return err_set(err, -ENOENT, "no folder for images: set HOME or CAISSON_HOME");
	ret = make_dirs(buf);
	return ret ? err_set(err, ret, "image folder '%s': %s", buf, strerror(-ret)) : 0;
}

/* A name is one path component that does not start with a dot or dash. */
static bool valid_name(const char *name)
{
	if (!*name || *name == '.' || *name == '-' || strlen(name) > 64)
		return false;
	return name[strspn(name,
			   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] ==
	       0;
}

static int read_append(struct image *img)
{
	char path[600];
	snprintf(path, sizeof(path), "%.511s/append", img->dir);
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, img->append, sizeof(img->append) - 1);

	if (n < 0)
		return -errno;
	img->append[n] = 0;
	img->append[strcspn(img->append, "\n")] = 0;
	return 0;
}

int image_open(const char *name, struct image *out, struct errbuf *err)
{
	char store[400];
	struct stat st;
	int ret;

	if (!valid_name(name))
		return err_set(err, -EINVAL,
			       "image '%s': a name has letters, digits, '.', '_' and '-'", name);
	ret = image_store(store, sizeof(store), err);
	if (ret)
		return ret;
	snprintf(out->dir, sizeof(out->dir), "%s/%s", store, name);
	snprintf(out->disk, sizeof(out->disk), "%s/disk.raw", out->dir);
	snprintf(out->kernel, sizeof(out->kernel), "%s/kernel", out->dir);
	snprintf(out->initrd, sizeof(out->initrd), "%s/initrd", out->dir);
	if (stat(out->disk, &st) < 0 || read_append(out) < 0)
		return err_set(err, -ENOENT,
			       "image '%s' is not in %s; 'caisson image build' makes 'debian'",
			       name, store);
	out->disk_bytes = (uint64_t)st.st_size;
	out->allocated_bytes = (uint64_t)st.st_blocks * 512;
	return 0;
}

/* --- verbs ----------------------------------------------------------------------- */

static int complain(const struct errbuf *err)
{
	fprintf(stderr, "caisson: error: %s\n", err->msg);
	return CLI_FAILED;
}

static void print_row(const struct image *img, const char *name, bool json, bool first)
{
	if (json)
		cli_print_json(json_pack("{ss ss% sI sI}", "name", name, "path", img->dir,
					 strlen(img->dir), "size", (json_int_t)img->disk_bytes,
					 "allocated", (json_int_t)img->allocated_bytes),
			       first);
	else
		printf("%-20s %7lluM %9lluM  %s\n", name, (unsigned long long)img->disk_bytes >> 20,
		       (unsigned long long)img->allocated_bytes >> 20, img->dir);
}

static int image_list(bool json)
{
	struct errbuf err = {0};
	char store[400];
	struct dirent *e;
	bool first = true;
	DIR *d;

	if (image_store(store, sizeof(store), &err) < 0)
		return complain(&err);
	d = opendir(store);
	if (!d) {
		err_set(&err, -errno, "image folder '%s': %m", store);
		return complain(&err);
	}
	printf(json ? "[" : "NAME                    SIZE  ALLOCATED  PATH\n");
	while ((e = readdir(d))) {
		struct image img;

		if (!valid_name(e->d_name) || image_open(e->d_name, &img, NULL) < 0)
			continue;
		print_row(&img, e->d_name, json, first);
		first = false;
	}
	if (json)
		printf("]\n");
	closedir(d);
	return CLI_OK;
}

/* A running VM holds a lock on the disk. */
static int check_unused(const struct image *img, const char *name, struct errbuf *err)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	AUTO_FD int fd = open(img->disk, O_RDWR | O_CLOEXEC);

	if (fd >= 0 && fcntl(fd, F_OFD_SETLK, &fl) < 0)
		return err_set(err, -EBUSY, "image '%s' is in use by a running VM; stop that first",
			       name);
	return 0;
}

static int image_remove(const char *name)
{
	struct errbuf err = {0};
	struct image img;

	if (image_open(name, &img, &err) < 0 || check_unused(&img, name, &err) < 0)
		return complain(&err);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		char path[700];

		snprintf(path, sizeof(path), "%s/%s", img.dir, parts[i]);
		if (unlink(path) < 0 && errno != ENOENT) {
			err_set(&err, -errno, "image '%s': %s: %m", name, path);
			return complain(&err);
		}
	}
	if (rmdir(img.dir) < 0) {
		err_set(&err, -errno, "image '%s': %s: %m; it holds files that are not ours", name,
			img.dir);
		return complain(&err);
	}
	return CLI_OK;
}

/* The script cleans up on signals; we only wait for it. */
static int run_script(const char *path, char *const argv[])
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execv(path, argv);
		_exit(127);
	}
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return CLI_FAILED;
	return WIFEXITED(status) ? WEXITSTATUS(status) : CLI_FAILED;
}

static int image_build(int argc, char **argv)
{
	struct errbuf err = {0};
	char store[400], path[PATH_MAX];
	char **args = calloc((size_t)argc + 3, sizeof(*args));
	int ret;

	if (!args || image_store(store, sizeof(store), &err) < 0)
		return complain(&err);
	if (!cli_find_program("caisson-image-build", path, sizeof(path))) {
		err_set(&err, -ENOENT, "caisson-image-build is missing beside this program");
		return complain(&err);
	}
	args[0] = path;
	args[1] = store;
	for (int i = 0; i < argc; i++)
		args[i + 2] = argv[i];
	ret = run_script(path, args);
	free(args);
	return ret;
}

static int usage(FILE *f, int status)
{
	fprintf(f, "usage: caisson image build [NAME] [--kernel-package PACKAGE] [--size SIZE]\n"
		   "                           [--include PACKAGES] [--force]\n"
		   "       caisson image list [--json]\n"
		   "       caisson image remove NAME\n\n"
		   "build makes a Debian image (NAME defaults to 'debian') from the mirrors this\n"
		   "host's apt is configured for; root logs in on the serial console without a\n"
		   "password.  An image that is there already is kept unless --force is given.\n");
	return status;
}

int cli_image(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";

	if (!strcmp(verb, "--help") || !strcmp(verb, "-h"))
		return usage(stdout, CLI_OK);
	if (!strcmp(verb, "list") && argc == 2)
		return image_list(false);
	if (!strcmp(verb, "list") && argc == 3 && !strcmp(argv[2], "--json"))
		return image_list(true);
	if (!strcmp(verb, "remove") && argc == 3)
		return image_remove(argv[2]);
	if (!strcmp(verb, "build"))
		return image_build(argc - 2, argv + 2);
	return usage(stderr, CLI_USAGE);
}
